"""Group-sequential sign-flip tests: exact boundaries for looks that were planned. Pure.

If differences centre on zero, each is as likely to be above zero as below it, whatever its size.
Given the sizes, all sign patterns are equally likely, so the patterns that have ended a test by a
given look can be counted. Each look ends the most extreme of the remaining patterns, as long as no
more than the spent share of all patterns has ended. The level then holds over all looks together,
with ties, zeros and any symmetric noise.

Source:
    Lan and DeMets, Biometrika 70 (1983), with exact tails instead of normal ones.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr, ndtri

MOST_ENUMERATED = 20
"""If more seeds are planned, sign patterns are sampled."""
SAMPLED_PATTERNS = 2**16
LAST_SPENDING = 0.7
"""Share of the seeds after which nothing is spent until the last look."""
_ROUNDING = 1e-12
_LEAST_SHARE = 0.05
"""At least this share of all sums of signed numbers reaches their root sum of squares, so that no
test at a smaller level ends below it (Oleszkiewicz, Statistics and Probability Letters 29, 1996).
"""


class Boundary(NamedTuple):
    """What a look needs to end a test, and what it found; both are absolute means."""

    seeds: int
    statistic: float
    boundary: float
    """The smallest absolute mean that ends the test at this look; infinite if none can."""
    is_crossed: bool
    """Whether the test ended at this look or at an earlier one."""


def spent(level: float, share: float) -> float:
    """Return how much of ``level`` may be spent by ``share`` of the seeds.

    O'Brien-Fleming spending up to 70 % of the seeds; the rest is kept for the last look.
    Looks in between would find little earlier what the last one finds, and cost it power: by
    simulation one point in a hundred (8 trials, 20 seeds, a look after each).
    """
    if share >= 1:
        return level
    return float(2 * ndtr(ndtri(level / 2) / min(share, LAST_SPENDING) ** 0.5))


def first_possible_look(looks: Sequence[int], level: float) -> int | None:
    """Return the first look at which all differences of one sign end the test; None if none."""
    most = looks[-1]
    for look in looks:
        smallest = 2 / 2**look
        if most > MOST_ENUMERATED:
            smallest = max(smallest, 1 / (SAMPLED_PATTERNS + 1))
        if smallest <= spent(level, look / most) * (1 + _ROUNDING):
            return look
    return None


def boundaries(
    differences: Sequence[float | None], looks: Sequence[int], level: float
) -> Iterator[Boundary]:
    """Test at each look, two-sided, whether differences centre on zero.

    Args:
        differences: One per seed, in order; None where a seed has none.
        looks: Numbers of seeds, increasing; the last is the most that is planned.
        level: Largest probability, over all looks, of ending if differences centre on zero.

    Yields:
        One entry for each look that the differences reach; the time doubles with every seed.
    """
    yield from _tested(differences, looks, lambda share: spent(level, share), both_tails=True)


def is_above_zero(differences: Sequence[float | None], looks: Sequence[int], level: float) -> bool:
    """Test one-sided whether differences centre above zero; earlier looks must not have ended it.

    It spends half of ``level`` as ``boundaries`` does, so that two of these tests, of the limits of
    a margin, agree with a repeated confidence interval.
    """
    values = np.array([each for each in differences if each is not None])
    if level < 2 * _LEAST_SHARE and values.sum() <= np.sqrt(values @ values):
        return False
    is_crossed = False
    for look in _tested(
        differences, looks, lambda share: spent(level, share) / 2, both_tails=False
    ):
        is_crossed = look.is_crossed
    return is_crossed


def power_to_differ(
    mean: float, sd: float, *, seeds: int, most: int, level: float, effect: float
) -> float:
    """Return the probability that the last look finds a difference if the true one is ``effect``.

    Args:
        mean: Mean difference so far; the better of both directions counts.
        sd: Spread of the differences, which are taken as normal.
        seeds: Number of seeds so far.
        most: Number of seeds at the last look.
        level: Level of the test.
        effect: The true difference of the seeds to come.
    """
    left = most - seeds
    coming = abs(mean) * seeds + effect * left - _half_width(sd, most, level) * most
    return float(ndtr(coming / (sd * left**0.5)))


def power_to_equal(
    mean: float, sd: float, *, seeds: int, most: int, level: float, margin: float
) -> float:
    """Return the probability that the last look finds equality if the true difference is zero.

    Args:
        mean: As for ``power_to_differ``; so are the others.
        sd: Spread of the differences.
        seeds: Number of seeds so far.
        most: Number of seeds at the last look.
        level: Level of the test.
        margin: The largest difference that counts as none.
    """
    room = (margin - _half_width(sd, most, level)) * most
    if room <= 0:
        return 0.0
    noise = sd * (most - seeds) ** 0.5
    return float(ndtr((room - mean * seeds) / noise) - ndtr((-room - mean * seeds) / noise))


def _half_width(sd: float, most: int, level: float) -> float:
    """Return half the interval at the last look, as for normal differences."""
    return float(-ndtri(level / 2) * sd / most**0.5)


def _tested(
    differences: Sequence[float | None],
    looks: Sequence[int],
    spending: Callable[[float], float],
    *,
    both_tails: bool,
) -> Iterator[Boundary]:
    """Test at each look whether the sum of the differences is too large for a random one."""
    values = np.array([0.0 if each is None else each for each in differences])
    sums = _Sums(np.sign(values), looks[-1], are_mirrored=both_tails)
    ended, is_crossed = 0.0, False  # the share of all patterns that have ended the test
    for look in (look for look in looks if look <= len(values)):
        sums.extend(np.abs(values[sums.seeds : look]))
        count = max(1, sum(each is not None for each in differences[:look]))
        tolerance = _ROUNDING * float(np.abs(values[:look]).sum())
        observed = float(values[:look].sum())
        sizes = np.abs(sums.left) if both_tails else sums.left
        room = int((spending(look / looks[-1]) - ended) * sums.patterns + 1e-6)
        stays = _largest_that_stays(sizes, room) + tolerance
        ends = sizes > stays
        least = float(sizes[ends].min()) if ends.any() else np.inf
        statistic = abs(observed) if both_tails else observed
        is_crossed = is_crossed or statistic > stays
        yield Boundary(look, statistic / count, least / count, is_crossed)
        ended += float(ends.sum()) / sums.patterns
        if ends.any():
            sums.keep(~ends)


def _largest_that_stays(sizes: NDArray[np.float64], room: int) -> float:
    """Return the largest size that stays if at most ``room`` end; equal sizes stay together."""
    if room <= 0:
        return np.inf
    if room >= len(sizes):
        return -np.inf
    place = len(sizes) - 1 - room
    return float(np.partition(sizes, place)[place])


class _Sums:
    """The sums of the differences so far under each sign pattern that has not ended the test."""

    def __init__(self, observed: NDArray[np.float64], most: int, *, are_mirrored: bool) -> None:
        """Enumerate the patterns of ``most`` seeds, or sample them and count the observed one.

        ``are_mirrored``: a pattern and its mirror image end together, so one of them is enough.
        """
        self.seeds = 0
        self._are_mirrored = are_mirrored
        self.left = np.zeros(1)
        self.patterns = 1
        """How many patterns there are, with those that have ended the test."""
        self._signs: NDArray[np.float64] | None = None
        if most > MOST_ENUMERATED:
            self._signs = _sample(most)
            self._signs = np.vstack([self._signs, np.ones(most)])
            self._signs[-1, : len(observed)] = np.where(observed == 0, 1.0, observed)
            self.patterns = len(self._signs)
            self.left = np.zeros(self.patterns)

    def extend(self, sizes: NDArray[np.float64]) -> None:
        """Add the differences of further seeds."""
        if self._signs is not None:
            self.left = self.left + self._signs[:, self.seeds : self.seeds + len(sizes)] @ sizes
        else:
            for place, size in enumerate(sizes, self.seeds):
                if place == 0 and self._are_mirrored:
                    self.left = self.left + size
                else:
                    self.left = np.concatenate([self.left + size, self.left - size])
                    self.patterns *= 2
        self.seeds += len(sizes)

    def keep(self, goes_on: NDArray[np.bool_]) -> None:
        """Drop the patterns that have ended the test."""
        self.left = self.left[goes_on]
        if self._signs is not None:
            self._signs = self._signs[goes_on]


@functools.lru_cache(maxsize=4)
def _sample(most: int) -> NDArray[np.float64]:
    bits = np.random.default_rng(0).integers(0, 2, size=(SAMPLED_PATTERNS, most), dtype=np.int8)
    return np.where(bits, 1.0, -1.0)
