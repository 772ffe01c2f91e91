"""Independent random streams by seed and purpose.

A stream depends only on its path, such as (run seed, "views", epoch), so that a run that is resumed
or skips a part draws the same numbers as one that does not.
"""

import hashlib

import numpy as np
import torch


def derive(seed: int, *path: int | str) -> int:
    """Derive a 63-bit seed for the purpose ``path``; deterministic across machines."""
    text = "/".join(repr(part) for part in (seed, *path))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


def generator(seed: int, *path: int | str) -> torch.Generator:
    """Create a CPU generator for the purpose ``path``; draw on the CPU, then move the numbers."""
    return torch.Generator().manual_seed(derive(seed, *path))


def numpy_generator(seed: int, *path: int | str) -> np.random.Generator:
    """Create a NumPy generator for the purpose ``path``."""
    return np.random.default_rng(derive(seed, *path))
