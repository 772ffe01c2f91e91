"""The file that is left of a run: used without the run, and to the same numbers."""

from __future__ import annotations

import errno
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from flip import flip_byte
from method_settings import METHODS
from PIL import Image
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from tiny import context_for, tiny, train_tiny

from gcudml.data.datasets import load
from gcudml.evaluation.retrieval import evaluate
from gcudml.runtime.seeding import derive
from gcudml.training import model_file
from gcudml.training.model_file import load_model

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
    network = context_for().student.features.maps
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


def test_flipped_bits_in_a_model_are_refused(tmp_path: Path) -> None:
    train_tiny(tmp_path)
    path = tmp_path / model_file.FILE
    whole, randomness = path.read_bytes(), random.Random(0)
    header = 8 + int.from_bytes(whole[:8], "little")
    in_header = randomness.sample(range(header), 60)
    for position in in_header + randomness.sample(range(header, len(whole)), 60):
        path.write_bytes(whole)
        flip_byte(path, position, randomness.randint(1, 255))
        with pytest.raises(
            ValueError, match=r"^[^\n]*model\.safetensors: no model file, or a damag"
        ):
            load_model(path)


def test_a_run_whose_model_has_flipped_bits_starts_over(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    expected, _ = train_tiny(tmp_path)
    path = tmp_path / model_file.FILE
    whole = path.read_bytes()
    flip_byte(path, whole.index(b"view_recall@1") + 17, 1)  # a digit of a result
    again, epochs = train_tiny(tmp_path)
    assert (again, len(epochs), path.read_bytes()) == (expected, 2, whole)
    assert "model.safetensors: not readable (its digest" in capfd.readouterr().err


def test_a_model_of_an_older_version_without_a_digest_is_read(tmp_path: Path) -> None:
    train_tiny(tmp_path)
    path = tmp_path / model_file.FILE
    with safe_open(path, framework="pt") as file:
        text = file.metadata()["gcudml 2"].partition(" ")[2]
    save_file(load_file(path), path, {"gcudml": text})
    assert load_model(path).facts.epoch in {0, 1}


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
