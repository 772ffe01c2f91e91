"""One run: train a student on unlabelled images, choose the epoch by validation, test once.

Reads from top to bottom; what is special to a method is in its file under ``gcudml/methods``.
All randomness comes from the run's seed and the epoch, so nothing depends on what ran before, and
a run that was stopped goes on after its last whole epoch to the same numbers.
"""

import math
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float, Int, UInt8
from torch import Tensor

from gcudml.config import PixelsConfig, RunConfig, TrainConfig, UntrainedConfig
from gcudml.data.datasets import Part, has_classes, larger, load
from gcudml.evaluation import label_free
from gcudml.evaluation.diagnostics import alarms_after, is_finite
from gcudml.evaluation.pixels import MOST_PIXELS, SHRUNK, pixel_vectors
from gcudml.evaluation.query_log import QueryLog
from gcudml.evaluation.retrieval import evaluate, remarks_on_search
from gcudml.evaluation.run_files import (
    append_rows,
    begin_facts,
    cut_table,
    state_of_table,
    write_facts,
)
from gcudml.methods import build_method, build_student, known_labels
from gcudml.methods.interface import RunContext
from gcudml.models.embedding import Embedder
from gcudml.models.inference import Head, RandomViews, embed_images
from gcudml.models.number_format import Format, choose_format
from gcudml.runtime import fused
from gcudml.runtime.checksum import say_useless
from gcudml.runtime.seeding import derive, generator
from gcudml.runtime.timer import Stopwatch
from gcudml.training import checkpoint
from gcudml.training.epoch import train_epoch
from gcudml.training.extra_scores import best_oracle_epoch, oracle_results, score_beside
from gcudml.training.model_file import ModelFacts, results_of, save_model
from gcudml.training.optimizers import student_optimizer
from gcudml.training.state import Snapshot, TrainingState

ReportEpoch = Callable[[int, Mapping[str, float]], bool]
"""Takes an epoch and its metrics; False means: stop now."""
Embed = Callable[[Tensor, RandomViews | None], Tensor]
"""Embeds images as they are, or random views of them; one row an image."""


SHARE_OF_GPU = 0.4  # of its free memory that one part's images may take


class Images(NamedTuple):
    """One part of the data. Shape letter: ``n`` images."""

    images: UInt8[Tensor, "n channels height width"]
    """On the device where they fit beside the training, else on the host."""
    labels: Int[Tensor, " n"]
    """On the device; all -1 where images have no classes."""
    is_query: Bool[Tensor, " n"] | None
    """None: every image is a query against all others."""
    log: QueryLog | None = None
    """Where it is written down what each query finds."""


def run(
    config: RunConfig, *, seed: int, workdir: Path, report: ReportEpoch, test: bool
) -> dict[str, float]:
    """Train (or, for a control, just embed) and evaluate.

    Args:
        config: What to do.
        seed: Of weights, clustering, batches and views; the data have a seed of their own.
        workdir: Gets ``tables/clusters.jsonl``, ``facts.json``, which also names the epoch that was
            chosen, with ``test`` what each query found (see ``gcudml.evaluation.query_log``), and
            after every epoch a checkpoint. Called again with the same folder and arguments, a run
            goes on from it and reports the epochs that are left. At the end
            ``model.safetensors``, the student of the chosen epoch, takes the checkpoint's place.
        report: Called once an epoch.
        test: Whether the test classes may be opened; without it they are not even loaded.

    Returns:
        ``val/...`` at the epoch chosen on validation recall (the smallest K; without classes, on
        the criterion), with ``test`` also ``test/...`` then and ``test/..._last_epoch``, and where
        asked for ``test/..._best_test_epoch``. Without validation images (a published protocol) the
        last epoch counts, and there is no ``_last_epoch``.
        Incomplete where ``report`` said stop or a loss was not finite.
    """
    if (known := results_of(workdir, config, seed=seed, test=test)) is not None:
        return known
    begin_facts(workdir, criterion=label_free.NAME)
    if isinstance(config.method, PixelsConfig):
        device = device_of(config.train)
        remarks = [SHRUNK] if config.data.network_size > MOST_PIXELS else []
        if remarks := remarks + remarks_on_search(config.evaluate.search, device):
            write_facts(workdir, remarks=remarks)
        log = QueryLog(workdir, config.data, config.evaluate) if test else None
        return _score_pixels(config, device, report=report, log=log, seed=seed)
    return _run_network(config, seed=seed, workdir=workdir, report=report, test=test)


