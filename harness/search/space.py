"""Builds the search space from Optuna distributions, and locates the baseline in it."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import TypeAlias

from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)

from harness.records.trial import Trial
from harness.study.axes import Axis, get_at, same_value
from harness.study.spec import VARIANT
from harness.study.trials.conditions import Filled, Varied, is_active
from harness.study.trials.grid import units
from harness.study.trials.plan import Plan
from harness.workload import JsonValue

Dimension: TypeAlias = tuple[BaseDistribution, tuple[str, ...], list[list[JsonValue]]]
"""The Optuna distribution, the axes that it sets and, for a list axis, the listed values."""
Identify: TypeAlias = Callable[[Varied], str | None]
"""Varied parameters -> trial id; None if the workload refuses them."""


def space_of(plan: Plan) -> dict[str, Dimension]:
    """Return name -> dimension; each one follows those that its condition refers to."""
    spec = plan.spec
    space: dict[str, Dimension] = {}
    if spec.variants:
        names: list[list[JsonValue]] = [[name] for name in spec.variants]
        space[VARIANT] = (CategoricalDistribution(range(len(names))), (VARIANT,), names)
    for unit in units(spec):
        axis = spec.search[unit[0]]
        if axis.bounds is not None:
            space[unit[0]] = (_range(axis), unit, [])
        else:
            columns = [spec.search[key].values or [] for key in unit]
            rows = [list(row) for row in zip(*columns, strict=True)]
            space["+".join(unit)] = (CategoricalDistribution(range(len(rows))), unit, rows)
    return space


def position_of(chosen: list[JsonValue], rows: list[list[JsonValue]]) -> int:
    """Return the index of the row with these values.

    Raises:
        ValueError: no row has them.
    """
    for position, row in enumerate(rows):
        if all(same_value(one, other) for one, other in zip(chosen, row, strict=True)):
            return position
    raise ValueError("no such row")


def baseline_in_space(
    plan: Plan, space: Mapping[str, Dimension], filled: Filled, identify: Identify
) -> Varied | None:
    """Return the baseline's value on each active axis; None if one lies outside the space.

    Args:
        plan: The study.
        space: Its dimensions.
        filled: Its variants; see ``harness.study.trials.conditions``.
        identify: Maps varied parameters to the id of their trial.
    """
    baseline = plan.fixed[0]
    found: Varied = {}
    for _, keys, choices in space.values():
        axis = plan.spec.search.get(keys[0])
        if axis is not None and not is_active(plan.spec, axis, found, filled):
            continue
        given = [
            baseline.varied[key] if key in baseline.varied else get_at(baseline.params, key)
            for key in keys
        ]
        if choices:
            values = _choice(baseline, keys, given, choices, identify)
        else:
            values = given if axis is not None and is_in_range(given[0], axis) else None
        if values is None:
            return None
        found |= dict(zip(keys, values, strict=True))
    return found


def value_at(distribution: BaseDistribution, share: float) -> float:
    """Return the value below which ``share`` of the distribution lies."""
    if isinstance(distribution, CategoricalDistribution):
        return min(int(share * len(distribution.choices)), len(distribution.choices) - 1)
    assert isinstance(distribution, FloatDistribution | IntDistribution)
    low, high = float(distribution.low), float(distribution.high)
    if isinstance(distribution, IntDistribution):  # give every integer the same width
        low, high = low - 0.5, high + 0.5
    if distribution.log:
        value = math.exp(math.log(low) + share * (math.log(high) - math.log(low)))
    else:
        value = low + share * (high - low)
    if isinstance(distribution, IntDistribution):
        value = round(value)
    return min(max(value, distribution.low), distribution.high)


def is_in_range(value: JsonValue, axis: Axis) -> bool:
    """Whether the axis is a range that contains this value."""
    if axis.bounds is None or isinstance(value, bool) or not isinstance(value, int | float):
        return False
    low, high = axis.bounds
    return low <= value <= high and (not axis.is_whole or float(value).is_integer())


def _choice(
    baseline: Trial,
    keys: Sequence[str],
    given: list[JsonValue],
    choices: list[list[JsonValue]],
    identify: Identify,
) -> list[JsonValue] | None:
    """Return the listed row that equals the baseline, or that gives the same trial."""
    try:
        return choices[position_of(given, choices)]
    except ValueError:  # the workload may fill in defaults that the row leaves out
        for row in choices:
            varied = dict(baseline.varied) | dict(zip(keys, row, strict=True))
            if identify(varied) == baseline.trial_id:
                return row
    return None


def _range(axis: Axis) -> BaseDistribution:
    assert axis.bounds is not None
    low, high = axis.bounds
    if axis.is_whole:
        return IntDistribution(int(low), int(high), log=axis.is_log)
    return FloatDistribution(low, high, log=axis.is_log)
