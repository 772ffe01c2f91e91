"""Which trials a table lists."""

from __future__ import annotations

from harness.report.data.load import ordered_trials
from harness.report.data.study_data import StudyTables, TrialRow, View

MOST_ROWS = 100
"""Trials in a table of the page; a study with more has the others in CSV and database."""


def listed_trials(tables: StudyTables, view: View) -> tuple[TrialRow, ...]:
    """The trials of a table: all, or where they are too many the best, baseline and controls."""
    ordered = ordered_trials(tables, view)
    if len(ordered) <= MOST_ROWS:
        return ordered
    best = set(tables.ranked(view)[:MOST_ROWS])
    return tuple(t for t in ordered if t in best or t.is_baseline or t.is_control)
