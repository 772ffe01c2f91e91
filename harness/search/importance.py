"""How much each parameter of a search mattered, by Optuna's evaluators; numbers in, numbers out.

fANOVA is the share of the variance of a random forest, fitted to the trials, that a parameter
explains alone. A forest knows no conditional parameters: such a one gets a forest of the trials
that have it, and what it explains there counts by their part of the whole variance. Forests are
slow on many trials: then it is PED-ANOVA, how differently the best trials and all trials are
spread over a parameter's values, which needs many.

Source: Hutter, Hoos, Leyton-Brown, ICML 2014 (fANOVA); Watanabe et al., IJCAI 2023,
arXiv:2304.10255 (PED-ANOVA), with its conditional form, arXiv:2601.20800. As in Optuna's own plot,
importances are divided by their sum.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, NamedTuple, TypeAlias

if TYPE_CHECKING:  # Optuna costs seconds, which only the page of a search should pay
    import optuna
    from optuna.distributions import BaseDistribution


FEWEST_TRIALS = 8
"""With fewer the order of parameters is chance."""
MOST_FOR_A_FOREST = 100
"""fANOVA takes a second with so many trials, and a minute with ten times as many."""
_SEED = 0

Method = Literal["fANOVA", "PED-ANOVA"]
Trained: TypeAlias = tuple[Mapping[str, float], float]
"""A trial: its parameters by name, and what it reached."""


@dataclass(frozen=True, slots=True)
class Dimension:
    """A parameter as a search draws it: from a range of numbers, or one of so many choices."""

    name: str
    low: float = 0.0
    high: float = 1.0
    is_log: bool = False
    choices: int = 0
    """Above 0: its values are 0 to ``choices - 1``, and the bounds mean nothing."""
    is_conditional: bool = False
    """Whether it exists in some trials only."""

    def holds(self, value: float) -> bool:
        """Whether the search could have drawn this value."""
        if self.choices:
            return 0 <= value < self.choices and float(value).is_integer()
        return self.low <= value <= self.high

    @property
    def is_constant(self) -> bool:
        """Whether there is nothing to draw."""
        return self.choices == 1


class Importances(NamedTuple):
    """How much each parameter mattered."""

    shares: Mapping[str, float]
    """Name -> share, the largest first; their sum is 1. A parameter that too few trials have is
    left out."""
    method: Method
    trials: int
    """How many the numbers rest on."""


def usable(
    dimensions: Sequence[Dimension], points: Sequence[Mapping[str, float]]
) -> list[Mapping[str, float]]:
    """The points that lie in the searched space; a baseline may lie outside of it."""
    return [
        point
        for point in points
        if all(
            one.holds(point[one.name]) if one.name in point else one.is_conditional
            for one in dimensions
        )
    ]


def importances(
    dimensions: Sequence[Dimension],
    points: Sequence[Mapping[str, float]],
    values: Sequence[float],
) -> Importances | None:
    """The importance of each dimension, the same for the same numbers.

    Args:
        dimensions: What was varied.
        points: Name -> value of each trial; what a condition has ruled out is left out.
        values: What each trial reached, finite.

    Returns:
        None where too few trials lie in the space, all reached the same, or fewer than two
        dimensions are there to compare.
    """
    varied = [one for one in dimensions if not one.is_constant]
    kept = [
        (point, value)
        for point, value in zip(points, values, strict=True)
        if usable(varied, [point])
    ]
    if len(varied) < 2 or len(kept) < FEWEST_TRIALS or len({value for _, value in kept}) == 1:
        return None
    method: Method = "fANOVA" if len(kept) <= MOST_FOR_A_FOREST else "PED-ANOVA"
    raw = _by_forests(varied, kept) if method == "fANOVA" else _by_densities(varied, kept)
    total = sum(raw.values())
    if not total > 0:
        return None
    ordered = sorted(raw, key=lambda name: -raw[name])
    return Importances({name: raw[name] / total for name in ordered}, method, len(kept))


def _by_forests(dimensions: Sequence[Dimension], kept: Sequence[Trained]) -> dict[str, float]:
    """Name -> part of the variance; what fewer than ``FEWEST_TRIALS`` have is left out."""
    from optuna.importance import FanovaImportanceEvaluator

    whole = _squares(kept)
    found: dict[str, float] = {}
    for one in dimensions:
        having = [each for each in kept if one.name in each[0]]
        if one.name in found or len(having) < FEWEST_TRIALS or not _squares(having):
            continue
        together = [d for d in dimensions if all(d.name in point for point, _ in having)]
        names = [d.name for d in together]
        evaluator = FanovaImportanceEvaluator(seed=_SEED)
        shares = evaluator.evaluate(_study(together, having), params=names)
        answered = names if len(having) == len(kept) else [one.name]
        part = _squares(having) / whole
        found |= {name: float(shares[name]) * part for name in answered}
    return {one.name: found[one.name] for one in dimensions if one.name in found}


def _by_densities(dimensions: Sequence[Dimension], kept: Sequence[Trained]) -> dict[str, float]:
    """Name -> divergence between the best trials and all."""
    from optuna.importance import PedAnovaImportanceEvaluator

    evaluator = PedAnovaImportanceEvaluator()
    names = [one.name for one in dimensions if any(one.name in point for point, _ in kept)]
    with warnings.catch_warnings():  # that hardly a trial meets a condition
        warnings.simplefilter("ignore")
        found = evaluator.evaluate(_study(dimensions, kept), params=names)
    return {name: float(found[name]) for name in names}


def _squares(kept: Sequence[Trained]) -> float:
    """The sum of squares of the values around their mean."""
    mean = sum(value for _, value in kept) / len(kept)
    return sum((value - mean) ** 2 for _, value in kept)


def _study(dimensions: Sequence[Dimension], kept: Sequence[Trained]) -> optuna.Study:
    """The trials as a study of Optuna's, in memory."""
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(direction="maximize")
    for point, value in kept:
        mine = [one for one in dimensions if one.name in point]
        study.add_trial(
            optuna.create_trial(
                params={one.name: _inner(point[one.name], one) for one in mine},
                distributions={one.name: _distribution(one) for one in mine},
                value=value,
            )
        )
    return study


def _distribution(one: Dimension) -> BaseDistribution:
    """A log axis as an even one of logarithms: fANOVA averages over the axis as it is given."""
    from optuna.distributions import CategoricalDistribution, FloatDistribution

    if one.choices:
        return CategoricalDistribution(range(one.choices))
    if one.is_log:
        return FloatDistribution(math.log(one.low), math.log(one.high))
    return FloatDistribution(one.low, one.high)


def _inner(value: float, one: Dimension) -> float:
    if one.choices:
        return int(value)
    return math.log(value) if one.is_log else value
