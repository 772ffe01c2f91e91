"""Backbones: the maps they end with, and that pretrained ones compute what torchvision's do."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import torchvision
from torch import Tensor, nn
from torchvision.models import vision_transformer

from gcudml.config import ModelConfig
from gcudml.models.backbones.build import build_backbone, check_weights
from gcudml.models.backbones.torchvision import KNOWN


@pytest.fixture(autouse=True)
def _two_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """A ViT has two of its twelve equal blocks here: most of the time went into drawing weights."""
    original = vision_transformer.VisionTransformer

    class Shallow(original):  # type: ignore[misc, valid-type]
        def __init__(self, *, num_layers: int, **rest: Any) -> None:
            assert num_layers == 12
            super().__init__(num_layers=2, **rest)

    monkeypatch.setattr(vision_transformer, "VisionTransformer", Shallow)


def pixels(count: int, size: int, channels: int = 3) -> Tensor:
    """Images of 0..1."""
    return torch.rand(count, channels, size, size, generator=torch.Generator().manual_seed(0))


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


@pytest.mark.parametrize(("name", "channels"), [*((name, 3) for name in KNOWN), ("vit_b_16", 1)])
def test_each_network_gives_the_announced_channels(name: str, channels: int) -> None:
    size = 32 if name == "vit_b_16" else 64
    config = ModelConfig(backbone=name)
    backbone = build_backbone(config, channels=channels, image_size=size)
    with torch.no_grad():
        maps = backbone.module(2 * pixels(2, size, channels) - 1)
    assert maps.shape[:2] == (2, backbone.out_channels)
    assert maps.shape[2] == maps.shape[3] >= 2
    assert maps.isfinite().all()


@pytest.mark.parametrize("name", sorted(set(KNOWN) - {"vit_b_16"}))
def test_every_parameter_of_a_network_gets_a_gradient(name: str) -> None:
    module = build_backbone(ModelConfig(backbone=name), channels=3, image_size=64).module
    module(2 * pixels(2, 64) - 1).square().sum().backward()
    assert all(p.grad is not None for p in module.parameters())


def published_maps(name: str, network: nn.Module, images: Tensor) -> Tensor:
    """What torchvision's own forward computes just before its pooling (for a ViT its head)."""
    kept: list[Tensor] = []
    before = {"squeezenet1_1": "classifier", "mobilenet_v2": "classifier", "vit_b_16": "heads"}
    place = network.get_submodule(before.get(name, "avgpool"))
    if name in {"squeezenet1_1", "mobilenet_v2"}:
        place = network.get_submodule("features")
        place.register_forward_hook(lambda _, inputs, output: kept.append(output))
    else:
        place.register_forward_pre_hook(lambda _, inputs: kept.append(inputs[0]))
    with torch.no_grad():
        network.eval()(images)
    return kept[0]


@pytest.mark.timeout(90)
@pytest.mark.parametrize(
    ("name", "size"),
    [
        ("resnet18", 32),  # with weights the stem stays that of large images
        ("resnet50", 64),
        ("squeezenet1_1", 64),
        ("mobilenet_v2", 64),
        ("googlenet", 64),
        ("vit_b_16", 32),
    ],
)
def test_a_published_network_computes_what_it_does_in_torchvision(
    name: str, size: int, tmp_path: Path
) -> None:
    options: dict[str, object] = {"image_size": size} if name == "vit_b_16" else {}
    if name == "googlenet":  # as the published one is built
        options = {"transform_input": True, "aux_logits": True, "init_weights": False}
    network = getattr(torchvision.models, name)(**options)
    for buffer in network.buffers():  # statistics that matter
        if buffer.is_floating_point():
            buffer.uniform_(0.5, 1.5)
    torch.save(network.state_dict(), tmp_path / "weights.pt")
    images = pixels(2, size)
    normalise = torchvision.transforms.Normalize((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    expected = published_maps(name, network, normalise(images))

    config = ModelConfig(
        backbone=name,
        weights=str(tmp_path / "weights.pt"),
        input_format="unit" if name == "googlenet" else "imagenet",
        pooling="token" if name == "vit_b_16" else "avg",
    )
    module = build_backbone(config, channels=3, image_size=size).module.eval()
    with torch.no_grad():
        found = module(2 * images - 1)
    expected = expected.reshape(found.shape)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5 * expected.abs().max().item())


def test_a_vision_transformer_gives_its_patches_in_the_order_of_the_image() -> None:
    backbone = build_backbone(ModelConfig(backbone="vit_b_16"), channels=3, image_size=32)
    seen: list[Tensor] = []
    encoder = backbone.module.get_submodule("encoder")
    encoder.register_forward_hook(lambda _, inputs, output: seen.append(output))
    with torch.no_grad():
        maps = backbone.module.eval()(2 * pixels(1, 32) - 1)
    assert maps.shape == (1, 768, 2, 2)
    torch.testing.assert_close(maps[0, :, 1, 0], seen[0][0, 1 + 2])  # second row, first column


@pytest.mark.timeout(90)
def test_a_vision_transformer_takes_weights_of_another_image_size(tmp_path: Path) -> None:
    state = torchvision.models.vit_b_16(image_size=64).state_dict()
    positions = state["encoder.pos_embedding"]
    corners = positions[:, 1:].unflatten(1, (4, 4))[:, [0, 0, 3, 3], [0, 3, 0, 3]]
    torch.save(state, tmp_path / "weights.pt")
    config = ModelConfig(
        backbone="vit_b_16", weights=str(tmp_path / "weights.pt"), input_format="imagenet"
    )
    module = build_backbone(config, channels=3, image_size=32).module
    found = module.get_parameter("network.encoder.pos_embedding")
    torch.testing.assert_close(found[:, :1], positions[:, :1])  # the class token has no place
    torch.testing.assert_close(found[:, 1:], corners, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize(
    ("name", "size", "message"),
    [
        ("vit_b_16", 60, "patches of 16 pixels, and data.image_size is 60; .* such as 64"),
        ("squeezenet1_1", 16, "squeezenet1_1 needs images of at least 17 pixels"),
        ("googlenet", 12, "googlenet needs images of at least 15 pixels"),
    ],
)
def test_images_that_leave_no_map_are_refused(name: str, size: int, message: str) -> None:
    with pytest.raises(ValueError, match=f"^model.backbone: .*{message}"):
        check_weights(ModelConfig(backbone=name), channels=3, image_size=size)


@pytest.mark.parametrize("name", sorted(set(KNOWN) - {"vit_b_16"}))
def test_the_smallest_images_leave_a_map(name: str) -> None:
    size = max(12, KNOWN[name].smallest)
    backbone = build_backbone(ModelConfig(backbone=name), channels=1, image_size=size)
    with torch.no_grad():
        maps = backbone.module.eval()(2 * pixels(1, size, channels=1) - 1)
    assert maps.shape[:2] == (1, backbone.out_channels)
    assert maps.numel() >= backbone.out_channels
    assert maps.isfinite().all()


def test_checking_leaves_the_random_state() -> None:
    before = torch.get_rng_state()
    check_weights(ModelConfig(width=8), channels=1, image_size=12)
    assert torch.equal(before, torch.get_rng_state())
