"""What each lever of speed is worth: a run's work with the lever over the same work without it.

    python tests/benchmarks/levers.py [--rounds 5] [--only WORD] [--write]

The work is the one of ``studies/momentum.yaml`` (conv4 of 32 channels, 28 px, 120 images x 2 views, 1,600
training images, one thread) in one process: steps, the preparation of an epoch, or what the row names. Both
sides take turns (a b a b) after a round that does not count; a round's ratio is the time without the lever
over the time with it, so above 1 the lever pays. Printed are the median of the ratios and the least and the
largest. Rows of levers that do not pay are kept as well: they say why the code is without them. ``--write``
keeps the table in ``tests/benchmarks/results/levers.json``. Takes 5 minutes on two cores with nothing else to do.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple
from unittest.mock import patch

import torch
import yaml
from handwritten import Files
from kept import ROOT, keep
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional as F

import gcudml.methods.gcudml.method
from gcudml.config import RunConfig
from gcudml.data import views
from gcudml.data.datasets import load
from gcudml.data.image_files import Appearance, decode_image
from gcudml.methods import build_method, build_student, known_labels
from gcudml.methods.gcudml.method import Gcudml
from gcudml.methods.interface import RunContext
from gcudml.models.backbones import conv4
from gcudml.models.embedding import Embeddings
from gcudml.models.inference import embed_images
from gcudml.models.number_format import Format, autocast
from gcudml.neighbours.kmeans import spherical_kmeans
from gcudml.runtime.allocator import keep_freed_memory
from gcudml.training import epoch
from gcudml.training.optimizers import head_optimizer, student_optimizer

STEPS = 4  # of a round
WORKERS, WORKER_STEPS = 2, 4
LARGE, LARGE_DIM, LARGE_CLUSTERS, SAMPLED = 20_000, 128, 500, 39
"""A k-means that is large enough for sub-sampling to be asked: 39 points a centre is faiss's least."""
Action = Callable[[], object]


class Lever(NamedTuple):
    """One way to do some work, and the way without it."""

    name: str
    work: str
    pulled: Action
    released: Action
    in_use: str
    """Whether a run uses it: ``yes``, ``no``, or a setting."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--only", default="", help="levers with this in their name")
    parser.add_argument("--write", action="store_true")
    parser.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    keep_freed_memory()
    torch.set_num_threads(1)
    if arguments.worker:
        work_when_told()
        return
    rows = []
    with ExitStack() as stack:
        for lever in levers(stack):
            if arguments.only in lever.name:
                rows.append(row_of(lever, arguments.rounds))
                print(*rows[-1].values(), sep=" | ", flush=True)
    if arguments.write:
        keep("levers", rows=rows)


def row_of(lever: Lever, rounds: int) -> dict[str, str]:
    """The lever's line; where it cannot be pulled at all, its line says so."""
    line = {"lever": lever.name, "work": lever.work, "ratio": "", "from_to": "", "ms": ""}
    try:
        pulled, ratios = ratios_of(lever, rounds)
        line["ratio"] = f"{statistics.median(ratios):.2f}"
        line["from_to"] = f"{min(ratios):.2f} to {max(ratios):.2f}"
        line["ms"] = f"{pulled:,.0f}"
    except Exception as error:  # a compiler that is not there raises anything
        line["ratio"] = f"cannot: {type(error).__name__}"
    return line | {"in_use": lever.in_use}


def ratios_of(lever: Lever, rounds: int) -> tuple[float, list[float]]:
    """Median milliseconds with the lever, and each round's time without over that with it."""
    times: tuple[list[float], list[float]] = ([], [])
    for turn in range(rounds + 1):
        for action, taken in zip((lever.pulled, lever.released), times, strict=True):
            started = time.perf_counter()
            action()
            if turn:
                taken.append(1000 * (time.perf_counter() - started))
    ratios = [without / with_it for with_it, without in zip(*times, strict=True)]
    return statistics.median(times[0]), ratios


class Training:
    """A run of the study, ready for its first step."""

    def __init__(self, number_format: Format, *, momentum: float = 0.9) -> None:
        text = (ROOT / "studies" / "momentum.yaml").read_text(encoding="utf-8")
        base: dict[str, Any] = yaml.safe_load(text)["base"]
        base["train"] |= {"learning_rate": 3e-3}  # YAML 1.1 reads 3e-3 as a text
        base["method"] |= {"teacher_momentum": momentum}
        self.config = RunConfig.model_validate(base)
        data = load(self.config.data, "train")
        classes = torch.from_numpy(data.labels)
        student = build_student(self.config, channels=1, seed=0)
        number_format.place(student, torch.device("cpu"))
        labels = known_labels(self.config, classes)
        images = torch.from_numpy(data.images)
        self.context = RunContext(self.config, 0, student, images, labels, classes, number_format)
        method = build_method(self.context)
        assert isinstance(method, Gcudml)
        self.method = method
        plan = method.begin_epoch(0)
        self.plan = plan.__class__(batches=plan.batches[:STEPS])
        self.optimizers = [
            student_optimizer(student, method.parameters(), self.config.train),
            head_optimizer(method.replaced_parameters(), self.config.train),
        ]
        self.step()

    def step(self) -> None:
        """Some steps."""
        epoch.train_epoch(self.context, self.method, self.plan, self.optimizers, epoch=0, step=0)

    def prepare(self) -> None:
        """What precedes the steps of an epoch."""
        self.method.begin_epoch(0)

    def embed(self) -> None:
        """The student's embeddings of all training images."""
        student, number_format = self.context.student, self.context.number_format
        embed_images(student, self.context.images, heads=["compact"], number_format=number_format)


