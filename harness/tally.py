"""How many runs of a study are over by now, and how long its trainings took."""

from __future__ import annotations

from dataclasses import dataclass, field

from harness.schedule import Task
from harness.spool import RunState


@dataclass
class Tally:
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

    def add(self, task: Task, state: RunState) -> None:
        """Count a run that is over, at ``state``."""
        self.counted.add(task.run_id)
        self.pruned += state.state == "pruned"
        if state.state != "done":
            return
        self.done += 1
        if task.trial.role != "control":  # one that trains nothing says nothing about the others
            self._trained += 1
            self._seconds += state.seconds or 0.0
