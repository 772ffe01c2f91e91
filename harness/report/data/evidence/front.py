"""Read the metrics of the trials of a study with several, and which trials are on the front."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from harness.report.data.study_data import StudyTables, TrialRow
from harness.store.database import Connection
from harness.store.typed_rows import read_rows

_POINTS = """
SELECT trial_id, metric, direction, value, on_front, seconds, peak_mib FROM pareto
WHERE study = ? AND split = ? ORDER BY number, place
"""


@dataclass(frozen=True, slots=True)
class Axis:
    """One of several metrics."""

    name: str
    direction: str
    """``maximise`` or ``minimise``."""


@dataclass(frozen=True, slots=True)
class Point:
    """A trial with a value for every metric."""

    trial: TrialRow
    values: tuple[float, ...]
    """Means over seeds, the primary metric first."""
    on_front: bool
    """Whether no other trial is as good in all metrics and better in one."""
    seconds: float | None
    peak_mib: float | None


@dataclass(frozen=True, slots=True)
class Front:
    """The trials of a study with several metrics."""

    split: str
    axes: tuple[Axis, ...]
    points: tuple[Point, ...]
    """By number."""

    @property
    def kept(self) -> Sequence[Point]:
        """The points on the front, best by the primary metric first."""
        found = [point for point in self.points if point.on_front]
        return sorted(found, key=lambda point: (-point.values[0], point.trial.number))


def read_front(con: Connection, tables: StudyTables) -> Front | None:
    """Return the front of the trials of ``tables``; None if the study has one metric."""
    split = tables.decisive.split
    trials = {trial.trial_id: trial for trial in tables.trials}
    axes: dict[str, Axis] = {}
    values: dict[str, list[float]] = {}
    shown = {}
    for trial_id, name, direction, value, *more in read_rows(
        con, _POINTS, [tables.study.name, split]
    ):
        if trial_id in trials:
            axes[name] = Axis(name, direction)
            values.setdefault(trial_id, []).append(value)
            shown[trial_id] = more
    if not values:
        return None
    points = tuple(
        Point(trials[trial_id], tuple(point), *shown[trial_id])
        for trial_id, point in values.items()
    )
    return Front(split, tuple(axes.values()), points)
