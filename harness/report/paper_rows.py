"""A study's table as a paper prints it: mean, spread, difference to the baseline, p.

The numbers are those of the report; here they become cells, in ``paper_table`` text.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from harness.paper_table import latex_table, markdown_table
from harness.report.markup import listed_trials
from harness.report.numbers import Comparison, StudyTables, Summary, TrialRow, View
from harness.report.tables import measure_label, ordered_trials

MOST_BESIDE = 3
"""Recall@K for other K, in columns of their own."""


class PaperTable(NamedTuple):
    """A table of text."""

    caption: str
    headings: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    rules: tuple[int, ...]
    """Positions of rows above which a line belongs."""

    def latex(self, label: str) -> str:
        """As LaTeX with booktabs; ``label`` is what it is referred to by."""
        return latex_table(
            self.headings, self.rows, caption=self.caption, label=label, rules=self.rules
        )

    def markdown(self) -> str:
        """As Markdown, with the caption below."""
        return f"{markdown_table(self.headings, self.rows)}\n{self.caption}\n"


def paper_table(tables: StudyTables, *, is_whole: bool = True) -> PaperTable:
    """The trials by the study's metric, of the confirmation where there was one.

    Controls come last, below a line. A trial without a finished run has empty cells. Without
    ``is_whole`` a long table has the rows that the page shows.
    """
    shown = tables.of_phase(tables.phases[-1]) if tables.phases else tables
    view = shown.primary or View("val" if shown.is_search else "test", shown.study.metric)
    trials = ordered_trials(shown, view) if is_whole else listed_trials(shown, view)
    planned = shown.planned()
    beside = [
        View(view.split, measure)
        for measure in shown.measures()
        if measure.startswith("recall@") and measure != view.measure
    ][:MOST_BESIDE]
    rows = [
        _row(
            trial,
            shown.summaries.get((view, trial.trial_id)),
            shown.comparisons.get((view, trial.trial_id)),
            planned[trial.trial_id],
            [shown.summaries.get((other, trial.trial_id)) for other in beside],
            is_tested=not shown.is_search,
        )
        for trial in trials
    ]
    first_control = next((at for at, trial in enumerate(trials) if trial.is_control), None)
    measure = measure_label(view.measure)
    headings = [
        *("trial", f"{measure} ({view.split})", "95 % interval"),
        *(measure_label(other.measure) for other in beside),
        *("seeds", "difference", "95 % interval", "p", "p (Holm)"),
    ]
    return PaperTable(
        _caption(shown, view),
        tuple(headings),
        tuple(rows),
        () if first_control is None else (first_control,),
    )


def _row(
    trial: TrialRow,
    summary: Summary | None,
    comparison: Comparison | None,
    planned: int,
    beside: Sequence[Summary | None],
    *,
    is_tested: bool,
) -> tuple[str, ...]:
    label = f"{trial.label} (baseline)" if trial.is_baseline else trial.label
    if summary is None:
        return (label, "", "", *([""] * len(beside)), f"0/{planned}", "", "", "", "")
    spread = "" if summary.sd is None else f" ± {summary.sd:.4f}"
    others = ["" if other is None else f"{other.mean:.4f}" for other in beside]
    cells = (label, f"{summary.mean:.4f}{spread}", _interval(summary.low, summary.high), *others)
    seeds = f"{summary.n}" if summary.n == planned else f"{summary.n}/{planned}"
    if comparison is None:
        return (*cells, seeds, "", "", "", "")
    difference = (f"{comparison.difference:+.4f}", _interval(comparison.low, comparison.high))
    if not is_tested or comparison.exploratory:
        return (*cells, seeds, *difference, "", "")
    return (*cells, seeds, *difference, _p(comparison.p), _p(comparison.p_holm))


def _interval(low: float | None, high: float | None) -> str:
    return "" if low is None or high is None else f"[{low:.4f}, {high:.4f}]"


def _p(p: float | None) -> str:
    if p is None:
        return ""
    return "<0.0001" if p < 0.0001 else f"{p:.4f}"


def _caption(tables: StudyTables, view: View) -> str:
    """What a reader has to know of the numbers."""
    seeds = sorted({run.seed for run in tables.runs})
    sentences = [
        f"{tables.study.question} {measure_label(view.measure)} on {view.split} classes: mean ± "
        f"standard deviation over up to {len(seeds)} seeds, difference to the baseline paired by "
        "seed, each with its 95 % t-interval; p of a sign-flip test, and after Holm's correction."
    ]
    if tables.is_search:
        sentences.append("Trials of a search, scored on the classes that chose them: no claim.")
    elif _is_exploratory(list(tables.comparisons.values())):
        sentences.append("Exploratory: too few seeds for any verdict, so that no p is given.")
    return " ".join(sentences)


def _is_exploratory(comparisons: Sequence[Comparison]) -> bool:
    return any(comparison.exploratory for comparison in comparisons)
