"""One run: train a student on unlabelled images, choose the epoch by validation, test once.

The loop is common to all methods; each method's own code is under ``gcudml/methods``. All random
numbers derive from the run's seed and the epoch, so an interrupted run resumes after its last
complete epoch and reaches the same results.
"""

import math
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float, Int, Shaped, UInt8
from torch import Tensor, nn

from gcudml.config import PixelsConfig, RunConfig, TrainConfig, UntrainedConfig
from gcudml.data.datasets import Part, has_classes, larger, load
from gcudml.evaluation import label_free
from gcudml.evaluation.class_counts import Row, count_classes, write_class_counts
from gcudml.evaluation.cluster_pictures import write_cluster_pictures
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
from gcudml.models.frozen import FrozenTrunk
from gcudml.models.head_fit import fit_heads
from gcudml.models.inference import Head, RandomViews, embed_images
from gcudml.models.number_format import Format, choose_format
from gcudml.runtime import fused
from gcudml.runtime.checksum import say_useless
from gcudml.runtime.seeding import Seed, derive, generator, run_seed, seed_behind
from gcudml.runtime.timer import Stopwatch
from gcudml.training import checkpoint, state_digest
from gcudml.training.epoch import train_epoch
from gcudml.training.extra_scores import best_oracle_epoch, oracle_results, score_beside
from gcudml.training.model_file import ModelFacts, results_of, save_model
from gcudml.training.optimizers import student_optimizer
from gcudml.training.state import Snapshot, TrainingState
from gcudml.training.untouched import choose_free_embedding, own_embedding, poolings_of

ReportEpoch = Callable[[int, Mapping[str, float]], bool]
"""Receives an epoch and its metrics; returns False to stop the run."""
Embed = Callable[[Tensor, RandomViews | None], Tensor]
"""Embeds images unchanged, or a random view of each; one row per image."""


_TABLES = ("clusters", state_digest.TABLE)
"""Tables that grow with every epoch."""
SHARE_OF_GPU = 0.4  # one part's images may take this share of free GPU memory


class Images(NamedTuple):
    """Images and labels of one part of the data. Shape letter: ``n`` images."""

    images: Shaped[Tensor, "n channels height width"]
    """On the device if they fit, see ``SHARE_OF_GPU``, else on the host. With a frozen trunk, their
    features."""
    labels: Int[Tensor, " n"]
    """On the device; all -1 if images have no classes."""
    is_query: Bool[Tensor, " n"] | None
    """Mask of the queries; None: every image is a query against all others."""
    log: QueryLog | None = None
    """Records the retrieved images of each query."""
    key: str = ""
    """Digest of everything that the pixels depend on."""
    criterion: Float[Tensor, "views chosen features 1 1"] | None = None
    """With a frozen trunk, its features of the views that the label-free criterion compares."""


def run(
    config: RunConfig, *, seed: int, workdir: Path, report: ReportEpoch, test: bool
) -> dict[str, float]:
    """Train and evaluate one run; a control that trains nothing is only evaluated.

    If ``workdir`` has a checkpoint of the same configuration and seed, resume from it and report
    only the remaining epochs; if it has the model file, return its results.

    Args:
        config: Configuration of the run.
        seed: Seed of weights, clustering, batches and views; the data split has its own seed.
        workdir: Folder for ``tables/clusters.jsonl`` and ``tables/class_counts.jsonl`` (see
            ``gcudml.evaluation.class_counts``), ``facts.json`` (includes the chosen epoch),
            pictures of a few clusters (see ``gcudml.evaluation.cluster_pictures``),
            the retrieved images of each query if ``test`` (see ``gcudml.evaluation.query_log``),
            and a checkpoint after every epoch. At the end ``model.safetensors``, the student of
            the chosen epoch, replaces the checkpoint.
        report: Called once per epoch.
        test: Whether to evaluate on the test classes; if not, they are never loaded.

    Returns:
        ``val/...`` at the chosen epoch: the one with the highest validation recall at the smallest
        K, or the best label-free criterion if images have no classes. With ``test`` also
        ``test/...`` at the chosen epoch, ``test/..._last_epoch`` and, if requested,
        ``test/..._best_test_epoch``. Without validation images (a published protocol) the last
        epoch is used and there is no ``_last_epoch``. Empty if ``report`` returned False or a loss
        was not finite.
    """
    if (known := results_of(workdir, config, seed=seed, test=test)) is not None:
        return known
    begin_facts(workdir, criterion=label_free.NAME)
    if isinstance(config.method, PixelsConfig):
        device = device_of(config.train)
        remarks = [SHRUNK] if config.data.network_size > MOST_PIXELS else []
        if remarks := remarks + remarks_on_search(config.evaluate.search, device):
            write_facts(workdir, remarks=remarks)
        log = QueryLog(workdir, config.data, config.evaluate)
        streams = run_seed(seed, config.randomness)
        return _score_pixels(config, device, report=report, log=log, seed=streams, test=test)
    return _run_network(config, seed=seed, workdir=workdir, report=report, test=test)


