"""TensorFlow's padding, against a convolution by hand."""

from __future__ import annotations

import pytest
import torch
from timm.layers import Conv2dSame
from torch import nn
from torch.nn import functional as F

from gcudml.config import ModelConfig
from gcudml.models.backbones.build import build_backbone
from gcudml.models.backbones.layers import pad_as_tensorflow

pytestmark = pytest.mark.timeout(60)  # importing timm takes a while


@pytest.mark.parametrize(
    ("size", "kernel", "before", "after"),
    # SAME: (ceil(size / 2) - 1) * 2 + kernel - size zeros, the odd one behind.
    [(8, 3, 0, 1), (7, 3, 1, 1), (8, 7, 2, 3), (9, 7, 3, 3), (8, 5, 1, 2), (1, 3, 1, 1)],
)
def test_zeros_stand_where_tensorflow_puts_them(
    size: int, kernel: int, before: int, after: int
) -> None:
    generator = torch.Generator().manual_seed(0)
    convolution = nn.Conv2d(2, 3, kernel, stride=2, padding=kernel // 2)
    network = nn.Sequential(nn.Identity(), convolution)
    maps = torch.randn(2, 2, size, size, generator=generator)
    assert pad_as_tensorflow(network) == 1
    around = F.pad(maps, [before, after, before, after])
    expected = F.conv2d(around, convolution.weight, convolution.bias, stride=2)
    found = network(maps)
    assert found.shape[2:] == ((size + 1) // 2,) * 2
    torch.testing.assert_close(found, expected)


def test_height_and_width_are_padded_by_themselves() -> None:
    convolution = nn.Conv2d(1, 1, 3, stride=2, padding=1)
    network = nn.Sequential(convolution)
    pad_as_tensorflow(network)
    maps = torch.randn(1, 1, 6, 5, generator=torch.Generator().manual_seed(0))
    around = F.pad(maps, [1, 1, 0, 1])
    expected = F.conv2d(around, convolution.weight, convolution.bias, stride=2)
    torch.testing.assert_close(network(maps), expected)


@pytest.mark.parametrize("kernel", [3, 5, 7])
@pytest.mark.parametrize("size", [1, 2, 7, 8, 15])
def test_equals_the_padding_of_timm(size: int, kernel: int) -> None:
    convolution = nn.Conv2d(2, 3, kernel, stride=2, padding=kernel // 2)
    theirs = Conv2dSame(2, 3, kernel, stride=2)
    theirs.load_state_dict(convolution.state_dict())
    network = nn.Sequential(convolution)
    pad_as_tensorflow(network)
    maps = torch.randn(2, 2, size, size + 3, generator=torch.Generator().manual_seed(0))
    assert torch.equal(network(maps), theirs(maps))


def test_a_network_that_is_padded_so_anyway_is_named() -> None:
    config = ModelConfig(backbone="efficientnet_lite0", padding="tensorflow")
    with pytest.raises(ValueError, match=r"^model\.padding: .* set it to symmetric$"):
        build_backbone(config, channels=3, image_size=32)


def test_other_convolutions_stay() -> None:
    network = nn.Sequential(
        nn.Conv2d(1, 1, 3, padding=1), nn.Conv2d(1, 1, 1, stride=2), nn.Conv2d(1, 1, 3, stride=2)
    )
    assert pad_as_tensorflow(network) == 0
    assert all(isinstance(module, nn.Conv2d) for module in network)


def test_padding_changes_the_maps_of_a_network_and_not_their_size() -> None:
    images = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    maps = []
    for padding in ("symmetric", "tensorflow"):
        config = ModelConfig(backbone="mobilenet_v2", padding=padding)
        torch.manual_seed(0)
        maps.append(build_backbone(config, channels=3, image_size=64).module.eval()(images))
    assert maps[0].shape == maps[1].shape
    assert not torch.equal(maps[0], maps[1])


@pytest.mark.parametrize("name", ["conv4", "squeezenet1_1"])
def test_it_is_refused_where_it_would_change_nothing(name: str) -> None:
    config = ModelConfig(backbone=name, padding="tensorflow")
    with pytest.raises(ValueError, match=r"^model\.padding: .*; set it to symmetric"):
        build_backbone(config, channels=3, image_size=32)
