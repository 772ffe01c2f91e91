"""Pictures before Plotly renders them, and the colours that all of them share.

``meta`` tells the page's script which part to show: a trace with ``{"view": ...}`` belongs to a
measure on a split, one with ``{"trial": ...}`` to a trial.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from harness.report.data.study_data import TrialRow

Trace: TypeAlias = dict[str, object]
"""One trace, as a Plotly dictionary."""

INK = "#010203"
"""Placeholder for the text colour, which the page's script sets for light or dark mode."""
PAPER = "#fefdfc"
"""Placeholder for the background colour."""
BASELINE = "#808080"
ACCENT = "#0072b2"
BEST = "#d55e00"
PALETTE = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00", "#f0e442")
"""Okabe and Ito's colour-blind-safe palette, without black."""
RAMP = (ACCENT, "#4f86ab", "#8c9299", "#b07845", BEST)
"""From low to high: safe for the colour-blind, and visible on light and dark backgrounds."""
CONTROL_DASHES = ("dash", "dot", "dashdot", "longdash")
_LONGEST_TICK = 24


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


def shortened(text: str, longest: int = _LONGEST_TICK) -> str:
    """Shorten ``text`` to at most ``longest`` characters, by default for a tick."""
    return text if len(text) <= longest else text[: longest - 1] + "\N{HORIZONTAL ELLIPSIS}"


def titled(text: str) -> dict[str, object]:
    """Return an axis title in the size of the tick labels."""
    return {"text": text, "font": {"size": 13}}
