"""Write the index page of a results folder, and the study pages it links to."""

from __future__ import annotations

import urllib.parse
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from harness.errors import HarnessError, InputError, StoreBusyError
from harness.report.data.load import load_tables
from harness.report.data.mixture import mixture_of
from harness.report.data.study_data import StudyTables, TrialRow, View
from harness.report.findings.answer import answer
from harness.report.findings.estimates import NONE, decimal, difference_text, range_text
from harness.report.html.document import INDEX, document, file_stem, write_page
from harness.report.html.elements.escape import escaped, label
from harness.report.html.elements.layout import mixture_notice, note
from harness.report.html.elements.tables import data_table, table_row, tags
from harness.report.study_page import BADGES, divided, write_report
from harness.store.database import connect, database_path
from harness.store.studies import StudyLine, list_studies

WAIT_S = 10.0
_SHOWN_TRIALS = 3
_STATES = ("done", "failed", "pruned", "running", "waiting")


class Problem(NamedTuple):
    """A study whose page could not be written."""

    study: str
    reason: str
    """One line."""


class Written(NamedTuple):
    """The pages written, and the studies that failed."""

    path: Path
    """Of the index page."""
    pages: tuple[Path, ...]
    problems: tuple[Problem, ...]


class Entry(NamedTuple):
    """A study on the index page."""

    line: StudyLine
    tables: StudyTables | None
    """None if they could not be read."""
    problem: str | None


def write_all(results: Path, reports: Path) -> Written:
    """Write each study's page and the index; a failing study does not stop the others.

    Raises:
        InputError: ``results`` is no folder, or the pages cannot be written.
        StoreError: the database cannot be read.
    """
    entries, pages, problems = [], [], []
    for line in _studies(results):
        try:
            path = write_report(results, line.study, reports)
            entry = Entry(line, load_tables(results, line.study), None)
            pages.append(path)
        except StoreBusyError:
            raise
        except Exception as error:  # one broken study must not cost the other pages
            kind = "" if isinstance(error, HarnessError) else f"{type(error).__name__}: "
            reason = kind + " ".join(str(error).split())
            entry = Entry(line, None, reason)
            problems.append(Problem(line.study, reason))
        entries.append(entry)
    index = write_page(reports / f"{INDEX}.html", render_index(entries))
    return Written(index, tuple(pages), tuple(problems))


def render_index(entries: Sequence[Entry]) -> str:
    """Render the index page, newest plan first."""
    ordered = sorted(entries, key=lambda entry: entry.line.study)
    ordered.sort(key=lambda entry: entry.line.updated, reverse=True)
    head = '<header><p class="kind">Ablation reports</p><h1>All studies</h1></header>'
    if not ordered:
        words = (
            "There is no study in this results folder yet. Run one with harness run; if there are "
            "spools but no database, harness rebuild recreates it."
        )
        return document("All studies", f"{head}\n<main>\n{note(words)}</main>\n")
    parts = [_table_of(ordered), *(_entry(entry) for entry in ordered)]
    return document("All studies", f"{head}\n<main>\n{''.join(parts)}</main>\n")


def _studies(results: Path) -> list[StudyLine]:
    """List the studies of a folder; none if it has no database."""
    if results.exists() and not results.is_dir():
        raise InputError(f"{results}: a file, not a results folder; choose another with --results")
    if not database_path(results).exists():
        return []
    with connect(results, read_only=True, wait_s=WAIT_S) as con:
        return list_studies(con)


def _table_of(entries: Sequence[Entry]) -> str:
    """Tabulate the state of the studies, one row each."""
    rows = []
    for entry in entries:
        line = entry.line
        states = _states(entry)
        cells = [
            str(line.trials),
            str(line.runs),
            str(states["done"]),
            str(states["running"]),
            str(states["failed"]),
            str(line.pruned),
            _date(line),
        ]
        rows.append(table_row(_link(line.study), cells))
    heads = ["study", "trials", "runs", "done", "running", "failed", "pruned", "updated (UTC)"]
    return data_table("Studies, newest plan first", heads, rows)


def _entry(entry: Entry) -> str:
    """Render a study's question, its answer and how certain it is, and its top trials."""
    line = entry.line
    head = f'<section><h2>{_link(line.study)}</h2><p class="question">{escaped(line.question)}</p>'
    if entry.tables is None:
        why = f"No page could be written: {entry.problem}"
        return f'{head}<p class="notice">{escaped(why)}</p></section>\n'
    tables, _ = divided(entry.tables)
    found = answer(tables)
    states = _states(entry)
    said = ", ".join(f"{states[name]} {name}" for name in _STATES if states[name]) or "no run yet"
    return (
        f"{head}{mixture_notice(mixture_of(tables))}"
        f'<div class="answer"><span class="badge">{escaped(BADGES[found.label])}</span>'
        f'<p class="claim">{escaped(found.claim)}</p></div>'
        f"{_first_trials(tables)}{note(f'Runs: {said}. Updated {_date(line)} UTC.')}</section>\n"
    )


def _date(line: StudyLine) -> str:
    return f"{line.updated:%Y-%m-%d %H:%M}"


def _states(entry: Entry) -> Counter[str]:
    """Count the runs in each state."""
    line = entry.line
    if entry.tables is None:
        return Counter(done=line.done, failed=line.failed)
    found = Counter(run.state for run in entry.tables.runs)
    found["waiting"] = found.pop("queued", 0)
    return found


def _first_trials(tables: StudyTables) -> str:
    """Tabulate the best trials and the baseline on the study's own measure."""
    view = tables.primary
    if view is None:
        return ""
    shown = list(tables.ranked(view)[:_SHOWN_TRIALS])
    baseline = tables.baseline
    if baseline is not None and baseline not in shown:
        shown.append(baseline)
    rows = [
        table_row(
            label(trial.label) + tags(baseline=trial.is_baseline), _cells(tables, view, trial)
        )
        for trial in shown
    ]
    caption = view.text
    return data_table(caption, ["trial", "mean", "95 % interval", "seeds", "difference"], rows)


def _cells(tables: StudyTables, view: View, trial: TrialRow) -> list[str]:
    summary = tables.summary(view, trial)
    if summary is None:
        return [NONE] * 4
    compared = tables.comparison(view, trial)
    difference = NONE if compared is None else escaped(difference_text(compared))
    return [decimal(summary.mean), range_text(summary), str(summary.n), difference]


def _link(study: str) -> str:
    target = urllib.parse.quote(f"{file_stem(study)}.html")
    return f'<a href="{target}">{escaped(study)}</a>'
