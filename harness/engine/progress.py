"""What a driver tells about a study while it runs, and to whom."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from harness.records.run_state import RunState


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
