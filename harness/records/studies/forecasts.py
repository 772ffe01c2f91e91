"""Forecasts of how long the runs of a study take, noted when it starts, and what they took."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Annotated

from pydantic import Field

from harness.records.events import Time

Seconds = Annotated[float, Field(ge=0, allow_inf_nan=False)]


@dataclass(frozen=True, slots=True)
class NotedForecast:
    """A forecast of the time that all runs still to do will take."""

    planned_at: Time
    total: int
    """Number of runs of the whole study; a study that is extended gets another forecast."""
    runs: int
    """Number of runs to do."""
    low_s: Seconds
    high_s: Seconds
    spent_s: Seconds
    """Time that the study had taken before."""
    took_s: Seconds | None = None
    """Time that the runs took, over all calls; None until all are done."""


def merged_forecasts(
    one: Iterable[NotedForecast], other: Iterable[NotedForecast]
) -> tuple[NotedForecast, ...]:
    """Merge the forecasts of two drivers of a study, oldest first."""
    found: dict[str, NotedForecast] = {}
    for each in (*one, *other):
        known = found.get(each.planned_at)
        if known is None or known.took_s is None:
            found[each.planned_at] = each
    return tuple(sorted(found.values(), key=lambda each: each.planned_at))


def closed(
    forecasts: tuple[NotedForecast, ...], seconds: float
) -> tuple[tuple[NotedForecast, ...], NotedForecast | None]:
    """Note what the runs of the newest forecast took, if that is still open.

    Args:
        forecasts: Oldest first.
        seconds: Time that the study has taken so far.

    Returns:
        All forecasts, and the one that was closed.
    """
    if not forecasts or forecasts[-1].took_s is not None:
        return forecasts, None
    last = replace(forecasts[-1], took_s=max(0.0, seconds - forecasts[-1].spent_s))
    return (*forecasts[:-1], last), last
