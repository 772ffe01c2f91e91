"""Follow a run by reading its spool incrementally."""

from __future__ import annotations

from pathlib import Path

from harness.records.event_log import Entries, SpoolReader
from harness.records.folders import run_dir, spool_path
from harness.records.run_state import RunState, replay


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
