"""What the metrics cost beside the exact search that they cannot do without.

    python tests/benchmarks/metrics.py [--rounds 3] [--write]

Recall@K, MAP@R and R-precision of as many embeddings as Stanford Online Products has test images
(60,502 of 512 numbers, 11,316 classes), in turn with faiss's own exact search for as many
neighbours; medians. Peak memory beyond the embeddings is that of a process of its own. ``--write``
keeps the figures in ``tests/benchmarks/results/metrics.json``.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
from functools import partial
from pathlib import Path

import faiss
import torch
from kept import keep
from methods import interleaved
from torch import Tensor
from torch.nn import functional as F

from gcudml.evaluation.retrieval import retrieve

IMAGES, DIM, CLASSES = 60_502, 512, 11_316
ASKED = {"K up to 8": [1, 2, 4, 8], "K up to 1000": [1, 10, 100, 1000]}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--write", action="store_true")
    parser.add_argument("--memory", nargs="+", type=int, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.memory:
        print(peak_beyond_embeddings(arguments.memory))
        return
    figures: dict[str, float] = {}
    z, labels = embeddings()
    for name, k in ASKED.items():
        depth = max(*k, int(torch.bincount(labels).max()) - 1)
        ours, search = interleaved(
            partial(retrieve, z, labels, k=k), partial(faiss_alone, z, depth), arguments.rounds
        )
        memory = [sys.executable, __file__, "--memory", *map(str, k)]
        figures |= {
            f"{name}: seconds": round(ours / 1000, 1),
            f"{name}: seconds of faiss alone": round(search / 1000, 1),
            f"{name}: ratio": round(ours / search, 3),
            f"{name}: MB beyond the embeddings": int(subprocess.check_output(memory, text=True)),
        }
    for figure, value in figures.items():
        print(f"{figure:40} {value}")
    if arguments.write:
        keep("metrics", figures=figures)


def embeddings() -> tuple[Tensor, Tensor]:
    """Unit vectors round their classes' centres, and the classes."""
    generator = torch.Generator().manual_seed(0)
    labels = torch.randint(CLASSES, (IMAGES,), generator=generator)
    z = torch.randn(IMAGES, DIM, generator=generator)
    centres = torch.randn(CLASSES, DIM, generator=generator)
    for start in range(0, IMAGES, 4096):  # no second copy of all, which memory would count
        part = slice(start, start + 4096)
        z[part] = F.normalize(z[part] + centres[labels[part]], dim=1)
    return z, labels


def faiss_alone(z: Tensor, depth: int) -> None:
    """The nearest ``depth`` others and the row itself, in one call."""
    index = faiss.IndexFlatIP(DIM)
    index.add(z.numpy())
    index.search(z.numpy(), depth + 1)


def peak_beyond_embeddings(k: list[int]) -> int:
    """Megabytes that the process grows by while it measures."""
    z, labels = embeddings()
    retrieve(z[:100], labels[:100], k=k)  # libraries are loaded
    # Not getrusage: its peak is that of the parent process where that was larger.
    Path("/proc/self/clear_refs").write_text("5")
    before = peak_mib()
    retrieve(z, labels, k=k)
    return peak_mib() - before


def peak_mib() -> int:
    """The largest resident memory of this process since it was last reset (Linux)."""
    found = re.search(r"VmHWM:\s+(\d+)", Path("/proc/self/status").read_text())
    assert found is not None
    return int(found[1]) // 1024


if __name__ == "__main__":
    main()
