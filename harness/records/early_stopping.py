"""Thresholds for early stopping, and the epoch at which a run falls below them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

from harness.records.run_state import RunState


@dataclass(frozen=True, slots=True)
class StoppingThresholds:
    """Values that a run must reach to continue."""

    metric: str
    """Name of the metric as reported, e.g. ``val/recall@1``."""
    least: Mapping[int, float]
    """Number of epochs that reported the metric -> minimum value required at that point."""
    is_best_judged: bool
    """Whether the best value so far is compared with the minimum, rather than the newest."""


class EarlyStop(NamedTuple):
    """When and why a run is stopped early."""

    epochs: int
    """Number of epochs that had reported the metric by then."""
    reason: str


def first_violation(values: Sequence[float], thresholds: StoppingThresholds) -> EarlyStop | None:
    """Return when a run that reported ``values`` is stopped; None if it may continue."""
    best = -math.inf
    for count, value in enumerate(values, start=1):
        best = max(best, value)
        compared = best if thresholds.is_best_judged else value
        least = thresholds.least.get(count)
        if least is not None and compared < least:
            after = "1 epoch" if count == 1 else f"{count} epochs"
            reason = f"{thresholds.metric} {compared:.4f} after {after}, below {least:.4f}"
            return EarlyStop(count, reason)
    return None


def with_early_stopping(state: RunState, thresholds: StoppingThresholds | None) -> RunState:
    """Return the state of an ended run as seen by a study with its own ``thresholds``.

    Studies share runs. A run that another study trained to its end counts as pruned here if these
    thresholds would have stopped it earlier. A run that another study pruned counts as running here
    if these thresholds would not have stopped it: it still has to be trained to its end.
    """
    cut = None if thresholds is None else first_violation(list(state.curve.values()), thresholds)
    if cut is not None:
        curve = dict(list(state.curve.items())[: cut.epochs])
        return replace(
            state, state="pruned", failure=None, message=cut.reason, curve=curve, results={}
        )
    return replace(state, state="running") if state.state == "pruned" else state
