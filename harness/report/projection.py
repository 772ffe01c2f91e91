"""Test embeddings in two dimensions, as the workload projected them: numbers and pictures."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from harness.report.columns import integer, number, read_rows, text_or_none
from harness.report.pictures import BASELINE, Picture, Trace, shortened
from harness.report.retrieval import ShownRun, ShownRuns
from harness.report.thumbnails import Pictures

MOST_COLOURED = 10
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9")
SYMBOLS = ("circle", "diamond")
"""Each colour comes once with each symbol, so that ten classes can be told apart."""
_MOST_IMAGES = 3000
_HEIGHT = 420

_POINTS = """
SELECT image, label, x, y, picture FROM projection
WHERE run_id = $run_id AND isfinite(x) AND isfinite(y)
ORDER BY image LIMIT $most
"""
_MISSES = """
SELECT label, count(*) FROM queries
WHERE list_contains($run_ids, run_id) AND NOT dropped AND first_hit IS DISTINCT FROM 1
GROUP BY label
"""


@dataclass(frozen=True, slots=True)
class Point:
    """An image on a map."""

    image: int
    label: str
    x: float
    y: float
    picture: str | None
    """Its name in the page."""


@dataclass(frozen=True, slots=True)
class ProjectedRun:
    """The map of one run."""

    run: ShownRun
    points: tuple[Point, ...]
    is_turned: bool
    """Whether it was turned or mirrored to lie as the first one does."""


@dataclass(frozen=True, slots=True)
class Maps:
    """The maps of the runs that are looked at."""

    seed: int
    runs: tuple[ProjectedRun, ...]
    labels: tuple[str, ...]
    """All classes on the maps."""
    coloured: tuple[str, ...]
    """Those with a colour of their own: all, or those that are confused most often."""
    layout: str = "two principal components"
    """What the coordinates are, as the workload says (its fact ``map``)."""


def load_maps(results: Path, shown: ShownRuns | None, pictures: Pictures) -> Maps | None:
    """The maps of the runs; None where none was written.

    Args:
        results: The results folder.
        shown: The runs to look at.
        pictures: Takes in the images on the maps, as far as there is room.

    Raises:
        StoreError: the database cannot be read.
    """
    if shown is None:
        return None
    runs: list[ProjectedRun] = []
    for run in shown.runs:
        points = _read_points(results, run, pictures)
        if points:
            first = runs[0].points if runs else ()
            runs.append(ProjectedRun(run, aligned(points, first), is_turned=bool(first)))
    if not runs:
        return None
    sizes = Counter(point.label for one in runs for point in one.points)
    coloured = _most_confused(results, shown, sizes)
    return Maps(shown.seed, tuple(runs), tuple(sorted(sizes)), coloured, _layout(results, runs))


def _layout(results: Path, runs: Sequence[ProjectedRun]) -> str:
    """What the coordinates of the maps are."""
    (row,) = read_rows(
        results,
        "SELECT json_extract_string(facts, '$.map') FROM run WHERE run_id = ?",
        [runs[0].run.run_id],
    )
    return text_or_none(row[0]) or "two principal components"


def aligned(points: Sequence[Point], others: Sequence[Point]) -> tuple[Point, ...]:
    """The points turned, and mirrored if that helps, towards the same images among ``others``.

    Distances stay: two principal components know no direction. (Procrustes without scaling.)
    """
    there = {point.image: point for point in others}
    pairs = [(point, there[point.image]) for point in points if point.image in there]
    best = (0.0, 1.0, 0.0)
    for sign in (1.0, -1.0):
        along = sum(p.x * o.x + sign * p.y * o.y for p, o in pairs)
        across = sum(p.x * o.y - sign * p.y * o.x for p, o in pairs)
        best = max(best, (math.hypot(along, across), sign, math.atan2(across, along)))
    _, sign, angle = best
    cosine, sine = math.cos(angle), math.sin(angle)
    return tuple(
        replace(
            point,
            x=point.x * cosine - sign * point.y * sine,
            y=point.x * sine + sign * point.y * cosine,
        )
        for point in points
    )


def map_pictures(maps: Maps) -> tuple[Picture, ...]:
    """A picture a run: grey points below, each coloured class in the colour it has in all runs."""
    return tuple(_map_picture(f"map-{place}", maps, one) for place, one in enumerate(maps.runs))


def class_marks(maps: Maps) -> dict[str, tuple[str, str]]:
    """Class -> colour and symbol, of those that have one."""
    return {
        label: (COLOURS[place % len(COLOURS)], SYMBOLS[place // len(COLOURS)])
        for place, label in enumerate(maps.coloured)
    }


def _read_points(results: Path, run: ShownRun, pictures: Pictures) -> tuple[Point, ...]:
    rows = read_rows(results, _POINTS, {"run_id": run.run_id, "most": _MOST_IMAGES})
    return tuple(
        Point(integer(image), str(label), number(x), number(y), pictures.add(run.run_id, picture))
        for image, label, x, y, picture in rows
    )


def _most_confused(results: Path, shown: ShownRuns, sizes: Mapping[str, int]) -> tuple[str, ...]:
    """The classes whose queries find another class first most often; all where they are few."""
    ids = [run.run_id for run in shown.runs]
    misses = {
        str(label): integer(count) for label, count in read_rows(results, _MISSES, {"run_ids": ids})
    }
    ordered = sorted(sizes, key=lambda label: (-misses.get(label, 0), -sizes[label], label))
    return tuple(sorted(ordered[:MOST_COLOURED]))


def _map_picture(name: str, maps: Maps, one: ProjectedRun) -> Picture:
    index = {label: place for place, label in enumerate(maps.labels)}
    marks = class_marks(maps)
    grey = [point for point in one.points if point.label not in marks]
    traces = [_trace(grey, index, BASELINE, "circle", 0.35)] if grey else []
    for label, (colour, symbol) in marks.items():
        points = [point for point in one.points if point.label == label]
        if points:
            traces.append(_trace(points, index, colour, symbol, 0.9))
    axis: dict[str, object] = {"showticklabels": False, "showgrid": False, "automargin": True}
    layout = {
        "xaxis": axis,
        "yaxis": axis | {"scaleanchor": "x"},
        "meta": {"map": True},
    }
    role = one.run.role
    label = shortened(one.run.trial.label, 60)
    text = (
        f"Map of {len(one.points)} test images of {len(maps.labels)} classes, by "
        f"{maps.layout} of their embeddings in the run of {label} ({role}), seed {maps.seed}. "
        f"Coloured classes: {', '.join(shortened(each, 40) for each in maps.coloured)}."
    )
    title = f"{role}: {label}"
    return Picture(name, title, text, tuple(traces), layout, _HEIGHT)


def _trace(
    points: Sequence[Point], index: Mapping[str, int], colour: str, symbol: str, opacity: float
) -> Trace:
    """Points of a kind; the page's script shows image and class of the one that is pointed at."""
    return {
        "type": "scatter",
        "mode": "markers",
        "x": [float(f"{point.x:.4g}") for point in points],
        "y": [float(f"{point.y:.4g}") for point in points],
        "marker": {"color": colour, "symbol": symbol, "size": 7, "opacity": opacity},
        "customdata": [[point.image, index[point.label], point.picture] for point in points],
        "hoverinfo": "none",
    }
