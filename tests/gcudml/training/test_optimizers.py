"""What an optimiser trains, and from when on."""

from __future__ import annotations

from collections.abc import Iterable

import pytest
import torch
from tiny import context_for
from torch import nn

from gcudml.methods.interface import ParameterGroup
from gcudml.training.optimizers import set_learning_rate, student_optimizer


def copies(parameters: Iterable[nn.Parameter]) -> list[torch.Tensor]:
    return [parameter.detach().clone() for parameter in parameters]


@pytest.mark.parametrize("name", ["adamw", "adam", "sgd"])
def test_heads_and_added_parameters_can_be_trained_before_the_trunk(name: str) -> None:
    train = {"optimizer": name, "epochs": 3, "trunk_from_epoch": 1, "weight_decay": 0.1}
    context = context_for(train=train)
    student, added = context.student, nn.Parameter(torch.ones(3))
    parts = {
        "trunk": list(student.features.parameters()),
        "heads": list(student.heads().parameters()),
        "added": [added],
    }
    optimizer = student_optimizer(student, [ParameterGroup([added])], context.config.train)
    trained = {}
    for done in (0.0, 0.9, 1.0):
        before = {part: copies(parameters) for part, parameters in parts.items()}
        set_learning_rate([optimizer], context.config.train, done=done)
        optimizer.zero_grad()
        torch.stack(
            [(each + 1).square().sum() for part in parts.values() for each in part]
        ).sum().backward()
        optimizer.step()
        trained[done] = {
            part
            for part, parameters in parts.items()
            if not all(map(torch.equal, before[part], parameters))
        }
    assert trained == {0.0: {"heads", "added"}, 0.9: {"heads", "added"}, 1.0: set(parts)}
