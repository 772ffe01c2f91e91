"""What training several runs in one process saves: time of a run together over its time alone.

    python tests/benchmarks/together.py [--rounds 5] [--counts 2 4] [--backbone conv4] [--write]

Whole steps of GC-UDML (student, teacher, losses, gradients, optimiser) through the training loop, on
drawings of 28 pixels, batch 120 x 2 views, one run alone and N runs together in
turn (A B A B), in fp32. Printed is the median over rounds of the time a run and step takes together
over the time it takes alone, with the least and the greatest. ``--write`` keeps the table in
``tests/benchmarks/results/together.json``.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from typing import Any

import torch
from kept import keep

from gcudml.config import RunConfig
from gcudml.data.datasets import load
from gcudml.methods import build_method, build_student, known_labels
from gcudml.methods.interface import RunContext
from gcudml.models.number_format import Format
from gcudml.runtime.fused import train_together
from gcudml.training.epoch import train_epoch
from gcudml.training.optimizers import student_optimizer

STEPS = {"conv4": 6, "resnet18": 2}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--counts", type=int, nargs="+", default=[2, 4])
    parser.add_argument("--backbone", choices=list(STEPS), action="append", dest="backbones")
    parser.add_argument("--write", action="store_true")
    arguments = parser.parse_args()
    has_cuda = torch.cuda.is_available()
    device = torch.device("cuda" if has_cuda else "cpu")
    name = torch.cuda.get_device_name(device) if has_cuda else "CPU, one thread"
    torch.set_num_threads(1)
    figures: dict[str, str] = {}
    for backbone in arguments.backbones or ["conv4"]:
        for count in arguments.counts:
            ratios = [measure(backbone, count, device) for _ in range(arguments.rounds)]
            middle = [statistics.median(ratios), min(ratios), max(ratios)]
            shown = f"{middle[0]:.2f} ({middle[1]:.2f} to {middle[2]:.2f})"
            figures[f"{backbone}, {count} runs on {name}: together over alone"] = shown
            print(f"{backbone}, {count} runs: {shown}", flush=True)
    if arguments.write:
        keep("together", figures=figures, rounds=arguments.rounds)


def measure(backbone: str, count: int, device: torch.device) -> float:
    """Seconds of an epoch a run, together over alone."""
    alone = timed([epoch_of(backbone, 0, device)])
    together = timed([epoch_of(backbone, seed, device) for seed in range(count)])
    return together / count / alone


def epoch_of(backbone: str, seed: int, device: torch.device) -> Callable[[], float]:
    """What trains a second epoch of one run, and says how long it took; the first one is made."""
    values: dict[str, Any] = {
        "data": {"name": "strokes", "image_size": 28},
        "model": {"backbone": backbone},
        "method": {"name": "gcudml", "clusters": 100, "groups": 3},
        "train": {"steps_per_epoch": STEPS[backbone]},
    }
    config = RunConfig.model_validate(values)
    data = load(config.data, "train")
    images, labels = torch.from_numpy(data.images), torch.from_numpy(data.labels).to(device)
    student = build_student(config, channels=images.shape[1], seed=seed)
    number_format = Format("fp32", "contiguous")
    number_format.place(student, device)
    context = RunContext(
        config, seed, student, images, known_labels(config, labels), labels, number_format
    )
    method = build_method(context)
    optimizers = [student_optimizer(student, method.parameters(), config.train)]
    plan = method.begin_epoch(0)
    train_epoch(context, method, plan, optimizers, epoch=0, step=0)

    def train() -> float:
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        started = time.perf_counter()
        train_epoch(context, method, plan, optimizers, epoch=1, step=len(plan.batches))
        return time.perf_counter() - started

    return train


def timed(epochs: list[Callable[[], float]]) -> float:
    """Seconds until all are trained."""
    seconds: list[float] = []
    train_together([lambda epoch=epoch: seconds.append(epoch()) for epoch in epochs])
    return max(seconds)


if __name__ == "__main__":
    main()
