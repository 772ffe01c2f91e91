"""Measure whether a label-free criterion ranks runs as Recall@1 does, where both are known.

A workload names its criterion in a run's fact ``criterion``; a study's own metric counts as well.
All finished runs of the study's workload count, whichever study asked for them, except controls: an
untrained network would make any agreement look better.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from harness.report.data.study_data import StudyTables
from harness.stats import paired
from harness.store.database import Connection
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
SELECT name, any_value(params), data, bool_or(is_own), list([value, recall] ORDER BY run_id)
FROM (
    SELECT
        score.name, chosen.run_id, coalesce(chosen.data, '') AS data, score.value, recall.recall,
        coalesce(chosen.data IN (SELECT data FROM mine), false) AS is_own,
        first_value(chosen.params) OVER (
            PARTITION BY chosen.data ORDER BY score.name, chosen.run_id
        ) AS params
    FROM chosen
    JOIN score ON score.run_id = chosen.run_id AND score.split = 'val'
    JOIN recall ON recall.run_id = chosen.run_id AND recall.split = 'val' AND recall.k = 1
    WHERE score.name IN ($metric, json_extract_string(chosen.facts, '$.criterion'))
        AND isfinite(score.value) AND isfinite(recall.recall)
)
GROUP BY data, name
HAVING count(*) >= $fewest
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


def read_agreement(con: Connection, tables: StudyTables) -> tuple[Agreement, ...]:
    """Return the study's own data first, then those with the most runs; empty if none has both."""
    study = tables.study
    given = {"study": study.name, "metric": study.metric, "fewest": FEWEST_RUNS}
    found = [
        Agreement(
            criterion=criterion,
            data=_name(params, data),
            is_own=is_own,
            points=tuple((x, y) for x, y in points),
            rho=paired.spearman([x for x, _ in points], [y for _, y in points]),
        )
        for criterion, params, data, is_own, points in read_rows(con, _PAIRS, given)
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
