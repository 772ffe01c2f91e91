"""The table of a study's runs: where each one stands for this driver, and by its spool.

It is the only holder of that state: what starts next, what waits for another attempt, what is
active and how many are finished are queries on it. Results are in the spools, not here.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeAlias

from harness.engine.dispatch.attempt import Attempt
from harness.engine.dispatch.retry_policy import FINAL_FAILURES, Retry, next_retry
from harness.engine.dispatch.store_writer import StoreWriter
from harness.records.early_stopping import with_early_stopping
from harness.records.event_log import SpoolReader, append
from harness.records.events import Finished
from harness.records.folders import run_dir, spool_path
from harness.records.run_state import RunState, replay
from harness.search.scheduler import ScheduledRun

Status: TypeAlias = Literal["queued", "leased", "active", "waiting", "elsewhere", "finished"]
STATUSES: tuple[Status, ...] = ("queued", "leased", "active", "waiting", "elsewhere", "finished")
"""``queued``: for the scheduler to hand out. ``leased``: this driver's; starts as soon as a worker
is free. ``active``: being trained. ``waiting``: for its next attempt; leased, too. ``elsewhere``:
another driver has it. ``finished``: this call is done with it."""
_UNKNOWN = RunState()


def is_final(state: RunState) -> bool:
    """Whether a run that stands at ``state`` need not be trained by a new call."""
    return state.state in ("done", "pruned") or state.failure in FINAL_FAILURES


@dataclass(eq=False, slots=True)
class RunRow:
    """A run of the study."""

    task: ScheduledRun
    spool: SpoolReader
    state: RunState = _UNKNOWN
    """By its spool, when that was last read."""
    status: Status = "queued"
    attempt: Attempt | None = None
    """The newest of this call."""
    due: float = 0.0
    """When its next attempt may start, while it waits for that."""
    failures: int = 0
    """Attempts that have failed in this call."""
    losses: int = 0
    """How often it was lost with what it ran on."""
    outcome: RunState = _UNKNOWN
    """How it went for this study, once it is finished."""
    is_trained: bool = False
    """Whether this call has trained it to its end."""
    before: RunState | None = None
    """How it stood before this call, where that is trained again."""

    @property
    def directory(self) -> Path:
        """The run's own directory."""
        return self.spool.path.parent

    @property
    def previous(self) -> RunState | None:
        """State of the finished run before this call, if the run is trained again; else None."""
        return self.before if self.before is not None and self.before.state == "done" else None

    @property
    def newest(self) -> RunState:
        """Where it stands, as this study sees it."""
        return self.outcome if self.status == "finished" else self.state

    @property
    def has_failed(self) -> bool:
        """Whether its newest attempt has failed."""
        return self.state.failure is not None

    @property
    def needs_training(self) -> bool:
        """Whether nobody has trained it, as far as this study asks."""
        if self.before is not None and self.before.attempts == self.state.attempts:
            return True
        seen = with_early_stopping(self.state, self.task.thresholds)
        return not (is_final(self.state) and is_final(seen))


