"""Where a run stands, by the events in its spool: the one place that says which of them count."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Literal, NamedTuple

from harness.records.events import Damaged, Entry, EpochReported, Failure, Finished, Started


class LimitExceeded(NamedTuple):
    """As what an attempt that has broken a limit fails."""

    failure: Failure
    message: str


State = Literal["queued", "running", "done", "failed", "pruned"]


@dataclass(frozen=True, slots=True)
class RunState:
    """Where a run stands, by its events."""

    state: State = "queued"
    failure: str | None = None
    message: str | None = None
    attempts: int = 0
    reported: tuple[int, ...] = ()
    """Epochs that count, in order. An attempt that goes on from a checkpoint keeps those before."""
    last_metrics: Mapping[str, float] = field(default_factory=dict)
    """Of the epoch reported last."""
    curve: Mapping[int, float] = field(default_factory=dict)
    """Epoch -> finite value of the metric that ``replay`` was told to watch, in order."""
    results: Mapping[str, float] = field(default_factory=dict)
    seconds: float | None = None
    started: str | None = None
    """When the newest attempt began, as it wrote; None where its start is missing."""
    finished: str | None = None
    """When it ended."""
    files: Mapping[str, str] = field(default_factory=dict)
    """Path below the work folder -> digest, of what a run that is done has left there."""
    damage: str | None = None
    """What is wrong with the spool: ``line 3 is damaged``. Such a run counts as unfinished until an
    attempt starts it anew."""

    @property
    def epochs(self) -> int:
        """How many epochs count."""
        return len(self.reported)

    @property
    def is_over(self) -> bool:
        """Whether the newest attempt has ended."""
        return self.state in ("done", "failed", "pruned")


def replay(
    entries: Iterable[Entry], before: RunState | None = None, *, watched: str | None = None
) -> RunState:
    """The state after ``entries``, which follow those that led to ``before``.

    Events of an attempt older than the newest are passed over, and so is all that follows an
    attempt's first ``Finished``: a worker that was given up cannot change what was decided. An end
    counts only where nothing of what led to it is damaged, and a good one where its start is there.

    Args:
        entries: What happened.
        before: The state until then.
        watched: A metric that epochs report, of which the ``curve`` is kept.
    """
    state = before or RunState()
    for entry in entries:
        state = advance(state, entry, watched=watched)
    return state


def advance(state: RunState, entry: Entry, *, watched: str | None = None) -> RunState:
    """The state after one more entry: the same object where ``replay`` passes the entry over."""
    if isinstance(entry, Damaged):
        return _damaged(state, f"line {entry.line} is damaged")
    if entry.attempt < state.attempts:
        return state
    if entry.attempt > state.attempts:
        state = replace(_unfinished(state), attempts=entry.attempt, started=None)
        if isinstance(entry, Started) and entry.is_anew:
            state = RunState("running", attempts=entry.attempt)
    if isinstance(entry, Started):
        return replace(state, started=entry.time) if state.started is None else state
    if state.is_over:
        return state
    if isinstance(entry, EpochReported):
        return _with_epoch(state, entry, watched)
    if state.started is None and entry.state != "failed":
        return _damaged(state, f"the start of attempt {entry.attempt} is missing")
    return _ended(state, entry) if state.damage is None else state


def _unfinished(state: RunState) -> RunState:
    """The state of a run that goes on, by what its epochs have said so far."""
    return RunState(
        "running",
        attempts=state.attempts,
        reported=state.reported,
        curve=state.curve,
        started=state.started,
        damage=state.damage,
    )


def _damaged(state: RunState, damage: str) -> RunState:
    return replace(_unfinished(state), damage=state.damage or damage)


def _ended(state: RunState, event: Finished) -> RunState:
    return replace(
        state,
        state=event.state,
        failure=event.failure,
        message=event.message,
        results=event.results,
        seconds=event.seconds,
        finished=event.time,
        files=event.files,
    )


def _with_epoch(state: RunState, event: EpochReported, watched: str | None) -> RunState:
    """The state after one more epoch, which voids what was said of it and of later ones."""
    reported = state.reported
    if reported and reported[-1] >= event.epoch:
        reported = tuple(epoch for epoch in reported if epoch < event.epoch)
    curve = {epoch: value for epoch, value in state.curve.items() if epoch < event.epoch}
    value = math.nan if watched is None else event.metrics.get(watched, math.nan)
    if math.isfinite(value):
        curve[event.epoch] = value
    return replace(
        state, reported=(*reported, event.epoch), last_metrics=event.metrics, curve=curve
    )
