"""Draw the trials of a study with several metrics, and their Pareto front."""

from __future__ import annotations

import html
from collections.abc import Sequence

from harness.report.data.evidence.front import Front, Point
from harness.report.findings.front import axis_title, cost_text, front_text
from harness.report.plots.colours import ACCENT, BASELINE, BEST, PAPER
from harness.report.plots.picture import Picture, Trace, legend_above, short_number, titled_axis

_HEIGHT = 340


def front_pictures(front: Front | None) -> tuple[Picture, ...]:
    """Draw the primary metric against each of the others."""
    if front is None:
        return ()
    return tuple(_picture(front, place) for place in range(1, len(front.axes)))


def _picture(front: Front, place: int) -> Picture:
    kept = sorted(front.kept, key=lambda point: point.values[place])
    others = [point for point in front.points if not point.on_front]
    is_flat = len(front.axes) == 2
    groups = (
        (others, "other trials", BASELINE, "circle-open", 8),
        (kept, "on the front", BEST if is_flat else ACCENT, "circle", 10),
    )
    traces = [_dots(*group, place=place) for group in groups if group[0]]
    if is_flat:  # with more metrics the front is no line
        traces.append(_steps(kept, place, front.axes[place].direction))
    other = front.axes[place]
    return Picture(
        name=f"front-{front.split}-{place}",
        title=f"{front.axes[0].name} against {other.name}",
        text=front_text(front),
        traces=tuple(traces),
        layout={
            "xaxis": titled_axis(html.escape(axis_title(other))),
            "yaxis": titled_axis(html.escape(axis_title(front.axes[0]))),
            **legend_above(1.02),
        },
        height=_HEIGHT,
    )


def _dots(
    points: Sequence[Point], name: str, colour: str, symbol: str, size: int, *, place: int
) -> Trace:
    return {
        "type": "scatter",
        "x": [short_number(point.values[place]) for point in points],
        "y": [round(point.values[0], 6) for point in points],
        "mode": "markers",
        "marker": {
            "color": colour,
            "symbol": symbol,
            "size": size,
            "line": {"color": colour if "open" in symbol else PAPER, "width": 1},
        },
        "name": name,
        "text": [
            html.escape(f"{point.trial.label} {f'({cost})' if (cost := cost_text(point)) else ''}")
            for point in points
        ],
        "hovertemplate": "%{text}<br>%{x}, %{y:.4f}<extra></extra>",
    }


def _steps(kept: Sequence[Point], place: int, direction: str) -> Trace:
    """Draw the border of what is beaten by the front."""
    return {
        "type": "scatter",
        "x": [short_number(point.values[place]) for point in kept],
        "y": [round(point.values[0], 6) for point in kept],
        "mode": "lines",
        "line": {"color": BEST, "width": 1, "shape": "hv" if direction == "minimise" else "vh"},
        "hoverinfo": "skip",
        "showlegend": False,
    }
