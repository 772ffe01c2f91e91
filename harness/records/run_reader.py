"""Follow a run: what its spool says now, read from where the last call stopped."""

from __future__ import annotations

from pathlib import Path

from harness.records.event_log import Entries, SpoolReader
from harness.records.folders import run_dir, spool_path
from harness.records.run_state import RunState, replay


class RunReader:
    """Reads a run's spool as it grows and keeps the state that its events lead to."""

    def __init__(self, results: Path, run_id: str, *, watched: str | None = None) -> None:
        """Read nothing yet; the run need not have begun.

        Args:
            results: The results folder.
            run_id: The run.
            watched: See ``replay``.
        """
        self._spool = SpoolReader(spool_path(run_dir(results, run_id)))
        self._watched = watched
        self.state = RunState()

    @property
    def offset(self) -> int:
        """How many bytes have been read: more of them are a sign of life."""
        return self._spool.offset

    def read(self) -> Entries:
        """Bring ``state`` up to date and return what was added to the spool.

        Raises:
            StoreError: the spool is there and cannot be read.
        """
        found = self._spool.read()
        before = None if found.is_from_start else self.state
        self.state = replay(found.entries, before, watched=self._watched)
        return found
