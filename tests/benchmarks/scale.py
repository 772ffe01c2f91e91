"""Time and memory against the number of images: clustering, neighbour tables, evaluation.

    python tests/benchmarks/scale.py [--most 100000] [--write]

Synthetic embeddings of 128 numbers round N/50 centres, from 1,000 to ``--most``, ten times more each
time; k-means with N/10 clusters. Each figure comes from a process of its own: seconds, and megabytes
beyond the embeddings. Prints the exponents fitted over the last three sizes, and what the approximate
indexes of faiss (IVF, HNSW) would save and lose against exact search. ``--write`` keeps the figures
in ``tests/benchmarks/results/scale.json``.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import faiss
import numpy as np
import torch
from kept import keep
from metrics import peak_mib
from torch import Tensor
from torch.nn import functional as F

from gcudml.evaluate import retrieve
from gcudml.neighbours import nearest, spherical_kmeans

DIM = 128
K = 8
PROBED = 16
"""Cells that an IVF index looks into, of the square root of N times 4."""


class Cost(NamedTuple):
    """Of one piece of work."""

    seconds: float
    mib: int
    """Beyond the embeddings."""


def cluster(z: Tensor, labels: Tensor) -> None:
    spherical_kmeans(z, len(z) // 10, seed=0)


def neighbours(z: Tensor, labels: Tensor) -> None:
    nearest(z, K)


def evaluation(z: Tensor, labels: Tensor) -> None:
    retrieve(z, labels, k=[1, 2, 4, 8])


WORK: dict[str, Callable[[Tensor, Tensor], None]] = {
    "clustering": cluster,
    "neighbours": neighbours,
    "evaluation": evaluation,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--most", type=int, default=100_000)
    parser.add_argument("--write", action="store_true")
    parser.add_argument("--one", nargs=2, metavar=("WORK", "N"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one:
        name, size = arguments.one
        print(json.dumps(measure(name, int(size))))
        return
    sizes = [10**power for power in range(3, int(math.log10(arguments.most)) + 1)]
    figures: dict[str, float | None] = {}
    for name in WORK:
        costs = {size: in_a_process(name, size) for size in sizes}
        for size, cost in costs.items():
            figures[f"{name}, {size:,}: seconds"] = round(cost.seconds, 3)
            figures[f"{name}, {size:,}: MiB beyond the embeddings"] = cost.mib
        figures[f"{name}: exponent of time"] = exponent(
            sizes, [costs[size].seconds for size in sizes]
        )
        figures[f"{name}: exponent of memory"] = exponent(
            sizes, [costs[size].mib for size in sizes]
        )
    figures |= approximate(sizes[-1])
    for figure, value in figures.items():
        print(f"{figure:56} {value}")
    if arguments.write:
        keep("scale", figures=figures)


def embeddings(size: int) -> tuple[Tensor, Tensor]:
    """Unit vectors round their classes' centres, and the classes."""
    generator = torch.Generator().manual_seed(0)
    classes = max(2, size // 50)
    labels = torch.randint(classes, (size,), generator=generator)
    centres = torch.randn(classes, DIM, generator=generator)
    z = torch.randn(size, DIM, generator=generator)
    for start in range(0, size, 4096):  # no second copy of all, which memory would count
        part = slice(start, start + 4096)
        z[part] = F.normalize(z[part] + centres[labels[part]], dim=1)
    return z, labels


def measure(name: str, size: int) -> Cost:
    """Do it in this process; Linux tells its memory."""
    z, labels = embeddings(size)
    WORK[name](z[:200], labels[:200])  # libraries are loaded
    Path("/proc/self/clear_refs").write_text("5")
    before = peak_mib()
    started = time.perf_counter()
    WORK[name](z, labels)
    return Cost(time.perf_counter() - started, peak_mib() - before)


def in_a_process(name: str, size: int) -> Cost:
    command = [sys.executable, __file__, "--one", name, str(size)]
    said = subprocess.check_output(command, text=True, env=os.environ)
    cost = Cost(*json.loads(said))
    print(f"{name}, {size:,}: {cost.seconds:.3f} s, {cost.mib} MiB", flush=True)
    return cost


def exponent(sizes: list[int], costs: list[float]) -> float | None:
    """The slope of log cost over log size, by least squares over the last three sizes.

    None where something was too cheap to be measured.
    """
    if len(sizes) < 2 or min(costs[-3:]) <= 0:
        return None
    slope, _ = np.polyfit(np.log(sizes[-3:]), np.log(costs[-3:]), 1)
    return round(float(slope), 2)


def approximate(size: int) -> dict[str, float | None]:
    """Share of the exact neighbours that faiss's IVF and HNSW find, and the time of each."""
    z = embeddings(size)[0].numpy()
    asked = z[np.random.default_rng(0).choice(size, min(size, 2000), replace=False)]
    cells = int(4 * math.sqrt(size))
    indexes = {
        "exact": faiss.IndexFlatIP(DIM),
        "IVF": faiss.index_factory(DIM, f"IVF{cells},Flat", faiss.METRIC_INNER_PRODUCT),
        "HNSW": faiss.index_factory(DIM, "HNSW32", faiss.METRIC_INNER_PRODUCT),
    }
    figures: dict[str, float | None] = {}
    truth: np.ndarray | None = None
    for name, index in indexes.items():
        started = time.perf_counter()
        index.train(z)
        index.add(z)
        if name == "IVF":
            faiss.ParameterSpace().set_index_parameter(index, "nprobe", PROBED)
        built = time.perf_counter()
        _, found = index.search(asked, K + 1)
        searched = time.perf_counter()
        truth = found if truth is None else truth
        same = [len({*a} & {*b}) for a, b in zip(found[:, 1:], truth[:, 1:], strict=True)]
        figures |= {
            f"{name}, {size:,}: seconds to build": round(built - started, 2),
            f"{name}, {size:,}: ms a query": round(1000 * (searched - built) / len(asked), 4),
            f"{name}, {size:,}: % of the exact neighbours": round(
                100 * sum(same) / K / len(same), 2
            ),
        }
    return figures


if __name__ == "__main__":
    main()
