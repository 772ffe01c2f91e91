"""A sequential signed-rank test: one error level over all looks, one look after every pair. Pure.

Under the null hypothesis each difference is as likely to be above zero as below it, whatever its
size. All sign patterns are then equally likely, so the patterns that have ended the test by a given
look can be counted. At each look the most extreme remaining patterns end the test, as long as no
more than a share ``level * sqrt(look / looks)`` of all patterns has ended it by then. The test
assumes nothing about the shape of the noise, and keeps its level with ties and zeros.

Source:
    Lan and DeMets, Biometrika 70 (1983), but with the exact tail of the signed ranks, given the
    sizes of the differences so far, instead of a normal tail. The square root spends much of the
    error early, which saves the most seeds of trials that are worse by one standard deviation or
    more.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from harness.stats.paired import mean_ranks

MOST_ENUMERATED = 15
"""With more looks, sign patterns are sampled."""
SAMPLED_PATTERNS = 2**14
MOST_LOOKS = 50
"""Maximum number of looks; further pairs would add little."""


def first_crossing(differences: Sequence[float], *, looks: int, level: float) -> int | None:
    """Return after how many differences the test first finds them below zero; None if never.

    Args:
        differences: Differences of the pairs so far, in order.
        looks: Total number of pairs planned; only the first ``MOST_LOOKS`` are used.
        level: Largest probability, over all looks, of a finding if differences centre on zero.
    """
    looks = min(looks, MOST_LOOKS)
    given = np.asarray(differences[:looks], dtype=np.float64)
    signs = np.sign(given)
    patterns = _patterns(looks)
    if looks > MOST_ENUMERATED:  # count the observed pattern among the sampled ones
        observed = np.ones(looks)
        observed[: len(signs)] = signs
        patterns = np.vstack([patterns, observed])
    goes_on = np.ones(len(patterns), dtype=bool)
    for look in range(1, len(given) + 1):
        ranks = mean_ranks(np.abs(given[:look])) * (signs[:look] != 0)
        sums = patterns[:, :look] @ ranks
        most_ended = int(len(patterns) * level * (look / looks) ** 0.5 + 1e-9)
        room = most_ended - int(np.sum(~goes_on))
        left = np.sort(sums[goes_on])
        bound = left[room]  # patterns with equal sums stay in together
        if float(signs[:look] @ ranks) < bound:
            return look
        goes_on &= sums >= bound
    return None


@functools.lru_cache(maxsize=4)
def _patterns(looks: int) -> NDArray[np.float64]:
    """Return sign patterns (1 and -1), one per row: all of them, or a sample if too many."""
    if looks <= MOST_ENUMERATED:
        bits = np.arange(2**looks)[:, None] >> np.arange(looks)
    else:
        bits = np.random.default_rng(0).integers(0, 2, size=(SAMPLED_PATTERNS, looks))
    return np.where(bits & 1, 1.0, -1.0)
