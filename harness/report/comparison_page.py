"""Write the page that compares trials of several studies; see ``cross_study``."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from harness.errors import InputError
from harness.report.data.cross_study import (
    Across,
    Contender,
    Terms,
    mixture_across,
    rules_of,
    set_against,
)
from harness.report.data.load import read_tables
from harness.report.data.mixture import Circumstances, read_circumstances
from harness.report.data.study_data import StudyTables
from harness.report.findings.estimates import (
    NONE,
    difference_text,
    evidence,
    plus_minus,
)
from harness.report.html.document import document, file_stem, write_page
from harness.report.html.elements.escape import escaped, label
from harness.report.html.elements.layout import mixture_notice, note, panels, section
from harness.report.html.elements.tables import (
    comparison_cells,
    comparison_heads,
    data_table,
    summary_cells,
    table_row,
    tags,
)
from harness.report.plots import render
from harness.report.plots.comparison import comparison_picture
from harness.report.study_page import BADGES, divided
from harness.stats.paired import MIN_SEEDS_FOR_TEST
from harness.store.database import Connection, reading
from harness.store.typed_rows import read_rows

_OTHER_CODE = "code differs"


def write_comparison(
    results: Path, studies: Sequence[str], reports: Path, *, baseline: str | None = None
) -> Path:
    """Write the page that compares ``studies``, if they are comparable.

    Args:
        results: The results folder.
        studies: Names; the baseline of the first is the reference.
        reports: Where ``compare-<names>.html`` goes.
        baseline: Another reference, as ``STUDY/TRIAL``.

    Returns:
        The page.

    Raises:
        InputError: fewer than two studies, an unknown one, one without a finished run, or studies
            that were not scored alike; the message names the difference.
        StoreError: the database cannot be read.
    """
    names = list(dict.fromkeys(studies))
    if len(names) < 2:
        raise InputError("compare: name at least two different studies")
    with reading(results) as con:
        made = read_circumstances(con, names)
        contenders = [each for name in names for each in read_contenders(con, results, name, made)]
    found = set_against(contenders, baseline)
    stem = file_stem("compare-" + ".".join(names))
    return write_page(reports / f"{stem}.html", render_comparison(found))


def read_contenders(
    con: Connection, results: Path, study: str, made: Mapping[str, Circumstances]
) -> list[Contender]:
    """Return the trials of a study with finished runs, confirmed ones only if it has any.

    Args:
        con: The database.
        results: The results folder.
        study: Its name.
        made: run_id -> its libraries, device and number format.

    Raises:
        InputError: no such study, or it has no finished run.
    """
    tables, _ = divided(read_tables(con, results, study))
    view = tables.primary
    if view is None or view.measure != tables.study.metric:
        raise InputError(f"compare: {study} has no finished run with its metric; run it first")
    scored = _scored(con, tables)
    varied = frozenset(key for trial in tables.trials for key in trial.varied)
    counts = Counter(trial.label for trial in tables.trials)
    found = []
    for trial in tables.trials:
        is_twice = counts[trial.label] > 1  # labels round numbers to five digits
        mine = [value for value in tables.values[view] if value.trial_id == trial.trial_id]
        if not mine:
            continue
        terms = [scored[value.run_id] for value in mine]
        found.append(
            Contender(
                study=study,
                label=f"{trial.label} (trial {trial.number})" if is_twice else trial.label,
                number=trial.number,
                is_baseline=trial.is_baseline,
                is_control=trial.is_control,
                varied=varied,
                view=view,
                values={value.seed: value.value for value in mine},
                runs={value.seed: value.run_id for value in mine},
                code=frozenset(code for code, _ in terms),
                terms=_distinct([each for _, each in terms]),
                made={value.seed: made.get(value.run_id, {}) for value in mine},
            )
        )
    return found


def render_comparison(found: Across) -> str:
    """Render the comparison page."""
    title = " and ".join(found.studies) if len(found.studies) < 3 else ", ".join(found.studies)
    body = (
        f"{_header(found, title)}\n<main>\n"
        + section("Trials", panels([comparison_picture(found)]))
        + section("Results", _table(found), note(_terms_in_words(found)))
        + "</main>\n"
    )
    return document(f"{title}: comparison", body, script=render.script())


def _header(found: Across, title: str) -> str:
    badges = [_badge(found), *([] if found.has_one_code else [_OTHER_CODE])]
    shown = " ".join(f'<span class="badge">{escaped(badge)}</span>' for badge in badges)
    warning = ""
    if not found.has_one_code:
        said = "; ".join(f"{study}: {', '.join(c)}" for study, c in found.code.items())
        warning = (
            '<p class="notice">The runs were not all trained with the same code, so a difference '
            f"may be due to a code change. Code digests: {escaped(said)}.</p>"
        )
    return (
        f'<header><p class="kind">Comparison of studies</p><h1>{escaped(title)}</h1>'
        f"{warning}{mixture_notice(mixture_across(found))}"
        f'<div class="answer">{shown}<p class="claim">{escaped(claim(found))}</p></div>'
        "</header>"
    )


def claim(found: Across) -> str:
    """State the best trial and how it compares with the reference, in one sentence."""
    best = next((row for row in found.rows if not row.contender.is_control), None)
    measure, where = found.view.label, found.view.where
    if best is None:
        return f"Only controls have {measure} on {where}."
    start = f"{best.contender.name} has the highest mean {measure} on {where}, "
    start += plus_minus(best.summary) + (" (95 % interval)" if best.summary.n > 1 else "")
    if best.contender == found.reference:
        return f"{start}; it is the reference."
    if best.comparison is None:
        return f"{start}; it shares no seed with the reference {found.reference.name}."
    compared = best.comparison
    return (
        f"{start}, {difference_text(compared)} over the reference {found.reference.name} "
        f"({evidence(compared)})."
    )


def _badge(found: Across) -> str:
    if found.view.split != "test":
        return BADGES["search"]
    pairs = [row.comparison for row in found.rows if row.comparison is not None]
    is_tested = bool(pairs) and not any(pair.exploratory for pair in pairs)
    return BADGES["tested" if is_tested else "exploratory"]


def _table(found: Across) -> str:
    """Tabulate one row per trial, best first, controls last."""
    rows = []
    with_p = _has_p(found)
    for row in found.rows:
        each = row.contender
        cells = [
            *summary_cells(row.summary),
            str(row.summary.n),
            NONE if row.comparison is None else str(row.comparison.n),
            *comparison_cells(row.comparison, with_p=with_p),
        ]
        marked = tags(
            reference=each == found.reference, baseline=each.is_baseline, control=each.is_control
        )
        rows.append(
            table_row(label(each.name) + marked, cells, "control" if each.is_control else "")
        )
    heads = ["mean", "sd", "95 % interval", "seeds", "pairs"]
    heads += comparison_heads("difference from reference", with_p=with_p)
    caption = found.view.text
    return data_table(caption, ["study / trial", *heads], rows)


def _has_p(found: Across) -> bool:
    """Whether any comparison has enough pairs to show a p."""
    return any(row.comparison is not None and not row.comparison.exploratory for row in found.rows)


def _terms_in_words(found: Across) -> str:
    (terms,) = found.reference.terms
    words = (
        f"All trials were scored by {terms.workload} on the same data (digest "
        f"{terms.data or 'none'}). Differences are from {found.reference.name}, paired by the "
        "seeds that both have; intervals are t-intervals."
    )
    if _has_p(found):
        words += (
            " Exact p is from a sign-flip test of the differences; Holm p corrects it over the "
            f"{found.family} trials on this page, separately for controls."
        )
    if any(row.comparison is not None and row.comparison.exploratory for row in found.rows):
        words += f" With fewer than {MIN_SEEDS_FOR_TEST} pairs no p and no verdict are given."
    if found.twins:
        same = "; ".join(f"{one} is {other}" for one, other in found.twins)
        words += f" Listed once because their runs are the same: {same}."
    return words


def _scored(con: Connection, tables: StudyTables) -> dict[str, tuple[str, Terms]]:
    """Map run_id to its code digest and to how it was scored."""
    rows = read_rows(
        con,
        "SELECT DISTINCT run_id, run.code, run.workload, run.test, run.data, run.params"
        " FROM trial JOIN member USING (trial_id) JOIN run USING (run_id)"
        " WHERE trial.study = ? AND run.state = 'done'",
        [tables.study.name],
    )
    return {
        run_id: (code, Terms(workload, tables.study.metric, test, data, rules_of(params)))
        for run_id, code, workload, test, data, params in rows
    }


def _distinct(terms: Sequence[Terms]) -> tuple[Terms, ...]:
    found: list[Terms] = []
    for each in terms:
        if each not in found:
            found.append(each)
    return tuple(found)
