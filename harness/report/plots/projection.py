"""Draw test embeddings in two dimensions, as the workload projected them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from harness.report.data.images.projection import Maps, Point, ProjectedRun
from harness.report.plots.colours import BASELINE
from harness.report.plots.picture import Picture, Trace
from harness.units import shortened

COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9")
SYMBOLS = ("circle", "diamond")
"""Each colour is used once with each symbol, so that ten classes can be told apart."""
_HEIGHT = 420


def map_pictures(maps: Maps) -> tuple[Picture, ...]:
    """Draw one map per run: grey points below, and each coloured class in the same colour."""
    return tuple(_map_picture(f"map-{place}", maps, one) for place, one in enumerate(maps.runs))


def class_marks(maps: Maps) -> dict[str, tuple[str, str]]:
    """Map each coloured class to its colour and symbol."""
    return {
        label: (COLOURS[place % len(COLOURS)], SYMBOLS[place // len(COLOURS)])
        for place, label in enumerate(maps.coloured)
    }


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
    """Draw points of one style; the page's script shows image and class on hover."""
    return {
        "type": "scatter",
        "mode": "markers",
        "x": [float(f"{point.x:.4g}") for point in points],
        "y": [float(f"{point.y:.4g}") for point in points],
        "marker": {"color": colour, "symbol": symbol, "size": 7, "opacity": opacity},
        "customdata": [[point.image, index[point.label], point.picture] for point in points],
        "hoverinfo": "none",
    }
