"""What the parameters of the network allow, and how they refuse the rest."""

from __future__ import annotations

from pathlib import Path

import pytest

from gcudml import workload
from gcudml.config import ModelConfig


def refusal(**fields: object) -> str:
    """The one line that the border gives."""
    with pytest.raises(ValueError, match=r"^model\.") as caught:
        workload.check({"model": fields})  # type: ignore[dict-item]
    message = str(caught.value)
    assert "\n" not in message
    return message


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        (
            {"backbone": "resnet81"},
            "model.backbone: unknown backbone 'resnet81'; did you mean 'resnet18'? known: conv4, ",
        ),
        ({"backbone": "timm:"}, "model.backbone: unknown backbone 'timm:'; "),
        ({"weights": "imagenet"}, "model.weights: there are no published weights of conv4; "),
        (
            {"weights": "a.pt"},
            "model.input_format: a weights file does not say how its input is normalised; give "
            "one of unit, imagenet, caffe, rgb_mean, or range, mean, std and order",
        ),
        (
            {"input_format": "cafe"},
            "model.input_format: unknown format 'cafe'; did you mean 'caffe'? known: auto, ",
        ),
        (
            {"input_format": {"range": 1, "mean": [0, 0], "std": [1, 1, 1]}},
            "model.input_format.mean.2: field required",
        ),
        (
            {"input_format": {"range": 1, "mean": [0, 0, 0], "std": [1, 0, 1]}},
            "model.input_format.std.1: input should be greater than 0",
        ),
        (
            {"input_format": {"range": 2, "mean": [0, 0, 0], "std": [1, 1, 1]}},
            "model.input_format.range: input should be 1 or 255",
        ),
        (
            {"input_format": 3},
            "model.input_format.range: give a name or range, mean, std and order",
        ),
        (
            {"pooling": "gem", "gem_p": 0},
            "model.gem_p: input should be greater than 0, got 0",
        ),
        (
            {"backbone": "resnet18", "pooling": "token"},
            "model.pooling: resnet18 has no class token; ",
        ),
    ],
)
def test_what_cannot_be_is_refused_in_one_line(fields: dict[str, object], message: str) -> None:
    assert refusal(**fields).startswith(message)


def test_a_checked_format_passes_the_check_again() -> None:
    numbers = {"range": 255, "mean": [104, 117, 128], "std": [1, 1, 1], "order": "bgr"}
    full = workload.check({"model": {"input_format": numbers}})
    assert workload.check(full) == full
    assert ModelConfig(input_format=numbers) == ModelConfig.model_validate(full["model"])


def test_the_path_of_weights_is_expanded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOME_WEIGHTS", "/somewhere")
    config = ModelConfig(weights="$SOME_WEIGHTS/a.pt", input_format="unit")
    assert config.weights_path == Path("/somewhere/a.pt")
    monkeypatch.delenv("SOME_WEIGHTS")
    with pytest.raises(ValueError, match=r"^model\.weights: .* SOME_WEIGHTS of .* is not set; "):
        _ = config.weights_path


@pytest.mark.parametrize("weights", ["none", "imagenet"])
def test_weights_that_are_no_file_have_no_path(weights: str) -> None:
    assert ModelConfig(backbone="resnet18", weights=weights).weights_path is None
