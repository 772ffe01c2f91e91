"""Importance of each search parameter, by Optuna's evaluators; numbers in, numbers out.

fANOVA fits a random forest to the trials, and measures the share of its variance that a parameter
explains alone. Forests do not support conditional parameters: such a parameter gets a forest of
the trials that have it, weighted by their share of the total variance. Because forests are slow on
many trials, larger searches use PED-ANOVA, which measures how the distribution of a parameter
differs between the best trials and all trials, and which needs many trials.

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

if TYPE_CHECKING:  # importing Optuna takes seconds; only search pages need it
    import optuna
    from optuna.distributions import BaseDistribution


FEWEST_TRIALS = 8
"""With fewer trials, the ranking of parameters is random."""
MOST_FOR_A_FOREST = 100
"""fANOVA takes a second on this many trials, and a minute on ten times as many."""
_SEED = 0

Method = Literal["fANOVA", "PED-ANOVA"]
Trained: TypeAlias = tuple[Mapping[str, float], float]
"""A trial: its parameters by name, and its value."""


@dataclass(frozen=True, slots=True)
class Dimension:
    """The domain of a search parameter: a range of numbers, or a number of choices."""

    name: str
    low: float = 0.0
    high: float = 1.0
    is_log: bool = False
    choices: int = 0
    """If above 0, the values are 0 to ``choices - 1``, and the bounds are ignored."""
    is_conditional: bool = False
    """Whether only some trials have it."""

    def holds(self, value: float) -> bool:
        """Whether the value lies in the domain."""
        if self.choices:
            return 0 <= value < self.choices and float(value).is_integer()
        return self.low <= value <= self.high

    @property
    def is_constant(self) -> bool:
        """Whether only one value is possible."""
        return self.choices == 1


class Importances(NamedTuple):
    """The importance of each parameter."""

    shares: Mapping[str, float]
    """Name -> share, largest first, with sum 1. Parameters that too few trials have are left
    out."""
    method: Method
    trials: int
    """The number of trials used."""


def usable(
    dimensions: Sequence[Dimension], points: Sequence[Mapping[str, float]]
) -> list[Mapping[str, float]]:
    """Return the points inside the search space; a baseline may lie outside it."""
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
    """Compute the importance of each dimension; deterministic.

    Args:
        dimensions: The search parameters.
        points: Name -> value for each trial, without parameters that a condition disables.
        values: The finite value of each trial.

    Returns:
        None if too few trials lie in the space, all have the same value, or fewer than two
        dimensions vary.
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
    """Return name -> share of the variance, for parameters of ``FEWEST_TRIALS`` or more trials."""
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
    """Return name -> divergence between the best trials and all trials."""
    from optuna.importance import PedAnovaImportanceEvaluator

    evaluator = PedAnovaImportanceEvaluator()
    names = [one.name for one in dimensions if any(one.name in point for point, _ in kept)]
    with warnings.catch_warnings():  # Optuna warns when few trials meet a condition
        warnings.simplefilter("ignore")
        found = evaluator.evaluate(_study(dimensions, kept), params=names)
    return {name: float(found[name]) for name in names}


def _squares(kept: Sequence[Trained]) -> float:
    """Return the sum of squared deviations of the values from their mean."""
    mean = sum(value for _, value in kept) / len(kept)
    return sum((value - mean) ** 2 for _, value in kept)


def _study(dimensions: Sequence[Dimension], kept: Sequence[Trained]) -> optuna.Study:
    """Return the trials as an in-memory Optuna study."""
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
    """Return a uniform distribution, over logarithms for a log axis, as fANOVA expects."""
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
