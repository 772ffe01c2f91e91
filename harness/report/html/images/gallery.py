"""Render the query gallery and the embedding maps.

Each picture is stored in the page once, as JSON; the page's script inserts it wherever it is named.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from harness.report.data.images.cluster_gallery import ClusteredRun, read_clusters
from harness.report.data.images.compared_runs import ShownRuns, choose_runs
from harness.report.data.images.projection import Maps, read_maps
from harness.report.data.images.query_gallery import (
    ClassRecall,
    Counts,
    Finds,
    Flips,
    Gallery,
    Group,
    Neighbour,
    Query,
    read_gallery,
)
from harness.report.data.images.thumbnails import Pictures
from harness.report.data.study_data import SPLIT_NAMES, StudyTables
from harness.report.findings.estimates import NONE, signed
from harness.report.html.elements.escape import escaped
from harness.report.html.elements.layout import in_script, note, panels, section
from harness.report.html.elements.tables import data_table
from harness.report.html.images.cluster_gallery import picture_of
from harness.report.plots.colours import BASELINE
from harness.report.plots.projection import class_marks, map_pictures
from harness.store.database import Connection
from harness.units import shortened

_LONGEST_LABEL = 40
_RIGHT, _WRONG = "\N{CHECK MARK}", "\N{MULTIPLICATION SIGN}"


@dataclass(frozen=True, slots=True)
class Seen:
    """The query gallery and the embedding maps; None for what no workload has written."""

    gallery: Gallery | None
    maps: Maps | None
    pictures: Mapping[str, str]
    """Name -> data URI."""
    clusters: Sequence[ClusteredRun] = ()
    """Runs with pictures of clusters."""


def read_seen(
    con: Connection, results: Path, tables: StudyTables, *, room: int | None = None
) -> Seen:
    """Read gallery, clusters and maps; later ones go without pictures once the limit is reached.

    Args:
        con: The database.
        results: The results folder, where the pictures are.
        tables: The study's tables.
        room: Maximum size of all pictures as text, in bytes; None for the limit of a page.
    """
    shown, pictures = choose_runs(con, tables), Pictures(results, room)
    gallery = read_gallery(con, tables.study.name, shown, pictures)
    clusters = read_clusters(con, shown, pictures)
    maps = read_maps(con, shown, pictures)
    return Seen(gallery, maps, pictures.data, clusters)


def gallery_section(seen: Seen | None) -> str:
    """Render queries side by side, and the classes that are found best and worst."""
    if seen is None or seen.gallery is None:
        return ""
    gallery = seen.gallery
    words = (
        "Next to each query are its nearest test images, nearest first, with their similarity. A "
        "solid frame and a check mark show that an image has the query"
        "\N{RIGHT SINGLE QUOTATION MARK}s class; a dashed frame and a cross show that it does not."
    )
    return section(
        "Retrieval",
        note(_runs_text(gallery.shown)),
        _counts_text(gallery.shown, gallery.counts),
        note(words),
        _flips_note(gallery.shown),
        "".join(_group(group, gallery.shown) for group in gallery.groups),
        _class_table(gallery),
    )


def map_section(seen: Seen | None) -> str:
    """Render the two-dimensional embedding maps, and the images of a selected class."""
    if seen is None or seen.maps is None:
        return ""
    maps = seen.maps
    images = max(len(one.points) for one in maps.runs)
    words = (
        f"{maps.layout[0].upper()}{maps.layout[1:]} of the embeddings of {images} test images of "
        f"{len(maps.labels)} classes, seed {maps.seed}; all runs on these data show the same "
        "images. Points that are close in two dimensions need not be close in the embedding space. "
        "Hover over a point to see its image, or choose a class."
    )
    if len(maps.coloured) < len(maps.labels):
        words += (
            f" The {len(maps.coloured)} classes whose queries most often retrieve another class "
            "first are coloured; all others are grey."
        )
    if any(one.is_turned for one in maps.runs):
        words += " The second map is rotated and reflected to match the first."
    return section(
        "Map",
        note(words),
        _class_choice(maps),
        panels(map_pictures(maps)),
        _map_key(maps),
        '<ul class="found strip" id="map-images" aria-live="polite"></ul>',
    )


def picture_data(seen: Seen | None) -> str:
    """Return the pictures, and the class names on the maps, as JSON for the page's script."""
    if seen is None or not (seen.gallery or seen.maps or seen.clusters):
        return ""
    labels = [shortened(label, _LONGEST_LABEL) for label in seen.maps.labels] if seen.maps else []
    text = json.dumps({"pictures": seen.pictures, "classes": labels}, separators=(",", ":"))
    return f'<script type="application/json" id="pictures">{in_script(text)}</script>\n'


def _runs_text(shown: ShownRuns) -> str:
    """Say which runs are shown, and how they were chosen."""
    names = [shortened(run.trial.label, 80) for run in shown.runs]
    split = SPLIT_NAMES[shown.chosen_by]
    if len(shown.runs) < 2:
        return f"The {shown.runs[0].role} trial, {names[0]}, seed {shown.seed}."
    chosen = f"the best trial by {split}"
    if shown.runs[1].role == "best other":
        chosen = f"the best of the other trials by {split} (the baseline is better there)"
    return f"The baseline, {names[0]}, next to {names[1]}, {chosen}; both with seed {shown.seed}."


def _flips_note(shown: ShownRuns) -> str:
    """Explain how the flips are chosen; empty with a single run or seed."""
    seeds = len(shown.shared_seeds)
    if len(shown.runs) < 2 or seeds < 2:
        return ""
    return note(
        f"Pictures are from seed {shown.seed}. Below the sample are the queries on which the two "
        f"trials differ most consistently over all {seeds} shared seeds."
    )