def levers(stack: ExitStack) -> Iterator[Lever]:
    """All of them, each made when its turn comes."""
    simple, last = Format("fp32", "contiguous"), Format("fp32", "channels_last")
    usual = Training(Format("bf16", "channels_last"))
    work = f"{STEPS} steps"
    plain, arranged = Training(simple), Training(last)
    yield Lever("channels last against contiguous, fp32", work, arranged.step, plain.step, "auto")
    yield Lever("bf16 against fp32, channels last", work, usual.step, arranged.step, "auto")
    yield Lever("both against neither", work, usual.step, plain.step, "auto")
    yield from _levers_of_images(usual, stack)
    yield from _levers_of_networks(usual)
    yield from _levers_of_updates(usual)
    yield from _levers_of_clustering()
    yield _compiled(usual)
    yield _one_thread_each(stack)


def _levers_of_images(usual: Training, stack: ExitStack) -> Iterator[Lever]:
    step, work = usual.step, f"{STEPS} steps"
    files = SimpleNamespace(image_size=28, color="grey", invert=False)
    transform = Files([], files, views=usual.config.views).transform  # type: ignore[arg-type]

    def one_by_one(images: Tensor, *_: object, **__: object) -> Tensor:
        return torch.stack([transform(Image.fromarray(image[0].numpy())) for image in images])

    yield Lever(
        "views of a batch against torchvision's, image by image",
        work,
        step,
        within(partial(patch.object, epoch, "random_views", one_by_one), step),
        "yes",
    )

    def grid_by_product(maps: Tensor, shape: tuple[int, int]) -> Tensor:
        return F.affine_grid(maps, [len(maps), 1, *shape], align_corners=False)

    by_product = within(partial(patch.object, views, "sampling_grid", grid_by_product), step)
    yield Lever(
        "views: grids of rows plus columns against affine_grid", work, step, by_product, "yes"
    )
    folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
    for place, image in enumerate(usual.context.images):
        Image.fromarray(image[0].numpy()).save(folder / f"{place}.png")
    seen = Appearance(28, "grey", invert=False, fit="squeeze")

    def decoded(_: RunContext, indices: Tensor) -> Tensor:
        unique, inverse = indices.unique(return_inverse=True)
        pixels = [decode_image(folder / f"{each}.png", appearance=seen) for each in unique.tolist()]
        return torch.stack([torch.from_numpy(each.copy()) for each in pixels])[inverse]

    yield Lever(
        "decoded images in a mapped file against decoding PNG files in each step",
        work,
        step,
        within(partial(patch.object, RunContext, "pick", decoded), step),
        "yes",
    )


def _levers_of_networks(usual: Training) -> Iterator[Lever]:
    step, work, teacher = usual.step, f"{STEPS} steps", usual.method.teacher
    forward = teacher.forward

    def by(other: Callable[[Tensor], Embeddings]) -> Action:
        return within(partial(patch.object, teacher, "forward", other), step)

    def in_two(views: Tensor) -> Embeddings:
        return joined([forward(half) for half in views.chunk(2)])

    def with_graph(views: Tensor) -> Embeddings:
        teacher.requires_grad_(True)
        with torch.enable_grad():
            found = forward(views)
        teacher.requires_grad_(False)
        return found

    def in_inference_mode(views: Tensor) -> Embeddings:
        with torch.inference_mode():
            found = forward(views)
        return Embeddings(*(part.clone() for part in found))  # else no loss can use them

    yield Lever("teacher: both views in one pass against two", work, step, by(in_two), "yes")
    yield Lever("teacher: no gradient against a graph", work, step, by(with_graph), "yes")
    yield Lever("teacher: inference mode against no_grad", work, by(in_inference_mode), step, "no")
    slow = partial(patch.object, conv4, "_may_pool_first", lambda *_: False)
    yield Lever("conv4 pools before its norm: teacher", work, step, within(slow, step), "yes")
    embed = usual.embed
    yield Lever(
        "conv4 pools before its norm", "1,600 embeddings", embed, within(slow, embed), "yes"
    )


