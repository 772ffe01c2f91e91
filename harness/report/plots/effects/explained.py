"""Draw how much of the variance between the trials parameters and pairs explain."""

from __future__ import annotations

from collections.abc import Sequence

from harness.report.data.evidence.explained import ExplainedShare
from harness.report.plots.effects.share_bars import ShareBar, share_picture
from harness.report.plots.picture import Picture

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
    bars = [
        ShareBar(_name(one, titles), one.share, one.low, one.high, is_minor=bool(one.other))
        for one in found[:MOST_BARS]
    ]
    title = "Share of the variance between trials"
    return (share_picture("explained", title, f"{title} that is explained", bars),)


def _name(one: ExplainedShare, titles: dict[str, str]) -> str:
    keys = [one.parameter, *([one.other] if one.other else [])]
    return " and ".join(titles.get(key, key) for key in keys)