def _run_network(
    config: RunConfig, *, seed: int, workdir: Path, report: ReportEpoch, test: bool
) -> dict[str, float]:
    """All of ``run`` for what has a network."""
    device = device_of(config.train)
    training, validation = _load(config, "train", device), _load(config, "val", device)
    channels = training.images.shape[1]
    number_format = choose_format(config, channels=channels, device=device)
    _note_circumstances(workdir, config, number_format, device)
    student = build_student(config, channels=channels, seed=derive(seed, "weights"))
    number_format.place(student, device)

    if isinstance(config.method, UntrainedConfig):
        measured = _measure(student, validation, config, number_format, seed=seed)
        report(0, {f"val/{name}": value for name, value in measured.items()})
        chosen = Snapshot(0, 0.0, student.state_dict(), measured, is_last=True)
    else:
        labels = known_labels(config, training.labels)
        images, clock = training.images, Stopwatch.for_run(device)
        sharper = _load_larger(config, device)
        given = (images, labels, training.labels, number_format, clock, sharper)
        context = RunContext(config, seed, student, *given)
        unseen = (
            _open_test(config, test=test) if test and config.evaluate.test_every_epoch else None
        )
        snapshot = _train(context, validation, unseen, workdir=workdir, report=report)
        if snapshot is None:
            return {}
        chosen = snapshot

    write_facts(workdir, chosen_epoch=chosen.epoch)
    results = {f"val/{name}": value for name, value in chosen.validation.items()}
    if test:
        log = QueryLog(workdir, config.data, config.evaluate)
        unseen = _open_test(config, test=test)
        results |= _score_test(student, unseen, chosen, config, number_format, log=log, seed=seed)
    if not isinstance(config.method, UntrainedConfig):
        facts = ModelFacts(
            config=config,
            seed=seed,
            test=test,
            epoch=chosen.epoch,
            channels=channels,
            dtype=number_format.dtype,
            layout=number_format.layout,
            results=results,
        )
        # In this order: whenever the run is killed, one of the two files says how to go on.
        if save_model(workdir, facts, chosen.state):
            checkpoint.remove(workdir)
    return results


def _note_circumstances(
    workdir: Path, config: RunConfig, number_format: Format, device: torch.device
) -> None:
    """Write down what a run computes on and with, and what its reader must know."""
    write_facts(
        workdir,
        device=torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu",
        torch_threads=torch.get_num_threads(),
        number_format=number_format.dtype,
        memory_layout=number_format.layout,
        step_ms=dict(number_format.measured),
        remarks=[*config.method.remarks, *remarks_on_search(config.evaluate.search, device)],
        trained_together=fused.company(),
    )


