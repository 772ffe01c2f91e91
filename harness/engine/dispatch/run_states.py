"""What is known of each run, from its spool, and how much of that is in the database by now.

Spools are read as they grow; the database is brought up to date in one transaction a tick, and
whenever a reader holds it, later.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from harness.engine.dispatch.retry_policy import FINAL_FAILURES
from harness.errors import InputError, StoreBusyError, StoreError
from harness.records.early_stopping import StoppingThresholds, with_early_stopping
from harness.records.event_log import SpoolReader, append
from harness.records.events import Damaged, Entry, Finished
from harness.records.folders import run_dir, spool_path
from harness.records.run_state import RunState, replay
from harness.records.study_record import StudyRecord, read_study_record
from harness.store.comparisons import refresh_comparisons, refresh_comparisons_of_runs
from harness.store.database import connect, query
from harness.store.ingest import forget, ingest_all, same_time, write_study

_COMPARE_EVERY_S = 5.0
_REST = 25
"""The database is brought up to date for at most one part in so many of the time: what the driver
computes, two workers on two cores lack."""
_LONGEST_REST_S = 10.0
_MOST_PENDING = 5000
"""Events that may wait for it in memory."""


def _changes_results(entries: Iterable[Entry]) -> bool:
    return any(isinstance(entry, Finished | Damaged) for entry in entries)


def is_settled(state: RunState) -> bool:
    """Whether a run that stands at ``state`` need not be trained by a new call."""
    return state.state in ("done", "pruned") or state.failure in FINAL_FAILURES


class RunStates:
    """The states of runs, and the events that the database still lacks."""

    def __init__(
        self,
        results: Path,
        *,
        watched: str | None = None,
        again: Collection[str] = (),
        is_anew: bool = False,
        check: Callable[[], None] = lambda: None,
    ) -> None:
        """Nothing is read yet.

        Args:
            results: The results folder.
            watched: A metric whose values over the epochs decide something.
            again: Classes of failure that this call trains again, final or not.
            is_anew: Whether this call trains again what earlier calls have finished, too.
            check: Raises where this driver may not write any more.
        """
        self._check = check
        self._results = results
        self._watched = watched
        self._again = frozenset(again)
        self._is_anew = is_anew
        # Run -> how it stood before this call, of those that are trained again.
        self._before: dict[str, RunState] = {}
        self._states: dict[str, RunState] = {}
        self._spools: dict[str, SpoolReader] = {}
        self._settled: dict[str, RunState] = {}
        self._pending: dict[str, list[Entry]] = {}
        # Runs of which the database may know what no spool says any more.
        self._gone: set[str] = set()
        self._stored: Mapping[str, _Stored] | None = None
        self._record: StudyRecord | None = None
        # Runs that ended since the comparisons of their studies were computed.
        self._stale: set[str] = set()
        self._compared = time.monotonic()
        self._rests_until = 0.0

    @property
    def settled(self) -> Mapping[str, RunState]:
        """Run id -> state as the study sees it, of the runs that this call does not train."""
        return self._settled

    def state(self, run_id: str) -> RunState:
        """Where a run stood when its spool was last read."""
        return self._states.get(run_id, RunState())

    def load(self, runs: Mapping[str, StoppingThresholds | None]) -> None:
        """Read the spools of runs that an earlier call may have trained; known ones are skipped.

        Args:
            runs: Run id -> by what this study stops it early.
        """
        for run_id, thresholds in runs.items():
            if run_id in self._states:
                continue
            state = self.read(run_id)
            if state.failure in self._again or (self._is_anew and is_settled(state)):
                self._before[run_id] = state
            if state.state == "queued" and run_id in self._known:
                self._gone.add(run_id)
            if self.is_over(run_id, thresholds):
                self._settled[run_id] = with_early_stopping(state, thresholds)
                if self._is_stored(run_id, state):
                    del self._pending[run_id]

    def read(self, run_id: str) -> RunState:
        """Read on in a run's spool; where it stands now.

        Raises:
            StoreError: the spool is there and cannot be read.
        """
        spool = self._spools.get(run_id)
        if spool is None:
            spool = self._spools[run_id] = SpoolReader(spool_path(run_dir(self._results, run_id)))
        entries, is_from_start = spool.read()
        if is_from_start:
            self._pending.pop(run_id, None)
        if entries:
            self._pending.setdefault(run_id, []).extend(entries)
        before = None if is_from_start else self._states.get(run_id)
        state = self._states[run_id] = replay(entries, before, watched=self._watched)
        return state

    def is_over(self, run_id: str, thresholds: StoppingThresholds | None = None) -> bool:
        """Whether somebody has trained a run, by its spool as it is now, as far as this study asks.

        Args:
            run_id: The run.
            thresholds: By what this study stops it early.
        """
        state = self.read(run_id)
        before = self._before.get(run_id)
        if before is not None and before.attempts == state.attempts:
            return False
        return is_settled(state) and is_settled(with_early_stopping(state, thresholds))

    def before(self, run_id: str) -> RunState | None:
        """How a run stood before this call, if it is finished and trained anew."""
        found = self._before.get(run_id)
        return found if found is not None and found.state == "done" else None

    def heard(self, run_id: str) -> int:
        """How many bytes of a run's spool have been read: more of them are a sign of life."""
        return self._spools[run_id].offset if run_id in self._spools else 0

    def settle(self, run_id: str, thresholds: StoppingThresholds | None = None) -> RunState:
        """Note that this call is done with a run; how it went for this study."""
        state = self._settled[run_id] = with_early_stopping(self._states[run_id], thresholds)
        return state

    def write_end(self, run_id: str, event: Finished) -> RunState:
        """Add an end to the spool of a run whose worker could not.

        Raises:
            StoreError: the spool cannot be written.
        """
        append(spool_path(run_dir(self._results, run_id)), event)
        return self.read(run_id)

    def note_study(self, record: StudyRecord) -> None:
        """Take up the study's record, which is written, for the database with the next flush."""
        self._record = record

    def sync_if_due(self) -> tuple[str, ...]:
        """``flush``, unless the last one is too short a while ago for what it cost.

        Where very much has happened meanwhile, memory counts more than time.

        Raises:
            StoreError: as ``flush``.
        """
        began = time.monotonic()
        waiting = sum(map(len, self._pending.values()))
        if began < self._rests_until and waiting <= _MOST_PENDING:
            return ()
        try:
            return self.flush()
        finally:
            now = time.monotonic()
            self._rests_until = now + min(_LONGEST_REST_S, _REST * (now - began))

    def flush(
        self,
        *,
        compare: str | None = None,
        wait_s: float = 0.0,
        on_wait: Callable[[str], None] | None = None,
    ) -> tuple[str, ...]:
        """Bring the database up to date; it is not opened when nothing has changed.

        Args:
            compare: A study whose comparisons are computed anew.
            wait_s: How long to wait for a process that holds the database.
            on_wait: Called once with a sentence when a wait begins.

        Returns:
            A line for each thing that could not be taken over.

        Raises:
            LeasesLostError: this driver may not write any more.
            StoreBusyError: still held after ``wait_s``. Nothing is lost: call again.
            StoreError: the database is not usable.
        """
        if not (self._pending or self._gone or self._record or compare):
            return ()
        with connect(self._results, read_only=False, wait_s=wait_s, on_wait=on_wait) as con:
            # Here, since another driver cannot write before this one lets go of the database.
            self._check()
            if self._record is not None:
                write_study(con, self._newest(self._record))
            gone = {run_id for run_id in self._gone if not self._has_spool(run_id)}
            forget(con, gone)
            notices = ingest_all(con, self._results, self._pending) if self._pending else ()
            changed = {key for key, it in self._pending.items() if _changes_results(it)}
            stale = self._stale | changed | gone
            if compare is not None:
                refresh_comparisons(con, compare)
            is_due = time.monotonic() - self._compared >= _COMPARE_EVERY_S
            if stale and (is_due or compare is not None):
                refresh_comparisons_of_runs(con, stale)
                stale = set()
                self._compared = time.monotonic()
        self._pending.clear()
        self._gone.clear()
        self._record = None
        self._stale = stale
        return notices

    def _has_spool(self, run_id: str) -> bool:
        """Whether somebody, another driver perhaps, has begun the run again."""
        return spool_path(run_dir(self._results, run_id)).exists()

    def _newest(self, record: StudyRecord) -> StudyRecord:
        """The record in its file, which another driver may have written since this one."""
        with suppress(StoreError):
            return read_study_record(self._results, record.study) or record
        return record

    def prepare(self) -> None:
        """Make the database, or find out before anything is trained that it is not usable.

        Raises:
            StoreError: it is not usable.
        """
        with (
            suppress(StoreBusyError),  # whoever reads it shows that it is usable
            connect(self._results, read_only=False),
        ):
            pass

    def _is_stored(self, run_id: str, state: RunState) -> bool:
        """Whether the database says of a run what its spool says."""
        stored = self._known.get(run_id)
        return (
            stored is not None
            and (stored.attempts, stored.state) == (state.attempts, state.state)
            and same_time(state.started, stored.started)
            and same_time(state.finished, stored.finished)
        )

    @property
    def _known(self) -> Mapping[str, _Stored]:
        """What the database knew of each run when it was first asked."""
        if self._stored is None:
            self._stored = {}
            with suppress(InputError, StoreBusyError):  # none yet, or held: ingest does no harm
                rows = query(
                    self._results,
                    "SELECT run_id, attempts, state, started, finished FROM run",
                    wait_s=0.0,
                ).rows
                self._stored = {
                    str(run_id): _Stored(int(str(attempts)), str(state), started, finished)
                    for run_id, attempts, state, started, finished in rows
                }
        return self._stored


class _Stored(NamedTuple):
    """A run as the database has it."""

    attempts: int
    state: str
    started: object
    finished: object