def _run_network(
    config: RunConfig, *, seed: int, workdir: Path, report: ReportEpoch, test: bool
) -> dict[str, float]:
    """Train, if the method trains, and evaluate a run that has a network."""
    device, streams = device_of(config.train), run_seed(seed, config.randomness)
    training, validation = _load(config, "train", device), _load(config, "val", device)
    channels = training.images.shape[1]
    number_format = choose_format(config, channels=channels, device=device)
    _note_circumstances(workdir, config, number_format, device)
    student = build_student(config, channels=channels, seed=derive(streams, "weights"))
    number_format.place(student, device)
    trunk, pixels = _freeze(student, config, number_format), training
    if trunk is not None:
        plain = trunk.features(pixels.images, of=pixels.key)[0]
        training = pixels._replace(images=_placed(plain, device))
        validation = _as_features(validation, trunk, seed=streams)
    if not _is_pooled(config):
        fit_heads(student, training.images, config, number_format=number_format)
    network: nn.Module = student

    if isinstance(config.method, UntrainedConfig):
        if config.method.embedding == "pooled":
            network = own_embedding(config, config.method, features=training.images.shape[1])
        elif config.method.embedding == "best_free":
            network = choose_free_embedding(training[:3], validation[:3], config, config.method)
            remarks = remarks_on_search(config.evaluate.search, device)
            remarks.append(f"The best embedding that the untouched weights give is {network}.")
            write_facts(workdir, remarks=remarks)
        embed = _embedder(network, config, number_format)
        measured = _score(embed, validation, config, seed=streams)
        report(0, {f"val/{name}": value for name, value in measured.items()})
        chosen = Snapshot(0, 0.0, network.state_dict(), measured, is_last=True)
    else:
        context = _context(config, streams, student, training, pixels, trunk, number_format)
        unseen = None
        if test and config.evaluate.test_every_epoch:
            unseen = _as_features(_open_test(config, test=test), trunk, seed=streams)
        snapshot = _train(context, validation, unseen, workdir=workdir, report=report)
        if snapshot is None:
            return {}
        chosen = snapshot

    write_facts(workdir, chosen_epoch=chosen.epoch)
    results = {f"val/{name}": value for name, value in chosen.validation.items()}
    log = QueryLog(workdir, config.data, config.evaluate)
    if test:
        unseen = _as_features(_open_test(config, test=test), trunk, seed=streams)
        results |= _score_test(
            network, unseen, chosen, config, number_format, log=log, seed=streams
        )
    network.load_state_dict(chosen.state)
    counts = _count_classes(_embedder(network, config, number_format), validation, config)
    write_class_counts(workdir, counts, log.class_counts)
    if not isinstance(config.method, UntrainedConfig):
        write_cluster_pictures(workdir, load(config.data, "train"))
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
        # In this order, so that a killed run always leaves one of the two files.
        whole = chosen.state if trunk is None else trunk.state_dict() | chosen.state
        if save_model(workdir, facts, whole):
            checkpoint.remove(workdir)
    return results


def _freeze(student: Embedder, config: RunConfig, number_format: Format) -> FrozenTrunk | None:
    """Take the trunk out of the student if the run does not train it."""
    method = config.method
    if not isinstance(method, UntrainedConfig):
        is_frozen = config.train.trunk == "frozen"
        return FrozenTrunk(student, config, number_format) if is_frozen else None
    return FrozenTrunk(
        student,
        config,
        number_format,
        poolings=poolings_of(config.model, method),
        keep=config.model.is_pretrained,
    )


def _is_pooled(config: RunConfig) -> bool:
    """Whether the run evaluates pooled features, not a head."""
    return isinstance(config.method, UntrainedConfig) and config.method.embedding != "compact"


