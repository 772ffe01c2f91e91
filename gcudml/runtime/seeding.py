"""Independent random streams by seed and purpose.

A stream depends only on its path, such as (run seed, "views", epoch), so that a run that is resumed
or skips a part draws the same numbers as one that does not. A run can pin some sources of
randomness: their streams then come from a seed of their own, whatever the run's seed.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import torch

from gcudml.config.randomness import Source

STREAMS: Mapping[Source, tuple[str, ...]] = {
    "weights": ("weights", "clustering head", "decoder", "loss", "rotation head", "teacher"),
    "batches": ("batches", "neighbours", "resample"),
    "k-means": ("grouping", "k-means", "meta-classes"),
    "views": ("cluster views", "rotation", "views"),
    "dropout": ("dropout", "libraries"),
    "evaluation": ("correlation", "criterion images", "criterion views", "nmi"),
}
"""Source -> purposes of the streams that belong to it: every one that derives from a run's seed."""
_SOURCE_OF = {stream: source for source, streams in STREAMS.items() for stream in streams}


@dataclass(frozen=True)
class PinnedSeed:
    """The seed of a run some of whose sources do not follow it."""

    seed: int
    pinned: Mapping[Source, int]
    """Source -> the seed that its streams derive from."""

    def __int__(self) -> int:
        return self.seed


Seed: TypeAlias = int | PinnedSeed


def run_seed(seed: int, pinned: Mapping[Source, int]) -> Seed:
    """Return what the streams of a run derive from; ``seed`` itself if nothing is pinned."""
    return PinnedSeed(seed, pinned) if pinned else seed


def seed_behind(seed: Seed, stream: str) -> int:
    """Return the seed that one of a run's streams derives from."""
    if isinstance(seed, int):
        return seed
    return seed.pinned.get(_SOURCE_OF[stream], seed.seed)


def derive(seed: Seed, *path: int | str) -> int:
    """Derive a 63-bit seed for the purpose ``path``; deterministic across machines."""
    text = "/".join(repr(part) for part in (seed_behind(seed, str(path[0])), *path))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


def generator(seed: Seed, *path: int | str) -> torch.Generator:
    """Create a CPU generator for the purpose ``path``; draw on the CPU, then move the numbers."""
    return torch.Generator().manual_seed(derive(seed, *path))


def numpy_generator(seed: Seed, *path: int | str) -> np.random.Generator:
    """Create a NumPy generator for the purpose ``path``."""
    return np.random.default_rng(derive(seed, *path))