def _train(
    context: RunContext,
    validation: Images,
    unseen: Images | None,
    *,
    workdir: Path,
    report: ReportEpoch,
) -> Snapshot | None:
    """The epochs. None where the run must not be used: stopped, or a loss was not finite.

    ``unseen`` are test images that are scored beside the training, and nothing depends on.
    """
    config, student, clock = context.config, context.student, context.clock
    method = build_method(context)
    optimizer = student_optimizer(student, method.parameters(), config.train)
    state = TrainingState(context, method, optimizer)
    key = checkpoint.key_of(config, context.seed)
    _resume(state, key, workdir)
    for epoch in range(state.epoch, config.train.epochs):
        started = time.perf_counter()
        with clock("clustering"):
            plan = method.begin_epoch(epoch)
        append_rows(workdir, "clusters", plan.cluster_rows)
        if plan.replaces_parameters:
            state.replace_parameters()
        prepared = time.perf_counter()

        losses, health = train_epoch(
            context, method, plan, state.optimizers, epoch=epoch, step=state.step
        )
        state.step += len(plan.batches)
        trained = time.perf_counter()
        metrics = losses | health | dict(plan.metrics) | method.diagnostics()
        state.alarms = alarms_after(state.alarms, metrics)
        metrics["learning_rate"] = state.optimizer.param_groups[0]["lr"]
        if not is_finite(student):  # the last step's loss was computed before the step
            losses["loss"] = metrics["loss"] = math.nan
        if not all(math.isfinite(value) for value in losses.values()):
            report(epoch, metrics)  # the harness ends a run that reports a non-finite number
            return None

        with clock("evaluation"):
            measured = _validate(context, validation)
            metrics |= {f"val/{name}": value for name, value in measured.items()}
            metrics |= score_beside(
                context, method, validation=validation[:3], test=unseen and unseen[:3]
            )
        state.oracle_epoch = best_oracle_epoch(
            state.oracle_epoch, metrics, k=min(config.evaluate.k)
        )
        metrics |= {
            "seconds/prepare": prepared - started,
            "seconds/train": trained - prepared,
            "seconds/evaluate": time.perf_counter() - trained,
            **clock.take(),
        }
        state.update_best(measured, epoch=epoch)
        write_facts(workdir, alarms=list(state.alarms))
        is_wanted = report(epoch, metrics)
        state.epoch = epoch + 1
        table = state_of_table(workdir, "clusters")
        # After the report: an epoch that is reported twice counts once, one that is not is lost.
        if all(math.isfinite(value) for value in metrics.values()):  # else never go on from here
            with clock("checkpoint"):  # counts in the next epoch: this one is reported
                checkpoint.save(workdir, key, state.state_dict() | {"table": tuple(table)})
        if not is_wanted:
            return None
    return state.best and state.best._replace(oracle_epoch=state.oracle_epoch)


def _resume(state: TrainingState, key: str, workdir: Path) -> None:
    """Restore the checkpoint of an earlier attempt, where it and its table are whole."""
    kept = checkpoint.load(workdir, key, state.context.device)
    size, checksum = kept["table"] if kept else (0, 0)
    if state_of_table(workdir, "clusters", size) != (size, checksum):
        say_useless(workdir / "tables" / "clusters.jsonl", "not what was written")
        kept, size = None, 0
    cut_table(workdir, "clusters", size)
    if kept is not None:
        state.load_state_dict(kept)
        write_facts(workdir, alarms=list(state.alarms))


def _validate(context: RunContext, validation: Images) -> dict[str, float]:
    """All metrics of the validation images, as the student stands."""
    return _measure(
        context.student,
        validation,
        context.config,
        context.number_format,
        seed=context.seed,
        clock=context.clock,
    )


def _measure(
    student: Embedder,
    part: Images,
    config: RunConfig,
    number_format: Format,
    *,
    seed: int,
    clock: Stopwatch | None = None,
) -> dict[str, float]:
    """All metrics of one part; none where it has no image."""
    if not len(part.images):
        return {}
    is_pooled = isinstance(config.method, UntrainedConfig) and config.method.embedding == "pooled"
    head: Head = "pooled" if is_pooled else "compact"

    def embed(
        images: UInt8[Tensor, "n channels height width"], views: RandomViews | None
    ) -> Float[Tensor, "n dim"]:
        return embed_images(
            student,
            images,
            heads=[head],
            number_format=number_format,
            size=config.data.network_size,
            views=views,
            clock=clock,
        )[head]

    return _score(embed, part, config, seed=seed)


def _score_test(
    student: Embedder,
    unseen: Images,
    chosen: Snapshot,
    config: RunConfig,
    number_format: Format,
    *,
    log: QueryLog,
    seed: int,
) -> dict[str, float]:
    """Results on test classes: at the chosen epoch, and Recall@K after the last one beside it.

    The student comes as it is after the last epoch; ``log`` gets what it finds at the chosen one.
    """
    logged = unseen._replace(log=log)
    first = logged if chosen.is_last else unseen
    final = last = _measure(student, first, config, number_format, seed=seed)
    if not chosen.is_last:
        student.load_state_dict(chosen.state)
        final = _measure(student, logged, config, number_format, seed=seed)
    results = {f"test/{name}": value for name, value in final.items()}
    results |= oracle_results(chosen.oracle_epoch)
    if not chosen.validation:  # no epoch was chosen
        return results
    return results | {
        f"test/{name}_last_epoch": value for name, value in last.items() if "@" in name
    }


