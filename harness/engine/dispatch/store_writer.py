"""Syncs the database with the spools of the runs.

Each sync is one transaction; while a reader holds the database, events are kept for the next one.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from harness.errors import InputError, StoreBusyError, StoreError
from harness.records.event_log import Entries
from harness.records.events import Damaged, Entry, Finished
from harness.records.folders import run_dir, spool_path
from harness.records.run_state import RunState
from harness.records.studies.study_record import StudyRecord, read_study_record
from harness.store.database import connect, query
from harness.store.tables.computed.comparisons import (
    refresh_comparisons,
    refresh_comparisons_of_runs,
)
from harness.store.tables.computed.importance import refresh_importance
from harness.store.tables.ingest import forget, ingest_all, same_time, write_study

_COMPARE_EVERY_S = 5.0
_REST = 25
"""After a sync the writer rests this many times its duration, because the driver takes CPU time
from the workers."""
_LONGEST_REST_S = 10.0
_MOST_PENDING = 5000
"""Events kept in memory before a sync is forced."""


def _changes_results(entries: Iterable[Entry]) -> bool:
    return any(isinstance(entry, Finished | Damaged) for entry in entries)


class StoreWriter:
    """Buffers the events that the database lacks, and writes them."""

    def __init__(self, results: Path, *, check: Callable[[], None] = lambda: None) -> None:
        """Create a writer for the database of a results folder.

        Args:
            results: The results folder.
            check: Raises if this driver must not write any more.
        """
        self._results, self._check = results, check
        self._pending: dict[str, list[Entry]] = {}
        # Runs that the database may contain, but whose spools are gone.
        self._gone: set[str] = set()
        self._stored: Mapping[str, _Stored] | None = None
        self._record: StudyRecord | None = None
        # Runs that have ended since the comparisons of their studies were computed.
        self._stale: set[str] = set()
        self._compared = time.monotonic()
        self._rests_until = 0.0

    def add(self, run_id: str, read: Entries) -> None:
        """Buffer the events read from a run's spool."""
        if read.is_from_start:
            self._pending.pop(run_id, None)
        if read.entries:
            self._pending.setdefault(run_id, []).extend(read.entries)

    def note_missing(self, run_id: str) -> None:
        """Record that a run has no spool, so that the next sync deletes it from the database."""
        if run_id in self._known:
            self._gone.add(run_id)

    def skip_stored(self, run_id: str, state: RunState) -> None:
        """Drop the buffered events of a finished run if the database has them already."""
        stored = self._known.get(run_id)
        if (
            stored is not None
            and (stored.attempts, stored.state) == (state.attempts, state.state)
            and same_time(state.started, stored.started)
            and same_time(state.finished, stored.finished)
        ):
            del self._pending[run_id]

    def note_study(self, record: StudyRecord) -> None:
        """Store the study record, already saved to its file, at the next sync."""
        self._record = record

    def sync_if_due(self) -> tuple[str, ...]:
        """Call ``sync``, unless the last one was too recent for what it cost.

        If too many events are buffered, sync in any case, to bound the memory.

        Raises:
            StoreError: see ``sync``.
        """
        began = time.monotonic()
        waiting = sum(map(len, self._pending.values()))
        if began < self._rests_until and waiting <= _MOST_PENDING:
            return ()
        try:
            return self.sync()
        finally:
            now = time.monotonic()
            self._rests_until = now + min(_LONGEST_REST_S, _REST * (now - began))

    def sync(
        self,
        *,
        compare: str | None = None,
        wait_s: float = 0.0,
        on_wait: Callable[[str], None] | None = None,
    ) -> tuple[str, ...]:
        """Bring the database up to date; it is not opened if nothing has changed.

        Args:
            compare: Study whose comparisons and importances to recompute; None for no study.
            wait_s: How long to wait for a process that holds the database.
            on_wait: Called once, with a sentence, when a wait begins.

        Returns:
            One line for each item that could not be stored.

        Raises:
            LeasesLostError: this driver must not write any more.
            StoreBusyError: still held after ``wait_s``. Nothing is lost; call again.
            StoreError: the database is not usable.
        """
        if not (self._pending or self._gone or self._record or compare):
            return ()
        with connect(self._results, read_only=False, wait_s=wait_s, on_wait=on_wait) as con:
            # Checked here because no other driver can write while this one has the database open.
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
                refresh_importance(con, compare)
            is_due = time.monotonic() - self._compared >= _COMPARE_EVERY_S
            if stale and (is_due or compare is not None):
                refresh_comparisons_of_runs(con, stale, but=compare)
                stale = set()
                self._compared = time.monotonic()
        self._pending.clear()
        self._gone.clear()
        self._record = None
        self._stale = stale
        return notices

    def _has_spool(self, run_id: str) -> bool:
        """Whether the run has a spool again, for example because another driver restarted it."""
        return spool_path(run_dir(self._results, run_id)).exists()

    def _newest(self, record: StudyRecord) -> StudyRecord:
        """Return the record from its file, in case another driver has written a newer one."""
        with suppress(StoreError):
            return read_study_record(self._results, record.study) or record
        return record

    def prepare(self) -> None:
        """Create or open the database, so that an unusable one is found before training.

        Raises:
            StoreError: it is not usable.
        """
        with (
            suppress(StoreBusyError),  # a database in use is usable
            connect(self._results, read_only=False) as con,
        ):
            self._stored = _stored(con.execute(_STORED).fetchall())

    @property
    def _known(self) -> Mapping[str, _Stored]:
        """The runs in the database as of the first query."""
        if self._stored is None:
            self._stored = {}
            with suppress(InputError, StoreBusyError):  # then all is ingested, which is harmless
                self._stored = _stored(query(self._results, _STORED, wait_s=0.0).rows)
        return self._stored


class _Stored(NamedTuple):
    """A run as stored in the database."""

    attempts: int
    state: str
    started: object
    finished: object


_STORED = "SELECT run_id, attempts, state, started, finished FROM run"


def _stored(rows: Iterable[tuple[object, ...]]) -> dict[str, _Stored]:
    return {
        str(run_id): _Stored(int(str(attempts)), str(state), started, finished)
        for run_id, attempts, state, started, finished in rows
    }
