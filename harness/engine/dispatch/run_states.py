"""Table of a study's runs: the status of each one for this driver, and its state by its spool.

This is the only place that holds that state: which runs are queued, waiting for a retry, active or
finished is found by querying it. Results are in the spools, not here.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeAlias

from harness.engine.dispatch.attempt import Attempt
from harness.engine.dispatch.retry_policy import FINAL_FAILURES, Retry, next_retry
from harness.engine.dispatch.store_writer import StoreWriter
from harness.records.early_stopping import with_early_stopping
from harness.records.event_log import append
from harness.records.events import Finished
from harness.records.run_reader import RunReader
from harness.records.run_state import RunState
from harness.search.scheduler import ScheduledRun

Status: TypeAlias = Literal["queued", "leased", "active", "waiting", "elsewhere", "finished"]
STATUSES: tuple[Status, ...] = ("queued", "leased", "active", "waiting", "elsewhere", "finished")
"""``queued``: in the scheduler's queue. ``leased``: by this driver; starts as soon as a worker is
free. ``active``: being trained. ``waiting``: leased, and waiting for its retry. ``elsewhere``:
leased by another driver. ``finished``: this call is done with it."""


def is_final(state: RunState) -> bool:
    """Whether a new call need not train a run in this state."""
    return state.state in ("done", "pruned") or state.failure in FINAL_FAILURES


@dataclass(eq=False, slots=True)
class RunRow:
    """A run of the study."""

    task: ScheduledRun
    reader: RunReader
    status: Status = "queued"
    attempt: Attempt | None = None
    """Its latest attempt in this call."""
    due: float = 0.0
    """When its retry may start, while it is waiting."""
    failures: int = 0
    """Failed attempts in this call."""
    losses: int = 0
    """How often its worker or spool was lost."""
    outcome: RunState | None = None
    """Its final state as seen by this study, once it is finished."""
    is_trained: bool = False
    """Whether this call has trained it to its end."""
    before: RunState | None = None
    """Its state before this call, if this call retrains it."""

    @property
    def state(self) -> RunState:
        """Its state as of the last read of its spool."""
        return self.reader.state

    @property
    def directory(self) -> Path:
        """The run's own directory."""
        return self.reader.path.parent

    @property
    def previous(self) -> RunState | None:
        """Its results before this call, if it was done and is retrained."""
        return self.before if self.before is not None and self.before.state == "done" else None

    @property
    def newest(self) -> RunState:
        """Its current state, as seen by this study."""
        return self.outcome or self.state

    @property
    def has_failed(self) -> bool:
        """Whether its latest attempt has failed."""
        return self.state.failure is not None

    @property
    def needs_training(self) -> bool:
        """Whether it still has to be trained for this study."""
        if self.before is not None and self.before.attempts == self.state.attempts:
            return True
        seen = with_early_stopping(self.state, self.task.thresholds)
        return not (is_final(self.state) and is_final(seen))


@dataclass
class RunCounts:
    """Counts of a study's finished runs, including those of earlier calls."""

    done: int = 0
    pruned: int = 0
    """Runs that were stopped early."""
    failed: int = 0
    _measured: int = 0
    _seconds: float = 0.0

    @property
    def finished(self) -> int:
        """The number of finished runs."""
        return self.done + self.pruned + self.failed

    @property
    def mean_s(self) -> float | None:
        """Mean duration of a done run, controls excluded; None before the first."""
        return self._seconds / self._measured if self._measured else None

    def add(self, task: ScheduledRun, outcome: RunState) -> None:
        """Count a finished run."""
        if outcome.state == "done":
            self.done += 1
            if task.trial.role != "control":  # controls do not train: their time predicts nothing
                self._measured += 1
                self._seconds += outcome.seconds or 0.0
        elif outcome.state == "pruned":
            self.pruned += 1
        else:
            self.failed += 1