@dataclass
class RunCounts:
    """The finished runs of a study, those of earlier calls included."""

    done: int = 0
    pruned: int = 0
    """Runs that were stopped early."""
    failed: int = 0
    _measured: int = 0
    _seconds: float = 0.0

    @property
    def finished(self) -> int:
        """All of them."""
        return self.done + self.pruned + self.failed

    @property
    def mean_s(self) -> float | None:
        """What a training took on average; None before one is done."""
        return self._seconds / self._measured if self._measured else None

    def add(self, task: ScheduledRun, outcome: RunState) -> None:
        """Count a run that is finished."""
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
    """The runs of a study, a row each."""

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
        """Start without a row.

        Args:
            results: The results folder.
            store: Is given what is read of the spools.
            watched: A metric whose values over the epochs decide something.
            again: Classes of failure that this call trains again, final or not.
            is_anew: Whether this call trains again what earlier calls have finished, too.
            clock: Seconds that never go back.
        """
        self.counts = RunCounts()
        self.most_active = math.inf
        """How many runs may be active at once, after those that ran out of memory."""
        self.clock = clock
        self._results, self._store = results, store
        self._watched, self._again, self._is_anew = watched, frozenset(again), is_anew
        self._rows: dict[str, RunRow] = {}
        # The same rows by their status, in the order in which they got it.
        self._by_status: dict[Status, dict[str, RunRow]] = {status: {} for status in STATUSES}
        self.finished: Mapping[str, RunState] = _Outcomes(self._by_status["finished"])
        """Run id -> state as the study sees it, of the runs that this call does not train."""

    def __getitem__(self, run_id: str) -> RunRow:
        """The row of a run."""
        return self._rows[run_id]

    def having(self, *statuses: Status) -> list[RunRow]:
        """The rows with any of these statuses, those of the first one first, oldest first."""
        return [row for status in statuses for row in self._by_status[status].values()]

    def has(self, *statuses: Status) -> bool:
        """Whether a run has any of these statuses."""
        return any(self._by_status[status] for status in statuses)

    @property
    def unfinished(self) -> int:
        """How many runs are not finished."""
        return len(self._rows) - len(self.finished)

    @property
    def trained(self) -> list[RunRow]:
        """The runs that this call has trained to their end, whichever."""
        return [row for row in self.having("finished") if row.is_trained]

    @property
    def active(self) -> list[Attempt]:
        """The attempts that are under way."""
        return [row.attempt for row in self.having("active") if row.attempt is not None]

    @property
    def waiting(self) -> list[RunRow]:
        """The runs that wait for their next attempt, in the order in which they are due."""
        return sorted(self.having("waiting"), key=lambda row: (row.due, row.task.run_id))

    @property
    def wait_s(self) -> float:
        """Until the first of them is due; endless where none waits."""
        return max(0.0, min((row.due for row in self.waiting), default=math.inf) - self.clock())

    def load(self, tasks: Iterable[ScheduledRun]) -> list[RunRow]:
        """Add runs, and read what earlier calls have spooled; known ones are skipped.

        Returns:
            The rows that are new and finished.
        """
        found = []
        for task in tasks:
            run_id = task.run_id
            if run_id in self._rows:
                continue
            spool = SpoolReader(spool_path(run_dir(self._results, run_id)))
            row = self._rows[run_id] = self._by_status["queued"][run_id] = RunRow(task, spool)
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
        """Read on in a run's spool; where it stands now.

        Raises:
            StoreError: the spool is there and cannot be read.
        """
        row = self._rows[run_id]
        read = row.spool.read()
        self._store.add(run_id, read)
        before = None if read.is_from_start else row.state
        row.state = replay(read.entries, before, watched=self._watched)
        return row.state

    def finish_if_trained(self, run_id: str) -> bool:
        """Finish a run that another driver has trained, by its spool as it is now."""
        self.read(run_id)
        if self._rows[run_id].needs_training:
            return False
        self.finish(run_id)
        return True

    def write_end(self, run_id: str, event: Finished) -> RunState:
        """Add an end to the spool of a run whose worker could not.

        Raises:
            StoreError: the spool cannot be written.
        """
        append(self._rows[run_id].spool.path, event)
        return self.read(run_id)

    def set_status(self, run_id: str, status: Status) -> None:
        """Move a run to another status."""
        row = self._rows[run_id]
        del self._by_status[row.status][run_id]
        row.status = status
        self._by_status[status][run_id] = row

    def start(self, attempt: Attempt) -> None:
        """Note an attempt that is under way."""
        run_id = attempt.task.run_id
        self._rows[run_id].attempt = attempt
        self.set_status(run_id, "active")

    def stop(self, run_id: str) -> Attempt:
        """Note that an attempt is over: its run starts again unless it is finished or waits."""
        attempt = self._rows[run_id].attempt
        assert attempt is not None
        self.set_status(run_id, "leased")
        return attempt

    def retry(self, run_id: str, failure: str, *, active: int) -> Retry | None:
        """Note a failure; the attempt that follows, for which the run then waits.

        Args:
            run_id: What has failed.
            failure: Its class.
            active: How many runs may be active at once so far.
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
        """A leased run, or one whose retry is due, which is leased then; None if there is none."""
        if leased := next(iter(self.having("leased")), None):
            return leased
        first = next(iter(self.waiting), None)
        if first is None or first.due > self.clock():
            return None
        self.set_status(first.task.run_id, "leased")
        return first

    def finish(self, run_id: str, *, is_trained: bool = False) -> None:
        """Note that this call is done with a run.

        Args:
            run_id: The run.
            is_trained: Whether this call has trained it.
        """
        row = self._rows[run_id]
        row.outcome = with_early_stopping(row.state, row.task.thresholds)
        row.is_trained = is_trained
        self.counts.add(row.task, row.outcome)
        self.set_status(run_id, "finished")


class _Outcomes(Mapping[str, RunState]):
    """The outcomes of rows, as a mapping."""

    def __init__(self, rows: Mapping[str, RunRow]) -> None:
        self._rows = rows

    def __getitem__(self, run_id: str) -> RunState:
        return self._rows[run_id].outcome

    def __contains__(self, run_id: object) -> bool:
        return run_id in self._rows

    def __iter__(self) -> Iterator[str]:
        return iter(self._rows)

    def __len__(self) -> int:
        return len(self._rows)
