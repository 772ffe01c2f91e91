"""Progress of a running study, and the interface of whatever displays it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from harness.records.run_state import RunState


@dataclass(frozen=True, slots=True)
class RunLine:
    """A run as shown in progress output."""

    run_id: str
    trial: str
    """The trial's label."""
    seed: int
    state: RunState
    fold: int = 0
    """Fold of the training data that it holds out; 0 if they are not cut."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The progress of a study at one moment."""

    study: str
    question: str
    metric: str
    """The primary metric, without a split."""
    total: int
    """Runs of the whole study, including those of trials yet to be proposed."""
    done: int
    failed: int
    reused: int
    """Finished runs that were trained by an earlier call."""
    running: tuple[RunLine, ...]
    seconds_left: float | None
    """Estimated seconds left; None until a finished run gives an estimate."""
    pruned: int = 0
    """Runs that were stopped early, or never started because their trial was pruned."""


class ProgressListener(Protocol):
    """Receives progress events. Its methods return at once and do not affect the study."""

    def started(self, line: RunLine, snapshot: Snapshot) -> None:
        """Handle a run that was submitted to a worker."""
        ...

    def ended(self, line: RunLine, snapshot: Snapshot) -> None:
        """Handle a run that has ended; ``line.state`` holds the outcome."""
        ...

    def tick(self, snapshot: Snapshot) -> None:
        """Handle a periodic update."""
        ...

    def say(self, text: str) -> None:
        """Show a one-line message to the user."""
        ...
