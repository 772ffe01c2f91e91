"""Load the points of the embedding maps."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from harness.report.data.images.compared_runs import ShownRun, ShownRuns
from harness.report.data.images.thumbnails import Pictures, ShownImage
from harness.store.database import Connection
from harness.store.typed_rows import read_rows

MOST_COLOURED = 10
_MOST_IMAGES = 3000

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
_LAYOUT = """
SELECT coalesce(json_extract_string(facts, '$.map'), 'two principal components')
FROM run WHERE run_id = ?
"""


@dataclass(frozen=True, slots=True)
class Point(ShownImage):
    """An image on a map."""

    x: float
    y: float


@dataclass(frozen=True, slots=True)
class ProjectedRun:
    """The map of one run."""

    run: ShownRun
    points: tuple[Point, ...]
    is_turned: bool
    """Whether it was rotated or reflected to match the first map."""


@dataclass(frozen=True, slots=True)
class Maps:
    """The maps of the runs shown."""

    seed: int
    runs: tuple[ProjectedRun, ...]
    labels: tuple[str, ...]
    """All classes on the maps."""
    coloured: tuple[str, ...]
    """Classes with a colour of their own: all, or those confused most often."""
    layout: str
    """Kind of coordinates, as the workload states it (its fact ``map``)."""


def read_maps(con: Connection, shown: ShownRuns | None, pictures: Pictures) -> Maps | None:
    """Read the maps of the runs; None if none was written.

    Args:
        con: The database.
        shown: The runs to show.
        pictures: Collects the images on the maps, as far as there is room.
    """
    if shown is None:
        return None
    runs: list[ProjectedRun] = []
    for run in shown.runs:
        rows = read_rows(con, _POINTS, {"run_id": run.run_id, "most": _MOST_IMAGES})
        points = [
            Point(image, label, pictures.add(run.run_id, picture), x, y)
            for image, label, x, y, picture in rows
        ]
        if points:
            first = runs[0].points if runs else ()
            runs.append(ProjectedRun(run, aligned(points, first), is_turned=bool(first)))
    if not runs:
        return None
    sizes = Counter(point.label for one in runs for point in one.points)
    coloured = _most_confused(con, shown, sizes)
    ((layout,),) = read_rows(con, _LAYOUT, [runs[0].run.run_id])
    return Maps(shown.seed, tuple(runs), tuple(sorted(sizes)), coloured, layout)


def aligned(points: Sequence[Point], others: Sequence[Point]) -> tuple[Point, ...]:
    """Rotate the points, and reflect them if that helps, towards the same images in ``others``.

    Distances are preserved: the direction of principal components is arbitrary. (Procrustes without
    scaling.)
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


def _most_confused(con: Connection, shown: ShownRuns, sizes: Mapping[str, int]) -> tuple[str, ...]:
    """Return the classes whose queries most often retrieve another class; all if they are few."""
    misses = dict(read_rows(con, _MISSES, {"run_ids": [run.run_id for run in shown.runs]}))
    ordered = sorted(sizes, key=lambda label: (-misses.get(label, 0), -sizes[label], label))
    return tuple(sorted(ordered[:MOST_COLOURED]))
