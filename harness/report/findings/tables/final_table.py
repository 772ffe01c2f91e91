"""The table and the answer that the terminal shows at the end of a study."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from harness.report.data.evidence.front import read_front
from harness.report.data.load import read_tables
from harness.report.data.mixture import mixture_of
from harness.report.data.study_data import Summary, TrialRow, View
from harness.report.findings.answer import answer
from harness.report.findings.components import headline
from harness.report.findings.front import front_text
from harness.store.database import reading


class FinalRow(NamedTuple):
    """A row of the table at the end of a study."""

    trial: TrialRow
    summary: Summary | None
    """None until a run has finished."""
    planned: int
    """Seeds that the study plans."""


class FinalTable(NamedTuple):
    """The primary measure of every trial, for the terminal."""

    view: View
    rows: tuple[FinalRow, ...]
    claim: str
    """The answer, as the page's first sentence gives it."""
    note: str
    """How the environments of the runs differ; empty if they do not."""
    decisions: tuple[str, ...] = ()
    """Of a study with ``stop``: what its looks decided about each trial."""
    front: str = ""
    """Of a study with several metrics: a sentence that names the Pareto front."""


def final_table(results: Path, study: str) -> FinalTable:
    """Return the primary measure of each trial of ``study``; a search is sorted best first.

    Raises:
        InputError: no such study in ``results``.
        StoreError: the database cannot be read.
    """
    with reading(results) as con:
        tables = read_tables(con, results, study)
        tables = tables.of_phase(tables.phases[-1]) if tables.phases else tables
        front = read_front(con, tables)
    view = tables.decisive
    planned = tables.planned()
    mixed = mixture_of(tables)
    return FinalTable(
        view,
        tuple(
            FinalRow(trial, tables.summary(view, trial), planned[trial.trial_id])
            for trial in tables.ordered(view)
        ),
        " ".join(filter(None, [answer(tables).claim, headline(tables)])),
        "" if mixed is None else mixed.text,
        tuple(
            f"{trial.label}: {tables.decisions[trial.trial_id]}"
            for trial in tables.contenders
            if trial.trial_id in tables.decisions
        ),
        front_text(front) if front else "",
    )
