"""Draw shares of a variance as bars with their intervals."""

from __future__ import annotations

import html
from collections.abc import Sequence
from typing import NamedTuple

from harness.report.plots.colours import ACCENT, BASELINE, INK
from harness.report.plots.picture import Picture, Trace, first_told, line_axis, tick, titled_axis

_WIDEST = 2.0
"""Up to where an interval is shown whole; beyond, it leaves the picture."""


class ShareBar(NamedTuple):
    """A bar of a share of a variance."""

    name: str
    share: float
    low: float | None
    high: float | None
    is_minor: bool = False
    """Grey instead of coloured."""

    @property
    def told(self) -> str:
        """The bar in words."""
        ends = ""
        if self.low is not None and self.high is not None:
            ends = f" [{self.low:.2f}, {self.high:.2f}]"
        return f"{self.name} {self.share:.2f}{ends}"


def share_picture(name: str, title: str, words: str, bars: Sequence[ShareBar]) -> Picture:
    """Draw a bar per share, from the top down.

    Args:
        name: Id in the page.
        title: Above the picture.
        words: What is shown, for readers who cannot see it; the bars are told after it.
        bars: At least one.
    """
    told = [bar.told for bar in bars]
    trace: Trace = {
        "type": "bar",
        "orientation": "h",
        "x": [round(bar.share, 4) for bar in bars],
        "y": list(range(len(bars))),
        "marker": {"color": [BASELINE if bar.is_minor else ACCENT for bar in bars]},
        "error_x": {
            "type": "data",
            "symmetric": False,
            "array": [_length(bar, bar.share, bar.high) for bar in bars],
            "arrayminus": [_length(bar, bar.low, bar.share) for bar in bars],
            "color": INK,
            "thickness": 1.4,
        },
        "customdata": [html.escape(text) for text in told],
        "hovertemplate": "%{customdata}<extra></extra>",
    }
    highest = min(_WIDEST, max(bar.high or 0.0 for bar in bars))
    end = 1.05 * max(1.0, highest, *(bar.share for bar in bars))
    return Picture(
        name=name,
        title=title,
        text=f"{words}: {first_told(told, 12)}.",
        traces=(trace,),
        layout={
            "xaxis": titled_axis("share of the variance", range=[0, round(end, 4)], nticks=6),
            "yaxis": line_axis([tick(bar.name) for bar in bars]),
        },
        height=max(180, 90 + 30 * len(bars)),
    )


def _length(bar: ShareBar, start: float | None, end: float | None) -> float:
    is_known = bar.low is not None and bar.high is not None
    return round(end - start, 4) if is_known and start is not None and end is not None else 0.0
