"""How far the training of a run has come, and how it goes on from there."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from gcudml.config import TrainConfig
from gcudml.evaluation import label_free
from gcudml.methods.interface import Method, Setup
from gcudml.training.checkpoint import restore, state_of
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
    hindsight: Mapping[str, float] = {}
    """Test scores at the epoch where they were best, see ``side_scores``; empty: not asked for."""


@dataclass
class Standing:
    """How far the training of a run has come."""

    optimizer: torch.optim.Optimizer
    """Of the student and of the method's lasting parameters."""
    epoch: int = 0
    """The next one."""
    step: int = 0
    renewed: Sequence[nn.Parameter] = ()
    """Parameters that the method put in place of others."""
    renewed_optimizer: torch.optim.Optimizer | None = None
    best: Snapshot | None = None
    alarms: tuple[str, ...] = ()
    hindsight: Mapping[str, float] = field(default_factory=dict)
    """See ``Snapshot``."""

    def renew(self, parameters: Sequence[nn.Parameter], config: TrainConfig) -> None:
        """Train ``parameters`` in place of those that were renewed before; none: no change."""
        if parameters:  # a new optimiser: moments of the old one would be those of other clusters
            self.renewed = parameters
            self.renewed_optimizer = head_optimizer(parameters, config)

    @property
    def optimizers(self) -> list[torch.optim.Optimizer]:
        """All of them."""
        return [each for each in (self.optimizer, self.renewed_optimizer) if each is not None]


def keep_best(at: Standing, setup: Setup, measured: dict[str, float], *, epoch: int) -> None:
    """Copy the student where ``measured``, its validation metrics, are the best so far.

    A tie goes to the earlier epoch; without validation images the last one counts.
    """
    by_classes = f"recall@{min(setup.config.evaluate.k)}"
    score = measured.get(by_classes, measured.get(label_free.NAME, 0.0))
    if at.best is None or score > at.best.score or not measured:
        state = {name: value.clone() for name, value in setup.student.state_dict().items()}
        is_last = epoch == setup.config.train.epochs - 1
        at.best = Snapshot(epoch, score, state, measured, is_last)


def content_of(
    at: Standing, setup: Setup, method: Method, *, table: tuple[int, ...]
) -> dict[str, Any]:
    """What ``go_on`` needs, without copies. ``table``: state of the table of clusters."""
    return {
        "epoch": at.epoch,
        "step": at.step,
        "student": setup.student.state_dict(),
        "method": state_of(method),
        "optimizer": at.optimizer.state_dict(),
        "renewed": list(at.renewed),  # the very objects that the method holds
        "renewed_optimizer": at.renewed_optimizer and at.renewed_optimizer.state_dict(),
        "best": at.best and at.best._asdict(),
        "alarms": list(at.alarms),
        "hindsight": dict(at.hindsight),
        "table": table,
    }


def go_on(at: Standing, setup: Setup, method: Method, kept: Mapping[str, Any]) -> None:
    """Put everything in place as it was when ``content_of`` gave ``kept``."""
    setup.student.load_state_dict(kept["student"])
    restore(method, kept["method"])
    at.optimizer.load_state_dict(kept["optimizer"])
    at.epoch, at.step, at.alarms = kept["epoch"], kept["step"], tuple(kept["alarms"])
    at.best, at.hindsight = Snapshot(**kept["best"]), kept["hindsight"]
    if kept["renewed"]:
        at.renewed = kept["renewed"]
        at.renewed_optimizer = head_optimizer(at.renewed, setup.config.train)
        at.renewed_optimizer.load_state_dict(kept["renewed_optimizer"])