def _counts_text(shown: ShownRuns, counts: Counts | None) -> str:
    if counts is None or not counts.queries:
        return ""
    first, second = (run.role for run in shown.runs)
    neither = counts.queries - counts.both - counts.only_first - counts.only_second
    return (
        f"<p>Of {counts.queries} queries, {counts.both} find an image of their class first in both "
        f"runs, {counts.only_second} with the {escaped(second)} trial only, {counts.only_first} "
        f"with the {escaped(first)} only, {neither} in neither.</p>"
    )


def _group(group: Group, shown: ShownRuns) -> str:
    if not group.queries:
        body = note("None among the queries that have pictures.")
    else:
        body = "".join(_query(query, shown) for query in group.queries)
    more = f" ({group.left_out} more have pictures)" if group.left_out else ""
    return f'<h3>{escaped(group.title)}<span class="tag">{more}</span></h3>{body}'


def _query(query: Query, shown: ShownRuns) -> str:
    name = shortened(query.label, _LONGEST_LABEL)
    strips = "".join(
        _strip(finds, run.role) for finds, run in zip(query.finds, shown.runs, strict=True)
    )
    return (
        f'<div class="query"><div class="asked">{picture_of(query.picture, f"query: {name}")}'
        f'<p title="{escaped(query.label)}">{escaped(name)}<br>'
        f'<span class="tag">image {query.image}{_flips_text(query.flips, shown)}</span></p></div>'
        f'<div class="finds">{strips}</div></div>\n'
    )


def _flips_text(flips: Flips | None, shown: ShownRuns) -> str:
    """Say with how many seeds only one of the trials is right; nothing at a single seed."""
    if flips is None or flips.seeds < 2:
        return ""
    first, second = (run.role for run in shown.runs)
    counts = ((second, flips.wins), (first, flips.losses))
    said = ", ".join(f"{count} only {escaped(role)}" for role, count in counts if count)
    return f"<br>of {flips.seeds} seeds: {said}"


def _strip(finds: Finds, role: str) -> str:
    """Render what one run retrieves as a row of pictures."""
    if finds.first_hit is None:
        rank = "never right"
    else:
        rank = "right" if finds.is_right else f"first right at rank {finds.first_hit}"
    items = "".join(_neighbour(one, place) for place, one in enumerate(finds.neighbours, 1))
    return (
        f'<div class="strip-of"><p><b>{escaped(role)}</b> <span class="tag">{rank}</span></p>'
        f'<ol class="found">{items}</ol></div>'
    )


def _neighbour(one: Neighbour, place: int) -> str:
    kind, mark = ("right", _RIGHT) if one.is_right else ("wrong", _WRONG)
    near = NONE if one.similarity is None else f"{one.similarity:.2f}"
    name = shortened(one.label, _LONGEST_LABEL)
    alt = f"{place}: {name}, {kind}, similarity {near}"
    return (
        f'<li class="{kind}" title="{escaped(name)}">{picture_of(one.picture, alt)}'
        f'<span class="near" aria-hidden="true"><b>{mark}</b> {near}</span></li>'
    )


def _class_table(gallery: Gallery) -> str:
    """Render Recall@1 of each trial's best and worst classes."""
    if not gallery.classes:
        return ""
    seeds = len(gallery.shown.shared_seeds)
    over = f"mean over {seeds} seeds" if seeds > 1 else f"seed {gallery.shown.shared_seeds[0]}"
    shown = f"{len(gallery.classes)} of {gallery.all_classes}"
    caption = f"Recall@1 by test class, {over}: the best and worst of each trial, {shown}"
    heads = ["class", "queries", *(run.role for run in gallery.shown.runs)]
    heads += ["difference"] if len(gallery.shown.runs) == 2 else []
    rows = [_class_row(one) for one in gallery.classes]
    return f"<h3>Classes</h3>{data_table(caption, heads, rows, kind='classes')}"


def _class_row(one: ClassRecall) -> str:
    cells = [str(one.queries), *(NONE if r is None else f"{r:.3f}" for r in one.recall)]
    cells += [_difference(one.recall)] if len(one.recall) == 2 else []
    return (
        f'<tr><th scope="row" title="{escaped(one.label)}">'
        f"{escaped(shortened(one.label, _LONGEST_LABEL))}</th>"
        f"{''.join(f'<td>{cell}</td>' for cell in cells)}</tr>"
    )


def _difference(recall: Sequence[float | None]) -> str:
    first, second = recall
    if first is None or second is None:
        return NONE
    return signed(second - first)


def _class_choice(maps: Maps) -> str:
    options = "".join(
        f'<option value="{place}">{escaped(shortened(label, _LONGEST_LABEL))}</option>'
        for place, label in enumerate(maps.labels)
    )
    return (
        '<p class="pick"><label for="map-class">Class</label> <select id="map-class">'
        f'<option value="">all classes</option>{options}</select></p>'
    )


def _map_key(maps: Maps) -> str:
    """Render the legend of the maps."""
    shapes = {"circle": '<circle cx="9" cy="7" r="4.5"', "diamond": '<path d="M9 1L15 7L9 13L3 7Z"'}
    items = [
        (f'{shapes[symbol]} fill="{colour}"/>', shortened(label, _LONGEST_LABEL))
        for label, (colour, symbol) in class_marks(maps).items()
    ]
    if len(maps.coloured) < len(maps.labels):
        items.append((f'{shapes["circle"]} fill="{BASELINE}" opacity="0.5"/>', "other classes"))
    frame = 'width="18" height="14" viewBox="0 0 18 14" aria-hidden="true"'
    marks = "".join(f"<li><svg {frame}>{shape}</svg>{escaped(text)}</li>" for shape, text in items)
    return f'<ul class="key">{marks}</ul>'
