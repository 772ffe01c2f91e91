"""Training classes thinned to a long tail: the sizes, the total, and what stays whole."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from gcudml.config import ClassSplit, FolderData
from gcudml.data.datasets import data_fingerprint, load
from gcudml.data.splits import thinned_sizes


def test_sizes_decay_geometrically_to_the_imbalance() -> None:
    sizes = thinned_sizes([60] * 50, imbalance=15.0, total=None)
    assert (sizes[0], sizes[-1]) == (60, 4)
    assert sizes == sorted(sizes, reverse=True)
    steps = np.log(sizes)
    expected = np.log(60) - np.log(15) * np.arange(50) / 49
    assert np.abs(np.exp(steps) - np.exp(expected)).max() < 1


@pytest.mark.parametrize("imbalance", [1.0, 2.0, 4.0, 15.0])
def test_the_total_is_the_same_for_every_imbalance(imbalance: float) -> None:
    sizes = thinned_sizes([60] * 50, imbalance=imbalance, total=1000)
    assert sum(sizes) == 1000
    assert sizes[0] / sizes[-1] == pytest.approx(imbalance, rel=0.15)


def test_no_class_keeps_more_than_it_has() -> None:
    available = [30, 60, 12, 60, 7]
    sizes = thinned_sizes(available, imbalance=4.0, total=None)
    assert all(size <= has for size, has in zip(sizes, available, strict=True))
    assert any(size == has for size, has in zip(sizes, available, strict=True))


@pytest.mark.parametrize(
    ("imbalance", "total", "message"),
    [
        (15.0, 1300, "data.train_images: 1300 images of 50 training classes at imbalance 15 mean .* a class; these classes allow .* images"),
        (1.0, 60, "data.train_images: 60 images of 50 .* mean 1 to 2 a class; these classes allow 100 to 3000 images"),
        (100.0, None, "data.imbalance: 100 leaves the smallest of 50 training classes fewer than 2 images; lower it"),
    ],
)  # fmt: skip
def test_what_the_classes_do_not_allow_is_refused(
    imbalance: float, total: int | None, message: str
) -> None:
    with pytest.raises(ValueError, match=f"^{message}$"):
        thinned_sizes([60] * 50, imbalance=imbalance, total=total)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("images")
    for label in range(8):
        (root / f"class{label}").mkdir()
        for number in range(12):
            shade = np.full((16, 16, 3), label * 30 + number, np.uint8)
            Image.fromarray(shade).save(root / f"class{label}" / f"{number:02}.png")
    return root


def data(folder: Path, **options: object) -> FolderData:
    split = {"val": 2, "test": 2, **options.pop("split", {})}  # type: ignore[dict-item]
    return FolderData(root=str(folder), image_size=16, split=ClassSplit(**split), **options)  # type: ignore[arg-type]


def counts(config: FolderData, part: str) -> list[int]:
    return np.bincount(load(config, part).labels).tolist()  # type: ignore[arg-type]


def test_training_classes_of_a_folder_are_thinned_and_the_others_stay_whole(folder: Path) -> None:
    config = data(folder, imbalance=4.0, train_images=24)
    found = counts(config, "train")
    assert sum(found) == 24
    assert max(found) / min(found) == pytest.approx(4, rel=0.2)
    assert counts(config, "val") == counts(config, "test") == [12, 12]
    assert data_fingerprint(config) != data_fingerprint(data(folder))
    again, other = (
        counts(data(folder, imbalance=4.0, train_images=24, split={"seed": seed}), "train")
        for seed in (0, 1)
    )
    assert again == found
    assert other != found


def test_a_tail_keeps_the_images_of_a_smaller_one_in_order(folder: Path) -> None:
    whole = load(data(folder), "train").files
    thin = load(data(folder, imbalance=4.0, train_images=24), "train").files
    assert list(thin) == [path for path in whole if path in set(thin)]


def test_images_without_classes_cannot_be_thinned(folder: Path) -> None:
    config = FolderData(root=str(folder), image_size=16, labels="none", imbalance=2.0)
    message = "^data.imbalance: training classes are thinned, and data.labels is none; remove it$"
    with pytest.raises(ValueError, match=message):
        load(config, "train")