def _levers_of_updates(usual: Training) -> Iterator[Lever]:
    step, work = usual.step, f"{STEPS} steps"

    @torch.no_grad()
    def each_tensor(teacher: nn.Module, student: nn.Module, momentum: float) -> None:
        theirs = [*student.parameters(), *student.buffers()]
        for mine, other in zip([*teacher.parameters(), *teacher.buffers()], theirs, strict=True):
            if mine.is_floating_point():
                mine.mul_(momentum).add_(other, alpha=1 - momentum)
            else:
                mine.copy_(other)

    yield Lever(
        "moving average of all tensors at once against one by one",
        work,
        step,
        within(
            partial(patch.object, gcudml.methods.gcudml.method, "update_teacher", each_tensor), step
        ),
        "yes",
    )
    looped = within(partial(options, usual.optimizers, foreach=False), step)
    fused = within(partial(options, usual.optimizers, foreach=False, fused=True), step)
    yield Lever("AdamW of all tensors at once against one by one", work, step, looped, "yes")
    yield Lever("fused AdamW against all tensors at once", work, fused, step, "no")


def _levers_of_clustering() -> Iterator[Lever]:
    still = Training(Format("bf16", "channels_last"), momentum=0.0)
    twice = partial(patch.object, gcudml.methods.gcudml.method, "is_copy", lambda *_: False)
    yield Lever(
        "features reused where the teacher is the student (momentum 0)",
        "preparing an epoch",
        still.prepare,
        within(twice, still.prepare),
        "yes",
    )
    centres = torch.randn(LARGE_CLUSTERS, LARGE_DIM, generator=torch.Generator().manual_seed(0))
    noise = torch.randn(LARGE, LARGE_DIM, generator=torch.Generator().manual_seed(1))
    points = centres[torch.arange(LARGE) % LARGE_CLUSTERS] + 2 * noise
    cold = partial(spherical_kmeans, points, LARGE_CLUSTERS, seed=0)
    before = cold().centres
    shown = f"k-means of {LARGE:,} points, {LARGE_CLUSTERS} clusters"
    warm = partial(cold, start=before)
    yield Lever("k-means from the last centres", shown, warm, cold, "method.renumbering")
    soon = partial(warm, iterations=5)
    yield Lever("k-means from the last centres, 5 iterations for 20", shown, soon, cold, "no")

    def on_a_sample() -> Tensor:
        drawn = torch.randperm(LARGE, generator=torch.Generator().manual_seed(2))
        some = points[drawn[: SAMPLED * LARGE_CLUSTERS // 4]]
        found = spherical_kmeans(some, LARGE_CLUSTERS, seed=0).centres
        return (points @ found.T).argmax(dim=1)

    yield Lever("k-means of a quarter of the points", shown, on_a_sample, cold, "no")


def _compiled(usual: Training) -> Lever:
    context = usual.context
    images = context.number_format.arrange(torch.randn(240, 1, 28, 28))

    def pass_through(network: Callable[[Tensor], Embeddings]) -> None:
        context.student.train()
        for _ in range(STEPS):
            with autocast(context.number_format, context.device):
                found = network(images)
            (found.compact.square().mean() + found.wide.square().mean()).backward()
            context.student.zero_grad(set_to_none=True)

    return Lever(
        "torch.compile of the student",
        f"{STEPS} forwards and backwards",
        partial(pass_through, torch.compile(context.student)),
        partial(pass_through, context.student),
        "no",
    )


def _one_thread_each(stack: ExitStack) -> Lever:
    """Two runs side by side on two cores."""
    command = [sys.executable, __file__, "--worker"]
    environment = os.environ | {"OMP_NUM_THREADS": str(WORKERS)}
    workers = [
        stack.enter_context(
            subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
                bufsize=1,
                env=environment,
            )
        )
        for _ in range(WORKERS)
    ]
    stack.callback(lambda: [worker.stdin.close() for worker in workers if worker.stdin])

    def side_by_side(threads: int) -> None:
        for worker in workers:
            assert worker.stdin is not None
            worker.stdin.write(f"{threads}\n")
        for worker in workers:
            assert worker.stdout is not None
            if worker.stdout.readline() != "done\n":
                raise RuntimeError("a worker ended")

    return Lever(
        "one thread a run against as many as cores, two runs side by side",
        f"{WORKER_STEPS} steps of each",
        partial(side_by_side, 1),
        partial(side_by_side, WORKERS),
        "yes",
    )


def work_when_told() -> None:
    """Steps with as many threads as each line of the input says."""
    training = Training(Format("bf16", "channels_last"))
    for line in sys.stdin:
        torch.set_num_threads(int(line))
        for _ in range(WORKER_STEPS // STEPS):
            training.step()
        print("done", flush=True)


def within(changed: Callable[[], Any], action: Action) -> Action:
    """The action while something is changed."""

    def act() -> None:
        with changed():
            action()

    return act


@contextmanager
def options(optimizers: Sequence[torch.optim.Optimizer], **changed: object) -> Iterator[None]:
    """Options of all groups while this lasts."""
    groups = [group for optimizer in optimizers for group in optimizer.param_groups]
    before = [{name: group[name] for name in changed} for group in groups]
    for group in groups:
        group.update(changed)
    try:
        yield
    finally:
        for group, values in zip(groups, before, strict=True):
            group.update(values)


def joined(found: Sequence[Embeddings]) -> Embeddings:
    """Embeddings of parts of a batch as those of the batch."""
    return Embeddings(*(torch.cat(parts) for parts in zip(*found, strict=True)))


if __name__ == "__main__":
    main()
