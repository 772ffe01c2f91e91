"""Images as pretrained networks expect them, against the formula pixel by pixel."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
import torch
from torch import Tensor

from gcudml.config import ModelConfig
from gcudml.config.model import INPUT_FORMATS, InputFormat
from gcudml.data.views import to_unit
from gcudml.models.backbones.build import build_backbone, input_channels
from gcudml.models.backbones.layers import input_layer


def images(channels: int = 3) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randint(256, (2, channels, 4, 5), generator=generator, dtype=torch.uint8)


def expected(images: Tensor, wanted: InputFormat) -> Tensor:
    """``(pixel - mean) / std`` for one pixel after the other."""
    found = torch.empty(len(images), 3, *images.shape[2:], dtype=torch.float64)
    order = [2, 1, 0] if wanted.order == "bgr" else [0, 1, 2]
    for channel in range(3):
        source = order[channel] if images.shape[1] == 3 else 0
        pixel = images[:, source].double() * wanted.range / 255
        found[:, channel] = (pixel - wanted.mean[channel]) / wanted.std[channel]
    return found


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("name", INPUT_FORMATS)
def test_equals_the_formula(name: str, channels: int) -> None:
    wanted = INPUT_FORMATS[name]
    layer = input_layer(wanted, channels=channels, inputs=3)
    unit = to_unit(images(channels))
    found = unit if layer is None else layer(unit)
    torch.testing.assert_close(
        found.double(), expected(images(channels), wanted), rtol=1e-5, atol=2e-5
    )
    assert (layer is None) == (name == "unit" and channels == 3)


def test_blue_comes_first_where_asked() -> None:
    red = torch.full((1, 3, 1, 1), -1.0)
    red[:, 0] = 1.0
    layer = input_layer(INPUT_FORMATS["caffe"], channels=3, inputs=3)
    assert layer is not None
    assert layer(red).flatten().tolist() == pytest.approx([-104, -117, 255 - 128])


def test_order_alone_is_reason_enough_for_a_layer() -> None:
    unit = INPUT_FORMATS["unit"].model_copy(update={"order": "bgr"})
    layer = input_layer(unit, channels=3, inputs=3)
    assert layer is not None
    found = layer(to_unit(images()))
    torch.testing.assert_close(found, to_unit(images()).flip(1))


def test_nothing_of_it_is_trained_and_copies_keep_it() -> None:
    layer = input_layer(INPUT_FORMATS["imagenet"], channels=1, inputs=3)
    assert layer is not None
    assert list(layer.parameters()) == []
    assert torch.equal(
        copy.deepcopy(layer)(torch.zeros(1, 1, 2, 2)), layer(torch.zeros(1, 1, 2, 2))
    )


@pytest.mark.parametrize(
    ("fields", "inputs"),
    [
        ({}, 1),
        ({"backbone": "resnet18"}, 1),
        ({"backbone": "resnet18", "weights": "imagenet"}, 3),
        ({"backbone": "resnet18", "input_format": "imagenet"}, 3),
        ({"weights": "a.pt", "input_format": "unit"}, 1),  # conv4 has no weights for colours
    ],
)
def test_grey_images_are_repeated_for_networks_that_see_colours(
    fields: dict[str, str], inputs: int
) -> None:
    assert input_channels(ModelConfig.model_validate(fields), channels=1) == inputs


def test_a_network_of_weights_for_colours_takes_grey_images(tmp_path: Path) -> None:
    source = ModelConfig(backbone="squeezenet1_1")
    network = build_backbone(source, channels=3, image_size=32).module.eval()
    torch.save(network.state_dict(), tmp_path / "weights.pt")
    config = ModelConfig(
        backbone="squeezenet1_1", weights=str(tmp_path / "weights.pt"), input_format="unit"
    )
    grey = torch.rand(2, 1, 32, 32) * 2 - 1
    found = build_backbone(config, channels=1, image_size=32).module.eval()(grey)
    torch.testing.assert_close(found, network(grey.expand(-1, 3, -1, -1)))
