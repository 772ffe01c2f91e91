"""What a training step of each method costs, as a multiple of what it cannot do without.

    python tests/benchmarks/methods.py [--rounds 7] [--write]

The floor of a method is the student forward and backward on the same rows, the teacher forward where
there is one, and the optimiser's step. Both are measured in turn in one run (ResNet-18, 64 px, batch
120 x 2 views, fp32); printed are medians and their ratio. Then the contextual similarity of STML
against a loop over rows. ``--write`` keeps the table in ``tests/benchmarks/results/methods.json``.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

ROOT = Path(__file__).resolve().parent.parent.parent
sys.path.insert(0, str(ROOT / "tests"))

from gcudml.losses.contextual import contextual_similarity, pairwise_similarity  # noqa: E402
from oracles_stml import slow_contextual_similarity  # noqa: E402

from gcudml.config import RunConfig  # noqa: E402
from gcudml.data.datasets import load  # noqa: E402
from gcudml.data.views import to_unit  # noqa: E402
from gcudml.methods import build_method, build_student, known_labels  # noqa: E402
from gcudml.methods.interface import Setup  # noqa: E402
from gcudml.models.number_format import Format  # noqa: E402
from gcudml.optimization import head_optimizer, student_optimizer  # noqa: E402
from gcudml.train import _train_epoch  # noqa: E402
from harness.provenance import git_state, library_versions  # noqa: E402

KEPT = Path(__file__).resolve().parent / "results" / "methods.json"
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
    rows = {}
    for name in METHODS:
        step, floor = measure(name, arguments.rounds)
        rows[name] = {"step_ms": step, "floor_ms": floor, "ratio": round(step / floor, 3)}
        print(f"{name:12} step {step:7.0f} ms   floor {floor:7.0f} ms   {step / floor:.3f}")
    loop, fast = contextual(arguments.rounds)
    print(
        f"contextual similarity, 240 rows: loop {loop:.1f} ms, ours {fast:.2f} ms, {loop / fast:.0f}x"
    )
    if arguments.write:
        commit = git_state(ROOT)
        kept = {
            "methods": rows,
            "contextual_similarity_240_rows": {"loop_ms": loop, "ours_ms": fast},
            "machine": f"{os.cpu_count()} cores, {platform.machine()}",
            "versions": library_versions(),
            "commit": commit.commit,
            "dirty": commit.dirty,
        }
        KEPT.write_text(json.dumps(kept, indent=1) + "\n", encoding="utf-8")


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
    setup = Setup(
        config,
        0,
        student,
        images,
        known_labels(config, classes),
        classes,
        Format("fp32", "contiguous"),
    )
    method = build_method(setup)
    plan = method.begin_epoch(0)
    optimizers = [student_optimizer(student, method.parameters(), config.train)]
    if plan.parameters:
        optimizers.append(head_optimizer(plan.parameters, config.train))
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
        _train_epoch(setup, method, plan, optimizers, epoch=0, step=0)

    student.train()
    return interleaved(step, floor, rounds)


def contextual(rounds: int) -> tuple[float, float]:
    """Median milliseconds of STML's contextual similarity at 240 rows: row loop, and ours."""
    z = torch.nn.functional.normalize(torch.randn(240, 128), dim=1)
    indices = torch.arange(120).repeat(2)
    pairwise = pairwise_similarity(z, sigma=3.0)
    return interleaved(
        lambda: slow_contextual_similarity(pairwise, indices, 10),
        lambda: contextual_similarity(pairwise, indices, neighbours=10),
        rounds,
    )


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
