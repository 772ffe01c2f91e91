"""What the best of several equally good trials seems to gain, by luck of the seeds alone. Pure."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.special import ndtr

_WIDEST = 12.0  # in standard deviations: no maximum of a million normals is beyond it
_STEPS = 24_001


def expected_maximum(count: int) -> float:
    """Compute the expected largest of ``count`` independent standard normals; 0 for one.

    Equally correlated normals, such as means over shared seeds, share a part that does not change
    which is largest: for a correlation ``r`` it is ``sqrt(1 - r)`` times this.
    """
    if count <= 1:
        return 0.0
    x = np.linspace(0.0, _WIDEST, _STEPS)
    # E max = integral of P(max > x) over x > 0, less that of P(max < x) over x < 0.
    gaps = 1.0 - ndtr(x) ** count - ndtr(-x) ** count
    return float((gaps.sum() - (gaps[0] + gaps[-1]) / 2) * x[1])


def luck_of_the_best(values: Sequence[Sequence[float]], count: int) -> float | None:
    """Estimate by how much the best of ``count`` equally good trials exceeds what it is worth.

    Trials share seeds, so the spread that matters is what is left of each value once the means of
    its trial and of its seed are removed. It is assumed to be the same for all trials. The luck of
    the drawn test classes is not included.

    Args:
        values: One row per trial, one column per seed that all of them have finished.
        count: Trials that the best is the best of; may be more than there are rows.

    Returns:
        The expected excess of the best mean; None unless there are two trials and two seeds.
    """
    table = np.asarray(values, dtype=np.float64)
    if table.ndim != 2 or min(table.shape) < 2:
        return None
    trials, seeds = table.shape
    left = table - table.mean(axis=1, keepdims=True) - table.mean(axis=0) + table.mean()
    variance = float((left**2).sum()) / ((trials - 1) * (seeds - 1))
    return float(expected_maximum(count) * (variance / seeds) ** 0.5)
