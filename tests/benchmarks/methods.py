"""What a training step of each method costs, as a multiple of what it cannot do without.

    python tests/benchmarks/methods.py [--rounds 7] [--write]

The floor of a method is the student forward and backward on the same rows, the teacher forward where
there is one, and the optimiser's step. Both are measured in turn in one run (ResNet-18, 64 px, batch
120 x 2 views, fp32); printed are medians and their ratio. Then the contextual similarity of STML
against a loop over rows. ``--write`` keeps the table in ``tests/benchmarks/results/method_steps.json``.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from typing import Any

import torch
from kept import keep
from torch.nn import functional as F

from gcudml.config import RunConfig
from gcudml.data.datasets import load
from gcudml.data.views import to_unit
from gcudml.losses.distances import squared_distances
from gcudml.methods import build_method, build_student, known_labels
from gcudml.methods.interface import RunContext
from gcudml.methods.stml.contextual import contextual_similarity
from gcudml.models.number_format import Format
from gcudml.training.epoch import train_epoch
from gcudml.training.optimizers import head_optimizer, student_optimizer

METHODS: dict[str, dict[str, Any]] = {
    "gcudml": {"clusters": 100},
    "stml": {},
    "udml_ss": {"clusters": 100},
    "cbswr": {},
    "gce": {},
    "supervised": {},
    "instance": {},
}
EXTRA_ROWS = {"udml_ss": 64}  # 16 images in 4 turns


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--write", action="store_true")
    arguments = parser.parse_args()
    figures: dict[str, float] = {}
    for name in METHODS:
        step, floor = measure(name, arguments.rounds)
        figures[f"{name}: a step over its floor"] = round(step / floor, 3)
        print(f"{name:12} step {step:7.0f} ms   floor {floor:7.0f} ms   {step / floor:.3f}")
    loop, fast = contextual(arguments.rounds)
    figures["contextual similarity of 240 rows: row loop over ours"] = round(loop / fast, 1)
    print(f"contextual similarity, 240 rows: loop {loop:.1f} ms, ours {fast:.2f} ms")
    if arguments.write:
        keep("method_steps", figures=figures)


def measure(name: str, rounds: int) -> tuple[float, float]:
    """Median milliseconds of a step, and of its floor."""
    config = RunConfig.model_validate(
        {
            "data": {"name": "strokes", "classes": 80, "image_size": 64},
            "model": {"backbone": "resnet18", "embedding_dim": 128, "wide_dim": 256},
            "method": {"name": name, **METHODS[name]},
            "train": {"steps_per_epoch": 1, "number_format": "fp32"},
        }
    )
    data = load(config.data, "train")
    classes = torch.from_numpy(data.labels)
    student = build_student(config, channels=1, seed=0)
    images = torch.from_numpy(data.images)
    context = RunContext(
        config,
        0,
        student,
        images,
        known_labels(config, classes),
        classes,
        Format("fp32", "contiguous"),
    )
    method = build_method(context)
    plan = method.begin_epoch(0)
    optimizers = [student_optimizer(student, method.parameters(), config.train)]
    if replaced := method.replaced_parameters():
        optimizers.append(head_optimizer(replaced, config.train))
    teacher = getattr(method, "teacher", None)
    batch = to_unit(images[plan.batches[0].flatten()])
    extra = to_unit(images[: EXTRA_ROWS.get(name, 0)])

    def floor() -> None:
        loss = sum(
            (e.compact.square().mean() + e.wide.square().mean() + e.maps.square().mean())
            for e in [student(rows) for rows in (batch, extra) if len(rows)]
        )
        if teacher is not None:
            with torch.no_grad():
                teacher(batch)
        for optimizer in optimizers:
            optimizer.zero_grad(set_to_none=True)
        loss.backward()
        for optimizer in optimizers:
            optimizer.step()

    def step() -> None:
        train_epoch(context, method, plan, optimizers, epoch=0, step=0)

    student.train()
    return interleaved(step, floor, rounds)


def contextual(rounds: int) -> tuple[float, float]:
    """Median milliseconds of STML's contextual similarity at 240 rows: row loop, and ours."""
    z = F.normalize(torch.randn(240, 128), dim=1)
    squared, images = squared_distances(z), torch.arange(120).repeat(2)
    return interleaved(
        lambda: row_by_row(squared, images, context=10),
        lambda: contextual_similarity(squared, images, context=10),
        rounds,
    )


def row_by_row(squared: torch.Tensor, images: torch.Tensor, *, context: int) -> torch.Tensor:
    """The contextual similarity one row at a time, as its equations read."""
    rows, image = range(len(squared)), images.tolist()
    first = []
    for i in rows:
        row = squared[i].tolist()
        order = [(j != i, image[j] != image[i], row[j], j) for j in rows]
        first.append([entry[-1] for entry in sorted(order)[:context]])
    mutual = [{j for j in first[i] if i in first[j]} for i in rows]
    overlap, expanded = torch.zeros_like(squared), torch.zeros_like(squared)
    for i in rows:
        for j in mutual[i]:
            overlap[i, j] = len(mutual[i] & mutual[j]) / len(mutual[i])
    for i in rows:
        expanded[i] = overlap[first[i][: round(context / 2)]].mean(dim=0)
    return (expanded + expanded.T) / 2


def interleaved(
    first: Callable[[], object], second: Callable[[], object], rounds: int
) -> tuple[float, float]:
    """Medians of two things that are done in turn, after one unmeasured round."""
    times: tuple[list[float], list[float]] = ([], [])
    for turn in range(rounds + 1):
        for action, taken in zip((first, second), times, strict=True):
            started = time.perf_counter()
            action()
            if turn:
                taken.append(1000 * (time.perf_counter() - started))
    return statistics.median(times[0]), statistics.median(times[1])


if __name__ == "__main__":
    main()
