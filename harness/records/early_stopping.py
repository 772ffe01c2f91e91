"""Thresholds at which a run is stopped early, and the epoch at which one fell below them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple, cast

from harness.records.run_state import RunState
from harness.workload import JsonValue


@dataclass(frozen=True, slots=True)
class StoppingThresholds:
    """What a run must have reached to go on."""

    metric: str
    """As it is reported: ``val/recall@1``."""
    least: Mapping[int, float]
    """After so many epochs that reported the metric -> its least value."""
    is_best_judged: bool
    """Whether the best value so far must reach it, or the newest."""

    @staticmethod
    def from_json(document: Mapping[str, JsonValue]) -> StoppingThresholds:
        """What ``asdict`` and JSON made ``document`` from."""
        least = cast("Mapping[str, float]", document["least"])
        by_count = {int(count): value for count, value in least.items()}
        return StoppingThresholds(
            str(document["metric"]), by_count, bool(document["is_best_judged"])
        )


class EarlyStop(NamedTuple):
    """Where a run is stopped, and why."""

    epochs: int
    """That it has reported by then."""
    reason: str


def first_violation(values: Sequence[float], thresholds: StoppingThresholds) -> EarlyStop | None:
    """Where a run that reported ``values`` is stopped; None where it may go on."""
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
    """An ended run as a study sees it that would have stopped it by ``thresholds``.

    Runs are shared: one that another study has trained to its end counts as pruned in a study that
    would not have let it come so far, and one that another study has pruned, and this one would
    not have, has yet to be trained on.
    """
    cut = None if thresholds is None else first_violation(list(state.curve.values()), thresholds)
    if cut is not None:
        curve = dict(list(state.curve.items())[: cut.epochs])
        return replace(
            state, state="pruned", failure=None, message=cut.reason, curve=curve, results={}
        )
    return replace(state, state="running") if state.state == "pruned" else state