def _context(
    config: RunConfig,
    seed: Seed,
    student: Embedder,
    training: Images,
    pixels: Images,
    trunk: FrozenTrunk | None,
    number_format: Format,
) -> RunContext:
    """Gather what the method is given; ``training`` has features if the trunk is frozen."""
    device, stored_views = training.labels.device, None
    larger_images = _load_larger(config, device)
    if trunk is not None:
        sources = larger_images or pixels
        stored_views = _placed(trunk.training_views(sources.images, of=sources.key), device)
    return RunContext(
        config,
        seed,
        student,
        training.images,
        known_labels(config, training.labels),
        training.labels,
        number_format,
        clock=Stopwatch.for_run(device),
        larger=larger_images and larger_images.images,
        stored_views=stored_views,
    )


def _note_circumstances(
    workdir: Path, config: RunConfig, number_format: Format, device: torch.device
) -> None:
    """Record device, threads, number format and remarks in the facts of the run."""
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
    """Train all epochs and return the snapshot of the chosen one.

    Returns None if ``report`` stopped the run or a loss was not finite. ``unseen`` are test images
    to score after every epoch; the scores influence nothing.
    """
    config, student, clock = context.config, context.student, context.clock
    method = build_method(context)
    optimizer = student_optimizer(student, method.parameters(), config.train)
    state = TrainingState(context, method, optimizer)
    key = checkpoint.key_of(config, int(context.seed))
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
        if not is_finite(student):  # the last loss precedes the last update
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
        # After the report: reporting an epoch twice is harmless, not reporting it would lose it.
        if all(math.isfinite(value) for value in metrics.values()):  # else diverged: do not resume
            with clock("checkpoint"):  # timed in the next epoch
                content = state.state_dict()
                append_rows(workdir, state_digest.TABLE, state_digest.digest_rows(epoch, content))
                tables = {name: tuple(state_of_table(workdir, name)) for name in _TABLES}
                checkpoint.save(workdir, key, content | {"tables": tables})
        if not is_wanted:
            return None
    return state.best and state.best._replace(oracle_epoch=state.oracle_epoch)


def _resume(state: TrainingState, key: str, workdir: Path) -> None:
    """Restore the checkpoint of an earlier attempt if it and the tables are intact."""
    kept = checkpoint.load(workdir, key, state.context.device)
    for name, (size, checksum) in kept["tables"].items() if kept else ():
        if state_of_table(workdir, name, size) != (size, checksum):
            say_useless(workdir / "tables" / f"{name}.jsonl", "does not match its checksum")
            kept = None
            break
    for name in _TABLES:
        cut_table(workdir, name, kept["tables"][name][0] if kept else 0)
    if kept is not None:
        state.load_state_dict(kept)
        write_facts(workdir, alarms=list(state.alarms))


def _validate(context: RunContext, validation: Images) -> dict[str, float]:
    """Compute all metrics of the current student on the validation images."""
    embed = _embedder(context.student, context.config, context.number_format, context.clock)
    return _score(embed, validation, context.config, seed=context.seed)


