"""Frozen batch norm: nothing moves it, whatever is done with the network around it."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn

from gcudml.config import ModelConfig
from gcudml.models.backbones.build import build_backbone
from gcudml.models.embedding import Embedder, TeacherNet


def images() -> Tensor:
    return torch.randn(4, 3, 32, 32, generator=torch.Generator().manual_seed(0))


def norms(network: nn.Module) -> dict[str, Tensor]:
    return {
        f"{name}.{key}": value.clone()
        for name, module in network.named_modules()
        if isinstance(module, nn.BatchNorm2d)
        for key, value in module.state_dict().items()
    }


def build(name: str, *, freeze: bool = True) -> nn.Module:
    config = ModelConfig(backbone=name, freeze_batch_norm=freeze)
    return build_backbone(config, channels=3, image_size=32).module


@pytest.mark.parametrize(
    "name", ["conv4", "resnet18", "mobilenet_v2", "efficientnet_lite0", "timm:resnet10t"]
)
def test_training_moves_the_rest_alone(name: str) -> None:
    network = build(name)
    before = norms(network)
    optimiser = torch.optim.AdamW(network.parameters(), lr=0.1, weight_decay=0.1)
    for _ in range(2):
        network.train()
        network(images()).square().sum().backward()
        optimiser.step()
    after = norms(network)
    assert before
    assert all(torch.equal(before[key], after[key]) for key in before)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            assert module.weight.grad is None
            assert module.bias.grad is None
        elif isinstance(module, nn.Conv2d):
            assert module.weight.grad is not None


def test_training_and_testing_give_equal_maps() -> None:
    network = build("conv4")
    with torch.no_grad():
        torch.testing.assert_close(network.train()(images()), network.eval()(images()))


def test_without_it_statistics_move() -> None:
    network = build("conv4", freeze=False)
    before = norms(network)
    network.train()(images())
    assert not all(torch.equal(value, norms(network)[key]) for key, value in before.items())


def test_copies_stay_frozen() -> None:
    config = ModelConfig(width=8, freeze_batch_norm=True)
    student = Embedder(config, channels=3, image_size=32, seed=0)
    for network in (copy.deepcopy(student), TeacherNet(student)):
        before = norms(network)
        network.train()(images())
        assert all(torch.equal(value, norms(network)[key]) for key, value in before.items())
