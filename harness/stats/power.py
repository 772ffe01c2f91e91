"""Power analysis for paired seeds, before anything is trained. Pure.

A design has ``seeds`` pairs per comparison and a family of ``comparisons`` that Holm's correction
covers. All results are for Holm's strictest step, which the best of the family must pass: a
sign-flip p below ``LEVEL / comparisons``.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import numpy as np
from scipy.special import nctdtr, stdtrit

from harness.stats.paired import MOST_ENUMERATED, SAMPLED_FLIPS

LEVEL = 0.05
POWER = 0.8
MOST_SEEDS = 1000
"""Largest number of seeds considered; a difference that needs more is practically none."""
_MOST_SIMULATED = 12
_STUDIES = 2000
_MOST_EFFECT = 8.0  # in standard deviations; every usable design detects less than this
_HALVINGS = 24


def smallest_p(seeds: int) -> float:
    """Return the smallest two-sided p that a sign-flip test of this many pairs can give.

    That is ``2 / 2**seeds``, reached if all differences have the same sign. Where patterns are
    sampled it is one in the number of patterns.
    """
    return 2 / 2**seeds if seeds <= MOST_ENUMERATED else 1 / (SAMPLED_FLIPS + 1)


def can_be_significant(seeds: int, comparisons: int) -> bool:
    """Return whether any result at all could pass Holm's first step."""
    return comparisons * smallest_p(seeds) < LEVEL


def seeds_needed(comparisons: int) -> int | None:
    """Return the fewest seeds that can pass Holm's first step; None if no number can."""
    for seeds in range(1, MOST_ENUMERATED + 1):
        if can_be_significant(seeds, comparisons):
            return seeds
    return None


@cache
def detectable_effect(seeds: int, comparisons: int) -> float | None:
    """Return the true difference detected in 80 % of studies, in sd of the paired differences.

    Assumes normal differences. Up to 12 pairs the sign-flip test itself is simulated (2000 studies
    from a fixed seed). With more pairs it is close to the paired t-test, whose power is computed
    from the noncentral t distribution.

    Returns:
        The difference, or None if no result could be significant.
    """
    if not can_be_significant(seeds, comparisons):
        return None
    level = LEVEL / comparisons
    if seeds <= _MOST_SIMULATED:
        return _least_effect(_simulated_power(seeds, level))
    return _least_effect(lambda effect: t_power(effect, seeds, level))


def t_power(effect: float, seeds: int, level: float) -> float:
    """Return the power of the two-sided paired t-test; ``effect`` is in sd of the differences."""
    freedom = seeds - 1
    critical = float(stdtrit(freedom, 1 - level / 2))
    shift = effect * seeds**0.5
    # SciPy returns NaN for some probabilities that are too small to matter.
    missed, wrong_tail = np.nan_to_num(nctdtr(freedom, shift, [critical, -critical]))
    return float(1 - missed + wrong_tail)


def seeds_to_settle(effect: float, comparisons: int) -> int | None:
    """Return the fewest pairs that detect a true ``effect`` in 80 % of studies.

    Uses the paired t-test at Holm's strictest step, and never fewer pairs than a sign-flip test
    needs to be significant at all. If the effect was estimated from few seeds, the result is just
    as uncertain.

    Args:
        effect: In sd of the paired differences; its sign does not matter.
        comparisons: Size of the family that Holm's correction covers.

    Returns:
        The number of pairs, or None if it would exceed ``MOST_SEEDS``.
    """
    level = LEVEL / max(1, comparisons)
    low, high = max(2, seeds_needed(comparisons) or MOST_ENUMERATED + 1), MOST_SEEDS
    if not t_power(abs(effect), high, level) >= POWER:
        return None
    while low < high:
        middle = (low + high) // 2
        if t_power(abs(effect), middle, level) >= POWER:
            high = middle
        else:
            low = middle + 1
    return high


def _simulated_power(seeds: int, level: float) -> Callable[[float], float]:
    """Return the simulated power of the exact sign-flip test as a function of the effect.

    The same simulated noise is used for every effect.
    """
    noise = np.random.default_rng(0).standard_normal((_STUDIES, seeds))
    # A pattern and its mirror image have the same absolute sum, so fix one sign.
    bits = np.arange(2 ** (seeds - 1))[:, None] >> np.arange(seeds) & 1
    signs = 1.0 - 2.0 * bits  # (patterns, seeds); the last column is always +1, row 0 the observed
    sums, totals = noise @ signs.T, signs.sum(axis=1)

    def power(effect: float) -> float:
        sizes = np.abs(sums + effect * totals)
        p = (sizes >= sizes[:, :1] * (1 - 1e-12)).mean(axis=1)
        return float((p < level).mean())

    return power


def _least_effect(power: Callable[[float], float]) -> float:
    """Find the effect at which an increasing power function reaches ``POWER``, by bisection."""
    low, high = 0.0, _MOST_EFFECT
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        low, high = (low, middle) if power(middle) >= POWER else (middle, high)
    return high
