"""Networks of timm, untrained: maps of every layout, position embeddings, what is refused."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import timm
import torch
from timm.layers import resample_abs_pos_embed
from torch import Tensor

from gcudml.config import ModelConfig
from gcudml.config.model import INPUT_FORMATS
from gcudml.models.backbones.build import build_backbone, check_weights
from gcudml.models.backbones.weights import weights_digest

pytestmark = pytest.mark.timeout(60)  # importing timm takes a while


def images(size: int, channels: int = 3) -> Tensor:
    return torch.randn(2, channels, size, size, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(
    ("name", "size", "shape"),
    [
        ("resnet10t", 64, (512, 2, 2)),  # maps
        ("swin_tiny_patch4_window7_224", 64, (768, 2, 2)),  # channels last
        ("vit_tiny_patch16_224", 48, (192, 3, 3)),  # tokens
        ("mixer_s32_224", 64, (512, 2, 2)),  # tokens without a class token
        ("vit_small_patch14_dinov2", 28, (384, 2, 2)),
        ("vit_base_patch32_clip_224", 64, (768, 2, 2)),
    ],
)
def test_features_become_maps(
    name: str, size: int, shape: tuple[int, int, int], channels: int
) -> None:
    backbone = build_backbone(
        ModelConfig(backbone=f"timm:{name}"), channels=channels, image_size=size
    )
    assert backbone.module.training
    with torch.no_grad():
        maps = backbone.module(images(size, channels))
    assert maps.shape == (2, *shape)
    assert maps.isfinite().all()
    assert backbone.out_channels == shape[0]


def test_the_class_token_is_a_map_of_one_pixel() -> None:
    config = ModelConfig(backbone="timm:vit_tiny_patch16_224", pooling="token")
    module = build_backbone(config, channels=3, image_size=32).module.eval()
    network = module.get_submodule("network")
    with torch.no_grad():
        found = module(images(32))
        tokens = network.forward_features(images(32))
    assert found.shape == (2, 192, 1, 1)
    torch.testing.assert_close(found[:, :, 0, 0], tokens[:, 0])


def test_a_file_of_the_whole_network_is_loaded(tmp_path: Path) -> None:
    network = timm.create_model("resnet10t", pretrained=False).eval()
    torch.save(network.state_dict(), tmp_path / "weights.pt")
    config = ModelConfig(
        backbone="timm:resnet10t", weights=str(tmp_path / "weights.pt"), input_format="unit"
    )
    module = build_backbone(config, channels=3, image_size=64).module.eval()
    with torch.no_grad():
        torch.testing.assert_close(module(images(64)), network.forward_features(images(64)))


@pytest.mark.parametrize("name", ["vit_tiny_patch16_224", "cait_xxs24_224"])
def test_position_embeddings_of_another_size_are_interpolated(name: str, tmp_path: Path) -> None:
    network = timm.create_model(name, pretrained=False)
    torch.save(network.state_dict(), tmp_path / "weights.pt")
    config = ModelConfig(
        backbone=f"timm:{name}", weights=str(tmp_path / "weights.pt"), input_format="unit"
    )
    module = build_backbone(config, channels=3, image_size=224).module
    torch.testing.assert_close(module.get_parameter("network.pos_embed"), network.pos_embed)
    module = build_backbone(config, channels=3, image_size=48).module
    prefix = network.pos_embed.shape[1] - 14 * 14
    smaller = resample_abs_pos_embed(network.pos_embed, [3, 3], num_prefix_tokens=prefix)
    torch.testing.assert_close(module.get_parameter("network.pos_embed"), smaller)


def saved(path: Path, state: dict[str, Tensor]) -> ModelConfig:
    """Settings of a small DINOv2 that starts from these weights."""
    torch.save(state, path)
    return ModelConfig(
        backbone="timm:vit_small_patch14_dinov2", weights=str(path), input_format="imagenet"
    )


@pytest.fixture(scope="module")
def dinov2() -> dict[str, Tensor]:
    """Weights for images of 56 pixels."""
    network = timm.create_model("vit_small_patch14_dinov2", img_size=56, num_classes=0)
    return dict(network.state_dict())


def test_the_file_of_the_dinov2_authors_is_loaded(
    tmp_path: Path, dinov2: dict[str, Tensor]
) -> None:
    published = {f"module.{key}": value for key, value in dinov2.items()}
    config = saved(tmp_path / "a.pt", published | {"module.mask_token": torch.zeros(1, 384)})
    module = build_backbone(config, channels=3, image_size=28).module
    found = module.get_submodule("network.network").state_dict()
    smaller = resample_abs_pos_embed(dinov2["pos_embed"], new_size=[2, 2], num_prefix_tokens=1)
    assert torch.equal(found.pop("pos_embed"), smaller)
    assert all(torch.equal(value, dinov2[key]) for key, value in found.items())


def test_a_file_that_timm_cannot_convert_is_refused(
    tmp_path: Path, dinov2: dict[str, Tensor]
) -> None:
    config = saved(tmp_path / "a.pt", {**dinov2, "pos_embed": torch.zeros(1, 12, 384)})
    with pytest.raises(ValueError, match=r"^model\.weights: .* name the backbone .*made for$") as e:
        check_weights(config, channels=3, image_size=28)
    assert "\n" not in str(e.value)


def test_weights_that_fit_are_loaded_as_they_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def renamed(state: dict[str, Tensor], model: object) -> dict[str, Tensor]:
        return {f"head.{key}": value for key, value in state.items()}

    monkeypatch.setattr("timm.models.swin_transformer.checkpoint_filter_fn", renamed)
    name = "swin_tiny_patch4_window7_224"
    network = timm.create_model(name, pretrained=False, num_classes=0, img_size=64)
    torch.save(network.state_dict(), tmp_path / "weights.pt")
    config = ModelConfig(
        backbone=f"timm:{name}", weights=str(tmp_path / "weights.pt"), input_format="unit"
    )
    module = build_backbone(config, channels=3, image_size=64).module
    found = module.get_submodule("network").state_dict()
    assert all(torch.equal(value, found[key]) for key, value in network.state_dict().items())


@pytest.mark.parametrize(
    ("name", "size", "remedy", "error"),
    [
        (
            "timm:vit_small_patch14_dinov2",
            28,
            "https://huggingface.co/timm/vit_small_patch14_dinov2.lvd142m/resolve/main/"
            "model.safetensors, with model.input_format imagenet",
            FileNotFoundError,
        ),
        (
            "timm:vit_base_patch32_clip_224.openai",
            32,
            "https://huggingface.co/timm/vit_base_patch32_clip_224.openai/resolve/main/"
            "model.safetensors, with model.input_format {range: 1, mean: [0.48145466, 0.4578275, "
            "0.40821073], std: [0.26862954, 0.26130258, 0.27577711]}",
            RuntimeError,
        ),
        (
            "efficientnet_lite0",
            32,
            "model.input_format {range: 1, mean: [0.5, 0.5, 0.5], std: ",
            FileNotFoundError,
        ),
    ],
)
def test_without_internet_the_error_says_what_to_fetch(
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    size: int,
    remedy: str,
    error: type[Exception],
) -> None:
    def unreachable(*_: object, **__: object) -> None:
        raise error("no route to the hub")

    monkeypatch.setattr("timm.models._builder.load_state_dict_from_hf", unreachable)
    with pytest.raises(ValueError, match=r"^model\.weights: ") as caught:
        check_weights(ModelConfig(backbone=name, weights="imagenet"), channels=3, image_size=size)
    message = str(caught.value)
    assert f"of {name} could not be fetched (no route to the hub); give " in message
    assert remedy in message
    assert ("give bundled, or the path" in message) == (name == "efficientnet_lite0")
    assert "\n" not in message


def test_published_weights_bring_their_own_input_format(monkeypatch: pytest.MonkeyPatch) -> None:
    network = timm.create_model("vit_tiny_patch16_224", pretrained=False, num_classes=0)
    monkeypatch.setattr(
        "gcudml.models.backbones.timm._fetch", lambda name, image_size: network.state_dict()
    )
    config = ModelConfig(backbone="timm:vit_tiny_patch16_224", weights="imagenet")
    module = build_backbone(config, channels=3, image_size=224).module.eval()
    with torch.no_grad():  # this one wants [-1, 1], unlike most
        found = module(images(224))
        tokens = network.eval().forward_features(images(224))
    torch.testing.assert_close(found.flatten(2).transpose(1, 2), tokens[:, 1:])
    assert weights_digest(config) == "timm vit_tiny_patch16_224.augreg_in21k_ft_in1k"


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        (
            {"backbone": "timm:resnet10"},
            "model.backbone: timm .* has no network 'resnet10'; did you",
        ),
        (
            {"backbone": "timm:resnet10t.x"},
            "model.backbone: .* no weights 'resnet10t.x'; known: resnet10t.c3_in1k",
        ),
        (
            {"backbone": "timm:vit_tiny_patch16_224"},
            "model.backbone: timm:vit_tiny_patch16_224 does not take 3 x 50 x 50 images .patches of 16",
        ),
        (
            {"backbone": "timm:resnet10t", "pooling": "token"},
            "model.pooling: timm:resnet10t has no class token",
        ),
    ],
)
def test_what_cannot_be_is_refused_in_one_line(fields: dict[str, str], message: str) -> None:
    with pytest.raises(ValueError, match=f"^{message}") as caught:
        check_weights(ModelConfig.model_validate(fields), channels=3, image_size=50)
    assert "\n" not in str(caught.value)


def test_networks_without_published_weights_say_so() -> None:
    config = ModelConfig(backbone="timm:mixer_s32_224", weights="imagenet")
    with pytest.raises(
        ValueError, match=r"^model\.weights: there are no published weights of timm:mixer"
    ):
        check_weights(config, channels=3, image_size=64)


def test_without_timm_the_error_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(ValueError, match=r"^model\.backbone: .*install it with: pip install timm$"):
        check_weights(ModelConfig(backbone="timm:resnet10t"), channels=3, image_size=64)


def test_named_input_formats_are_those_of_timm() -> None:
    means = timm.data.IMAGENET_DEFAULT_MEAN, timm.data.IMAGENET_DEFAULT_STD
    assert (INPUT_FORMATS["imagenet"].mean, INPUT_FORMATS["imagenet"].std) == means
    assert INPUT_FORMATS["imagenet"].range == 1
    unit = timm.data.IMAGENET_INCEPTION_MEAN, timm.data.IMAGENET_INCEPTION_STD
    halves = tuple(value / 255 for value in INPUT_FORMATS["unit"].mean)
    assert (halves, halves) == unit
