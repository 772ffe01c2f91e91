"""Find the Pareto front of a study with several metrics, in the table ``pareto_point``."""

from __future__ import annotations

import json
import math
import statistics
from collections import defaultdict
from collections.abc import Mapping
from typing import NamedTuple

import duckdb

from harness.records.studies.objectives import Objective, objectives_in, value_of
from harness.stats.pareto import on_front
from harness.store.tables.bulk_rows import Row, insert_rows
from harness.workload import JsonValue

Quantity = tuple[str, str]
Values = Mapping[str, Mapping[Quantity, Mapping[int, float]]]
"""Trial -> split and metric -> the value of each finished seed."""


class _Trial(NamedTuple):
    trial_id: str
    phase: str
    params: Mapping[str, JsonValue]
    planned: int


def refresh_fronts(con: duckdb.DuckDBPyConnection, study: str, values: Values) -> None:
    """Recompute the front of ``study`` on each split; none if it has one metric.

    Only trials with all objectives on all their seeds count; controls are no candidates, and a
    search and its confirmation have a front each. Runs inside the caller's transaction.

    Args:
        con: The database.
        study: Its name.
        values: Of its finished runs.
    """
    con.execute("DELETE FROM pareto_point WHERE study = $1", [study])
    row = con.execute("SELECT spec FROM study WHERE study = $1", [study]).fetchone()
    objectives = objectives_in(json.loads(row[0])) if row else ()
    if not objectives:
        return
    points: defaultdict[tuple[str, str], dict[str, list[float]]] = defaultdict(dict)
    for trial in _candidates(con, study):
        found = values.get(trial.trial_id, {})
        for split in {split for split, name in found if name == objectives[0].name}:
            if point := _point(trial, split, objectives, found):
                points[trial.phase, split][trial.trial_id] = point
    rows: list[Row] = []
    for (_, split), by_trial in points.items():
        signed = [
            [each.sign * value for each, value in zip(objectives, point, strict=True)]
            for point in by_trial.values()
        ]
        for (trial_id, point), is_kept in zip(by_trial.items(), on_front(signed), strict=True):
            rows += [
                {
                    "study": study,
                    "trial_id": trial_id,
                    "split": split,
                    "place": place,
                    "metric": objective.name,
                    "direction": objective.direction,
                    "value": value,
                    "on_front": is_kept,
                }
                for place, (objective, value) in enumerate(zip(objectives, point, strict=True))
            ]
    insert_rows(con, "pareto_point", rows)


def _candidates(con: duckdb.DuckDBPyConnection, study: str) -> list[_Trial]:
    rows = con.execute(
        """
        SELECT trial_id, any_value(phase), any_value(params), count(member.run_id)
        FROM trial JOIN member USING (trial_id)
        WHERE study = $1 AND role <> 'control' AND pruned IS NULL
        GROUP BY trial_id, number ORDER BY number
        """,
        [study],
    ).fetchall()
    return [_Trial(trial, phase, json.loads(params), n) for trial, phase, params, n in rows]


def _point(
    trial: _Trial,
    split: str,
    objectives: tuple[Objective, ...],
    found: Mapping[Quantity, Mapping[int, float]],
) -> list[float] | None:
    """Return the value of each objective of a trial on a split; None unless it has all."""
    point = []
    for objective in objectives:
        results = [found.get((each, objective.name), {}) for each in (split, "")]
        means = [
            statistics.fmean(by_seed.values()) if len(by_seed) == trial.planned else None
            for by_seed in results
        ]
        value = value_of(objective.name, trial.params, means)
        if value is None or not math.isfinite(value):
            return None
        point.append(value)
    return point
