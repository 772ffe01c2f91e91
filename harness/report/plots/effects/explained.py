"""Draw how much of the variance between the trials parameters and pairs explain."""

from __future__ import annotations

import html
from collections.abc import Sequence

from harness.report.data.evidence.explained import ExplainedShare
from harness.report.plots.colours import ACCENT, BASELINE, INK
from harness.report.plots.picture import Picture, Trace, first_told, line_axis, tick, titled_axis

MOST_BARS = 20


def explained_pictures(
    found: Sequence[ExplainedShare], titles: dict[str, str]
) -> tuple[Picture, ...]:
    """Draw a bar per parameter and per pair, with its interval; none without shares.

    Args:
        found: The shares.
        titles: Key of a parameter -> its title.
    """
    if not found:
        return ()
    shown = found[:MOST_BARS]
    names = [_name(one, titles) for one in shown]
    told = [
        f"{name} {one.share:.2f}"
        + ("" if one.low is None or one.high is None else f" [{one.low:.2f}, {one.high:.2f}]")
        for name, one in zip(names, shown, strict=True)
    ]
    bars: Trace = {
        "type": "bar",
        "orientation": "h",
        "x": [round(one.share, 4) for one in shown],
        "y": list(range(len(shown))),
        "marker": {"color": [BASELINE if one.other else ACCENT for one in shown]},
        "error_x": {
            "type": "data",
            "symmetric": False,
            "array": [_length(one.share, one.high) for one in shown],
            "arrayminus": [_length(one.low, one.share) for one in shown],
            "color": INK,
            "thickness": 1.4,
        },
        "customdata": [html.escape(text) for text in told],
        "hovertemplate": "%{customdata}<extra></extra>",
    }
    picture = Picture(
        name="explained",
        title="Share of the variance between trials",
        text=f"Share of the variance between trials that is explained: {first_told(told, 12)}.",
        traces=(bars,),
        layout={
            "xaxis": titled_axis("share of the variance", range=[0, 1.05], nticks=6),
            "yaxis": line_axis([tick(name) for name in names]),
        },
        height=max(180, 90 + 30 * len(shown)),
    )
    return (picture,)


def _name(one: ExplainedShare, titles: dict[str, str]) -> str:
    keys = [one.parameter, *([one.other] if one.other else [])]
    return " and ".join(titles.get(key, key) for key in keys)


def _length(low: float | None, high: float | None) -> float:
    return 0.0 if low is None or high is None else round(high - low, 4)
