"""Write one HTML page per study: text, tables and pictures in a single file for offline use.

The same results give the same bytes. All text from study files is escaped, in HTML and in the JSON
inside scripts; the page's content security policy stops the browser from loading anything.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from harness.report.data.agreement import Agreement, read_agreement
from harness.report.data.evidence.by_classes import ByClasses, read_by_classes
from harness.report.data.evidence.claims import ClaimFinding, read_claim_findings
from harness.report.data.evidence.explained import ExplainedShare, read_explained
from harness.report.data.evidence.front import Front, read_front
from harness.report.data.evidence.vault import Readings, read_readings
from harness.report.data.load import read_tables
from harness.report.data.mixture import mixture_of
from harness.report.data.study_data import StudyTables
from harness.report.data.training import Training, read_training
from harness.report.findings.answer import answer
from harness.report.findings.optimism import luck, optimism, optimism_text, vault_text
from harness.report.findings.sentences import ESTIMATE, comparison_sentences, is_estimated
from harness.report.html import sections
from harness.report.html.costs import cost_section
from harness.report.html.document import OFFLINE, Frame, document, file_stem, write_page
from harness.report.html.elements.escape import escaped
from harness.report.html.elements.layout import mixture_notice, navigation, note, sentence_list
from harness.report.html.evidence.claims import claims_part
from harness.report.html.evidence.front import front_section
from harness.report.html.evidence.variance import variance_section
from harness.report.html.images import gallery
from harness.report.html.images.cluster_gallery import cluster_gallery_section
from harness.report.html.images.gallery import Seen, read_seen
from harness.report.html.profile import Profile, profile_section, read_profile
from harness.report.plots import render as figures
from harness.stats.paired import MIN_SEEDS_FOR_TEST
from harness.store.database import reading

MOST_BYTES = 7_900_000
"""Maximum size of a page, as far as leaving out pictures can achieve it."""
FEWEST_PICTURE_BYTES = 300_000
"""Room that pictures get however large the page is: enough for the gallery, which comes first."""
BADGES = {
    "exploratory": f"exploratory: fewer than {MIN_SEEDS_FOR_TEST} paired seeds",
    "search": "search: no claim",
    "tested": "tested on paired seeds",
    "measured": "shares of a variance: nothing is compared",
    "no result yet": "no result yet",
}


def write_report(results: Path, study: str, reports: Path) -> Path:
    """Write ``reports/<study>.html`` from what has finished so far, replacing an older one.

    Returns:
        The page.

    Raises:
        InputError: no such study, or the folder cannot be written.
        StoreError: the database cannot be read.
    """
    return write_page(reports / f"{file_stem(study)}.html", page_text(results, study))


def page_text(results: Path, study: str, frame: Frame = OFFLINE) -> str:
    """Return a study's page from what has finished so far.

    Raises:
        InputError: no such study.
        StoreError: the database cannot be read.
    """
    with reading(results) as con:
        everything = read_tables(con, results, study)
        tables, search = divided(everything)
        content = Content(
            everything=everything,
            tables=tables,
            search=search,
            training=read_training(con, tables),
            agreement=read_agreement(con, everything),
            by_classes=read_by_classes(con, tables),
            explained=read_explained(con, tables),
            seen=read_seen(con, results, tables),
            profile=read_profile(con, study),
            claims=read_claim_findings(con, study),
            readings=read_readings(con, study),
            fronts=(read_front(con, tables), read_front(con, search) if search else None),
        )
    page = render(content, frame)
    pictures = sum(len(each) for each in content.seen.pictures.values()) if content.seen else 0
    if (excess := len(page.encode()) - MOST_BYTES) > 0 and pictures > FEWEST_PICTURE_BYTES:
        room = max(FEWEST_PICTURE_BYTES, pictures - excess)
        with reading(results) as con:
            content = content._replace(seen=read_seen(con, results, tables, room=room))
        page = render(content, frame)
    return page


def divided(tables: StudyTables) -> tuple[StudyTables, StudyTables | None]:
    """Split a study into the trials its claims rest on and, if it was confirmed, the search."""
    if len(tables.phases) > 1:
        return tables.of_phase("confirm"), tables.of_phase("search")
    return tables, None


class Content(NamedTuple):
    """Everything a study's page shows."""

    everything: StudyTables
    """All trials of the study."""
    tables: StudyTables
    """The trials the answer rests on: all of them, or those of the confirmation."""
    search: StudyTables | None
    """The search that the confirmed trials were chosen from."""
    training: Training
    agreement: Sequence[Agreement]
    """How well label-free criteria rank runs."""
    by_classes: ByClasses | None
    """Recall@1 by number of classes."""
    explained: Sequence[ExplainedShare]
    """What parameters and pairs explain."""
    seen: Seen | None
    """The query gallery and the embedding maps."""
    profile: Profile | None
    """Where run time went."""
    claims: Sequence[ClaimFinding] = ()
    """What the study is expected to show, and whether it does."""
    readings: Readings | None = None
    """How often its test set has been read."""
    fronts: tuple[Front | None, Front | None] = (None, None)
    """Of a study with several metrics: the front of ``tables``, and that of the search."""


