"""Standard data sets on small replicas of their layouts: the right halves, and errors that help."""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from published_layouts import (
    WRITERS,
    Writer,
    save,
    write,
    write_cars,
    write_cub,
    write_inshop,
    write_omniglot,
    write_products,
)

from gcudml.config.data import (
    CarsData,
    StandardData,
)
from gcudml.data import benchmarks
from gcudml.data.datasets import PARTS, data_fingerprint, load

every_layout = pytest.mark.parametrize("writer", WRITERS)


def changed(config: StandardData, **values: object) -> StandardData:
    return type(config).model_validate(config.model_dump() | values)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "data").mkdir()
    return tmp_path / "data"


# --- what all layouts have in common


@every_layout
def test_published_trains_on_the_first_half_and_tests_on_the_second(
    writer: Writer, root: Path
) -> None:
    config = changed(writer(root), protocol="published", split={})
    train, val, test = (load(config, part) for part in PARTS)
    assert [len(part.class_names) for part in (train, val, test)] == [4, 0, 4]
    assert val.images.shape == (0, 1, 14, 14)
    assert len(val.labels) == 0
    assert not set(train.class_names) & set(test.class_names)
    listing = benchmarks.read(config)
    assert (train.class_names, test.class_names) == (listing.train, listing.test)


@every_layout
def test_validation_classes_come_from_the_training_half_alone(writer: Writer, root: Path) -> None:
    config = writer(root)
    train, val, test = (load(config, part) for part in PARTS)
    standard = benchmarks.read(config)
    assert [len(part.class_names) for part in (train, val, test)] == [2, 2, 4]
    assert sorted([*train.class_names, *val.class_names]) == sorted(standard.train)
    assert test.class_names == standard.test
    other = load(changed(config, split={"val": 2, "seed": 3}), "test")
    assert other.class_names == standard.test


@every_layout
def test_labels_follow_the_files(writer: Writer, root: Path) -> None:
    config = writer(root)
    listing = benchmarks.read(config)
    for part in PARTS:
        found = load(config, part)
        sizes = [len(listing.files[name]) for name in found.class_names]
        assert np.bincount(found.labels).tolist() == sizes
        assert np.all(np.diff(found.labels) >= 0)
        assert found.images.dtype == np.uint8


@every_layout
def test_the_fingerprint_follows_what_a_run_sees(writer: Writer, root: Path) -> None:
    config = writer(root)
    before = data_fingerprint(config)
    assert data_fingerprint(changed(config, labelled_fraction=0.5, crop_size=12)) == before
    assert data_fingerprint(changed(config, protocol="published", split={})) != before
    assert data_fingerprint(changed(config, fit="crop")) != before
    moved = root.parent / "moved"
    shutil.copytree(root, moved)
    assert data_fingerprint(changed(config, root=str(moved))) == before


@every_layout
def test_a_missing_root_gets_the_tree_and_the_source(writer: Writer, root: Path) -> None:
    config = changed(writer(root), root=str(root / "nowhere"))
    with pytest.raises(ValueError, match=r"^data\.root: \w+: no folder '.*nowhere'; ") as caught:
        data_fingerprint(config)
    message = str(caught.value)
    assert re.search(r"; expected .*\{.*\}.*; get .* from https://", message)
    assert "\n" not in message


