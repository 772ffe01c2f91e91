"""One HTML page a study: text, tables and pictures in a single file that needs no network.

The same results give the same bytes. All text from study files is escaped, in HTML and in the
JSON inside scripts; the page's own policy forbids the browser to load anything.
"""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path

from harness.errors import InputError
from harness.report import figures
from harness.report.ablation import ablation_panels
from harness.report.agreement import REFERENCE, Agreement, load_agreement
from harness.report.answer import SPLIT_NAMES, answer
from harness.report.figures import Drawing
from harness.report.markup import (
    ablation_key,
    choices,
    escaped,
    failures_table,
    pruned_table,
    results_table,
    seeds_table,
    trial_key,
)
from harness.report.numbers import StudyTables, TrialRow
from harness.report.reproduce import provenance_list, query_examples, spec_text
from harness.report.tables import load_tables, measure_label
from harness.report.training import Training, load_training
from harness.stats import MIN_SEEDS_FOR_TEST
from harness.trial import digest

_POLICY = (
    "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; "
    "img-src data: blob:; base-uri 'none'; form-action 'none'"
)
_BADGES = {
    "exploratory": f"exploratory: fewer than {MIN_SEEDS_FOR_TEST} paired seeds",
    "search": "search: no claim",
    "tested": "tested on paired seeds",
    "no result yet": "no result yet",
}


def write_report(results: Path, study: str, reports: Path) -> Path:
    """Write ``reports/<study>.html`` from what has finished so far, replacing an older one whole.

    Returns:
        The page.

    Raises:
        InputError: no such study, or the folder cannot be written.
        StoreError: the database cannot be read.
    """
    everything = load_tables(results, study)
    tables, search = everything, None
    if len(everything.phases) > 1:  # what is claimed rests on the confirmation alone
        tables, search = everything.of_phase("confirm"), everything.of_phase("search")
    agreement = load_agreement(results, everything)
    text = render(tables, load_training(results, tables), search, agreement)
    path = reports / f"{_file_stem(study)}.html"
    try:
        reports.mkdir(parents=True, exist_ok=True)
        _replace(path, text)
    except OSError as error:
        raise InputError(
            f"{path}: cannot write the report ({error.strerror}); free space or choose another "
            "folder with --reports"
        ) from None
    return path


def _file_stem(study: str) -> str:
    """The study's name as a file name; one with other characters gets a digest."""
    if re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}", study):
        return study
    plain = re.sub(r"[^A-Za-z0-9-]+", "_", study)[:60]
    return f"{plain}-{digest(study)[:8]}"


def _replace(path: Path, text: str) -> None:
    """Write beside, sync, then rename: a reader sees the old page or the new one."""
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.stem}-", suffix=".part")
    part = Path(name)
    try:
        with os.fdopen(handle, "w", encoding="utf-8", newline="\n") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        part.chmod(0o644)  # mkstemp gives it to the owner alone
        part.replace(path)
    except BaseException:
        part.unlink(missing_ok=True)
        raise


def render(
    tables: StudyTables,
    training: Training,
    search: StudyTables | None = None,
    agreement: Sequence[Agreement] = (),
) -> str:
    """The whole page.

    Args:
        tables: What the page answers with: all trials, or those of the confirmation.
        training: Their curves.
        search: What the trials of the confirmation were chosen from.
        agreement: How well criteria without labels rank runs.
    """
    sections = [
        _ablation_section(tables),
        _table_section(tables),
        _search_section(tables, search),
        _agreement_section(agreement),
        _curve_section(tables, training),
        _cluster_section(training),
        _pruned_section(search or tables),
        _failure_section(tables),
        _reproduce_section(tables),
    ]
    title = escaped(tables.study.name)
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f'<title>{title}: ablation report</title>\n<link rel="icon" href="data:,">\n'
        f"<style>\n{_asset('page.css')}</style>\n<script>{figures.script()}</script>\n"
        f"</head>\n<body>\n{_header(tables)}\n<main>\n{''.join(sections)}</main>\n"
        f"<script>\n{_asset('page.js')}</script>\n</body>\n</html>\n"
    )


