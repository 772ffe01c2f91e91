"""Collect the parameters of a search: their values in each trial, and their importance.

Only trials of the search count, never those of its confirmation. A trial's value is the mean over
its seeds of what the search maximised.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from harness.report.data.study_data import StudyTables, TrialRow
from harness.report.findings.axes.swept_axes import SweptAxis, shown, swept_axes
from harness.search.importance import FEWEST_TRIALS, Dimension, Importances, importances, usable
from harness.workload import JsonValue

VARIANT = "variant"
_RANGES = ("uniform", "loguniform", "int", "logint")


@dataclass(frozen=True, slots=True)
class Parameter:
    """One parameter of a search."""

    title: str
    dimension: Dimension
    texts: tuple[str, ...]
    """Its choices in words, by index; empty for a range."""
    values: Mapping[str, float]
    """trial_id -> value, or index of the choice; a trial that does not set it is left out."""

    def height(self, trial_id: str) -> float | None:
        """Return a trial's position on the parameter's axis, 0 to 1; None if it does not set it."""
        value = self.values.get(trial_id)
        one = self.dimension
        if value is None:
            return None
        if one.choices:
            return share(value, 0.0, one.choices - 1.0)
        if one.is_log:
            return share(math.log(value), math.log(one.low), math.log(one.high))
        return share(value, one.low, one.high)

    def at(self, height: float) -> float:
        """Return the value of a range at a height from 0 to 1."""
        one = self.dimension
        if one.is_log:
            return float(f"{one.low * (one.high / one.low) ** height:.6g}")
        return float(f"{one.low + height * (one.high - one.low):.6g}")


@dataclass(frozen=True, slots=True)
class Searched:
    """The finished trials of a search that lie in its space."""

    parameters: tuple[Parameter, ...]
    """Most important first; in the order of the study file if that is unknown."""
    trials: tuple[TrialRow, ...]
    """By number."""
    values: Mapping[str, float]
    """trial_id -> score."""
    left_out: int
    """Number of finished trials outside the space, such as a baseline that sets none of its
    parameters."""
    importances: Importances | None
    measure: str
    """What the search maximised, in words."""

    def why_no_importances(self) -> str:
        """Explain why there are no importances; empty if there is only one parameter."""
        if self.importances is not None or len(self.parameters) < 2:
            return ""
        if len(self.trials) < FEWEST_TRIALS:
            return (
                f"Parameter importance is not estimated: that needs {FEWEST_TRIALS} finished "
                f"trials in the search space, and there are {len(self.trials)}."
            )
        return "Parameter importance cannot be estimated: no parameter made a difference."


def searched(search: StudyTables) -> Searched:
    """Return the parameters of a search, and the scores of its trials on its primary measure."""
    view = search.primary
    finished = [
        trial
        for trial in sorted(search.contenders, key=lambda trial: trial.number)
        if view is not None and (view, trial.trial_id) in search.summaries
    ]
    found = _parameters(search, finished)
    points = {t.trial_id: _point(found, t.trial_id) for t in finished}
    dimensions = [each.dimension for each in found]
    inside = [t for t in finished if usable(dimensions, [points[t.trial_id]])]
    values = {
        t.trial_id: search.summaries[view, t.trial_id].mean for t in inside if view is not None
    }
    known = importances(
        dimensions, [points[t.trial_id] for t in inside], [values[t.trial_id] for t in inside]
    )
    if known is not None:
        order = {name: place for place, name in enumerate(known.shares)}
        found.sort(key=lambda each: order.get(each.dimension.name, len(order)))
    return Searched(
        parameters=tuple(found),
        trials=tuple(inside),
        values=values,
        left_out=len(finished) - len(inside),
        importances=known,
        measure=view.title if view else "",
    )


def share(value: float, low: float, high: float) -> float:
    """Return where a value lies between two others, from 0 to 1; 0.5 if these are equal."""
    return (value - low) / (high - low) if high > low else 0.5


def _point(parameters: Sequence[Parameter], trial_id: str) -> dict[str, float]:
    return {p.dimension.name: p.values[trial_id] for p in parameters if trial_id in p.values}


def _parameters(search: StudyTables, trials: Sequence[TrialRow]) -> list[Parameter]:
    """Return what was varied; tied parameters count as one."""
    spec = search.study.spec
    axes = spec.get("search")
    ties = spec.get("zip")
    others: dict[str, list[str]] = {}
    for tie in ties if isinstance(ties, list) else []:
        if isinstance(tie, list) and tie:
            others[str(tie[0])] = [str(key) for key in tie[1:]]
    follows = {key for tied in others.values() for key in tied}
    swept = {axis.key: axis for axis in swept_axes(search) if axis.key != "trial"}
    found = []
    for key, axis in swept.items():
        if key in follows:
            continue
        given = axes.get(key) if isinstance(axes, dict) else None
        tied = [swept[other].title for other in others.get(key, []) if other in swept]
        one = _parameter(axis, trials, given if isinstance(given, dict) else {})
        found.append(replace(one, title=" + ".join([axis.title, *tied])))
    return found


def _parameter(
    axis: SweptAxis, trials: Sequence[TrialRow], given: Mapping[str, JsonValue]
) -> Parameter:
    is_variant = axis.key == VARIANT
    raw: dict[str, JsonValue] = {
        t.trial_id: t.variant if is_variant else t.varied[axis.key]
        for t in trials
        if (t.variant is not None if is_variant else axis.key in t.varied)
    }
    kind = next((kind for kind in _RANGES if given.get(kind)), None)
    is_conditional = bool(given.get("when"))
    numbers = {trial: float(v) for trial, v in raw.items() if isinstance(v, int | float)}
    bounds = given.get(kind) if kind else None
    if kind is not None and isinstance(bounds, list) and len(numbers) == len(raw):
        low, high = (float(str(bound)) for bound in bounds)
        one = Dimension(axis.key, low, high, kind.startswith("log"), is_conditional=is_conditional)
        return Parameter(axis.title, one, (), numbers)
    texts = _choices(raw)
    one = Dimension(axis.key, choices=len(texts), is_conditional=is_conditional)
    places = {text: float(place) for place, text in enumerate(texts)}
    return Parameter(axis.title, one, texts, {t: places[shown(value)] for t, value in raw.items()})


def _choices(raw: Mapping[str, JsonValue]) -> tuple[str, ...]:
    """Return the distinct values as text: numbers ascending, others in the order of the trials."""
    values = list(raw.values())
    if all(isinstance(v, int | float) and not isinstance(v, bool) for v in values):
        values.sort(key=lambda value: float(str(value)))
    return tuple(dict.fromkeys(shown(value) for value in values))
