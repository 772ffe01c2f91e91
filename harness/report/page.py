"""One HTML page a study: text, tables and pictures in a single file that needs no network.

The same results give the same bytes. All text from study files is escaped, in HTML and in the
JSON inside scripts; the page's own policy forbids the browser to load anything.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path

from harness.errors import InputError
from harness.report import figures, sections
from harness.report.agreement import Agreement, load_agreement
from harness.report.answer import answer
from harness.report.claims import ESTIMATE, claims, is_estimated
from harness.report.costs import cost_section
from harness.report.layout import navigation, note
from harness.report.markup import escaped, file_stem
from harness.report.numbers import StudyTables
from harness.report.optimism import optimism, optimism_text
from harness.report.tables import load_tables
from harness.report.training import Training, load_training
from harness.stats import MIN_SEEDS_FOR_TEST

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
    text = render(everything, tables, load_training(results, tables), search, agreement)
    path = reports / f"{file_stem(study)}.html"
    try:
        reports.mkdir(parents=True, exist_ok=True)
        _replace(path, text)
    except OSError as error:
        raise InputError(
            f"{path}: cannot write the report ({error.strerror}); free space or choose another "
            "folder with --reports"
        ) from None
    return path


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
    everything: StudyTables,
    tables: StudyTables,
    training: Training,
    search: StudyTables | None = None,
    agreement: Sequence[Agreement] = (),
) -> str:
    """The whole page.

    Args:
        everything: All trials of the study.
        tables: What the page answers with: all of them, or those of the confirmation.
        training: Their curves.
        search: What the trials of the confirmation were chosen from.
        agreement: How well criteria without labels rank runs.
    """
    parts = [
        sections.ablation_section(tables),
        sections.table_section(tables),
        sections.search_section(tables, search),
        sections.interaction_section(tables),
        sections.component_section(tables),
        sections.agreement_section(agreement),
        sections.curve_section(tables, training),
        sections.cluster_section(training),
        sections.pruned_section(search or tables),
        cost_section(everything.trials, everything.runs),
        sections.reproduce_section(everything, tables, search),
    ]
    title = escaped(tables.study.name)
    body = f"{_header(tables)}\n<main>\n{''.join(parts)}</main>"
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f'<title>{title}: ablation report</title>\n<link rel="icon" href="data:,">\n'
        f"<style>\n{_asset('page.css')}</style>\n<script>{figures.script()}</script>\n"
        f"</head>\n<body>\n{navigation(body)}\n{body}\n"
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
        '<section id="answer"><h2>Answer</h2>'
        f'<div class="answer"><span class="badge">{escaped(_BADGES[found.label])}</span>'
        f'<p class="claim">{escaped(found.claim)}</p>{remarks}</div>'
        f"{_claims(tables)}{_optimism(tables)}</section></header>"
    )


def _claims(tables: StudyTables) -> str:
    """A sentence on every compared trial."""
    said = claims(tables)
    if not said:
        return ""
    items = "".join(f"<li>{escaped(sentence)}</li>" for sentence in said)
    estimate = note(ESTIMATE) if is_estimated(said) else ""
    return f'<h3>Against the baseline</h3><ol class="claims">{items}</ol>{estimate}'


def _optimism(tables: StudyTables) -> str:
    """What choosing on test classes would have claimed."""
    found = optimism(tables)
    if found is None:
        return ""
    said = " ".join(optimism_text(found, tables.study.metric))
    return f'<h3>Optimism gap</h3><p class="optimism">{escaped(said)}</p>'
