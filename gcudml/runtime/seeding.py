"""Independent random streams by seed and purpose.

A stream depends on nothing but its path, such as (run seed, "views", epoch), so that a run which is
continued, or that skips a part, draws the same numbers as any other.
"""

import hashlib

import numpy as np
import torch


def derive(seed: int, *path: int | str) -> int:
    """A 63-bit seed for the purpose ``path``; equal arguments, equal seed, on every machine."""
    text = "/".join(repr(part) for part in (seed, *path))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


def generator(seed: int, *path: int | str) -> torch.Generator:
    """A CPU generator for the purpose ``path``; numbers are drawn there and then moved."""
    return torch.Generator().manual_seed(derive(seed, *path))


def numpy_generator(seed: int, *path: int | str) -> np.random.Generator:
    """A NumPy generator for the purpose ``path``."""
    return np.random.default_rng(derive(seed, *path))
