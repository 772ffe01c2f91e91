"""Pictures before Plotly renders them, and what all of them share: axes, legends, ticks.

``meta`` tells the page's script which part to show: a trace with ``{"view": ...}`` belongs to a
measure on a split, one with ``{"trial": ...}`` to a trial.
"""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from harness.report.data.study_data import TrialRow
from harness.report.plots.colours import BASELINE, PALETTE
from harness.units import shortened

Trace: TypeAlias = dict[str, object]
"""One trace, as a Plotly dictionary."""


@dataclass(frozen=True, slots=True)
class Picture:
    """Traces and layout of one picture."""

    name: str
    """Id in the page."""
    title: str
    text: str
    """Description in words, for readers who cannot see the picture."""
    traces: tuple[Trace, ...]
    layout: Mapping[str, object]
    height: int
    """In pixels."""
    min_width: int = 0
    """In pixels; a narrower page scrolls."""


def trial_colours(trials: Sequence[TrialRow]) -> dict[str, str]:
    """Map trial_id to colour; the baseline is grey everywhere."""
    others = [trial.trial_id for trial in trials if not trial.is_baseline]
    colours = {t: PALETTE[place % len(PALETTE)] for place, t in enumerate(others)}
    return colours | {trial.trial_id: BASELINE for trial in trials if trial.is_baseline}


LONGEST_TICK = 24


def tick(text: str) -> str:
    """Escape a name for Plotly, short enough for a tick."""
    return html.escape(shortened(text, LONGEST_TICK))


def titled(text: str) -> dict[str, object]:
    """Return an axis title in the size of the tick labels."""
    return {"text": text, "font": {"size": 13}}


def titled_axis(title: str, **more: object) -> dict[str, object]:
    """Return an axis with a title, which Plotly reads as HTML, and room for its labels."""
    return {"title": titled(title), "automargin": True, **more}


def line_axis(labels: Sequence[str]) -> dict[str, object]:
    """Return a vertical axis with a line per label, which are HTML, from the top down."""
    return {
        "automargin": True,
        "tickvals": list(range(len(labels))),
        "ticktext": list(labels),
        "range": [len(labels) - 0.5, -0.5],
        "showgrid": False,
    }


def legend_above(y: float) -> dict[str, object]:
    """Return the layout of a legend in a line above the picture."""
    legend = {"orientation": "h", "x": 0, "y": y, "yanchor": "bottom"}
    return {"showlegend": True, "legend": legend}


def first_told(said: Sequence[str], most: int) -> str:
    """Join the first sentences of a picture's words, and count the others."""
    more = f"; {len(said) - most} more in the table" if len(said) > most else ""
    return "; ".join(said[:most]) + more


def short_number(value: float) -> float:
    """Round to five significant digits: more are invisible and enlarge the page."""
    return float(f"{value:.5g}")
