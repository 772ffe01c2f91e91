"""The short way through conv4 gives the numbers of the long one, to the bit."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from gcudml.models.backbones import conv4
from gcudml.models.backbones.conv4 import Conv4, largest_of_four


def lived(image_size: int, *, width: int = 8, positive: bool = True) -> Conv4:
    """A network whose norms have statistics and scales of their own."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = Conv4(width, channels=1, image_size=image_size)
        for norm in network.modules():
            if isinstance(norm, nn.BatchNorm2d):
                norm.running_mean.normal_(0, 0.3)
                norm.running_var.uniform_(0.1, 3)
                nn.init.uniform_(norm.weight, 0.1, 2)
                nn.init.normal_(norm.bias)
                if not positive:
                    norm.weight.data[::3] *= -1
    return network.eval()


def layer_by_layer(network: Conv4, images: Tensor) -> Tensor:
    for layer in network.children():
        images = layer(images)
    return images


def noise(*shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize(("image_size", "width"), [(28, 32), (30, 7), (37, 16), (64, 8), (4, 8)])
@pytest.mark.parametrize("positive", [True, False])
@torch.no_grad()
def test_without_gradient_the_numbers_are_those_of_the_layers_in_turn(
    layout: torch.memory_format,
    dtype: torch.dtype,
    image_size: int,
    width: int,
    positive: bool,
) -> None:
    network = lived(image_size, width=width, positive=positive).to(memory_format=layout)
    images = noise(5, 1, image_size, image_size).contiguous(memory_format=layout)
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=dtype == torch.bfloat16):
        found = network(images)
        wanted = layer_by_layer(network, images)
    assert found.dtype == dtype
    assert found.stride() == wanted.stride()
    assert torch.equal(found, wanted)


@pytest.mark.parametrize(
    ("mode", "gradient", "positive", "short"),
    [
        ("eval", False, True, 3),
        ("eval", False, False, 0),
        ("eval", True, True, 0),
        ("train", False, True, 0),
        ("train", True, True, 0),
    ],
)
def test_pooling_comes_first_only_where_that_changes_nothing(
    monkeypatch: pytest.MonkeyPatch, mode: str, gradient: bool, positive: bool, short: int
) -> None:
    network, taken = lived(28, positive=positive).train(mode == "train"), []
    monkeypatch.setattr(
        conv4, "largest_of_four", lambda maps: (taken.append(1), largest_of_four(maps))[1]
    )
    with torch.set_grad_enabled(gradient):
        found = network(noise(3, 1, 28, 28))
    assert len(taken) == short
    assert found.requires_grad == gradient


@pytest.mark.parametrize("shape", [(2, 3, 8, 8), (2, 3, 7, 9)])
def test_largest_of_four_is_max_pooling_with_nan_and_infinity(shape: tuple[int, ...]) -> None:
    maps = noise(*shape)
    maps[0, 0, 1, 1], maps[0, 1, 2, 3], maps[1, 2, 0, 0] = torch.nan, torch.inf, -torch.inf
    torch.testing.assert_close(
        largest_of_four(maps), F.max_pool2d(maps, 2), rtol=0, atol=0, equal_nan=True
    )


def test_layers_are_named_as_in_a_sequence() -> None:
    names = set(Conv4(4, channels=1, image_size=28).state_dict())
    assert {"0.weight", "1.running_var", "4.weight", "8.weight", "12.weight"} <= names