def render(content: Content, frame: Frame = OFFLINE) -> str:
    """Render the complete page in its frame."""
    everything, tables, search = content.everything, content.tables, content.search
    parts = [
        sections.ablation_section(tables),
        sections.table_section(tables),
        *(front_section(front) for front in content.fronts),
        sections.search_section(tables, search),
        sections.interaction_section(tables, search, content.explained),
        sections.component_section(tables),
        variance_section(tables),
        sections.agreement_section(content.agreement),
        sections.class_number_section(content.by_classes, content.training.trials),
        sections.curve_section(tables, content.training),
        sections.cluster_section(content.training),
        cluster_gallery_section(content.seen.clusters if content.seen else ()),
        gallery.gallery_section(content.seen),
        gallery.map_section(content.seen),
        sections.pruned_section(search or tables),
        cost_section(everything.trials, everything.runs),
        profile_section(content.profile),
        sections.reproduce_section(everything, tables, search),
    ]
    pictures = gallery.picture_data(content.seen)
    body = f"{_header(content)}\n<main>\n{''.join(parts)}</main>\n{pictures}"
    title = f"{tables.study.name}: ablation report"
    return document(title, f"{navigation(body)}\n{body}", script=figures.script(), frame=frame)


def _header(content: Content) -> str:
    tables = content.tables
    found = answer(tables)
    remarks = "".join(f'<p class="remark">{escaped(remark)}</p>' for remark in found.remarks)
    return (
        f'<header><p class="kind">Ablation report</p><h1>{escaped(tables.study.name)}</h1>'
        f'<p class="question">{escaped(tables.study.question)}</p>'
        f'<section id="answer"><h2>Answer</h2>{mixture_notice(mixture_of(tables))}'
        f'<div class="answer"><span class="badge">{escaped(BADGES[found.label])}</span>'
        f'<p class="claim">{escaped(found.claim)}</p>{remarks}</div>'
        f"{claims_part(content.claims)}{_sentences(tables)}"
        f"{_optimism(tables, content.readings)}</section></header>"
    )


def _sentences(tables: StudyTables) -> str:
    """Render a sentence on every compared trial."""
    said = comparison_sentences(tables)
    if not said:
        return ""
    estimate = note(ESTIMATE) if is_estimated(said) else ""
    return f"<h3>Against the baseline</h3>{sentence_list(said)}{estimate}"


def _optimism(tables: StudyTables, readings: Readings | None) -> str:
    """Render what selection on test classes would have claimed, and how often they were read."""
    found = optimism(tables)
    said = " ".join(optimism_text(found, tables.study.metric)) if found else ""
    read = vault_text(readings, luck(tables, readings))
    paragraphs = (("optimism", said), ("vault", read))
    parts = [f'<p class="{name}">{escaped(text)}</p>' for name, text in paragraphs if text]
    return f"<h3>Optimism gap</h3>{''.join(parts)}" if parts else ""
