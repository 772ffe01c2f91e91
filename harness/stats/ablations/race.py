"""A race of candidates over paired seeds: the worse ones are dropped, and one is left. Pure.

After each seed from the third on, every candidate is compared with the one that leads so far, by a
one-sided t-test that is paired by seed. The test takes its variance from the residuals of a two-way
analysis of variance (candidate and seed): with three seeds, four candidates leave six degrees of
freedom, and two candidates leave two. The level is divided by the number of looks and of rivals
(Bonferroni), so that the best candidate is dropped with probability ``alpha`` at most, if
candidates vary alike. A race chooses; whatever is said of its winner needs fresh seeds.

Source:
    Birattari et al. 2002 (races of configurations); Fawcett and Hoos 2016 (paths of ablations).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from scipy.special import stdtr

from harness.stats.ablations.designs import Cell, Design, flippable, nodes

FIRST_LOOK = 3
"""With two seeds the test of two candidates would need thirteen standard deviations."""

_ROUNDING = 1e-12


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
        found = _compared({name: values[name][:seeds] for name in left})
        for name in found.behind:
            if seeds == rule.seeds or found.behind[name] <= level:
                left.remove(name)
                dropped[name] = seeds
        if len(left) == 1:
            break
    return Standing(tuple(left), dropped, 0)


class _Compared(NamedTuple):
    """The candidates of a race at a look."""

    leader: str
    behind: Mapping[str, float]
    """Each other one -> one-sided p that the leader is better; 0 for one without any value."""


def _compared(values: Mapping[str, Sequence[float | None]]) -> _Compared:
    """Compare candidates with the one that has the highest mean, over seeds that none has failed.

    One that has failed in every seed is behind and takes no part. The spread of the differences is
    that of all candidates: with it, few seeds are enough.
    """
    lost = [name for name, each in values.items() if all(value is None for value in each)]
    names = [name for name in values if name not in lost] or list(values)
    seeds = [seed for seed in zip(*(values[n] for n in names), strict=True) if None not in seed]
    table = np.array(seeds, dtype=np.float64).reshape(-1, len(names)).T
    count = table.shape[1]
    if not count:  # no seed that all have: as they come
        return _Compared(names[0], {name: 1.0 for name in values if name != names[0]})
    means = table.mean(axis=1)
    best = int(means.argmax())  # the first of equal ones
    leads = {name: float(means[best] - mean) for name, mean in zip(names, means, strict=True)}
    left = table - means[:, None] - table.mean(axis=0) + table.mean()
    df = (len(names) - 1) * (count - 1)
    error = (2 * float((left**2).sum()) / max(1, df) / count) ** 0.5
    behind = {name: _p(lead, error, df) for name, lead in leads.items() if name != names[best]}
    return _Compared(names[best], behind | {name: 0.0 for name in lost if name != names[best]})


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


def _p(lead: float, error: float, df: int) -> float:
    """Return the one-sided p of a t-test that a lead is above zero."""
    if df < 1:
        return 1.0
    if error <= _ROUNDING * lead:
        return 0.0 if lead > 0 else 1.0
    return float(stdtr(df, -lead / error)) if error > 0 else 1.0
