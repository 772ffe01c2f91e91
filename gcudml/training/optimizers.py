"""Optimisers and the learning-rate schedule."""

import math
from collections.abc import Iterable, Sequence

import torch
from torch import nn

from gcudml.config import TrainConfig
from gcudml.methods.interface import ParameterGroup
from gcudml.models.embedding import Embedder


def student_optimizer(
    student: Embedder, own: Sequence[ParameterGroup], config: TrainConfig
) -> torch.optim.Optimizer:
    """Create the optimiser for the student and the method's parameters that live all run.

    The backbone is trained at ``learning_rate``, from ``trunk_from_epoch`` on, the heads and the
    method's parameters at ``head_learning_rate`` unless their group sets its own. Frozen parameters
    are left out.
    """
    head_rate = _head_rate(config)
    trunk = _group(student.features.parameters(), config.learning_rate, config.weight_decay)
    groups = [
        trunk | {"first_epoch": config.trunk_from_epoch},
        _group(student.heads().parameters(), head_rate, config.weight_decay),
    ]
    for each in own:
        rate = head_rate if each.learning_rate is None else each.learning_rate
        decay = config.weight_decay if each.weight_decay is None else each.weight_decay
        groups.append(_group(each.parameters, rate, decay))
    return _optimizer([group for group in groups if group["params"]], config)


def head_optimizer(
    parameters: Iterable[nn.Parameter], config: TrainConfig
) -> torch.optim.Optimizer:
    """Create the optimiser for replaced parameters, at the learning rate of the heads."""
    return _optimizer([_group(parameters, _head_rate(config), config.weight_decay)], config)


def set_learning_rate(
    optimizers: Iterable[torch.optim.Optimizer], config: TrainConfig, *, done: float
) -> None:
    """Set each group's learning rate after ``done`` (may be fractional) of ``config.epochs``.

    It is 0, at which all our optimisers leave parameters as they are, before its first epoch.
    """
    factor = 1.0
    if config.schedule == "cosine":
        factor = 0.5 * (1 + math.cos(math.pi * done / config.epochs))
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            has_begun = done >= group["first_epoch"]
            group["lr"] = factor * group["full_rate"] if has_begun else 0.0


def _group(
    parameters: Iterable[nn.Parameter], rate: float, weight_decay: float
) -> dict[str, object]:
    return {
        "params": [parameter for parameter in parameters if parameter.requires_grad],
        "lr": rate,
        "full_rate": rate,  # our own entries: the rate that the schedule scales, and
        "first_epoch": 0,  # the first epoch in which the group is trained
        "weight_decay": weight_decay,
    }


def _head_rate(config: TrainConfig) -> float:
    if config.head_learning_rate is None:
        return config.learning_rate
    return config.head_learning_rate


def _optimizer(groups: list[dict[str, object]], config: TrainConfig) -> torch.optim.Optimizer:
    if config.optimizer == "sgd":
        return torch.optim.SGD(groups, momentum=config.momentum, foreach=True)
    if config.optimizer == "adam":
        return torch.optim.Adam(groups, foreach=True)
    return torch.optim.AdamW(groups, foreach=True)
