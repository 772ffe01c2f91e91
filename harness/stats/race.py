"""A race of candidates over paired seeds: the worse ones are dropped, and one is left. Pure.

After each seed from the third on, every candidate is compared with the one that leads so far, by a
paired one-sided t-test. The level is divided by the number of looks and of rivals (Bonferroni), so
that the best candidate is dropped with probability ``alpha`` at most. A race chooses; whatever is
said of its winner needs fresh seeds.

Source:
    Birattari et al. 2002 (races of configurations); Fawcett and Hoos 2016 (paths of ablations).
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from scipy.special import stdtr

from harness.stats.designs import Cell, Design, flippable, nodes

FIRST_LOOK = 3
"""With two pairs the test would need a difference of thirteen standard deviations."""


class RaceRule(NamedTuple):
    """How long a race goes on, and when a candidate is dropped."""

    seeds: int = 6
    """The most seeds of a candidate; after them the leader wins."""
    alpha: float = 0.1
    """Probability of dropping the best candidate, at most."""

    @property
    def looks(self) -> tuple[int, ...]:
        """The numbers of seeds after which candidates are compared; the last look decides."""
        return tuple(range(min(FIRST_LOOK, self.seeds), self.seeds + 1))


class Standing(NamedTuple):
    """A race, as far as its seeds have finished."""

    left: tuple[str, ...]
    """The candidates still in it."""
    dropped: Mapping[str, int]
    """Candidate -> number of seeds after which it was dropped."""
    due: int
    """Number of seeds that those left need for the next look; 0 if the race is over."""

    @property
    def winner(self) -> str | None:
        """The winner, once the race is over."""
        return None if self.due else self.left[0]


def run_race(values: Mapping[str, Sequence[float | None]], rule: RaceRule) -> Standing:
    """Take every look for which all candidates left have finished their seeds.

    Args:
        values: Candidate -> its value in each finished seed, the first seeds first; None if the
            run failed, so that the seed does not count. Of equal candidates the first one leads.
        rule: The rule.
    """
    left, dropped = list(values), dict[str, int]()
    level = rule.alpha / (max(1, len(rule.looks) - 1) * max(1, len(left) - 1))
    for seeds in rule.looks if len(left) > 1 else ():
        if any(len(values[name]) < seeds for name in left):
            return Standing(tuple(left), dropped, seeds)
        leader = _leader({name: values[name][:seeds] for name in left})
        for name in [each for each in left if each != leader]:
            pairs = _paired(values[leader][:seeds], values[name][:seeds])
            if seeds == rule.seeds or _p_greater(pairs) <= level:
                left.remove(name)
                dropped[name] = seeds
        if len(left) == 1:
            break
    return Standing(tuple(left), dropped, 0)


def race_runs(design: Design, rule: RaceRule) -> tuple[int, int]:
    """Return the least and the most runs that the races along a path can take.

    Up to 4,096 nodes are gone through: those of a path of twelve components.
    """
    first = rule.looks[0]
    known: dict[Cell, tuple[int, int]] = {}

    def from_node(node: Cell) -> tuple[int, int]:
        if node not in known:
            names = flippable(design, node)
            ends = [from_node(node ^ {name}) for name in names]
            here = len(names) if len(names) > 1 else 0
            known[node] = (
                here * first + min((least for least, _ in ends), default=0),
                here * rule.seeds + max((most for _, most in ends), default=0),
            )
        return known[node]

    return from_node(nodes(design)[0])


def _leader(values: Mapping[str, Sequence[float | None]]) -> str:
    """Return the candidate with the highest mean, over the seeds that none has failed."""
    whole = [all(v is not None for v in seed) for seed in zip(*values.values(), strict=True)]

    def mean(name: str) -> float:
        known = [v for v, counts in zip(values[name], whole, strict=True) if counts]
        found = [v for v in known or values[name] if v is not None]
        return statistics.fmean(found) if found else float("-inf")

    return max(values, key=mean)  # the first of equal ones


def _paired(one: Sequence[float | None], other: Sequence[float | None]) -> list[float]:
    pairs = zip(one, other, strict=True)
    return [a - b for a, b in pairs if a is not None and b is not None]


def _p_greater(differences: Sequence[float]) -> float:
    """Return the one-sided p of a paired t-test that the mean difference is above zero."""
    if len(differences) < 2:
        return 1.0
    mean, sd = statistics.fmean(differences), statistics.stdev(differences)
    if sd == 0:
        return 0.0 if mean > 0 else 1.0
    t = mean / sd * len(differences) ** 0.5
    return float(stdtr(len(differences) - 1, -t))
