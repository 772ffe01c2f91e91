"""Weights: what files are read as, what is refused and in which words, what identifies them."""

from __future__ import annotations

import os
import pickle
import urllib.error
from collections.abc import Mapping
from pathlib import Path

import pytest
import safetensors.torch
import torch
import torchvision
from torch import Tensor, nn

from gcudml.config import ModelConfig
from gcudml.config.model import INPUT_FORMATS
from gcudml.models.backbones.build import _trunk, build_backbone, check_weights
from gcudml.models.backbones.weights import (
    load_weights,
    read_state,
    weights_digest,
    without_weights,
)

GIVEN = os.environ.get("GCUDML_WEIGHTS")


@pytest.fixture(scope="module")
def state() -> dict[str, Tensor]:
    """A whole SqueezeNet's."""
    return dict(torchvision.models.squeezenet1_1().state_dict())


def config(path: Path | str, backbone: str = "squeezenet1_1") -> ModelConfig:
    return ModelConfig(backbone=backbone, weights=str(path), input_format="unit")


def maps(path: Path | str) -> Tensor:
    module = build_backbone(config(path), channels=3, image_size=32).module
    generator = torch.Generator().manual_seed(0)
    found: Tensor = module(torch.randn(2, 3, 32, 32, generator=generator))
    return found


def refusal(path: Path, backbone: str = "squeezenet1_1") -> str:
    """The one line in which a file is refused."""
    with pytest.raises(ValueError, match=r"^model\.weights: ") as caught:
        check_weights(config(path, backbone), channels=3, image_size=32)
    message = str(caught.value)
    assert "\n" not in message
    assert str(path) in message
    return message


def saved(path: Path, content: object) -> Path:
    torch.save(content, path)
    return path


