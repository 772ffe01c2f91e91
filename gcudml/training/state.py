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
    """Student after an epoch, with its scores."""

    epoch: int
    score: float
    """Score that decides which epoch is chosen: validation recall, or the label-free criterion if
    images have no classes; 0 without validation images."""
    state: dict[str, Tensor]
    validation: dict[str, float]
    """Validation metrics; empty without validation images."""
    is_last: bool
    """Whether it is the last epoch of the run."""
    oracle_epoch: Mapping[str, float] = {}
    """Test scores at their best epoch, see ``extra_scores``; empty if not requested."""


@dataclass
class TrainingState:
    """Everything that changes during a run."""

    context: RunContext
    method: Method[Any]
    optimizer: torch.optim.Optimizer
    """Optimiser of the student and of the method's parameters that live all run."""
    epoch: int = 0
    """Next epoch to train."""
    step: int = 0
    replaced_optimizer: torch.optim.Optimizer | None = None
    """Optimiser of the method's ``replaced_parameters``; None before there are any."""
    best: Snapshot | None = None
    alarms: tuple[str, ...] = ()
    oracle_epoch: Mapping[str, float] = field(default_factory=dict)
    """Best test scores so far; see ``Snapshot``."""

    @property
    def optimizers(self) -> list[torch.optim.Optimizer]:
        """All optimisers that exist."""
        return [each for each in (self.optimizer, self.replaced_optimizer) if each is not None]

    def replace_parameters(self) -> None:
        """Create an optimiser for the method's replaced parameters."""
        # Not the old optimiser: its moments belong to the previous clusters.
        if parameters := self.method.replaced_parameters():
            self.replaced_optimizer = head_optimizer(parameters, self.context.config.train)

    def update_best(self, measured: dict[str, float], *, epoch: int) -> None:
        """Take a snapshot of the student if ``measured``, its validation metrics, are the best.

        A tie goes to the earlier epoch. Without validation images every epoch counts as the best.
        """
        config, student = self.context.config, self.context.student
        by_classes = f"recall@{min(config.evaluate.k)}"
        score = measured.get(by_classes, measured.get(label_free.NAME, 0.0))
        if self.best is None or score > self.best.score or not measured:
            weights = {name: value.clone() for name, value in student.state_dict().items()}
            is_last = epoch == config.train.epochs - 1
            self.best = Snapshot(epoch, score, weights, measured, is_last)

    def state_dict(self) -> dict[str, Any]:
        """Return the state for ``load_state_dict``, without copying tensors."""
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
        """Restore the state from ``state_dict``."""
        self.context.student.load_state_dict(state["student"])
        self.method.load_state_dict(state["method"])
        self.replace_parameters()
        for optimizer, kept in zip(self.optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(kept)
        self.epoch, self.step = state["epoch"], state["step"]
        self.best, self.alarms = Snapshot(**state["best"]), tuple(state["alarms"])
        self.oracle_epoch = state["oracle_epoch"]
