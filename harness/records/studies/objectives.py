"""What a study with several metrics maximises and minimises, and the value of each for a trial.

An objective is a metric that runs report, or a number among a trial's parameters, such as the size
of the embedding. Both are the same whenever a run is repeated, so a search may go by them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal, NamedTuple, TypeAlias

from harness.records.trial import flat
from harness.workload import JsonValue

Direction: TypeAlias = Literal["maximise", "minimise"]


class Objective(NamedTuple):
    """One of several metrics."""

    name: str
    direction: Direction

    @property
    def sign(self) -> int:
        """By this its values are multiplied, so that more is better."""
        return 1 if self.direction == "maximise" else -1


def objectives_in(spec: Mapping[str, JsonValue]) -> tuple[Objective, ...]:
    """Return the objectives of a recorded study, the primary metric first; () if it has one."""
    metrics = spec.get("metric")
    if not isinstance(metrics, list):
        return ()
    return tuple(objective for each in metrics for objective in _named(each))


def parameter(params: Mapping[str, JsonValue], name: str) -> float | None:
    """Return the number among ``params`` with this dotted key, or this last part of one.

    None if there is none, or if several keys end with it.
    """
    numbers = {
        key: float(value)
        for key, value in flat(params).items()
        if isinstance(value, int | float) and not isinstance(value, bool)
    }
    if name in numbers:
        return numbers[name]
    found = [value for key, value in numbers.items() if key.rpartition(".")[2] == name]
    return found[0] if len(found) == 1 else None


def value_of(
    name: str, params: Mapping[str, JsonValue], means: Sequence[float | None]
) -> float | None:
    """Return the value of an objective for a trial; None if it has none.

    Args:
        name: Of the objective.
        params: The parameters of the trial, which come first.
        means: Mean results of that name: on the split, and without a split.
    """
    own = parameter(params, name)
    return own if own is not None else next((mean for mean in means if mean is not None), None)


def _named(metric: JsonValue) -> list[Objective]:
    if isinstance(metric, str):
        return [Objective(metric, "maximise")]
    if not isinstance(metric, dict):
        return []
    directions: tuple[Direction, ...] = ("maximise", "minimise")
    return [Objective(str(metric[key]), key) for key in directions if metric.get(key) is not None]
