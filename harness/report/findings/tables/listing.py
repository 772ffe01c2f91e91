"""Choose the trials that a table lists."""

from __future__ import annotations

from harness.report.data.study_data import StudyTables, TrialRow, View

MOST_ROWS = 100
"""Maximum number of trials in a table of the page; the rest are in the CSV and the database."""


def listed_trials(tables: StudyTables, view: View) -> tuple[TrialRow, ...]:
    """Return the trials of a table: all, or if too many the best, the baseline and the controls."""
    ordered = tables.ordered(view)
    if len(ordered) <= MOST_ROWS:
        return ordered
    best = set(tables.ranked(view)[:MOST_ROWS])
    return tuple(t for t in ordered if t in best or t.is_baseline or t.is_control)
