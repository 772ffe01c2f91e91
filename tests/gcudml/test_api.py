"""A trained model used without its run: a folder embedded, and neighbours found in it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from tiny import tiny, train_tiny

import gcudml
from gcudml.data.datasets import load


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A trained run in ``run`` and twelve pictures in ``images``, two of them in a folder."""
    folder = tmp_path_factory.mktemp("own")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GCUDML_CACHE", str(folder / "cache"))
        train_tiny(folder / "run")
        unseen = load(tiny().data, "test").images[:12].copy()
    (folder / "images" / "inner").mkdir(parents=True)
    for number, image in enumerate(unseen):
        where = folder / "images" / ("inner" if number > 9 else ".")
        Image.fromarray(image[0]).save(where / f"{number:02}.png")
    (folder / "images" / "notes.txt").write_text("no image")
    return folder


def test_a_folder_is_embedded_as_the_run_would_have_embedded_it(place: Path) -> None:
    model = gcudml.load(place / "run")
    assert isinstance(model, torch.nn.Module)
    found = gcudml.embed(place / "images", model)
    assert found.paths == (*(f"{n:02}.png" for n in range(10)), "inner/10.png", "inner/11.png")
    expected = model(model.read([place / "images" / path for path in found.paths]))
    expected = torch.nn.functional.normalize(expected, dim=1).numpy()
    np.testing.assert_allclose(found.vectors, expected, rtol=0, atol=1e-6)
    np.testing.assert_allclose(np.linalg.norm(found.vectors, axis=1), 1, rtol=1e-5)


def test_neighbours_are_those_of_the_full_table_and_never_the_image_itself(place: Path) -> None:
    model = gcudml.load(place / "run" / "model.safetensors")
    gallery = gcudml.embed(place / "images", model)
    found = gcudml.search(gallery, gallery, k=3)
    table = gallery.vectors.astype(np.float64) @ gallery.vectors.T.astype(np.float64)
    np.fill_diagonal(table, -np.inf)
    order = np.argsort(-table, axis=1)[:, :3]
    np.testing.assert_array_equal(found.places, order)
    np.testing.assert_allclose(found.scores, np.take_along_axis(table, order, 1), atol=1e-5)
    assert found.paths[0] == tuple(place / "images" / gallery.paths[at] for at in order[0])
    one = gcudml.search(gcudml.embed([place / "images" / "03.png"], model), gallery, k=2)
    assert one.paths[0][0] == place / "images" / "03.png"
    assert one.scores[0, 0] == pytest.approx(1, abs=1e-5)
    everything = gcudml.search(gallery, gallery, k=99)
    assert everything.places.shape == (12, 11)


def test_a_model_compared_by_distance_is_searched_by_distance(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GCUDML_CACHE", str(place / "cache"))
    method: dict[str, Any] = {"name": "stml", "neighbours": 2, "distance": "euclidean"}
    train_tiny(place / "stml", method=method)
    gallery = gcudml.embed(place / "images", gcudml.load(place / "stml"))
    found = gcudml.search(gallery, gallery, k=2)
    table = np.linalg.norm(gallery.vectors[:, None] - gallery.vectors[None], axis=2)
    np.fill_diagonal(table, np.inf)
    expected = np.sort(table, axis=1)[:, :2]
    np.testing.assert_allclose(found.scores, expected, rtol=1e-3, atol=1e-4)


def test_what_cannot_be_embedded_is_refused_in_words(place: Path, tmp_path: Path) -> None:
    model = gcudml.load(place / "run")
    with pytest.raises(ValueError, match="no such folder"):
        gcudml.embed(tmp_path / "nowhere", model)
    with pytest.raises(ValueError, match="no image to embed"):
        gcudml.embed(tmp_path, model)
    (tmp_path / "broken.png").write_bytes(b"no picture")
    with pytest.raises(ValueError, match=r"^broken or missing images .*broken\.png"):
        gcudml.embed(tmp_path, model)
    with pytest.raises(ValueError, match=r"nowhere.*no model file"):
        gcudml.load(tmp_path / "nowhere")


def test_queries_of_another_model_are_refused(place: Path) -> None:
    gallery = gcudml.embed(place / "images", gcudml.load(place / "run"))
    other = gcudml.EmbeddedImages(
        gallery.root, gallery.paths, gallery.vectors[:, :3], gallery.distance
    )
    with pytest.raises(ValueError, match="embed both with the same model"):
        gcudml.search(other, gallery)
    with pytest.raises(ValueError, match="k: must be at least 1"):
        gcudml.search(gallery, gallery, k=0)


def test_an_unknown_name_of_the_package_is_an_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'embedding'"):
        gcudml.embedding  # noqa: B018
