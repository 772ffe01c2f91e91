"""Training state: what a checkpoint saves and a resumed run restores."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch
from torch import Tensor

from gcudml.evaluation import label_free
from gcudml.methods.interface import Method, RunContext
from gcudml.training.optimizers import head_optimizer


class Snapshot(NamedTuple):
    """The student as it was after an epoch."""

    epoch: int
    score: float
    """What the choice of the epoch rests on: validation recall, or without classes the criterion;
    0 without validation images."""
    state: dict[str, Tensor]
    validation: dict[str, float]
    """Empty without validation images."""
    is_last: bool
    """Whether no epoch came after it."""
    oracle_epoch: Mapping[str, float] = {}
    """Test scores at the epoch where they were best, see ``extra_scores``; empty: not asked for."""


@dataclass
class TrainingState:
    """What changes during a run: saved by a checkpoint, restored by a resumed run."""

    context: RunContext
    method: Method[Any]
    optimizer: torch.optim.Optimizer
    """Of the student and of the method's lasting parameters."""
    epoch: int = 0
    """The next one."""
    step: int = 0
    replaced_optimizer: torch.optim.Optimizer | None = None
    """Of the method's ``replaced_parameters``; None before there are any."""
    best: Snapshot | None = None
    alarms: tuple[str, ...] = ()
    oracle_epoch: Mapping[str, float] = field(default_factory=dict)
    """See ``Snapshot``."""

    @property
    def optimizers(self) -> list[torch.optim.Optimizer]:
        """All of them."""
        return [each for each in (self.optimizer, self.replaced_optimizer) if each is not None]

    def replace_parameters(self) -> None:
        """Train the method's new parameters in place of those that they replace."""
        # A new optimiser: moments of the old one would be those of other clusters.
        if parameters := self.method.replaced_parameters():
            self.replaced_optimizer = head_optimizer(parameters, self.context.config.train)

    def update_best(self, measured: dict[str, float], *, epoch: int) -> None:
        """Copy the student where ``measured``, its validation metrics, are the best so far.

        A tie goes to the earlier epoch; without validation images the last one counts.
        """
        config, student = self.context.config, self.context.student
        by_classes = f"recall@{min(config.evaluate.k)}"
        score = measured.get(by_classes, measured.get(label_free.NAME, 0.0))
        if self.best is None or score > self.best.score or not measured:
            weights = {name: value.clone() for name, value in student.state_dict().items()}
            is_last = epoch == config.train.epochs - 1
            self.best = Snapshot(epoch, score, weights, measured, is_last)

    def state_dict(self) -> dict[str, Any]:
        """What ``load_state_dict`` restores, without copies."""
        return {
            "epoch": self.epoch,
            "step": self.step,
            "student": self.context.student.state_dict(),
            "method": self.method.state_dict(),
            "optimizers": [each.state_dict() for each in self.optimizers],
            "best": self.best and self.best._asdict(),
            "alarms": list(self.alarms),
            "oracle_epoch": dict(self.oracle_epoch),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore what ``state_dict`` returned."""
        self.context.student.load_state_dict(state["student"])
        self.method.load_state_dict(state["method"])
        self.replace_parameters()
        for optimizer, kept in zip(self.optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(kept)
        self.epoch, self.step = state["epoch"], state["step"]
        self.best, self.alarms = Snapshot(**state["best"]), tuple(state["alarms"])
        self.oracle_epoch = state["oracle_epoch"]