def _score(embed: Embed, part: Images, config: RunConfig, *, seed: int) -> dict[str, float]:
    """What the classes say of the embeddings, where there are any, and the criterion."""
    measured: dict[str, float] = {}
    if has_classes(config.data):
        embeddings = embed(part.images, None)
        measured = evaluate(
            embeddings,
            part.labels,
            config.evaluate,
            seed=derive(seed, "nmi"),
            distance=config.distance,
            is_query=part.is_query,
            keep=part.log.keep if part.log else None,
        )
        if part.log:
            part.log.write(embeddings, part.labels, distance=config.distance)
    chosen = label_free.choose_images(len(part.images), seed=seed)
    images = part.images[chosen.to(part.images.device)]
    randomness = generator(seed, "criterion views")  # in all epochs alike
    one, other = (embed(images, RandomViews(label_free.VIEWS, randomness)) for _ in range(2))
    found = label_free.view_recall(one, other, distance=config.distance)
    return measured | {label_free.NAME: found}


def _score_pixels(
    config: RunConfig, device: torch.device, *, report: ReportEpoch, log: QueryLog | None, seed: int
) -> dict[str, float]:
    """Compare images by the cosine of their pixels in [0, 1]; the test ones if there is a log."""

    def embed(
        images: UInt8[Tensor, "n channels height width"], views: RandomViews | None
    ) -> Float[Tensor, "n values"]:
        return pixel_vectors(images, size=config.data.network_size, device=device, views=views)

    results: dict[str, float] = {}
    parts: list[Part] = ["val", "test"] if log else ["val"]
    for name in parts:
        part = _load(config, name, device)._replace(log=log if name == "test" else None)
        if len(part.images):
            measured = _score(embed, part, config, seed=seed)
            results |= {f"{name}/{metric}": value for metric, value in measured.items()}
    report(0, {name: value for name, value in results.items() if name.startswith("val/")})
    return results


def _open_test(config: RunConfig, *, test: bool) -> Images:
    """The test images; RuntimeError in a run that may not see them, such as any of a search."""
    if not test:
        raise RuntimeError("the test classes are closed in this run")
    return _load(config, "test", device_of(config.train))


def _load_larger(
    config: RunConfig, device: torch.device
) -> UInt8[Tensor, "n channels height width"] | None:
    """The training images that views are cut from, where ``data.view_size`` asks for others."""
    source = larger(config.data)
    return None if source is None else _placed(load(source, "train").images, device)


def _placed(
    stored: UInt8[np.ndarray, "n channels height width"], device: torch.device
) -> UInt8[Tensor, "n channels height width"]:
    """On the device where they fit; mapped, without a copy, where that is the host."""
    images = torch.from_numpy(stored)
    if device.type == "cuda" and images.nbytes < SHARE_OF_GPU * torch.cuda.mem_get_info(device)[0]:
        return images.to(device)
    return images


def _load(config: RunConfig, part: Part, device: torch.device) -> Images:
    found = load(config.data, part)
    return Images(
        _placed(found.images, device),
        torch.from_numpy(found.labels).to(device),
        None if found.is_query is None else torch.from_numpy(found.is_query).to(device),
    )


def device_of(config: TrainConfig) -> torch.device:
    """The device that a configuration asks for, where there is one.

    Raises:
        ValueError: it asks for one that is not here.
    """
    has_cuda = torch.cuda.is_available()
    if config.device == "cuda" and not has_cuda:
        raise ValueError("train.device: no CUDA device here; use auto or cpu")
    return torch.device("cuda" if has_cuda and config.device != "cpu" else "cpu")
