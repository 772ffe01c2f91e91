"""Tabulate the folds of a cross-validation."""

from __future__ import annotations

import statistics

from harness.report.data.study_data import StudyTables, View
from harness.report.findings.estimates import NONE, decimal
from harness.report.findings.tables.listing import listed_trials
from harness.report.html.elements.escape import label
from harness.report.html.elements.tables import data_table, table_row


def folds_table(tables: StudyTables, view: View) -> str:
    """Tabulate each fold's mean over seeds, for one measure on one split."""
    found: dict[tuple[str, int], list[float]] = {}
    for run in tables.runs:
        if (value := tables.fold_values.get((view, run.run_id))) is not None:
            found.setdefault((run.trial_id, run.fold), []).append(value)
    folds = range(1, tables.folds + 1)
    rows = []
    for trial in listed_trials(tables, view):
        values = [found.get((trial.trial_id, fold)) for fold in folds]
        cells = [NONE if each is None else decimal(statistics.fmean(each), 4) for each in values]
        rows.append(table_row(label(trial.label), cells))
    caption = f"{view.text}, fold by fold: means over seeds"
    return data_table(caption, ["trial", *(f"fold {fold}" for fold in folds)], rows)
