"""What STML's own computing costs at 240 rows: against a row-by-row form, and within a step.

    python tests/benchmarks/stml_step.py [--threads 1] [--format bf16]

Prints the contextual similarity's time next to that of a loop over rows, and a training step's
time next to its floor: student forward and backward, teacher forward, optimiser. Least times of
many: whatever else runs on the machine can only add to them.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

import torch
from torch.nn import functional as F

from gcudml.config import RunConfig, StmlConfig
from gcudml.losses.contextual import contextual_similarity
from gcudml.losses.distances import squared_distances
from gcudml.methods.interface import Batch, Setup
from gcudml.methods.stml import Stml
from gcudml.models.embedding import Embedder
from gcudml.models.number_format import Format, autocast
from gcudml.optimization import student_optimizer

IMAGES, VIEWS, SIZE = 120, 2, 28


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--format", choices=["fp32", "bf16"], default="bf16")
    parser.add_argument("--rounds", type=int, default=20)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)

    images = torch.arange(IMAGES).repeat(VIEWS)
    squared = squared_distances(F.normalize(torch.randn(len(images), 128), dim=1))
    for name, loop in {"row by row": row_by_row, "overlap by row": overlap_by_row}.items():
        fast, slow = alternate(
            lambda: contextual_similarity(squared, images, context=10),
            lambda loop=loop: loop(squared, images, context=10),
            rounds=arguments.rounds,
        )
        print(f"contextual similarity {fast:8.2f} ms, {name:14} {slow:8.2f} ms: {slow / fast:.1f}x")
    method, floor = steps(Format(arguments.format, "channels_last"))
    whole, least = alternate(method, floor, rounds=arguments.rounds)
    print(f"training step {whole:8.2f} ms, floor {least:8.2f} ms: {whole / least:.3f}x")


def alternate(
    first: Callable[[], object], second: Callable[[], object], *, rounds: int
) -> tuple[float, float]:
    """Least milliseconds of both, called in turn so that a busy machine slows both."""
    taken: tuple[list[float], list[float]] = ([], [])
    for _ in range(rounds):
        for times, call in zip(taken, (first, second), strict=True):
            started = time.perf_counter()
            call()
            times.append(1000 * (time.perf_counter() - started))
    return min(taken[0]), min(taken[1])


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


def overlap_by_row(squared: torch.Tensor, images: torch.Tensor, *, context: int) -> torch.Tensor:
    """The same with tensors, and a loop over rows for the overlap of neighbourhoods alone."""
    ranking = squared.masked_fill(images[:, None] == images[None, :], -1.0).fill_diagonal_(-2.0)
    first = ranking.topk(context, dim=1, largest=False).indices
    nearest = torch.zeros_like(squared).scatter_(1, first, 1.0)
    mutual = nearest * nearest.T
    overlap = torch.zeros_like(squared)
    for i in range(len(squared)):
        own = mutual[i].nonzero()[:, 0]
        overlap[i, own] = mutual[:, own].sum(dim=1)[own] / len(own)
    expanded = overlap[first[:, : round(context / 2)]].mean(dim=1)
    return (expanded + expanded.T) / 2


def steps(number_format: Format) -> tuple[Callable[[], None], Callable[[], None]]:
    """A training step of the method, and the same one with a loss that costs nothing."""
    config = RunConfig(method=StmlConfig())
    student = Embedder(config.model, channels=1, image_size=SIZE, seed=0)
    number_format.place(student, torch.device("cpu"))
    stored = torch.zeros(IMAGES, 1, SIZE, SIZE, dtype=torch.uint8)
    labels = torch.full((IMAGES,), -1)
    setup = Setup(config, 0, student, stored, labels, labels, number_format)
    method = Stml(setup, config.method)
    optimizer = student_optimizer(student, (), config.train)
    views = number_format.arrange(torch.randn(IMAGES * VIEWS, 1, SIZE, SIZE))
    batch = Batch(views, torch.arange(IMAGES).repeat(VIEWS), 0)

    def step(with_losses: bool) -> None:
        with autocast(number_format, setup.device):
            embeddings = student(views)
        if with_losses:
            terms = method.terms(batch, embeddings)
            loss = torch.stack([method.weights[name] * t for name, t in terms.items()]).sum()
        else:
            with torch.no_grad(), autocast(number_format, setup.device):
                method.teacher(views)
            loss = embeddings.compact.sum() + embeddings.wide.sum()
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        if with_losses:
            method.after_step(0)

    return lambda: step(True), lambda: step(False)


if __name__ == "__main__":
    main()
