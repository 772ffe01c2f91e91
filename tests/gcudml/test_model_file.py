"""The file that is left of a run: used without the run, and to the same numbers."""

from __future__ import annotations

import errno
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file
from test_methods import METHODS
from tiny import setup_for, tiny, train_tiny

from gcudml import model_file
from gcudml.data.datasets import load
from gcudml.evaluate import evaluate
from gcudml.model_file import load_model
from gcudml.seeding import derive

METHOD_SETTINGS = {name: {"name": name} | options for name, options in METHODS.items()}


@pytest.mark.parametrize("name", METHOD_SETTINGS)
def test_a_loaded_model_scores_what_its_run_reported(tmp_path: Path, name: str) -> None:
    method: dict[str, Any] = METHOD_SETTINGS[name]
    expected, _ = train_tiny(tmp_path, test=True, method=method)
    model = load_model(tmp_path / model_file.FILE)
    config = tiny(method=method)
    assert (model.facts.config, model.facts.results) == (config, expected)
    unseen = load(config.data, "test")
    found = evaluate(
        model(torch.from_numpy(unseen.images)),
        torch.from_numpy(unseen.labels),
        config.evaluate,
        seed=derive(0, "nmi"),
        distance=config.distance,
    )
    assert found
    assert {f"test/{metric}": value for metric, value in found.items()}.items() <= expected.items()


def test_a_loaded_model_embeds_image_files(tmp_path: Path) -> None:
    train_tiny(tmp_path)
    unseen = load(tiny().data, "test").images[:3]
    paths = [tmp_path / f"{number}.png" for number in range(3)]
    for path, image in zip(paths, unseen, strict=True):
        Image.fromarray(image[0]).save(path)
    model = load_model(tmp_path / model_file.FILE)
    images = model.read(paths)
    np.testing.assert_array_equal(images.numpy(), unseen)
    assert model(images).shape == (3, 8)


def test_a_model_is_loaded_without_the_weights_that_it_started_from(tmp_path: Path) -> None:
    start = tmp_path / "start.safetensors"
    network = setup_for().student.features.maps
    save_file({name: value.contiguous() for name, value in network.state_dict().items()}, start)
    model = {"weights": str(start), "input_format": "unit"}
    train_tiny(tmp_path / "run", model=model)
    start.unlink()
    loaded = load_model(tmp_path / "run" / model_file.FILE)
    assert loaded.facts.config.model.weights == str(start)


@pytest.mark.parametrize("content", [None, b"", b"no safetensors"])
def test_what_is_no_model_file_is_refused_in_words(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / model_file.FILE
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ValueError, match=r"model\.safetensors: no model file"):
        load_model(path)


def test_a_damaged_model_file_costs_time_only(tmp_path: Path) -> None:
    expected, _ = train_tiny(tmp_path)
    path = tmp_path / model_file.FILE
    path.write_bytes(path.read_bytes()[:100])
    again, epochs = train_tiny(tmp_path)
    assert (again, len(epochs)) == (expected, 2)


def test_controls_leave_no_model(tmp_path: Path) -> None:
    for name in ("pixels", "untrained"):
        train_tiny(tmp_path / name, method={"name": name})
        assert not (tmp_path / name / model_file.FILE).exists()


def test_a_full_disk_costs_the_model_and_keeps_the_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    def fail(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_bytes", fail)
        found, _ = train_tiny(tmp_path)
    assert "model.safetensors: not written (No space left on device)" in capfd.readouterr().err
    assert (tmp_path / "checkpoint.pt").exists()
    again, epochs = train_tiny(tmp_path)
    assert (again, epochs) == (found, [])