class RunTable:
    """The runs of a study, one row each."""

    def __init__(
        self,
        results: Path,
        store: StoreWriter,
        *,
        watched: str | None = None,
        again: Collection[str] = (),
        is_anew: bool = False,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Create an empty table.

        Args:
            results: The results folder.
            store: Receives the events read from the spools.
            watched: The metric whose per-epoch values decide about early stopping, if any.
            again: Failure classes that this call retries, final or not.
            is_anew: Whether this call also retrains runs that earlier calls have finished.
            clock: A monotonic clock.
        """
        self.counts = RunCounts()
        self.most_active = math.inf
        """The most processes that may be active at once, lowered when runs run out of memory."""
        self.clock = clock
        self._results, self._store = results, store
        self._watched, self._again, self._is_anew = watched, frozenset(again), is_anew
        self._rows: dict[str, RunRow] = {}
        # The same rows by status, in the order in which they entered it.
        self._by_status: dict[Status, dict[str, RunRow]] = {status: {} for status in STATUSES}
        self.finished: dict[str, RunState] = {}
        """Run id -> state as seen by the study, for the finished runs."""

    def __getitem__(self, run_id: str) -> RunRow:
        """Return the row of a run."""
        return self._rows[run_id]

    def having(self, *statuses: Status) -> list[RunRow]:
        """Return the rows with these statuses, in the order of the statuses, oldest first."""
        return [row for status in statuses for row in self._by_status[status].values()]

    def has(self, *statuses: Status) -> bool:
        """Whether any run has one of these statuses."""
        return any(self._by_status[status] for status in statuses)

    @property
    def unfinished(self) -> int:
        """The number of unfinished runs."""
        return len(self._rows) - len(self.finished)

    @property
    def trained(self) -> list[RunRow]:
        """The runs that this call has trained to their end, whether done, pruned or failed."""
        return [row for row in self.having("finished") if row.is_trained]

    @property
    def active(self) -> list[Attempt]:
        """The running attempts."""
        return [row.attempt for row in self.having("active") if row.attempt is not None]

    @property
    def waiting(self) -> list[RunRow]:
        """The runs waiting for a retry, in the order in which they are due."""
        return sorted(self.having("waiting"), key=lambda row: (row.due, row.task.run_id))

    @property
    def wait_s(self) -> float:
        """Seconds until the next retry is due; infinite if no run is waiting."""
        return max(0.0, min((row.due for row in self.waiting), default=math.inf) - self.clock())

    def load(self, tasks: Iterable[ScheduledRun]) -> list[RunRow]:
        """Add runs and read their spools; runs already in the table are skipped.

        Returns:
            The new rows that are already finished.
        """
        found = []
        for task in tasks:
            run_id = task.run_id
            if run_id in self._rows:
                continue
            reader = RunReader(self._results, run_id, watched=self._watched)
            row = self._rows[run_id] = self._by_status["queued"][run_id] = RunRow(task, reader)
            state = self.read(run_id)
            if state.failure in self._again or (self._is_anew and is_final(state)):
                row.before = state
            if state.state == "queued":
                self._store.note_missing(run_id)
            if not row.needs_training:
                self.finish(run_id)
                self._store.skip_stored(run_id, state)
                found.append(row)
        return found

    def read(self, run_id: str) -> RunState:
        """Read the new events in a run's spool. Returns its current state.

        Raises:
            StoreError: the spool exists but cannot be read.
        """
        row = self._rows[run_id]
        self._store.add(run_id, row.reader.read())
        return row.state

    def finish_if_trained(self, run_id: str) -> bool:
        """Reread a run's spool, and finish the run if it is trained. Returns whether it is."""
        self.read(run_id)
        if self._rows[run_id].needs_training:
            return False
        self.finish(run_id)
        return True

    def write_end(self, run_id: str, event: Finished) -> None:
        """Write the end of a run to its spool, for a worker that died before it could.

        Raises:
            StoreError: the spool cannot be written.
        """
        append(self._rows[run_id].reader.path, event)
        self.read(run_id)

    def set_status(self, run_id: str, status: Status) -> None:
        """Move a run to another status."""
        row = self._rows[run_id]
        del self._by_status[row.status][run_id]
        row.status = status
        self._by_status[status][run_id] = row

    def start(self, attempt: Attempt) -> None:
        """Record the start of an attempt."""
        run_id = attempt.task.run_id
        self._rows[run_id].attempt = attempt
        self.set_status(run_id, "active")

    def stop(self, run_id: str) -> Attempt:
        """Record the end of an attempt; the run is leased until it is finished or waiting."""
        attempt = self._rows[run_id].attempt
        assert attempt is not None
        self.set_status(run_id, "leased")
        return attempt

    def retry(self, run_id: str, failure: str, *, active: int) -> Retry | None:
        """Record a failure. Returns the retry, for which the run then waits, if there is one.

        Args:
            run_id: The run that has failed.
            failure: The class of the failure.
            active: The most processes that may be active at once so far.
        """
        row = self._rows[run_id]
        row.failures += 1
        retry = next_retry(failure, row.failures)
        if retry is not None:
            row.due = self.clock() + retry.wait_s
            self.set_status(run_id, "waiting")
            if retry.takes_slot:
                self.most_active = max(1, active - 1)
        return retry

    def take_own(self) -> RunRow | None:
        """Return a leased run, or lease one whose retry is due; None if there is neither."""
        if leased := next(iter(self.having("leased")), None):
            return leased
        first = next(iter(self.waiting), None)
        if first is None or first.due > self.clock():
            return None
        self.set_status(first.task.run_id, "leased")
        return first

    def finish(self, run_id: str, *, is_trained: bool = False) -> None:
        """Record that this call is done with a run.

        Args:
            run_id: The run.
            is_trained: Whether this call has trained it.
        """
        row = self._rows[run_id]
        row.outcome = self.finished[run_id] = with_early_stopping(row.state, row.task.thresholds)
        row.is_trained = is_trained
        self.counts.add(row.task, row.outcome)
        self.set_status(run_id, "finished")
