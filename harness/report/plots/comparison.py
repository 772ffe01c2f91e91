"""Draw the trials of several studies, seed by seed, against one reference."""

from __future__ import annotations

import html
from collections.abc import Sequence

from harness.report.data.cross_study import Across, Contender, Row
from harness.report.findings.estimates import bar_lengths, decimal, difference_text
from harness.report.plots.colours import BASELINE, INK, PALETTE, PAPER
from harness.report.plots.picture import (
    Picture,
    Trace,
    first_told,
    legend_above,
    line_axis,
    tick,
    titled_axis,
)

MOST_DRAWN = 60
_MOST_TOLD = 12


def comparison_picture(found: Across) -> Picture:
    """Draw one line per trial, with its seeds and its mean, and the reference across all."""
    rows = found.rows[:MOST_DRAWN]
    if not any(row.contender == found.reference for row in rows):
        rows = (*rows, *(row for row in found.rows if row.contender == found.reference))
    colours = {study: PALETTE[at % len(PALETTE)] for at, study in enumerate(found.studies)}
    mean = next(row.summary.mean for row in rows if row.contender == found.reference)
    traces: list[Trace] = [
        {
            "type": "scatter",
            "x": [round(mean, 6)] * 2,
            "y": [-0.5, len(rows) - 0.5],
            "mode": "lines",
            "line": {"color": BASELINE, "width": 1},
            "hoverinfo": "skip",
            "showlegend": False,
        }
    ]
    for study, colour in colours.items():
        mine = [(at, row) for at, row in enumerate(rows) if row.contender.study == study]
        traces += _study_traces(study, mine, colour, found.reference)
    said = [
        f"{row.contender.name}: {decimal(row.summary.mean)}"
        + (f", {difference_text(row.comparison)} against the reference" if row.comparison else "")
        for row in found.rows
    ]
    told = first_told(said, _MOST_TOLD)
    names = [(row.contender.study, row.contender.label) for row in rows]
    return Picture(
        name="comparison",
        title="Every trial, seed by seed",
        text=f"{found.view.title}. The reference is {found.reference.name}. {told}.",
        traces=tuple(traces),
        layout={
            "xaxis": titled_axis(html.escape(found.view.title), nticks=4),
            "yaxis": line_axis([f"{tick(study)}<br>{tick(label)}" for study, label in names]),
            **legend_above(1.0),
        },
        height=120 + 42 * len(rows),
    )


def _study_traces(
    study: str, mine: Sequence[tuple[int, Row]], colour: str, reference: Contender
) -> list[Trace]:
    """Draw the seeds of a study's trials as dots, and their means with intervals."""
    if not mine:
        return []
    seeds = [
        (at + 0.18, value, f"{html.escape(row.contender.name)}<br>seed {seed}")
        for at, row in mine
        for seed, value in sorted(row.contender.values.items())
    ]
    halves = bar_lengths(row.summary for _, row in mine)
    is_reference = [row.contender == reference for _, row in mine]
    return [
        {
            "type": "scatter",
            "x": [round(value, 6) for _, value, _ in seeds],
            "y": [at for at, _, _ in seeds],
            "text": [text for _, _, text in seeds],
            "mode": "markers",
            "marker": {"color": colour, "size": 6, "opacity": 0.45},
            "hovertemplate": "%{text}: %{x:.4f}<extra></extra>",
            "showlegend": False,
        },
        {
            "type": "scatter",
            "name": html.escape(study),
            "x": [round(row.summary.mean, 6) for _, row in mine],
            "y": [at for at, _ in mine],
            "text": [html.escape(row.contender.name) for _, row in mine],
            "mode": "markers",
            "marker": {
                "color": colour,
                "size": [13 if each else 9 for each in is_reference],
                "symbol": ["diamond" if each else "circle" for each in is_reference],
                "line": {"color": [INK if each else PAPER for each in is_reference], "width": 1},
            },
            "error_x": {"type": "data", "array": halves, "color": colour, "thickness": 2},
            "hovertemplate": "%{text}: %{x:.4f}<extra></extra>",
        },
    ]
