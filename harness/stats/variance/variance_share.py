"""What share of the variance one source of randomness gives alone, with an exact interval. Pure.

One set of runs varies everything, another one source while all others are pinned. Runs of equal
seeds share the draw of that source, so the two sets are paired and their values correlate; an F
interval would ignore this. The interval is Pitman's: it is exact for pairs of normal values,
whatever their correlation, and narrows as the source explains more of what all give together.

Shares need not add up to 1. If sources act independently they do, up to what the machine does at
random; if they interact, each of them alone can give most of the variance. Sums of shares are too
uncertain to tell, but pairs tell: what all sources give together on a seed is then the sum of what
each gives on it alone.

Source:
    Pitman, Biometrika 31 (1939), and Morgan, ibid.; Bouthillier et al., arXiv:2103.03098, for the
    design (which reports variances without intervals).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from harness.stats.paired import t_quantile

_NORMAL_QUANTILE = 1.959964
_ALMOST_ONE = 1 - 1e-12


class Share(NamedTuple):
    """A share of a variance, with its 95 % interval."""

    share: float
    low: float
    high: float


class Additivity(NamedTuple):
    """How what sources give alone, summed seed by seed, correlates with what they give together."""

    correlation: float
    """1 if each source adds a part of its own; near 0 if any change of any source changes all."""
    low: float
    high: float
    """Ends of Fisher's 95 % interval."""


def variance_share(alone: ArrayLike, together: ArrayLike) -> Share | None:
    """Compute the variance of ``alone`` as a share of the variance of ``together``.

    Args:
        alone: Values with one source varying; finite.
        together: Values of the same seeds with everything varying.

    Returns:
        None with fewer than three pairs, or if ``together`` does not vary.
    """
    one, other = (np.asarray(each, dtype=np.float64) for each in (alone, together))
    if len(one) < 3 or np.ptp(other) == 0:
        return None
    if np.ptp(one) == 0:  # a rounded mean would show as variance
        return Share(0.0, 0.0, 0.0)
    variances = np.cov(one, other)
    share = float(variances[0, 0] / variances[1, 1])
    left = max(0.0, 1 - float(variances[0, 1] ** 2 / (variances[0, 0] * variances[1, 1])))
    factor = factor_of_interval(len(one), unexplained=left)
    return Share(share, share / factor, share * factor)


def factor_of_interval(pairs: int, *, unexplained: float = 1.0) -> float:
    """Return by what factor the ends of an interval are below and above the share.

    Args:
        pairs: Number of pairs, at least three.
        unexplained: One minus the squared correlation of the pairs; 1 gives the widest interval.
    """
    middle = 1 + 2 * unexplained * t_quantile(pairs - 2) ** 2 / (pairs - 2)
    return float(middle + (middle**2 - 1) ** 0.5)


def additivity(alone: ArrayLike, together: ArrayLike) -> Additivity | None:
    """Compute how far the sources add up.

    Args:
        alone: ``(sources, seeds)``: values with one source varying; finite.
        together: ``(seeds,)``: values of the same seeds with everything varying.

    Returns:
        None with fewer than four seeds, or if either side does not vary.
    """
    summed = np.sum(np.asarray(alone, dtype=np.float64), axis=0)
    whole = np.asarray(together, dtype=np.float64)
    if len(whole) < 4 or np.ptp(summed) == 0 or np.ptp(whole) == 0:
        return None
    r = float(np.corrcoef(summed, whole)[0, 1])
    middle = np.arctanh(np.clip(r, -_ALMOST_ONE, _ALMOST_ONE))
    half = _NORMAL_QUANTILE / (len(whole) - 3) ** 0.5
    return Additivity(r, float(np.tanh(middle - half)), float(np.tanh(middle + half)))
