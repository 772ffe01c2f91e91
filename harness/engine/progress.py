"""What a driver tells about a study while it runs, and to whom."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol

from harness.records.run_state import RunState
from harness.search.scheduler import ScheduledRun


@dataclass(frozen=True, slots=True)
class RunLine:
    """A run, as progress names it."""

    run_id: str
    trial: str
    """The trial's label."""
    seed: int
    state: RunState


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Where a study stands."""

    study: str
    question: str
    metric: str
    """The primary one, without a split."""
    total: int
    """Runs of the whole study, those of trials that are still to be proposed included."""
    done: int
    failed: int
    reused: int
    """Runs among the done, failed and pruned that an earlier call has trained."""
    running: tuple[RunLine, ...]
    seconds_left: float | None
    """None before anything that tells is finished."""
    pruned: int = 0
    """Runs that were stopped early, and those that were spared because their trial was given up."""


class ProgressListener(Protocol):
    """Who is told. A call returns at once and changes nothing."""

    def started(self, line: RunLine, snapshot: Snapshot) -> None:
        """A run has been given to a worker."""
        ...

    def ended(self, line: RunLine, snapshot: Snapshot) -> None:
        """A run has ended; ``line.state`` says how."""
        ...

    def tick(self, snapshot: Snapshot) -> None:
        """Some time has passed."""
        ...

    def say(self, text: str) -> None:
        """Something else that the user should know, in one line."""
        ...


@dataclass
class RunCounts:
    """The runs of a study that are over, those of earlier calls included."""

    counted: set[str] = field(default_factory=set)
    """Ids of all of them."""
    done: int = 0
    pruned: int = 0
    """Runs that were stopped early."""
    _trained: int = 0
    _seconds: float = 0.0

    @property
    def failed(self) -> int:
        """Runs that are over and neither done nor stopped early."""
        return len(self.counted) - self.done - self.pruned

    @property
    def mean_s(self) -> float | None:
        """What a training took on average; None before one is done."""
        return self._seconds / self._trained if self._trained else None

    def add(self, task: ScheduledRun, state: RunState) -> None:
        """Count a run that is over, at ``state``."""
        self.counted.add(task.run_id)
        self.pruned += state.state == "pruned"
        if state.state != "done":
            return
        self.done += 1
        if task.trial.role != "control":  # one that trains nothing says nothing about the others
            self._trained += 1
            self._seconds += state.seconds or 0.0
