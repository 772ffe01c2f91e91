"""Parts of data sets: the right images with the right labels, and no look at another part."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from gcudml import workload
from gcudml.config import ClassSplit, DataConfig, FolderData, StrokesData
from gcudml.data import image_files, synthetic
from gcudml.data.datasets import PARTS, data_fingerprint, has_validation, load, training_labels

SPLIT = ClassSplit(val=["c", "d"], test=["e", "f"])


@pytest.fixture
def images(tmp_path: Path) -> FolderData:
    """Six classes a..f of 1..6 images; every image has a grey value of its own."""
    root = tmp_path / "images"
    for place, name in enumerate("abcdef"):
        (root / name).mkdir(parents=True)
        for number in range(place + 1):
            pixels = np.full((20, 20), 40 * place + number, np.uint8)
            Image.fromarray(pixels).save(root / name / f"{number}.png")
    return FolderData(root=str(root), image_size=16, color="grey", split=SPLIT)


def small_strokes(**changes: object) -> StrokesData:
    return StrokesData.model_validate(
        {"classes": 10, "images_per_class": 4, "image_size": 16} | changes
    )


def test_strokes_come_by_class_in_disjoint_parts() -> None:
    parts = {part: load(small_strokes(), part) for part in PARTS}
    assert {part: len(found.class_names) for part, found in parts.items()} == {
        "train": 5,
        "val": 2,
        "test": 3,
    }
    assert len({name for found in parts.values() for name in found.class_names}) == 10
    assert parts["test"].labels.tolist() == [0] * 4 + [1] * 4 + [2] * 4
    assert parts["test"].labels.dtype == np.int64
    assert parts["test"].images.shape == (12, 1, 16, 16)


def test_a_label_names_the_class_that_was_drawn() -> None:
    config = small_strokes()
    found = load(config, "val")
    number = synthetic.class_names(config).index(found.class_names[1])
    (expected,) = synthetic.draw(config, [number], [4])
    assert np.array_equal(found.images[found.labels == 1], expected)


def test_imbalance_thins_training_classes_only() -> None:
    config = small_strokes(imbalance=2.0)
    assert np.bincount(load(config, "train").labels).tolist() == [4, 3, 3, 2, 2]
    assert np.bincount(load(config, "test").labels).tolist() == [4, 4, 4]


def test_a_second_load_draws_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    first = load(small_strokes(), "train")
    monkeypatch.delattr(synthetic, "draw")
    assert np.array_equal(first.images, load(small_strokes(), "train").images)


@pytest.mark.parametrize(
    "change", [{"seed": 1}, {"variation": 0.5}, {"image_size": 17}, {"split": ClassSplit(seed=1)}]
)
def test_other_strokes_are_not_taken_from_the_cache(change: dict[str, object]) -> None:
    first, other = load(small_strokes(), "train"), load(small_strokes(**change), "train")
    assert first.images.shape != other.images.shape or (first.images != other.images).any()


def test_a_folder_gives_its_images_in_order(images: FolderData) -> None:
    found = load(images, "val")
    assert found.class_names == ("c", "d")
    assert found.labels.tolist() == [0, 0, 0, 1, 1, 1, 1]
    assert found.images[:, 0, 0, 0].tolist() == [80, 81, 82, 120, 121, 122, 123]


def test_a_class_with_one_image_is_kept(images: FolderData) -> None:
    split = ClassSplit(train=["c", "d"], val=["e", "f"], test=["a", "b"])
    found = load(images.model_copy(update={"split": split}), "test")
    assert np.bincount(found.labels).tolist() == [1, 2]


def test_no_image_of_another_part_is_opened(
    images: FolderData, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[str] = []
    opening = Path.open
    decoding = image_files.decode_image

    def watched(path: Path, *arguments: object, **options: object) -> object:
        opened.append(path.parent.name)
        return opening(path, *arguments, **options)

    monkeypatch.setattr(Path, "open", watched)
    monkeypatch.setattr(
        image_files,
        "decode_image",
        lambda path, **options: [opened.append(path.parent.name), decoding(path, **options)][1],
    )
    load(images, "train")
    load(images, "val")
    assert {"a", "b", "c", "d"} <= set(opened)
    assert not {"e", "f"} & set(opened)


def test_a_changed_file_is_decoded_again(images: FolderData) -> None:
    load(images, "val")
    Image.fromarray(np.full((20, 20), 7, np.uint8)).save(Path(images.root) / "c" / "1.png")
    assert load(images, "val").images[:, 0, 0, 0].tolist() == [80, 7, 82, 120, 121, 122, 123]


def test_a_broken_image_is_named_and_nothing_is_stored(images: FolderData, tmp_path: Path) -> None:
    (Path(images.root) / "d" / "2.png").write_bytes(b"broken")
    with pytest.raises(ValueError, match=r"^data\.root: .*: d/2\.png \(not an image\); "):
        load(images, "val")
    assert not list((tmp_path / "cache" / "images").glob("*.npy"))


def test_a_fingerprint_survives_a_move_of_the_folder(images: FolderData, tmp_path: Path) -> None:
    moved = images.model_copy(update={"root": str(tmp_path / "moved"), "source": "elsewhere"})
    shutil.copytree(images.root, moved.root)
    assert data_fingerprint(moved) == data_fingerprint(images)


def changed_image(config: FolderData) -> FolderData:
    Image.fromarray(np.full((20, 20), 7, np.uint8)).save(Path(config.root) / "f" / "0.png")
    return config


def new_image(config: FolderData) -> FolderData:
    shutil.copy(Path(config.root) / "a" / "0.png", Path(config.root) / "a" / "9.png")
    return config


def other_split(config: FolderData) -> FolderData:
    return config.model_copy(update={"split": ClassSplit(val=["c", "e"], test=["d", "f"])})


def other_size(config: FolderData) -> FolderData:
    return config.model_copy(update={"image_size": 17})


def inverted(config: FolderData) -> FolderData:
    return config.model_copy(update={"invert": True})


@pytest.mark.parametrize("change", [changed_image, new_image, other_split, other_size, inverted])
def test_a_fingerprint_sees_every_change_of_the_data(
    images: FolderData, change: Callable[[FolderData], FolderData]
) -> None:
    before = data_fingerprint(images)
    assert data_fingerprint(change(images)) != before


def test_classes_that_no_part_uses_do_not_count(images: FolderData) -> None:
    config = images.model_copy(
        update={"split": ClassSplit(train=["a", "b"], val=["c", "d"], test=["e", "f"])}
    )
    before = data_fingerprint(config)
    shutil.copytree(Path(images.root) / "a", Path(images.root) / "z")
    assert data_fingerprint(config) == before


def test_strokes_have_a_fingerprint_of_their_parameters() -> None:
    one, same, other = (data_fingerprint(small_strokes(seed=seed)) for seed in (0, 0, 1))
    assert one == same != other


@pytest.mark.parametrize("name", ["strokes", "folder"])
def test_an_impossible_split_is_refused_before_any_run(name: str, images: FolderData) -> None:
    split = ClassSplit(val=0.9)
    config: DataConfig = small_strokes(split=split)
    if name == "folder":
        config = images.model_copy(update={"split": split})
    with pytest.raises(ValueError, match=r"^data\.split\.val: 0\.9 means "):
        data_fingerprint(config)


# --- protocols


def test_published_strokes_train_on_the_first_half() -> None:
    config = small_strokes(classes=11, protocol="published")
    train, val, test = (load(config, part) for part in PARTS)
    assert train.class_names == tuple(f"strokes{number:02d}" for number in range(5))
    assert test.class_names == tuple(f"strokes{number:02d}" for number in range(5, 11))
    assert (val.images.shape, val.class_names) == ((0, 1, 16, 16), ())
    assert not has_validation(config)
    assert has_validation(small_strokes())
    assert data_fingerprint(config) != data_fingerprint(small_strokes(classes=11))


def test_a_published_folder_trains_on_the_first_half(images: FolderData) -> None:
    config = FolderData(root=images.root, image_size=16, color="grey", protocol="published")
    train, val, test = (load(config, part) for part in PARTS)
    assert (train.class_names, val.class_names, test.class_names) == (
        tuple("abc"),
        (),
        tuple("def"),
    )
    assert val.images.shape == (0, 1, 16, 16)
    assert len({data_fingerprint(config), data_fingerprint(images)}) == 2


@pytest.mark.parametrize("name", ["strokes", "folder"])
def test_published_and_a_split_of_ones_own_exclude_each_other(name: str) -> None:
    values = {"name": name, "root": "x"} if name == "folder" else {"name": name}
    model = FolderData if name == "folder" else StrokesData
    with pytest.raises(ValueError, match=r"split: the published protocol has a fixed split; "):
        model.model_validate(values | {"protocol": "published", "split": {"val": 0.1}})
    model.model_validate(values | {"protocol": "published", "split": {"seed": 3}})


def test_a_published_half_of_one_class_is_refused(images: FolderData) -> None:
    for name in "def":
        shutil.rmtree(Path(images.root) / name)
    config = FolderData(root=images.root, protocol="published")
    with pytest.raises(
        ValueError, match=r"^data\.root: 1 training and 2 test classes in the standard split"
    ):
        data_fingerprint(config)
    with pytest.raises(
        ValueError, match=r"^data\.classes: 1 training and 2 test classes in the standard split"
    ):
        data_fingerprint(small_strokes(classes=3, protocol="published"))


def test_a_part_of_single_images_is_refused(images: FolderData) -> None:
    (Path(images.root) / "b" / "1.png").unlink()
    split = ClassSplit(train=["c", "d"], val=["e", "f"], test=["a", "b"])
    config = images.model_copy(update={"split": split})
    message = r"^data\.root: each of the 2 test classes has only one image"
    with pytest.raises(ValueError, match=message):
        data_fingerprint(config)


# --- geometry and labels


def test_the_network_sees_the_crop_or_the_whole_image() -> None:
    assert small_strokes().network_size == 16
    assert small_strokes(crop_size=12).network_size == 12
    with pytest.raises(ValueError, match="crop_size: a crop of 20 from images of 16; needs"):
        small_strokes(crop_size=20)


def test_a_cropped_folder_is_not_taken_for_a_squeezed_one(images: FolderData) -> None:
    pixels = np.zeros((20, 40), np.uint8)
    pixels[:, 10:30] = 255
    Image.fromarray(pixels).save(Path(images.root) / "c" / "0.png")
    squeezed = load(images, "val").images[0]
    cropped = load(images.model_copy(update={"fit": "crop"}), "val").images[0]
    assert squeezed.mean() < 140
    assert cropped.mean() > 250


@pytest.mark.parametrize("change", [{"crop_size": 12}, {"labelled_fraction": 0.5}])
def test_what_a_run_makes_of_the_data_leaves_their_fingerprint(
    images: FolderData, change: dict[str, object]
) -> None:
    assert data_fingerprint(small_strokes(**change)) == data_fingerprint(small_strokes())
    assert data_fingerprint(images.model_copy(update=change)) == data_fingerprint(images)


def test_fingerprints_are_those_of_earlier_versions(tmp_path: Path) -> None:
    # Results that are stored name them: one that changes without need makes results incomparable.
    assert data_fingerprint(StrokesData()) == "4627b81e9a44f0f509c740e7"
    for name in "abcdefgh":
        (tmp_path / "images" / name).mkdir(parents=True)
        for number in range(2):
            (tmp_path / "images" / name / f"{number}.png").write_bytes(f"{name}{number}".encode())
    found = data_fingerprint(FolderData(root=str(tmp_path / "images")))
    assert found == "e6997b88f90ff35b4cf62d78"


def test_hidden_labels_are_negative_and_move_no_class() -> None:
    config = small_strokes(classes=20, labelled_fraction=0.4)
    training = load(config, "train")
    assert training.class_names == load(small_strokes(classes=20), "train").class_names
    labels = training_labels(config, training)
    assert len(set(labels[labels >= 0].tolist())) == 4
    assert np.array_equal(labels[labels >= 0], training.labels[labels >= 0])
    assert (training_labels(small_strokes(classes=20), training) == -1).all()
    everything = training_labels(small_strokes(classes=20, labelled_fraction=1), training)
    assert np.array_equal(everything, training.labels)


@pytest.mark.parametrize("fraction", [2, -0.1])
def test_a_share_of_labels_beyond_all_is_refused(fraction: float) -> None:
    with pytest.raises(ValueError, match=rf"^data\.labelled_fraction: .*, got {fraction}"):
        workload.check({"data": {"name": "strokes", "labelled_fraction": fraction}})
