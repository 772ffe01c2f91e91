"""What a number of paired seeds can show, pure: asked before anything is trained.

A design is ``seeds`` pairs a comparison and a family of ``comparisons`` that Holm's correction
covers. What is said is for the strictest step, which the best of the family has to pass: a
sign-flip p below ``LEVEL / comparisons``.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from scipy.special import nctdtr, stdtrit

from harness.stats.paired import MOST_ENUMERATED, SAMPLED_FLIPS

LEVEL = 0.05
POWER = 0.8
MOST_SEEDS = 1000
"""More than this nobody trains: such a difference is as good as none."""
_MOST_SIMULATED = 12
_STUDIES = 2000
_MOST_EFFECT = 8.0  # in standard deviations; no design that can find anything needs more
_HALVINGS = 24


def smallest_p(seeds: int) -> float:
    """The smallest two-sided p that a sign-flip test of so many pairs can give.

    It is ``2 / 2**seeds``, reached where all differences have one sign, and from where patterns are
    sampled one in those that are drawn.
    """
    return 2 / 2**seeds if seeds <= MOST_ENUMERATED else 1 / (SAMPLED_FLIPS + 1)


def can_be_significant(seeds: int, comparisons: int) -> bool:
    """Whether any result at all could pass Holm's first step."""
    return comparisons * smallest_p(seeds) < LEVEL


def seeds_needed(comparisons: int) -> int | None:
    """The fewest seeds with which a result can pass Holm's first step; None if no number does."""
    for seeds in range(1, MOST_ENUMERATED + 1):
        if can_be_significant(seeds, comparisons):
            return seeds
    return None


def detectable_effect(seeds: int, comparisons: int) -> float | None:
    """The true difference that is found in 80 % of studies, in sd of the paired differences.

    Differences are taken as normal. Up to 12 pairs the sign-flip test itself is simulated (2000
    studies from a fixed seed); beyond that the paired t-test answers, by the noncentral t
    distribution, which the sign-flip test then comes close to.

    Returns:
        None where no result could be significant.
    """
    if not can_be_significant(seeds, comparisons):
        return None
    level = LEVEL / comparisons
    if seeds <= _MOST_SIMULATED:
        return _least_effect(_simulated_power(seeds, level))
    return _least_effect(lambda effect: t_power(effect, seeds, level))


def t_power(effect: float, seeds: int, level: float) -> float:
    """The power of the two-sided paired t-test at ``level``; ``effect`` in sd of differences."""
    freedom = seeds - 1
    critical = float(stdtrit(freedom, 1 - level / 2))
    shift = effect * seeds**0.5
    # SciPy has NaN for some shares that are too small to matter.
    missed, wrong_tail = np.nan_to_num(nctdtr(freedom, shift, [critical, -critical]))
    return float(1 - missed + wrong_tail)


def seeds_to_settle(effect: float, comparisons: int) -> int | None:
    """The fewest pairs with which a true ``effect`` is found in 80 % of studies.

    By the paired t-test at Holm's strictest step, and never fewer than a sign-flip test needs to be
    significant at all. An effect that was estimated from few seeds makes this as rough as itself.

    Args:
        effect: In sd of the paired differences; its sign does not matter.
        comparisons: The family that Holm's correction covers.

    Returns:
        None where more than ``MOST_SEEDS`` would be needed.
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
    """The power of the exact sign-flip test as a function of the effect, on the same noise."""
    noise = np.random.default_rng(0).standard_normal((_STUDIES, seeds))
    # A pattern and its mirror image have the same absolute sum: the first sign stays.
    bits = np.arange(2 ** (seeds - 1))[:, None] >> np.arange(seeds) & 1
    signs = 1.0 - 2.0 * bits  # (patterns, seeds); the last column is always +1, row 0 the observed
    sums, totals = noise @ signs.T, signs.sum(axis=1)

    def power(effect: float) -> float:
        sizes = np.abs(sums + effect * totals)
        p = (sizes >= sizes[:, :1] * (1 - 1e-12)).mean(axis=1)
        return float((p < level).mean())

    return power


def _least_effect(power: Callable[[float], float]) -> float:
    """The effect at which an increasing power reaches the one that is wanted, by halving."""
    low, high = 0.0, _MOST_EFFECT
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        low, high = (low, middle) if power(middle) >= POWER else (middle, high)
    return high
