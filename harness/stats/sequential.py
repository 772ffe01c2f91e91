"""A signed-rank test that may be evaluated after every pair, with one error for all looks. Pure.

Under the null hypothesis each difference is as likely to be above zero as below it, whatever its
size. So all patterns of signs are equally likely, and which of them have ended the test by a look
can be counted. At each look the most extreme ones that are left may end it, as long as no more have
ended it by then than ``level * sqrt(look / looks)`` of all. This needs no shape of the noise, and
ties and zeros keep the level.

Source:
    Lan and DeMets, Biometrika 70 (1983), with the exact tail of the signed ranks instead of a
    normal one, given the sizes of the differences so far. The square root spends much early: that
    saves most seeds of trials that are worse by one standard deviation or more.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from harness.stats.paired import mean_ranks

MOST_ENUMERATED = 15
"""With more looks, patterns of signs are sampled."""
SAMPLED_PATTERNS = 2**14
MOST_LOOKS = 50
"""Most looks: more pairs would hardly show what these do not."""


def first_crossing(differences: Sequence[float], *, looks: int, level: float) -> int | None:
    """Number of differences after which the test first finds them below zero; None: never.

    Args:
        differences: Of the pairs so far, in their order.
        looks: How many pairs there may be in the end; only the first ``MOST_LOOKS`` are looked at.
        level: The most probable it may be, over all looks, for differences that centre on zero.
    """
    looks = min(looks, MOST_LOOKS)
    given = np.asarray(differences[:looks], dtype=np.float64)
    signs = np.sign(given)
    patterns = _patterns(looks)
    if looks > MOST_ENUMERATED:  # the observed pattern counts as one of those that were drawn
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
        bound = left[room]  # equal sums go on together
        if float(signs[:look] @ ranks) < bound:
            return look
        goes_on &= sums >= bound
    return None


@functools.lru_cache(maxsize=4)
def _patterns(looks: int) -> NDArray[np.float64]:
    """Patterns of so many signs: all, or as many as are sampled; 1 and -1, a row each."""
    if looks <= MOST_ENUMERATED:
        bits = np.arange(2**looks)[:, None] >> np.arange(looks)
    else:
        bits = np.random.default_rng(0).integers(0, 2, size=(SAMPLED_PATTERNS, looks))
    return np.where(bits & 1, 1.0, -1.0)
