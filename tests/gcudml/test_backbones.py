"""Backbones: the maps they end with."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from gcudml.config import ModelConfig
from gcudml.models.backbones import build_backbone


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(
    ("name", "size", "side"),
    [
        ("conv4", 12, 3),
        ("conv4", 28, 3),
        ("conv4", 64, 4),
        ("conv4", 105, 6),
        ("resnet18", 28, 4),
        ("resnet18", 64, 2),
        ("resnet18", 96, 3),
    ],
)
def test_maps_are_small_but_larger_than_a_pixel(
    name: str, size: int, side: int, channels: int
) -> None:
    config = ModelConfig(backbone=name, width=8)
    backbone = build_backbone(config, channels=channels, image_size=size)
    maps = backbone.module.eval()(torch.zeros(1, channels, size, size))
    assert maps.shape == (1, backbone.out_channels, side, side)


def test_conv4_has_four_convolutions_of_the_given_width() -> None:
    backbone = build_backbone(ModelConfig(width=12), channels=1, image_size=28)
    widths = [m.out_channels for m in backbone.module.modules() if isinstance(m, nn.Conv2d)]
    assert widths == [12] * 4
    assert backbone.out_channels == 12


def test_resnet18_keeps_its_first_layer_for_large_colour_images() -> None:
    backbone = build_backbone(ModelConfig(backbone="resnet18"), channels=3, image_size=224)
    first = next(m for m in backbone.module.modules() if isinstance(m, nn.Conv2d))
    assert (first.in_channels, first.kernel_size, first.stride) == (3, (7, 7), (2, 2))
    assert sum(p.numel() for p in backbone.module.parameters()) == 11_176_512  # 11,689,512 - fc


def test_every_parameter_gets_a_gradient() -> None:
    backbone = build_backbone(ModelConfig(width=8), channels=1, image_size=28)
    images = torch.rand(4, 1, 28, 28, generator=torch.Generator().manual_seed(0))
    backbone.module(images).square().sum().backward()
    assert all(p.grad is not None and p.grad.any() for p in backbone.module.parameters())