@every_layout
def test_an_unset_variable_gets_the_source(
    writer: Writer, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("GCUDML_NOWHERE", raising=False)
    config = changed(writer(root), root="$GCUDML_NOWHERE/images")
    with pytest.raises(ValueError, match=r"^data\.root: .*GCUDML_NOWHERE .*not set; .*; get "):
        load(config, "train")


@every_layout
def test_images_in_the_wrong_format_are_named(writer: Writer, root: Path) -> None:
    config = writer(root)
    listing = benchmarks.read(config)
    path = listing.files[listing.test[0]][0]
    (listing.root / path).write_bytes(b"broken")
    with pytest.raises(ValueError, match=rf"{re.escape(path)} \(not an image\)"):
        load(config, "test")


@pytest.mark.parametrize("writer", [write_cub, write_cars, write_products, write_inshop])
def test_an_image_that_is_listed_but_missing_is_named(writer: Writer, root: Path) -> None:
    config = writer(root)
    listing = benchmarks.read(config)
    path = listing.files[listing.test[0]][0]
    (listing.root / path).unlink()
    with pytest.raises(ValueError, match=rf"{re.escape(path)} \(No such file or directory\)"):
        data_fingerprint(config)


# --- where an archive was unpacked


@pytest.mark.parametrize(
    ("writer", "inside"),
    [(write_cub, "CUB_200_2011"), (write_products, "Stanford_Online_Products")],
)
def test_the_root_may_be_the_archives_own_folder(writer: Writer, inside: str, root: Path) -> None:
    config = writer(root)
    assert load(changed(config, root=str(root / inside)), "test").class_names == (
        load(config, "test").class_names
    )


@pytest.mark.parametrize(
    ("writer", "inside"),
    [(write_cars, "cars196"), (write_inshop, "inshop"), (write_omniglot, "omniglot")],
)
def test_the_archive_may_lie_one_level_deeper(writer: Writer, inside: str, root: Path) -> None:
    (root / inside).mkdir()
    config = writer(root / inside)
    assert len(load(changed(config, root=str(root)), "test").class_names) == 4


def test_in_shop_is_found_in_the_folders_of_its_archive(root: Path) -> None:
    config = write_inshop(root)
    before = data_fingerprint(config)
    (root / "Eval").mkdir()
    (root / "list_eval_partition.txt").rename(root / "Eval" / "list_eval_partition.txt")
    (root / "Img").mkdir()
    (root / "img").rename(root / "Img" / "img")
    assert data_fingerprint(config) == before


# --- one layout each


def test_birds_are_named_by_their_list(root: Path) -> None:
    config = write_cub(root)
    assert benchmarks.read(config).test == tuple(f"{n}.Bird_{n}" for n in range(101, 105))


def test_cars_are_sorted_by_class_whatever_the_order_of_the_annotations(root: Path) -> None:
    found = load(write_cars(root), "test")
    assert found.class_names[:2] == ("099.Car C-V 99", "100.Car C-V 100")
    middle = found.images[:, 0, 7, 7].astype(int)
    assert abs(middle - np.repeat([99, 100, 101, 102], 2)).max() <= 2


def test_cars_in_class_folders_are_divided_by_maker(root: Path) -> None:
    names = ["AM General Hummer SUV 2000", "Eagle Talon Hatchback 1998"]
    names += ["FIAT 500 Abarth 2012", "smart fortwo Convertible 2012"]
    for part in ("train", "test"):  # halves of every class, made for classification
        for place, name in enumerate(names):
            save(root / part / name / f"{part}.jpg", 40 * place)
    config = CarsData(root=str(root), image_size=14, protocol="published")
    assert load(config, "train").class_names == tuple(names[:2])
    assert load(config, "test").class_names == tuple(names[2:])
    assert np.bincount(load(config, "test").labels).tolist() == [2, 2]


def test_other_folders_are_no_cars(root: Path) -> None:
    save(root / "001" / "1.jpg", 0)
    with pytest.raises(ValueError, match=r"^data\.root: cars196: cars_annos\.mat is missing in "):
        load(CarsData(root=str(root)), "train")


def test_damaged_annotations_of_cars_are_refused(root: Path) -> None:
    config = write_cars(root)
    whole = (root / "cars_annos.mat").read_bytes()
    (root / "cars_annos.mat").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(
        ValueError, match=r"^data\.root: .*cars_annos\.mat: not the published annotations"
    ):
        load(config, "train")


def test_a_kind_of_products_can_be_held_out_by_name(root: Path) -> None:
    config = changed(write_products(root), split={"val": ["chair_final"]})
    assert load(config, "val").class_names == ("chair_final/2", "chair_final/4")


def test_the_test_part_of_in_shop_knows_its_queries(root: Path) -> None:
    config = write_inshop(root)
    test = load(config, "test")
    assert test.is_query is not None
    assert test.is_query.tolist() == [True, False, False] * 4
    assert load(config, "train").is_query is None
    assert load(config, "val").is_query is None


def test_a_query_that_becomes_a_gallery_image_changes_the_fingerprint(root: Path) -> None:
    config = write_inshop(root)
    before = data_fingerprint(config)
    path = root / "list_eval_partition.txt"
    path.write_text(path.read_text().replace("query", "gallery", 1))
    assert data_fingerprint(config) != before


def test_queries_without_a_gallery_are_refused(root: Path) -> None:
    config = write_inshop(root)
    path = root / "list_eval_partition.txt"
    path.write_text(path.read_text().replace("gallery", "query"))
    with pytest.raises(ValueError, match=r"^data\.root: none of the 4 test classes has both a"):
        data_fingerprint(config)


def test_omniglot_comes_as_white_strokes_on_black(root: Path) -> None:
    found = load(write_omniglot(root), "train")
    assert found.images.shape[1] == 1
    assert found.images.max() == 0  # the replica's pages are blank
    assert found.class_names[0].startswith("images_background/")


# --- damaged lists


@pytest.mark.parametrize(
    ("writer", "name", "line", "text"),
    [
        (write_cub, "CUB_200_2011/images.txt", 3, "3"),
        (write_cub, "CUB_200_2011/image_class_labels.txt", 2, "2 97 97"),
        (write_products, "Stanford_Online_Products/Ebay_train.txt", 4, "4 5"),
        (write_products, "Stanford_Online_Products/Ebay_test.txt", 1, "1 2 3 x.JPG"),
        (write_inshop, "list_eval_partition.txt", 2, "image_name item_id"),
        (write_inshop, "list_eval_partition.txt", 5, "img/x.jpg train"),
    ],
)
def test_a_malformed_line_is_named(
    writer: Writer, name: str, line: int, text: str, root: Path
) -> None:
    config = writer(root)
    lines = (root / name).read_text().splitlines()
    lines[line - 1] = text
    write(root / name, *lines)
    expected = (
        rf"^data\.root: .*{re.escape(name)}, line {line}: needs '.*', got '{re.escape(text)}'; "
    )
    with pytest.raises(ValueError, match=expected) as caught:
        data_fingerprint(config)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("writer", "name", "old", "new", "message"),
    [
        (write_cub, "CUB_200_2011/image_class_labels.txt", "1 97\n", "", r"image 1 \(097.*\) has no class"),
        (write_cub, "CUB_200_2011/classes.txt", "97 097", "x97 097", r"image 1 \(097.*\) has no class"),
        (write_cub, "CUB_200_2011/images.txt", "_1.jpg", "_0.jpg", r"'097.*_0\.jpg' is listed twice"),
        (write_products, "Stanford_Online_Products/Ebay_test.txt", "9 5 ", "9 1 ", r"is listed both for training and for test"),
        (write_inshop, "list_eval_partition.txt", " gallery", " other", r"status 'other'; needs train, query or gallery"),
        (write_inshop, "list_eval_partition.txt", "24\n", "25\n", r"line 1: says '25' images, but 24 follow"),
    ],
)  # fmt: skip
def test_lists_that_contradict_each_other_are_refused(
    writer: Writer, name: str, old: str, new: str, message: str, root: Path
) -> None:
    config = writer(root)
    text = (root / name).read_text()
    assert old in text
    (root / name).write_text(text.replace(old, new, 1))
    with pytest.raises(ValueError, match=rf"^data\.root: .*{message}") as caught:
        data_fingerprint(config)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("writer", "name"),
    [
        (write_cub, "CUB_200_2011/image_class_labels.txt"),
        (write_products, "Stanford_Online_Products/Ebay_test.txt"),
        (write_inshop, "list_eval_partition.txt"),
        (write_inshop, "img"),
        (write_cars, "car_ims"),
        (write_omniglot, "images_evaluation"),
    ],
)
def test_a_missing_piece_of_the_layout_is_named(writer: Writer, name: str, root: Path) -> None:
    config = writer(root)
    (root / name).rename(root / "away")
    piece = re.escape(Path(name).name)
    with pytest.raises(ValueError, match=rf"^data\.root: \w+: {piece} is missing in .*; expected "):
        data_fingerprint(config)


def test_a_copy_without_the_second_half_is_refused(root: Path) -> None:
    config = write_products(root)
    write(
        root / "Stanford_Online_Products" / "Ebay_test.txt", "image_id class_id super_class_id path"
    )
    message = r"^data\.root: 4 training and 0 test classes in the standard split; needs at least 2"
    with pytest.raises(ValueError, match=message):
        data_fingerprint(config)


def test_a_list_that_is_a_named_pipe_is_never_opened(tmp_path: Path) -> None:
    config = write_cub(tmp_path)
    path = tmp_path / "CUB_200_2011" / "images.txt"
    path.unlink()
    os.mkfifo(path)
    with pytest.raises(
        ValueError, match=r"^data\.root: .*images\.txt is not a file; download it again"
    ):
        data_fingerprint(config)
