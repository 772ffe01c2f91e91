"""A test set is what its files hold: not their names, nor how they are read or selected."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from gcudml import workload

CLASSES = ("ant", "bee", "cat", "dog", "elk", "fox")
SPLIT = {"train": ["ant", "bee"], "val": ["cat", "dog"], "test": ["elk", "fox"]}


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GCUDML_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def root(tmp_path: Path) -> Path:
    generator = np.random.default_rng(0)
    for name in CLASSES:
        (tmp_path / "images" / name).mkdir(parents=True)
        for number in range(3):
            pixels = generator.integers(0, 256, (20, 20, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(tmp_path / "images" / name / f"{number}.png")
    return tmp_path / "images"


def of(root: Path, **data: object) -> str:
    settings = {"name": "folder", "root": str(root), "image_size": 16, "split": SPLIT} | data
    params = workload.check({"data": settings, "method": {"name": "instance"}})  # type: ignore[dict-item]
    return workload.test_fingerprint(params)


def test_size_training_classes_and_the_wording_of_a_split_do_not_change_a_test_set(
    root: Path,
) -> None:
    test_set = of(root)
    assert len(test_set) >= 12
    assert of(root, image_size=18) == test_set
    assert of(root, color="grey") == test_set
    assert of(root, split=SPLIT | {"train": ["ant", "cat"], "val": ["bee", "dog"]}) == test_set
    (root / "ant" / "0.png").write_bytes((root / "ant" / "1.png").read_bytes())
    assert of(root) == test_set


def test_renamed_files_are_the_same_test_set_and_changed_ones_are_not(root: Path) -> None:
    test_set = of(root)
    (root / "elk" / "0.png").rename(root / "elk" / "renamed.png")
    assert of(root) == test_set
    (root / "fox" / "0.png").write_bytes((root / "ant" / "1.png").read_bytes())
    assert of(root) != test_set


def test_other_test_classes_are_another_test_set(root: Path) -> None:
    assert of(root, split=SPLIT | {"val": ["elk", "fox"], "test": ["cat", "dog"]}) != of(root)


def test_images_without_classes_have_no_test_set(root: Path) -> None:
    assert of(root, labels="none", split={}) == ""


def drawn(**data: object) -> str:
    settings = {"name": "strokes", "classes": 16, "images_per_class": 8} | data
    return workload.test_fingerprint(workload.check({"data": settings}))  # type: ignore[dict-item]


def test_drawings_of_the_same_classes_are_one_test_set_at_any_size() -> None:
    assert drawn(image_size=20) == drawn(image_size=24) == drawn(imbalance=4.0)
    assert drawn(seed=1) != drawn()
    assert drawn(images_per_class=9) != drawn()
    assert drawn(split={"seed": 5}) != drawn()
