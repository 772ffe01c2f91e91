"""What a picture is before Plotly renders it, and the colours that all pictures share.

``meta`` tells the page's script which part to show: a trace of ``{"view": ...}`` belongs to a
measure on a split, one of ``{"trial": ...}`` to a trial.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from harness.report.data.study_data import TrialRow

Trace: TypeAlias = dict[str, object]
"""One trace in Plotly's words."""

INK = "#010203"
"""Stands for the colour of text, which the page's script knows: it differs by light and dark."""
PAPER = "#fefdfc"
"""Stands for the colour of the ground."""
BASELINE = "#808080"
ACCENT = "#0072b2"
BEST = "#d55e00"
PALETTE = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00", "#f0e442")
"""Okabe and Ito's colours, which the colour-blind tell apart, less the black."""
RAMP = (ACCENT, "#4f86ab", "#8c9299", "#b07845", BEST)
"""From low to high: the colour-blind tell both ends apart, and all stand out from either ground."""
CONTROL_DASHES = ("dash", "dot", "dashdot", "longdash")
_LONGEST_TICK = 24


@dataclass(frozen=True, slots=True)
class Picture:
    """Traces and layout of one picture."""

    name: str
    """Its id in the page."""
    title: str
    text: str
    """The same in words, for those who cannot see it."""
    traces: tuple[Trace, ...]
    layout: Mapping[str, object]
    height: int
    """In pixels."""
    min_width: int = 0
    """In pixels; on a narrower page it is scrolled."""


def trial_colours(trials: Sequence[TrialRow]) -> dict[str, str]:
    """trial_id -> colour; the baseline is grey everywhere."""
    others = [trial.trial_id for trial in trials if not trial.is_baseline]
    colours = {t: PALETTE[place % len(PALETTE)] for place, t in enumerate(others)}
    return colours | {trial.trial_id: BASELINE for trial in trials if trial.is_baseline}


def shortened(text: str, longest: int = _LONGEST_TICK) -> str:
    """``text``, or its beginning where it is too long, as for a tick."""
    return text if len(text) <= longest else text[: longest - 1] + "\N{HORIZONTAL ELLIPSIS}"


def titled(text: str) -> dict[str, object]:
    """The title of an axis, no louder than its numbers."""
    return {"text": text, "font": {"size": 13}}
