"""Read the state of a study's runs while it is trained, from its record and spools alone.

The database is not touched, so that watching never gets in a driver's way.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

from harness.records.events import Damaged
from harness.records.plain_file import file_stamp
from harness.records.run_state import RunReader, RunState
from harness.records.studies.study_record import StudyRecord, read_study_record


class RunningRun(NamedTuple):
    """A run that has started and not ended."""

    trial: str
    """The trial's label."""
    seed: int
    attempt: int
    epochs: int
    """Number of epochs reported so far."""
    metric: str
    """Metric of the last epoch that is shown; empty before the first epoch."""
    value: float | None
    seconds: float
    """Since this attempt began."""
    silent_seconds: float
    """Since the run's last event: a driver that died leaves runs that stay silent."""
    fold: int = 0
    """Fold of the training data that it holds out; 0 if they are not cut."""


class StudyProgress(NamedTuple):
    """Current state of a study."""

    counts: Mapping[str, int]
    """State -> number of runs of the trials so far; ``queued`` runs have not started."""
    running: tuple[RunningRun, ...]
    """In the order of the study."""


class RunMonitor:
    """Polls a study; finished spools are read once, growing ones from where they were left."""

    def __init__(self, results: Path, study: str) -> None:
        self._results, self._study = results, study
        self._path = results / "studies" / f"{study}.json"
        self._stamp: tuple[int, int, int] | None = None
        self._record: StudyRecord | None = None
        self._runs: dict[str, RunReader] = {}
        # Run -> the time of its last event.
        self._heard: dict[str, str] = {}

    def look(self, now: datetime | None = None) -> StudyProgress:
        """Return the current state of the study.

        Args:
            now: For tests; None for the current time, UTC.

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
                    line = self._line(label, member.seed, member.run_id, state, now)
                    running.append(line._replace(fold=member.fold))
        return StudyProgress(counts, tuple(running))

    def _take_up_record(self) -> None:
        """Read the study's record if it exists and has changed."""
        stamp = file_stamp(self._path)
        if stamp is not None and stamp != self._stamp:
            self._record = read_study_record(self._results, self._study)
            self._stamp = stamp

    def _state(self, run_id: str) -> RunState:
        """Return the state of a run, reading on in its spool if that has grown."""
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
    """Return the study's metric on validation classes if the last epoch has it, else the loss."""
    for name in (f"val/{metric}", metric, "loss"):
        if name in state.last_metrics:
            return name, state.last_metrics[name]
    return "", None


def _since(time: str | None, now: datetime) -> float:
    """Return the seconds since an event; never below 0, since clocks of machines may disagree."""
    if time is None:
        return 0.0
    try:
        return max(0.0, (now - datetime.fromisoformat(time)).total_seconds())
    except (ValueError, TypeError):
        return 0.0
