"""Derive the state of a run from its spool; only this module decides which events count."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal, NamedTuple

from harness.records.event_log import Entries, SpoolReader
from harness.records.events import Damaged, Entry, EpochReported, Failure, Finished, Started
from harness.records.folders import run_dir, spool_path


class LimitExceeded(NamedTuple):
    """Failure of an attempt that exceeded a limit."""

    failure: Failure
    message: str


State = Literal["queued", "running", "done", "failed", "pruned"]


@dataclass(frozen=True, slots=True)
class RunState:
    """State of a run, derived from its events."""

    state: State = "queued"
    failure: str | None = None
    message: str | None = None
    attempts: int = 0
    reported: tuple[int, ...] = ()
    """Valid epochs, in order. An attempt resumed from a checkpoint keeps those before it."""
    last_metrics: Mapping[str, float] = field(default_factory=dict)
    """Metrics of the last reported epoch."""
    curve: Mapping[int, float] = field(default_factory=dict)
    """Epoch -> finite value of the metric ``watched`` by ``replay``, in order."""
    results: Mapping[str, float] = field(default_factory=dict)
    seconds: float | None = None
    started: str | None = None
    """Start time of the newest attempt, as recorded; None if its start event is missing."""
    finished: str | None = None
    """End time of the newest attempt, if it has ended."""
    files: Mapping[str, str] = field(default_factory=dict)
    """Path below the work folder -> digest, for the files that a finished run left there."""
    damage: str | None = None
    """Damage to the spool, e.g. ``line 3 is damaged``. Such a run counts as unfinished until an
    attempt starts from scratch."""

    @property
    def epochs(self) -> int:
        """Number of valid epochs."""
        return len(self.reported)

    @property
    def is_over(self) -> bool:
        """Whether the newest attempt has ended."""
        return self.state in ("done", "failed", "pruned")


def replay(
    entries: Iterable[Entry], before: RunState | None = None, *, watched: str | None = None
) -> RunState:
    """Return the state after ``entries``, which continue from the state ``before``.

    Events of superseded attempts are ignored, and so is everything after an attempt's first
    ``Finished``: a worker that was given up must not change the outcome. An end counts only if no
    line before it is damaged, and an end other than a failure only if the start event exists.

    Args:
        entries: New entries, in order.
        before: State before them; None for a new run.
        watched: Metric reported by epochs whose ``curve`` is kept.
    """
    state = before or RunState()
    for entry in entries:
        state = advance(state, entry, watched=watched)
    return state


def advance(state: RunState, entry: Entry, *, watched: str | None = None) -> RunState:
    """Return the state after one more entry; the same object if the entry is ignored."""
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


class RunReader:
    """Incremental reader of a run's spool that keeps the run's state up to date."""

    def __init__(self, results: Path, run_id: str, *, watched: str | None = None) -> None:
        """Create a reader; the run need not have started.

        Args:
            results: The results folder.
            run_id: Id of the run.
            watched: Metric whose curve is kept; see ``replay``.
        """
        self._spool = SpoolReader(spool_path(run_dir(results, run_id)))
        self._watched = watched
        self.state = RunState()

    @property
    def path(self) -> Path:
        """Path of the spool."""
        return self._spool.path

    @property
    def offset(self) -> int:
        """Number of bytes read so far; if it grows, the run is alive."""
        return self._spool.offset

    def read(self) -> Entries:
        """Update ``state`` and return the entries added to the spool since the last call.

        Raises:
            StoreError: the spool exists but cannot be read.
        """
        found = self._spool.read()
        before = None if found.is_from_start else self.state
        self.state = replay(found.entries, before, watched=self._watched)
        return found


def _unfinished(state: RunState) -> RunState:
    """Return the state of an unfinished run that keeps the epochs reported so far."""
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
    """Return the state after a reported epoch, which replaces earlier reports from it on."""
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
