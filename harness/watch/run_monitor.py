"""Where the runs of a study stand while it is trained, from its record and spools alone.

The database is not touched: whoever looks on must not be in a driver's way.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

from harness.records.events import Damaged
from harness.records.run_reader import RunReader
from harness.records.run_state import RunState
from harness.records.study_record import StudyRecord, read_study_record


class RunningRun(NamedTuple):
    """A run that has begun and not ended."""

    trial: str
    """The trial's label."""
    seed: int
    attempt: int
    epochs: int
    """Reported so far."""
    metric: str
    """What of the last epoch is shown; empty before the first one."""
    value: float | None
    seconds: float
    """Since this attempt began."""
    silent_seconds: float
    """Since the run was last heard of: a driver that died leaves runs that are silent for good."""


class StudyProgress(NamedTuple):
    """A study as it stands now."""

    counts: Mapping[str, int]
    """State -> runs of the trials so far; ``queued`` are those that have not begun."""
    running: tuple[RunningRun, ...]
    """In the order of the study."""


class RunMonitor:
    """Looks at a study again and again; what has ended is read once, what has grown from there."""

    def __init__(self, results: Path, study: str) -> None:
        """Nothing is read yet, and nothing need be there."""
        self._results, self._study = results, study
        self._path = results / "studies" / f"{study}.json"
        self._stamp: tuple[int, int] | None = None
        self._record: StudyRecord | None = None
        self._runs: dict[str, RunReader] = {}
        # Run -> the time of its last event.
        self._heard: dict[str, str] = {}

    def look(self, now: datetime | None = None) -> StudyProgress:
        """Where the study stands.

        Args:
            now: For tests; None is the time now, UTC.

        Raises:
            StoreError: the study's record is damaged.
        """
        now = now or datetime.now(UTC)
        self._take_up_record()
        counts: Counter[str] = Counter()
        running = []
        if self._record is not None:
            labels = {trial.trial_id: trial.label for trial in self._record.trials}
            for member in self._record.members:
                state = self._state(member.run_id)
                counts["pruned" if member.is_pruned else state.state] += 1
                if state.state == "running" and not member.is_pruned:
                    label = labels.get(member.trial_id, member.trial_id)
                    running.append(self._line(label, member.seed, member.run_id, state, now))
        return StudyProgress(counts, tuple(running))

    def _take_up_record(self) -> None:
        """Read the study's record where it is there and has changed."""
        stamp = file_stamp(self._path)
        if stamp is not None and stamp != self._stamp:
            self._record = read_study_record(self._results, self._study)
            self._stamp = stamp

    def _state(self, run_id: str) -> RunState:
        """Read on in a run's spool where it has grown."""
        run = self._runs.get(run_id)
        if run is None:
            run = self._runs[run_id] = RunReader(self._results, run_id)
        if run.state.state != "done":
            times = [entry.time for entry in run.read().entries if not isinstance(entry, Damaged)]
            if times:
                self._heard[run_id] = times[-1]
        return run.state

    def _line(
        self, label: str, seed: int, run_id: str, state: RunState, now: datetime
    ) -> RunningRun:
        metric, value = _shown_metric(state, self._record.metric if self._record else "")
        return RunningRun(
            trial=label,
            seed=seed,
            attempt=state.attempts,
            epochs=state.epochs,
            metric=metric,
            value=value,
            seconds=_since(state.started, now),
            silent_seconds=_since(self._heard.get(run_id), now),
        )


def _shown_metric(state: RunState, metric: str) -> tuple[str, float | None]:
    """The study's metric on validation classes where the last epoch has it, else the loss."""
    for name in (f"val/{metric}", metric, "loss"):
        if name in state.last_metrics:
            return name, state.last_metrics[name]
    return "", None


def _since(time: str | None, now: datetime) -> float:
    """Seconds since a time of an event; clocks of two machines may disagree, never below 0."""
    if time is None:
        return 0.0
    try:
        return max(0.0, (now - datetime.fromisoformat(time)).total_seconds())
    except (ValueError, TypeError):
        return 0.0


def file_stamp(path: Path) -> tuple[int, int] | None:
    """When a file was written and how large it is; None where there is none."""
    try:
        found = path.stat()
    except OSError:
        return None
    return (found.st_mtime_ns, found.st_size)
