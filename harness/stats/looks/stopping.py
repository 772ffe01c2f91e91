"""Decide comparisons with one baseline as seeds come in, with one error level over all. Pure.

A look considers the first seeds only, and every comparison that is not decided yet. So what it
decides follows from these seeds alone, whatever has finished since. Decisions are final.

With ``k`` comparisons, each begins with an equal share of ``alpha``. One that is found better or
worse passes its share on (Holm's method), except the part that could still go to a false claim of
equivalence: of a pair of claims "differs from zero" and "lies within the margin", only one can be
false, but which one is not known. All false claims together then have probability ``alpha`` at most
(sequential rejection, Goeman and Solari, Annals of Statistics 38, 2010).

A comparison is also given up if it is unlikely to show the planned difference at the last look, by
its conditional power or its likelihood, and to show equality. This is not binding: the level holds
even if such a comparison were continued.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeAlias

from scipy.special import ndtri

from harness.stats.looks import e_process, group_sequential
from harness.stats.looks.group_sequential import Boundary

BETTER, WORSE = "better", "worse"
SAME = "no difference larger than margin"
FUTILE = "stopped: the planned difference can no longer be shown"
UNDECIDED = "undecided at the last look"
GOES_ON = "goes on"

FIRST_LOOK = 6
"""The first of the looks after ``every`` seed; with fewer seeds, spreads are hardly known."""
LEAST_POWER = 0.25
"""A comparison is given up below this conditional power."""
LEAST_LIKELIHOOD = 1 / 20
"""It is also given up if the planned difference is this much less likely than none. Conditional
power alone gives up late what is hopeless early (8 trials, 20 seeds: 3 % more runs by simulation).
"""

_WEIGHT = 10  # of the spread of all comparisons, in degrees of freedom
_HALVINGS = 14  # an end of an interval is found to a 16,000th of its bracket

Values: TypeAlias = Sequence[float | None]
"""One difference per seed, in order; None where a run failed."""


@dataclass(frozen=True)
class StopRule:
    """When to look, and what a look decides."""

    looks: tuple[int, ...]
    """Numbers of seeds, increasing; the last is the most that is planned."""
    alpha: float = 0.05
    """Probability of any false claim, over all comparisons and looks."""
    effect: float | None = None
    """The planned difference; without it, no comparison is given up."""
    margin: float | None = None
    """Differences up to this size count as none; without it, equivalence is never claimed."""
    is_e_process: bool = False
    least_power: float = LEAST_POWER


class Ends(NamedTuple):
    """Ends of an interval; infinite where every value is compatible with the data."""

    low: float
    high: float


class Look(NamedTuple):
    """What one look found about one comparison."""

    seeds: int
    statistic: float
    """Absolute mean difference; for an e-process, the evidence."""
    boundary: float
    """What the statistic must reach at this look; infinite if nothing can be shown yet."""
    decision: str
    level: float
    """The share of ``alpha`` that the comparison had."""


def rule_of(stop: Mapping[str, Any]) -> StopRule:
    """Return the rule of the field ``stop`` of a study, as its record holds it."""
    most, looks = int(stop["most_seeds"]), stop["looks"]
    return StopRule(
        looks=every_seed(most) if looks == "every" else tuple(looks),
        alpha=stop["alpha"],
        effect=stop["effect"],
        margin=stop["margin"],
        is_e_process=stop["method"] == "e-process",
    )


def paired_values(
    trial: Mapping[int, float | None], baseline: Mapping[int, float | None]
) -> Values:
    """Return the differences of seeds 0, 1, ... up to the first that either has not finished.

    Args:
        trial: Finished seed -> value; None if its run failed.
        baseline: Those of the baseline.
    """
    found: list[float | None] = []
    while (seed := len(found)) in trial and seed in baseline:
        one, other = trial[seed], baseline[seed]
        found.append(None if one is None or other is None else one - other)
    return found


def every_seed(most: int) -> tuple[int, ...]:
    """Return looks after every seed, from the first one that is useful."""
    return tuple(range(min(FIRST_LOOK, most), most + 1))


def level_of(rule: StopRule, comparisons: int, *, differing: int) -> float:
    """Return the level of each undecided comparison after ``differing`` were found to differ."""
    share = rule.alpha / comparisons
    reserved = 0.0 if rule.margin is None else share / 2
    return (rule.alpha - differing * reserved) / (comparisons - differing)


def first_look(rule: StopRule, comparisons: int) -> int | None:
    """Return the first look at which a difference can be shown; None if it can at none."""
    level = level_of(rule, comparisons, differing=0)
    if not rule.is_e_process:
        return group_sequential.first_possible_look(rule.looks, level)
    fewest = e_process.fewest_seeds(level)
    return next((look for look in rule.looks if look >= fewest), None)


def smallest_margin(rule: StopRule, comparisons: int, sd: float) -> float:
    """Return the margin that two equal trials can be shown to be within at the last look.

    It assumes normal differences with this ``sd``. The sizes that sign flips are compared with
    include the margin itself, so it is a little wider than half a normal interval.

    Returns:
        The margin; infinite if there are too few seeds for any.
    """
    level = level_of(rule, comparisons, differing=0)
    critical = float(ndtri(level / 2))
    room = rule.looks[-1] - critical**2
    return abs(critical) * sd / room**0.5 if room > 0 else math.inf


def take_looks(comparisons: Mapping[str, Values], rule: StopRule) -> dict[str, list[Look]]:
    """Take all looks for which the differences suffice.

    A look is taken once each undecided comparison has an entry for each of its seeds.

    Args:
        comparisons: Name -> differences of the trial and the baseline, by seed.
        rule: The rule.

    Returns:
        Name -> its looks, up to the one that decided it.
    """
    found: dict[str, list[Look]] = {name: [] for name in comparisons}
    tests = _Tests(comparisons, rule)
    for look in rule.looks:
        left = undecided(found)
        if not left or any(len(comparisons[name]) < look for name in left):
            break
        first = {name: comparisons[name][:look] for name in left}
        for name, news in _look(first, rule, found, tests).items():
            found[name].append(news)
    return found


def undecided(found: Mapping[str, Sequence[Look]]) -> list[str]:
    """Return the names of the comparisons that go on."""
    return [name for name, looks in found.items() if not looks or looks[-1].decision == GOES_ON]


def interval(differences: Values, rule: StopRule, look: Look) -> Ends:
    """Return the repeated confidence interval of a comparison at a look.

    It holds every centre that no look so far excludes. The intervals of all looks together cover
    the true centre with probability ``1 - look.level``.
    """
    first = differences[: look.seeds]
    known = [each for each in first if each is not None]
    if not known:
        return Ends(-math.inf, math.inf)

    def is_compatible(centre: float) -> bool:
        moved = [None if each is None else each - centre for each in first]
        return _Tests({"": moved}, rule).at("", look.seeds, look.level).decision == GOES_ON

    inside = mean = statistics.fmean(known)
    while known and not is_compatible(inside):  # an earlier look may exclude the newest mean
        inside = statistics.fmean(known)
        known.pop()
    reach = abs(mean - inside) + 4 * max(abs(each - mean) for each in first if each is not None)
    return Ends(
        _edge(inside, inside - reach, is_compatible), _edge(inside, inside + reach, is_compatible)
    )


def _edge(inside: float, outside: float, is_compatible: Callable[[float], bool]) -> float:
    """Find by bisection where values stop being compatible; infinite if they do not."""
    if is_compatible(outside):
        return math.copysign(math.inf, outside - inside)
    for _ in range(_HALVINGS):
        middle = (inside + outside) / 2
        inside, outside = (middle, outside) if is_compatible(middle) else (inside, middle)
    return outside


def _is_within(differences: Values, rule: StopRule, level: float) -> bool:
    """Test whether a comparison lies within the margin: two one-sided tests."""
    margin = rule.margin or 0.0
    for sign in (1, -1):
        left = [None if each is None else margin - sign * each for each in differences]
        if sum(each for each in left if each is not None) <= 0:
            return False
        if rule.is_e_process:
            is_below = e_process.evidence(left, both_tails=False)[-1] >= 2 / level
        else:
            is_below = group_sequential.is_above_zero(left, rule.looks, level)
        if not is_below:
            return False
    return True


def _look(
    comparisons: Mapping[str, Values],
    rule: StopRule,
    before: Mapping[str, Sequence[Look]],
    tests: _Tests,
) -> dict[str, Look]:
    """Take one look at the undecided comparisons, which all have the same number of seeds."""
    found: dict[str, Look] = {}
    differing = sum(looks[-1].decision in (BETTER, WORSE) for looks in before.values() if looks)
    waiting = list(comparisons)
    while True:  # each difference found raises the level of the rest
        level = level_of(rule, len(before), differing=differing)
        news = {name: tests.at(name, len(comparisons[name]), level) for name in waiting}
        found |= news
        ended = [name for name in waiting if news[name].decision in (BETTER, WORSE)]
        if not ended:
            break
        differing += len(ended)
        waiting = [name for name in waiting if name not in ended]
        if not waiting:
            break
    sds = _spreads({name: comparisons[name] for name in waiting})
    for name in waiting:
        decision = _without_difference(
            comparisons[name], rule, found[name], comparisons=len(before), sd=sds[name]
        )
        found[name] = found[name]._replace(decision=decision)
    return found


def _spreads(comparisons: Mapping[str, Values]) -> dict[str, float]:
    """Estimate the spread of each comparison, shrunk towards that of all.

    Six differences alone give a spread that is 30 % off. Comparisons with one baseline share its
    noise, so those of the others tell something about it, too.
    """
    known = {name: [v for v in values if v is not None] for name, values in comparisons.items()}
    variances = {
        name: statistics.variance(values) if len(values) > 1 else 0.0
        for name, values in known.items()
    }
    shared = statistics.fmean(variances.values()) if variances else 0.0
    return {
        name: math.sqrt((_WEIGHT * shared + (n := len(known[name]) - 1) * own) / (_WEIGHT + n))
        for name, own in variances.items()
    }


class _Tests:
    """Tests whether comparisons differ from zero, look by look, each level of each only once."""

    def __init__(self, comparisons: Mapping[str, Values], rule: StopRule) -> None:
        """Prepare to test, without testing anything yet."""
        self._comparisons, self._rule = comparisons, rule
        self._coming: dict[tuple[str, float], Iterator[Boundary]] = {}
        self._found: dict[tuple[str, float], list[Boundary]] = {}

    def at(self, name: str, seeds: int, level: float) -> Look:
        """Test a comparison at one of the looks; it goes on if it is not found to differ."""
        first = self._comparisons[name][:seeds]
        if self._rule.is_e_process:
            statistic, boundary = e_process.evidence(first)[-1], 1 / level
            is_crossed = statistic >= boundary
        else:
            _, statistic, boundary, is_crossed = self._boundary(name, seeds, level)
        is_above = sum(each for each in first if each is not None) > 0
        decision = (BETTER if is_above else WORSE) if is_crossed else GOES_ON
        return Look(seeds, statistic, boundary, decision, level)

    def _boundary(self, name: str, seeds: int, level: float) -> Boundary:
        looks, key = self._rule.looks, (name, level)
        if key not in self._coming:
            values = self._comparisons[name]
            self._coming[key] = group_sequential.boundaries(values, looks, level)
        found = self._found.setdefault(key, [])
        while len(found) <= looks.index(seeds):
            found.append(next(self._coming[key]))
        return found[looks.index(seeds)]


def _without_difference(
    differences: Values, rule: StopRule, look: Look, *, comparisons: int, sd: float
) -> str:
    """Decide about a comparison that was not found to differ."""
    if rule.margin is not None and _is_within(differences, rule, rule.alpha / comparisons):
        return SAME
    if look.seeds == rule.looks[-1]:
        return UNDECIDED
    return GOES_ON if _is_promising(differences, rule, look, comparisons, sd) else FUTILE


def _is_promising(
    differences: Values, rule: StopRule, look: Look, comparisons: int, sd: float
) -> bool:
    """Whether the last look may still find the planned difference, or equality."""
    known = [each for each in differences if each is not None]
    if rule.effect is None or len(known) < 2 or sd == 0:
        return True
    mean, seeds, most = statistics.fmean(known), look.seeds, rule.looks[-1]
    power = 0.0
    log_likelihood = (abs(mean) - rule.effect / 2) * rule.effect * len(known) / sd**2
    if log_likelihood >= math.log(LEAST_LIKELIHOOD):
        power = group_sequential.power_to_differ(
            mean, sd, seeds=seeds, most=most, level=look.level, effect=rule.effect
        )
    if rule.margin is not None:
        level = rule.alpha / comparisons
        power = max(
            power,
            group_sequential.power_to_equal(
                mean, sd, seeds=seeds, most=most, level=level, margin=rule.margin
            ),
        )
    return power >= rule.least_power