def features(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {n.removeprefix("features."): v for n, v in state.items() if n.startswith("features.")}


def test_all_ways_to_save_a_network_give_the_same(tmp_path: Path, state: dict[str, Tensor]) -> None:
    expected = maps(saved(tmp_path / "whole.pt", state))
    safetensors.torch.save_file(state, tmp_path / "a.safetensors")
    ways: dict[str, object] = {
        "features": features(state),
        "wrapped": {"epoch": 3, "state_dict": state},
        "parallel": {"model": {f"module.{name}": value for name, value in state.items()}},
    }
    for name, content in ways.items():
        assert torch.equal(maps(saved(tmp_path / f"{name}.pt", content)), expected), name
    assert torch.equal(maps(tmp_path / "a.safetensors"), expected)


def test_the_classifier_is_left_out_and_named(tmp_path: Path, state: dict[str, Tensor]) -> None:
    wanted = config(saved(tmp_path / "a.pt", state))
    trunk = _trunk(wanted, channels=3, image_size=32)
    assert load_weights(trunk, wanted) == ("classifier.1.weight", "classifier.1.bias")


def test_half_precision_is_loaded_as_single(tmp_path: Path, state: dict[str, Tensor]) -> None:
    half = {name: value.half() for name, value in state.items()}
    found = maps(saved(tmp_path / "half.pt", half))
    assert found.dtype == torch.float32
    back = saved(tmp_path / "back.pt", {name: value.float() for name, value in half.items()})
    assert torch.equal(found, maps(back))


def test_counters_of_batches_may_be_missing(tmp_path: Path) -> None:
    whole = torchvision.models.resnet18().state_dict()
    old = {name: value for name, value in whole.items() if "num_batches" not in name}
    check_weights(config(saved(tmp_path / "a.pt", old), "resnet18"), channels=3, image_size=32)


def test_a_conv4_starts_from_another(tmp_path: Path) -> None:
    first = build_backbone(ModelConfig(width=8), channels=1, image_size=28).module.eval()
    path = saved(tmp_path / "a.pt", first.state_dict())
    wanted = ModelConfig(width=8, weights=str(path), input_format="unit")
    again = build_backbone(wanted, channels=1, image_size=28).module.eval()
    images = torch.rand(2, 1, 28, 28)
    assert torch.equal(first(images), again(images))


def test_a_network_of_another_name_is_refused(tmp_path: Path, state: dict[str, Tensor]) -> None:
    path = saved(tmp_path / "a.pt", state)
    assert refusal(path, "resnet18") == (
        f"model.weights: {str(path)!r} does not fit resnet18: 100 keys missing (first "
        "conv1.weight), 50 keys unknown (first features.0.weight); name the backbone it was made "
        "for"
    )


def test_another_shape_is_refused(tmp_path: Path, state: dict[str, Tensor]) -> None:
    path = saved(tmp_path / "a.pt", state | {"features.0.weight": torch.zeros(64, 1, 3, 3)})
    assert (
        "shape of features.0.weight is (64, 1, 3, 3) where (64, 3, 3, 3) is needed; name the"
        in refusal(path)
    )


@pytest.mark.parametrize("value", [float("nan"), float("-inf")])
def test_numbers_that_are_not_finite_are_refused(
    tmp_path: Path, state: dict[str, Tensor], value: float
) -> None:
    bad = state["features.0.bias"].clone()
    bad[3] = value
    path = saved(tmp_path / "a.pt", state | {"features.0.bias": bad})
    assert "features.0.bias of" in refusal(path)
    assert refusal(path).endswith("holds NaN or infinity; give finite weights")


def test_whole_numbers_are_refused(tmp_path: Path, state: dict[str, Tensor]) -> None:
    whole = {name: value.to(torch.int8) for name, value in state.items()}
    message = refusal(saved(tmp_path / "a.pt", whole))
    assert "holds torch.int8, not real numbers; convert it to float32" in message


class Bomb:
    """Makes a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, (str(self.path),)


@pytest.mark.parametrize("kind", ["zip", "pickle", "old pickle", "safetensors"])
def test_code_in_a_file_is_refused_and_never_run(tmp_path: Path, kind: str) -> None:
    path, made = tmp_path / "a.pt", tmp_path / "made"
    if kind == "zip":
        torch.save({"a": Bomb(made)}, path)
    else:
        path = path.with_suffix(".safetensors") if kind == "safetensors" else path
        path.write_bytes(pickle.dumps(Bomb(made), protocol=0 if kind == "old pickle" else 2))
    message = refusal(path)
    if kind != "safetensors":
        assert "is refused: it holds objects or code, not only tensors; convert it to" in message
    assert not made.exists()


def test_a_saved_module_is_refused(tmp_path: Path) -> None:
    path = saved(tmp_path / "a.pt", nn.Linear(2, 2).bias)
    assert "holds a Parameter, not a state dict" in refusal(path)
    assert "holds objects or code" in refusal(saved(tmp_path / "b.pt", nn.Sequential(nn.Tanh())))


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("empty.pt", b""),
        ("text.pt", b"<html>not found</html>\n"),
        ("noise.pt", bytes(range(250, 0, -1))),
        ("cut.pt", None),
        ("empty.safetensors", b""),
        ("noise.safetensors", bytes(range(250, 0, -1))),
        ("cut.safetensors", None),
    ],
)
def test_damaged_files_are_refused(
    tmp_path: Path, state: dict[str, Tensor], name: str, content: bytes | None
) -> None:
    path = tmp_path / name
    if content is None and name.endswith("pt"):
        torch.save(state, path)
    elif content is None:
        safetensors.torch.save_file(state, path)
    path.write_bytes(path.read_bytes()[:10_000] if content is None else content)
    message = refusal(path)
    assert "cannot be read (" in message
    assert message.endswith("; download or save it again")


def test_missing_files_and_folders_are_refused(tmp_path: Path) -> None:
    assert f"no file {str(tmp_path / 'a.pt')!r}; give a state dict" in refusal(tmp_path / "a.pt")
    assert refusal(tmp_path).endswith("is a folder; give the file in it")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([1, 2], "holds a list, not a state dict"),
        ({}, "is not a state dict: it is empty"),
        ({"epoch": 3}, "is not a state dict: 'epoch' is not a tensor"),
    ],
)
def test_what_is_no_state_dict_is_refused(tmp_path: Path, content: object, message: str) -> None:
    path = saved(tmp_path / "a.pt", content)
    assert message in refusal(path)
    with pytest.raises(ValueError, match="state dict"):
        read_state(path)


@pytest.mark.parametrize(
    "error",
    [
        urllib.error.URLError("no route"),
        RuntimeError("invalid hash value"),
        FileNotFoundError("the Hub"),
    ],
)
def test_published_weights_that_cannot_be_fetched_are_one_line(
    monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr("gcudml.models.backbones.torchvision._fetch", fail)
    wanted = ModelConfig(backbone="resnet18", weights="imagenet")
    with pytest.raises(
        ValueError, match=r"^model\.weights: .* resnet18 could not be fetched \("
    ) as e:
        check_weights(wanted, channels=3, image_size=32)
    assert str(e.value).endswith(
        "; give the path of their file, downloaded elsewhere from "
        "https://download.pytorch.org/models/resnet18-f37072fd.pth, with model.input_format imagenet"
    )
    assert "\n" not in str(e.value)


@pytest.mark.parametrize(("name", "wanted"), [("resnet18", "imagenet"), ("googlenet", "unit")])
def test_published_weights_bring_their_own_input_format(
    monkeypatch: pytest.MonkeyPatch, name: str, wanted: str
) -> None:
    options = {"init_weights": False, "aux_logits": True} if name == "googlenet" else {}
    network = getattr(torchvision.models, name)(**options)
    monkeypatch.setattr(
        "gcudml.models.backbones.torchvision._fetch", lambda weights: network.state_dict()
    )
    images = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(0)) * 2 - 1
    found = []
    for chosen in ("auto", wanted):
        config = ModelConfig(backbone=name, weights="imagenet", input_format=chosen)
        module = build_backbone(config, channels=3, image_size=64).module.eval()
        found.append(module(images))
    assert torch.equal(*found)
    assert INPUT_FORMATS[wanted] in INPUT_FORMATS.values()


def test_without_weights_keeps_the_shape_for_them(tmp_path: Path) -> None:
    wanted = ModelConfig(
        backbone="resnet18", weights=str(tmp_path / "missing.pt"), input_format="imagenet"
    )
    with without_weights():
        module = build_backbone(wanted, channels=1, image_size=32).module
    first = next(m for m in module.modules() if isinstance(m, nn.Conv2d))
    assert (first.in_channels, first.kernel_size) == (3, (7, 7))
    with pytest.raises(ValueError, match="no file"):
        build_backbone(wanted, channels=1, image_size=32)


def test_the_digest_follows_the_content(tmp_path: Path) -> None:
    path = tmp_path / "a.pt"
    path.write_bytes(b"one")
    first = weights_digest(config(path))
    assert len(first) == 32
    assert weights_digest(config(path)) == first
    other = tmp_path / "b.pt"
    other.write_bytes(b"one")
    assert weights_digest(config(other)) == first
    path.write_bytes(b"other")
    assert weights_digest(config(path)) != first
    with pytest.raises(ValueError, match="no file"):
        weights_digest(config(tmp_path / "c.pt"))


def test_published_weights_are_known_by_name() -> None:
    assert weights_digest(ModelConfig()) == ""
    found = weights_digest(ModelConfig(backbone="resnet18", weights="imagenet"))
    assert found == "ResNet18_Weights.IMAGENET1K_V1"
    assert repr(torchvision.models.get_weight(found)) == found


@pytest.mark.data
@pytest.mark.skipif(not GIVEN, reason="GCUDML_WEIGHTS is not set")
@pytest.mark.parametrize(
    ("name", "backbone", "more"),
    [
        ("squeezenet1_1_features.pt", "squeezenet1_1", {"input_format": "rgb_mean"}),
        (
            "mobilenet_v2_imagenet.pt",
            "mobilenet_v2",
            {"input_format": "unit", "padding": "tensorflow", "freeze_batch_norm": True},
        ),
    ],
)
def test_real_weights_see_colours_and_tell_images_apart(
    name: str, backbone: str, more: dict[str, object]
) -> None:
    values = {"backbone": backbone, "weights": f"$GCUDML_WEIGHTS/{name}"} | more
    wanted = ModelConfig.model_validate(values)
    module = build_backbone(wanted, channels=3, image_size=64).module
    assert len(weights_digest(wanted)) == 32
    coarse = torch.rand(6, 3, 4, 4, generator=torch.Generator().manual_seed(0)) * 2 - 1
    images = nn.functional.interpolate(coarse, size=64, mode="bicubic").clamp(-1, 1)
    with torch.no_grad():
        similar = nn.functional.interpolate(images[:, :, 2:-2, 2:-2], size=64, mode="bilinear")
        pooled = [nn.functional.normalize(module(x).mean((2, 3))) for x in (images, similar)]
    assert torch.equal((pooled[0] @ pooled[1].T).argmax(1), torch.arange(6))