def _embedder(
    student: nn.Module, config: RunConfig, number_format: Format, clock: Stopwatch | None = None
) -> Embed:
    """Return a function that embeds images with the head that is evaluated."""
    head: Head = "pooled" if _is_pooled(config) else "compact"

    def embed(
        images: Shaped[Tensor, "n channels height width"], views: RandomViews | None
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

    return embed


def _count_classes(embed: Embed, validation: Images, config: RunConfig) -> Sequence[Row]:
    """Count the classes before the first hits of validation queries; none without classes."""
    if not len(validation.images) or not has_classes(config.data):
        return ()
    return count_classes(
        "val",
        embed(validation.images, None),
        validation.labels,
        config.evaluate,
        distance=config.distance,
        is_query=validation.is_query,
    )


def _score_test(
    student: nn.Module,
    unseen: Images,
    chosen: Snapshot,
    config: RunConfig,
    number_format: Format,
    *,
    log: QueryLog,
    seed: Seed,
) -> dict[str, float]:
    """Compute the test results at the chosen epoch, and Recall@K after the last epoch.

    Expects the student as it is after the last epoch and leaves it at the chosen epoch. ``log``
    records the queries of the chosen epoch only.
    """
    logged = unseen._replace(log=log)
    first = logged if chosen.is_last else unseen
    embed = _embedder(student, config, number_format)
    final = last = _score(embed, first, config, seed=seed)
    if not chosen.is_last:
        student.load_state_dict(chosen.state)
        final = _score(embed, logged, config, seed=seed)
    results = {f"test/{name}": value for name, value in final.items()}
    results |= oracle_results(chosen.oracle_epoch)
    if not chosen.validation:  # without validation no epoch was chosen
        return results
    return results | {
        f"test/{name}_last_epoch": value for name, value in last.items() if "@" in name
    }


def _score(embed: Embed, part: Images, config: RunConfig, *, seed: Seed) -> dict[str, float]:
    """Compute the metrics that need classes, if images have any, and the label-free criterion.

    Empty if the part has no images.
    """
    if not len(part.images):
        return {}
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
    if part.criterion is None:
        images, views = _criterion_views(part, seed=seed)
        one, other = (embed(images, each) for each in views)
    else:
        one, other = (embed(features, None) for features in part.criterion)
    found = label_free.view_recall(one, other, distance=config.distance)
    return measured | {label_free.NAME: found}


def _criterion_views(
    part: Images, *, seed: Seed
) -> tuple[UInt8[Tensor, "chosen channels height width"], list[RandomViews]]:
    """Choose the images and both views that the label-free criterion compares."""
    chosen = label_free.choose_images(len(part.images), seed=seed)
    randomness = generator(seed, "criterion views")  # the same views in every epoch
    views = [RandomViews(label_free.VIEWS, randomness) for _ in range(2)]
    return part.images[chosen.to(part.images.device)], views


def _as_features(part: Images, trunk: FrozenTrunk | None, *, seed: Seed) -> Images:
    """Replace the images by the features of a frozen trunk; without one, change nothing."""
    if trunk is None or not len(part.images):
        return part
    device = part.labels.device
    images, views = _criterion_views(part, seed=seed)
    criterion = trunk.features(
        images, of=["criterion", part.key, seed_behind(seed, "criterion views")], views=views
    )
    plain = trunk.features(part.images, of=part.key)[0]
    return part._replace(images=_placed(plain, device), criterion=_placed(criterion, device))


def _score_pixels(
    config: RunConfig,
    device: torch.device,
    *,
    report: ReportEpoch,
    log: QueryLog,
    seed: Seed,
    test: bool,
) -> dict[str, float]:
    """Evaluate the cosine of pixels in [0, 1] as a baseline."""

    def embed(
        images: UInt8[Tensor, "n channels height width"], views: RandomViews | None
    ) -> Float[Tensor, "n values"]:
        return pixel_vectors(images, size=config.data.network_size, device=device, views=views)

    results: dict[str, float] = {}
    counts: Sequence[Row] = ()
    parts: list[Part] = ["val", "test"] if test else ["val"]
    for name in parts:
        part = _load(config, name, device)._replace(log=log if name == "test" else None)
        if len(part.images):
            measured = _score(embed, part, config, seed=seed)
            results |= {f"{name}/{metric}": value for metric, value in measured.items()}
        if name == "val":
            counts = _count_classes(embed, part, config)
    write_class_counts(log.workdir, counts, log.class_counts)
    report(0, {name: value for name, value in results.items() if name.startswith("val/")})
    return results


def _open_test(config: RunConfig, *, test: bool) -> Images:
    """Load the test images.

    Raises:
        RuntimeError: If the run may not use them, such as every run of a search.
    """
    if not test:
        raise RuntimeError("this run may not use the test classes")
    return _load(config, "test", device_of(config.train))


def _load_larger(config: RunConfig, device: torch.device) -> Images | None:
    """Load the larger training images to cut views from; None without ``data.view_size``."""
    source = larger(config.data)
    if source is None:
        return None
    return _load(config.model_copy(update={"data": source}), "train", device)


def _placed(stored: Shaped[np.ndarray, "*shape"], device: torch.device) -> Shaped[Tensor, "*shape"]:
    """Copy images or features to the device if they fit; otherwise keep them mapped on the host."""
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
        key=found.key,
    )


def device_of(config: TrainConfig) -> torch.device:
    """Return the configured device; ``auto`` is CUDA if available, else the CPU.

    Raises:
        ValueError: If CUDA is configured but not available.
    """
    has_cuda = torch.cuda.is_available()
    if config.device == "cuda" and not has_cuda:
        raise ValueError("train.device: no CUDA device here; use auto or cpu")
    return torch.device("cuda" if has_cuda and config.device != "cpu" else "cpu")
