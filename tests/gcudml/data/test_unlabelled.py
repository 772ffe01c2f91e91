"""Folders whose images have no classes: how they are divided, trained on, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from pydantic import ValidationError
from tiny import tiny, train_tiny

from gcudml import workload
from gcudml.config import FolderData, count_clusters
from gcudml.data.datasets import data_fingerprint, load, training_labels
from gcudml.evaluation import label_free


def write_images(root: Path, count: int = 40, below: str = "") -> Path:
    """Drawings of bars at different places, one file each."""
    folder = root / below
    folder.mkdir(parents=True, exist_ok=True)
    draw = np.random.default_rng(len(below))
    for number in range(count):
        pixels = draw.integers(0, 60, (16, 16), dtype=np.uint8)
        pixels[number % 12 : number % 12 + 3] = 255
        pixels[:, number % 7] = 200
        Image.fromarray(pixels).save(folder / f"{number:03d}.png")
    return root


@pytest.fixture
def images(tmp_path: Path) -> Path:
    return write_images(tmp_path / "images")


def data_of(root: Path, **fields: Any) -> dict[str, Any]:
    return {
        "name": "folder",
        "root": str(root),
        "labels": "none",
        "image_size": 16,
        "color": "grey",
        **fields,
    }


def test_images_are_divided_one_by_one_and_none_is_for_the_test(images: Path) -> None:
    write_images(images, 10, below="more/below")
    config = FolderData(**data_of(images))
    parts = {part: load(config, part) for part in ("train", "val", "test")}
    assert {part: len(found.images) for part, found in parts.items()} == {
        "train": 40,
        "val": 10,
        "test": 0,
    }
    assert set(parts["train"].labels.tolist()) == set(parts["val"].labels.tolist()) == {-1}
    assert parts["train"].class_names == ()
    pixels = {found.tobytes() for part in parts.values() for found in part.images}
    assert len(pixels) == 50


def test_the_seed_of_the_split_chooses_the_validation_images(images: Path) -> None:
    one, same, other = (
        load(FolderData(**data_of(images, split={"val": 0.25, "seed": seed})), "val").images
        for seed in (0, 0, 1)
    )
    assert np.array_equal(one, same)
    assert not np.array_equal(one, other)


def test_validation_images_can_be_a_sub_folder(images: Path) -> None:
    write_images(images, 6, below="held/out")
    found = load(FolderData(**data_of(images, split={"val": ["held"]})), "val")
    assert len(found.images) == 6


def test_the_division_and_the_missing_classes_are_part_of_the_fingerprint(tmp_path: Path) -> None:
    root = write_images(tmp_path / "images", 8, below="a")
    for name in "bcdefgh":
        write_images(root, 8, below=name)
    labelled = FolderData(**data_of(root, labels="folders"))
    without = FolderData(**data_of(root))
    reseeded = FolderData(**data_of(root, split={"seed": 1}))
    assert len({data_fingerprint(each) for each in (labelled, without, reseeded)}) == 3


def test_a_flat_folder_is_refused_with_the_way_out(images: Path) -> None:
    with pytest.raises(ValueError, match=r"no class folder .* set data\.labels to none"):
        load(FolderData(**data_of(images, labels="folders")), "train")


def test_too_few_images_and_none_at_all_are_refused(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match=r"^data\.root: no image below"):
        load(FolderData(**data_of(tmp_path / "empty")), "train")
    few = write_images(tmp_path / "few", 6)
    with pytest.raises(ValueError, match=r"^data\.split\.val: 1 of 6 images, which leaves 5"):
        load(FolderData(**data_of(few)), "train")
    with pytest.raises(ValueError, match=r"^data\.split\.val: no class or folder 'here'"):
        load(FolderData(**data_of(few, split={"val": ["here"]})), "train")


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"protocol": "published"}, "protocol: .* labels is none"),
        ({"labelled_fraction": 0.5}, "labelled_fraction: labels is none"),
        ({"split": {"test": 0.5}}, "split: without labels there is no test set"),
        ({"split": {"train": 0.5}}, "split: without labels"),
    ],
)
def test_what_needs_classes_is_refused(images: Path, fields: dict[str, Any], says: str) -> None:
    with pytest.raises(ValidationError, match=says):
        FolderData(**data_of(images, **fields))


@pytest.mark.parametrize("method", [{"name": "supervised"}, {"name": "gce"}])
def test_methods_that_learn_from_classes_are_refused(images: Path, method: Any) -> None:
    with pytest.raises(ValueError, match=r"^method\.name: \w+ learns from classes, and data\.labe"):
        workload.check({"data": data_of(images), "method": method})


METHODS: list[dict[str, Any]] = [
    {"name": "gcudml", "clusters": 6, "groups": 2},
    {"name": "gcudml", "clusters": 0.2},
    {"name": "stml"},
    {"name": "udml_ss", "clusters": 0.2},
    {"name": "cbswr"},
    {"name": "gce", "labels": "pseudo", "clusters": 8, "learners": 2},
    {"name": "instance"},
    {"name": "untrained"},
    {"name": "pixels"},
]


@pytest.mark.parametrize("method", METHODS, ids=lambda m: f"{m['name']}-{m.get('clusters', '')}")
def test_every_method_without_labels_trains_and_is_judged_by_the_criterion(
    images: Path, tmp_path: Path, method: dict[str, Any]
) -> None:
    params = {"data": data_of(images), "method": method}
    workload.data_fingerprint(workload.check(params | {"model": {"width": 8}}))
    results, epochs = train_tiny(tmp_path / "run", test=True, **params)
    named = f"val/{label_free.NAME}"
    assert set(results) == {named}
    everything = {name for epoch in epochs for name in epoch}
    assert not {n for n in everything if "purity" in n or "nmi" in n or "recall@" in n} - {named}
    facts = json.loads((tmp_path / "run" / "facts.json").read_text())
    assert facts["criterion"] == label_free.NAME
    if (rows := tmp_path / "run" / "tables" / "clusters.jsonl").exists():
        assert {json.loads(line)["purity"] for line in rows.read_text().splitlines()} == {None}


def test_the_epoch_is_chosen_by_the_criterion(images: Path, tmp_path: Path) -> None:
    named = f"val/{label_free.NAME}"
    results, epochs = train_tiny(
        tmp_path / "run",
        data=data_of(images),
        method={"name": "instance"},
        train={"epochs": 5, "learning_rate": 0.05, "schedule": "constant"},
    )
    seen = [epoch[named] for epoch in epochs]
    assert len(set(seen)) > 1
    assert results[named] == max(seen)
    facts = json.loads((tmp_path / "run" / "facts.json").read_text())
    assert facts["chosen_epoch"] == seen.index(max(seen))


def test_no_label_is_seen_by_a_method(images: Path) -> None:
    config = tiny(data=data_of(images), method={"name": "stml"})
    training = load(config.data, "train")
    assert set(training_labels(config.data, training).tolist()) == {-1}


def test_a_share_of_the_images_is_a_number_of_clusters_that_fits() -> None:
    assert count_clusters(7, images=3) == 7  # a number stays what was asked for
    assert count_clusters(0.05, images=1000) == 50
    assert count_clusters(0.001, images=100) == 2
    assert count_clusters(0.99, images=10) == 8
    for images in range(4, 40):
        assert 2 <= count_clusters(0.999, images=images) <= images - 2


@pytest.mark.parametrize("clusters", [1, 0, 1.5, -0.1, "many", "7", True])
def test_clusters_are_a_number_or_a_share(clusters: Any) -> None:
    with pytest.raises(
        ValueError, match=r"^method\.clusters: (give a number of clusters from 2|needs a number)"
    ):
        workload.check({"method": {"name": "gcudml", "clusters": clusters}})