def _asset(name: str) -> str:
    return files("harness.report").joinpath(name).read_text(encoding="utf-8")


def _header(tables: StudyTables) -> str:
    found = answer(tables)
    remarks = "".join(f'<p class="remark">{escaped(remark)}</p>' for remark in found.remarks)
    return (
        f'<header><p class="kind">Ablation report</p><h1>{escaped(tables.study.name)}</h1>'
        f'<p class="question">{escaped(tables.study.question)}</p>'
        f'<div class="answer"><span class="badge">{escaped(_BADGES[found.label])}</span>'
        f'<p class="claim">{escaped(found.claim)}</p>{remarks}</div></header>'
    )


def _section(title: str, *parts: str) -> str:
    return f"<section><h2>{escaped(title)}</h2>\n{''.join(parts)}</section>\n"


def _note(text: str) -> str:
    return f'<p class="note">{escaped(text)}</p>'


def _panels(drawings: Sequence[Drawing], *, is_single: bool = False) -> str:
    kind = "panels single" if is_single else "panels"
    return f'<div class="{kind}">{"".join(_figure(drawing) for drawing in drawings)}</div>'


def _figure(drawing: Drawing) -> str:
    # In a script, "<" could end it: JSON knows other ways to write these characters.
    data = drawing.json
    for character in "<>&\u2028\u2029":
        data = data.replace(character, f"\\u{ord(character):04x}")
    name = escaped(drawing.name)
    return (
        f"<figure><h3>{escaped(drawing.title)}</h3>"
        f'<div class="plot" id="{name}" role="img" aria-label="{escaped(drawing.text)}"'
        f' style="height:{drawing.height}px"></div>'
        f"<figcaption><details><summary>In words</summary>{escaped(drawing.text)}</details>"
        f'</figcaption><script type="application/json" id="{name}-data">{data}</script></figure>\n'
    )


def _measure_choice(tables: StudyTables, place: str) -> str:
    primary = tables.primary
    if primary is None:
        return ""
    labels = {measure: measure_label(measure) for measure in tables.measures()}
    return choices("measure", labels, primary.measure, place)


def _ablation_section(tables: StudyTables) -> str:
    primary = tables.primary
    if primary is None:
        return _section("Ablation", _note("Nothing to draw yet: no run has finished."))
    splits = {split: SPLIT_NAMES[split] for split in tables.splits()}
    has_controls = any(trial.is_control for trial in tables.trials)
    bars = _measure_choice(tables, "plot") + choices("split", splits, primary.split, "plot")
    drawings = figures.ablation_drawings(tables)
    return _section(
        "Ablation",
        f'<div class="choices">{bars}</div>',
        ablation_key(ablation_panels(tables), has_controls, is_search=tables.is_search),
        _panels(drawings, is_single=len(drawings) == 1),
    )


def _table_section(tables: StudyTables) -> str:
    primary = tables.primary
    if primary is None:
        return ""
    parts = []
    for measure in tables.measures():
        views = [view for view in tables.views if view.measure == measure]
        hidden = "" if measure == primary.measure else " hidden"
        shown = "".join(results_table(tables, view) for view in views)
        seeds = "".join(seeds_table(tables, view) for view in views)
        parts.append(
            f'<div data-measure="{escaped(measure)}"{hidden}>{shown}'
            f"<details><summary>Every seed</summary>{seeds}</details></div>\n"
        )
    return _section(
        "Results",
        f'<div class="choices">{_measure_choice(tables, "table")}</div>',
        "".join(parts),
        _note(
            "Intervals are t-intervals over seeds. Differences are paired by seed; exact p flips "
            "their signs; Holm p corrects for the trials of the table, controls apart; P(better) "
            "is the share of seeds on which a trial is ahead. Below "
            f"{MIN_SEEDS_FOR_TEST} pairs no exact p can "
            "reach 0.05, so no verdict is passed."
        ),
    )


