"""Measure whether a label-free criterion ranks runs as Recall@1 does, where both are known.

A workload names its criterion in a run's fact ``criterion``; a study's own metric counts as well.
All finished runs of the study's workload count, whichever study asked for them, except controls: an
untrained network would make any agreement look better.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import duckdb

from harness.report.data.study_data import StudyTables
from harness.stats import paired
from harness.store.typed_rows import read_rows
from harness.workload import JsonValue

REFERENCE = "recall@1"
MOST_DATA = 6
"""Maximum number of data sets shown: those with the most runs."""
FEWEST_RUNS = 5
"""With fewer runs a rank correlation says nothing."""

_PAIRS = """
WITH mine AS (
    SELECT DISTINCT run.workload, run.data
    FROM trial JOIN member USING (trial_id) JOIN run USING (run_id)
    WHERE trial.study = $study
),
chosen AS (
    SELECT DISTINCT run_id, run.data, run.params, run.facts
    FROM trial JOIN member USING (trial_id) JOIN run USING (run_id)
    WHERE run.state = 'done' AND trial.role <> 'control'
        AND run.workload IN (SELECT workload FROM mine)
)
SELECT
    coalesce(chosen.data, ''), chosen.data IN (SELECT data FROM mine), chosen.params,
    score.name, score.value, recall.recall
FROM chosen
JOIN score ON score.run_id = chosen.run_id AND score.split = 'val'
JOIN recall ON recall.run_id = chosen.run_id AND recall.split = 'val' AND recall.k = 1
WHERE score.name IN ($metric, json_extract_string(chosen.facts, '$.criterion'))
    AND isfinite(score.value) AND isfinite(recall.recall)
ORDER BY chosen.data, score.name, chosen.run_id
"""


@dataclass(frozen=True, slots=True)
class Agreement:
    """One criterion on one data set."""

    criterion: str
    data: str
    """Name of the data."""
    is_own: bool
    """Whether it is the study's own data."""
    points: tuple[tuple[float, float], ...]
    """Criterion and Recall@1 of each run, both on validation classes."""
    rho: float | None
    """Spearman's rank correlation; None if either of the two is constant."""


def rho_text(found: Agreement) -> str:
    """Format the rank correlation."""
    if found.rho is None:
        return "no rank correlation (one of the two is constant)"
    return f"Spearman\N{RIGHT SINGLE QUOTATION MARK}s \N{GREEK SMALL LETTER RHO} = {found.rho:.2f}"


def read_agreement(con: duckdb.DuckDBPyConnection, tables: StudyTables) -> tuple[Agreement, ...]:
    """Return the study's own data first, then those with the most runs; empty if none has both."""
    rows = read_rows(con, _PAIRS, {"study": tables.study.name, "metric": tables.study.metric})
    points: dict[tuple[str, str], list[tuple[float, float]]] = {}
    names: dict[str, str] = {}
    own: set[str] = set()
    for data, is_own, params, criterion, value, recall in rows:
        points.setdefault((data, criterion), []).append((value, recall))
        names.setdefault(data, _name(params, data))
        if is_own:
            own.add(data)
    found = [
        Agreement(
            criterion=criterion,
            data=names[data],
            is_own=data in own,
            points=tuple(pairs),
            rho=paired.spearman([x for x, _ in pairs], [y for _, y in pairs]),
        )
        for (data, criterion), pairs in points.items()
        if len(pairs) >= FEWEST_RUNS
    ]
    found.sort(key=lambda one: (not one.is_own, -len(one.points), one.data, one.criterion))
    return tuple(found[:MOST_DATA])


def _name(params: Mapping[str, JsonValue], data: str) -> str:
    """Name the data for a reader: name and folder, else the start of the digest."""
    given = params.get("data")
    parts: list[str] = []
    if isinstance(given, dict):
        root = given.get("root")
        parts += [name] if isinstance(name := given.get("name"), str) else []
        parts += [Path(root).name] if isinstance(root, str) else []
    return " ".join(parts) or data[:8] or "the same data"
