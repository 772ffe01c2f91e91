"""Build a study's table for a paper: mean ± half its interval, difference from the baseline, p.

The numbers are those of the report; here they become cells, which ``text_table`` formats.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from harness.report.data.mixture import mixture_of
from harness.report.data.study_data import Comparison, StudyTables, Summary, TrialRow, View
from harness.report.findings.estimates import (
    decimal,
    p_text,
    plus_minus,
    signed,
    signed_interval,
)
from harness.report.findings.tables.listing import listed_trials
from harness.report.findings.tables.text_table import latex_table, markdown_escaped, markdown_table
from harness.stats.paired import MIN_SEEDS_FOR_TEST

_DIGITS = 4
MOST_BESIDE = 3
"""Maximum number of extra columns, for Recall@K at other K."""


class PaperTable(NamedTuple):
    """A table of text cells."""

    caption: str
    headings: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    rules: tuple[int, ...]
    """Positions of rows with a rule above."""
    note: str
    """How the environments of the runs differ; empty if they do not."""

    def latex(self, label: str) -> str:
        """Return the table as LaTeX with booktabs; ``label`` is its LaTeX label."""
        caption = f"{self.caption} {self.note}".rstrip()
        return latex_table(self.headings, self.rows, caption=caption, label=label, rules=self.rules)

    def markdown(self) -> str:
        """Return the table as Markdown, with the note above and the caption below."""
        note = f"**Note.** {markdown_escaped(self.note)}\n\n" if self.note else ""
        table = markdown_table(self.headings, self.rows)
        return f"{note}{table}\n{markdown_escaped(self.caption)}\n"


def paper_table(tables: StudyTables, *, is_whole: bool = True) -> PaperTable:
    """Tabulate the trials by the study's metric, confirmed trials only if there are any.

    Controls come last, below a rule. A trial without a finished run has empty cells. Unless
    ``is_whole``, a long table has only the rows that the page shows.
    """
    shown = tables.of_phase(tables.phases[-1]) if tables.phases else tables
    view = shown.decisive
    trials = shown.ordered(view) if is_whole else listed_trials(shown, view)
    planned = shown.planned()
    beside = [
        View(view.split, measure)
        for measure in shown.measures()
        if measure.startswith("recall@") and measure != view.measure
    ][:MOST_BESIDE]
    compared = shown.compared(view)
    with_p = not shown.is_search and any(not found.exploratory for found in compared)
    rows = [
        _row(
            trial,
            shown.summary(view, trial),
            shown.comparison(view, trial),
            planned[trial.trial_id],
            [shown.summary(other, trial) for other in beside],
            with_p=with_p,
        )
        for trial in trials
    ]
    first_control = next((at for at, trial in enumerate(trials) if trial.is_control), None)
    measure = view.label
    headings = [
        *("trial", f"{measure} ({view.split})"),
        *(other.label for other in beside),
        *("seeds", "difference", "95 % interval"),
        *(("p", "p (Holm)") if with_p else ()),
    ]
    mixed = mixture_of(shown)
    return PaperTable(
        _caption(shown, view, compared),
        tuple(headings),
        tuple(rows),
        () if first_control is None else (first_control,),
        "" if mixed is None else mixed.text,
    )


def _row(
    trial: TrialRow,
    summary: Summary | None,
    comparison: Comparison | None,
    planned: int,
    beside: Sequence[Summary | None],
    *,
    with_p: bool,
) -> tuple[str, ...]:
    label = f"{trial.label} (baseline)" if trial.is_baseline else trial.label
    mean = "" if summary is None else plus_minus(summary, _DIGITS)
    others = ["" if other is None else decimal(other.mean, _DIGITS) for other in beside]
    n = 0 if summary is None else summary.n
    cells = (label, mean, *others, f"{n}" if n == planned else f"{n}/{planned}")
    if comparison is None:
        return (*cells, "", "", *(("", "") if with_p else ()))
    difference = (
        signed(comparison.difference, _DIGITS),
        signed_interval(comparison, _DIGITS),
    )
    if not with_p:
        return (*cells, *difference)
    tests = ("" if p is None else p_text(p) for p in (comparison.p, comparison.p_holm))
    return (*cells, *difference, *tests)


def _caption(tables: StudyTables, view: View, compared: Sequence[Comparison]) -> str:
    """Say what a reader has to know about the numbers."""
    seeds = len({run.seed for run in tables.runs})
    over = "over 1 seed" if seeds == 1 else f"± half its 95 % t-interval over up to {seeds} seeds"
    said = [f"{tables.study.question} {view.label} on {view.split} classes: mean {over}."]
    if compared:
        intervals = ", with their 95 % t-intervals" if any(each.n > 1 for each in compared) else ""
        said.append(f"Differences from the baseline are paired by seed{intervals}.")
    if tables.is_search:
        said.append("Trials of a search, scored on the classes used to select them: no claim.")
        return " ".join(said)
    few = [each.exploratory for each in compared]
    if not all(few):
        said.append("p is from a sign-flip test, before and after Holm's correction.")
    if few and all(few):
        said.append("Exploratory: too few seeds for any verdict, so no p is given.")
    elif any(few):
        said.append(
            f"With fewer than {MIN_SEEDS_FOR_TEST} pairs a row is exploratory and has no p."
        )
    return " ".join(said)