def _search_section(tables: StudyTables, search: StudyTables | None) -> str:
    """The trials of a search, apart from those that confirm it."""
    if search is None or search.primary is None:
        history = figures.exploration_drawings(tables)[:1] if tables.is_search else ()
        return _section("Search", _panels(history, is_single=True)) if history else ""
    count = len(search.contenders) + len(search.pruned)
    given_up = f" ({len(search.pruned)} were given up early)" if search.pruned else ""
    note = _note(
        f"{count} trials were compared on validation classes{given_up}, and the best of "
        "them trained again on fresh seeds: those are the results above. The best of many is "
        "partly luck, so the best numbers here are higher than what can be expected; no test class "
        "was looked at."
    )
    return _section(
        "Search",
        note,
        _panels(figures.exploration_drawings(search)),
        results_table(search, search.primary),
    )


def _agreement_section(agreement: Sequence[Agreement]) -> str:
    """Whether the criterion that needs no labels can be trusted."""
    if not agreement:
        return ""
    note = _note(
        f"{measure_label(agreement[0].criterion)} needs no labels. Where images have classes, it "
        f"can be compared with {measure_label(REFERENCE)}: each point is a finished run of any "
        "study in these results, controls left out, both numbers on validation images. A rank "
        "correlation near 1 means that a search without labels would have chosen alike."
    )
    return _section(
        f"Criterion against {measure_label(REFERENCE)}",
        note,
        _panels(figures.agreement_drawings(agreement), is_single=len(agreement) == 1),
    )


def _curve_section(tables: StudyTables, training: Training) -> str:
    drawings = figures.curve_drawings(tables, training)
    if not drawings:
        return ""
    note = "Lines are means over seeds, bands reach from the lowest to the highest seed."
    if training.left_out:
        note += (
            f" Shown are the baseline and the best trials; {training.left_out} more are in the "
            "database."
        )
    return _section("Training", _note(note), trial_key(_drawn(training)), _panels(drawings))


def _cluster_section(training: Training) -> str:
    sizes = figures.size_drawings(training)
    if not sizes:
        return ""
    note = _note(
        "Sizes of the pseudo-label clusters from the largest to the smallest, on a log scale: a "
        "steep end is a long tail. Below, a Gini coefficient of 0 means equal sizes, 1 a single "
        "cluster that holds everything."
    )
    over_epochs = figures.cluster_drawings(training)
    return _section(
        "Clusters", note, _panels(sizes), trial_key(_drawn(training)), _panels(over_epochs)
    )


def _drawn(training: Training) -> list[TrialRow]:
    with_curves = {curve.trial.trial_id for curve in training.curves}
    return [trial for trial in training.trials if trial.trial_id in with_curves]


def _failure_section(tables: StudyTables) -> str:
    if not any(run.state == "failed" for run in tables.runs):
        return ""
    return _section("Failures", failures_table(tables))


def _pruned_section(tables: StudyTables) -> str:
    if not tables.pruned:
        return ""
    note = _note(
        "These trials were given up before all their seeds were trained. What they had reached "
        "by then is in the database, and in no table, mean or ranking."
    )
    table = f"<details><summary>Which, and why</summary>{pruned_table(tables)}</details>"
    return _section("Pruned", note, table)


def _reproduce_section(tables: StudyTables) -> str:
    return _section(
        "Reproduce",
        provenance_list(tables),
        "<h3>Study</h3>",
        f'<pre tabindex="0">{escaped(spec_text(tables))}</pre>',
        "<h3>Every number again</h3>",
        f'<pre tabindex="0">{escaped(query_examples(tables.study.name))}</pre>',
    )
