"""List the studies of a results folder."""

from __future__ import annotations

from datetime import datetime
from typing import NamedTuple

import duckdb


class StudyLine(NamedTuple):
    """One line of the list of studies."""

    study: str
    question: str
    metric: str
    sampler: str
    trials: int
    runs: int
    """Number of runs planned so far."""
    done: int
    failed: int
    pruned: int
    """Runs stopped early, and runs skipped because their trial was pruned."""
    updated: datetime
    """UTC, without a time zone."""


def list_studies(con: duckdb.DuckDBPyConnection) -> list[StudyLine]:
    """Return all studies, sorted by name."""
    rows = con.execute(
        """
        SELECT
            study, any_value(question), any_value(metric), any_value(sampler),
            count(DISTINCT trial_id), count(member.run_id),
            count(*) FILTER (run.state = 'done' AND NOT is_pruned),
            count(*) FILTER (run.state = 'failed' AND NOT is_pruned),
            count(*) FILTER (is_pruned),
            any_value(updated)
        FROM study
        LEFT JOIN trial USING (study)
        LEFT JOIN member USING (trial_id)
        LEFT JOIN run USING (run_id)
        GROUP BY study
        ORDER BY study
        """
    ).fetchall()
    return [StudyLine(*row) for row in rows]
