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
from harness.report import figures, gallery_html, sections
from harness.report.agreement import Agreement, load_agreement
from harness.report.answer import answer
from harness.report.gallery_html import Seen, load_seen
from harness.report.markup import (
    escaped,
)
from harness.report.numbers import StudyTables
from harness.report.tables import load_tables
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
    training, seen = load_training(results, tables), load_seen(results, tables)
    text = render(tables, training, search, agreement, seen)
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
    seen: Seen | None = None,
) -> str:
    """The whole page.

    Args:
        tables: What the page answers with: all trials, or those of the confirmation.
        training: Their curves.
        search: What the trials of the confirmation were chosen from.
        agreement: How well criteria without labels rank runs.
        seen: What single queries find, and the maps of embeddings.
    """
    parts = [
        sections.ablation_section(tables),
        sections.table_section(tables),
        sections.search_section(tables, search),
        sections.agreement_section(agreement),
        sections.curve_section(tables, training),
        sections.cluster_section(training),
        gallery_html.gallery_section(seen),
        gallery_html.map_section(seen),
        sections.pruned_section(search or tables),
        sections.failure_section(tables),
        sections.reproduce_section(tables),
    ]
    title = escaped(tables.study.name)
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f'<title>{title}: ablation report</title>\n<link rel="icon" href="data:,">\n'
        f"<style>\n{_asset('page.css')}{_asset('pictures.css')}</style>\n<script>{figures.script()}</script>\n"
        f"</head>\n<body>\n{_header(tables)}\n<main>\n{''.join(parts)}</main>\n"
        f"{gallery_html.picture_data(seen)}"
        f"<script>\n{_asset('page.js')}{_asset('pictures.js')}</script>\n</body>\n</html>\n"
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
