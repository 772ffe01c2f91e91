"""The division of classes: disjoint, seeded, and refused where it cannot be."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from gcudml import workload
from gcudml.config import ClassSplit
from gcudml.config.data import Fold, ValidationSplit
from gcudml.data.splits import Division, divide_classes, hold_out_classes, visible_labels

NAMES = [f"{alphabet}/{letter}" for alphabet in ("greek", "latin", "thai") for letter in "abcd"]


def test_counts_and_fractions_make_disjoint_parts_that_cover_all() -> None:
    found = divide_classes(NAMES, ClassSplit(val=3, test=0.25))
    assert (len(found.train), len(found.val), len(found.test)) == (6, 3, 3)
    assert sorted([*found.train, *found.val, *found.test]) == sorted(NAMES)


def test_a_part_keeps_the_order_of_the_classes() -> None:
    found = divide_classes(NAMES, ClassSplit(val=3, test=3))
    for part in found:
        assert list(part) == [name for name in NAMES if name in part]


def test_the_seed_decides_who_goes_where() -> None:
    first, again, other = (
        divide_classes(NAMES, ClassSplit(val=3, test=3, seed=seed)) for seed in (0, 0, 1)
    )
    assert first == again
    assert first != other


def test_the_test_classes_do_not_depend_on_the_validation_share() -> None:
    few, many = (divide_classes(NAMES, ClassSplit(val=share, test=3)) for share in (2, 5))
    assert few.test == many.test


def test_a_list_names_classes_or_whole_folders() -> None:
    found = divide_classes(
        NAMES, ClassSplit(train=["latin/"], val=["greek/a", "greek/c"], test=["thai"])
    )
    assert found.train == tuple(NAMES[4:8])
    assert found.val == ("greek/a", "greek/c")
    assert found.test == tuple(NAMES[8:])


def test_a_folder_name_is_not_a_mere_prefix_of_letters() -> None:
    names = ["cat/a", "cat/b", "cattle/a", "cattle/b", "dog", "emu"]
    found = divide_classes(names, ClassSplit(test=["cat"], val=["dog", "emu"]))
    assert found.test == ("cat/a", "cat/b")


def test_the_rest_is_what_lists_and_shares_leave() -> None:
    found = divide_classes(NAMES, ClassSplit(val=2, test=["thai"]))
    assert len(found.train) == 6
    assert not set(found.train) & {*found.val, *found.test}


def test_a_share_of_train_leaves_classes_unused() -> None:
    found = divide_classes(NAMES, ClassSplit(train=4, val=2, test=2))
    assert [len(part) for part in found] == [4, 2, 2]


@pytest.mark.parametrize(
    ("split", "message"),
    [
        (ClassSplit(val=["greek/a", "greek/b"], test=["greek"]), r"^data\.split\.test: class 'greek/a' and 1 more is in val too"),
        (ClassSplit(train=["thai"], val=["thai/d", "latin/a"]), r"^data\.split\.val: class 'thai/d' is in train too"),
        (ClassSplit(val=["latn"]), r"^data\.split\.val: .*'latn'; did you mean 'latin'\?"),
        (ClassSplit(test=["greek/zz"]), r"^data\.split\.test: .*did you mean 'greek/"),
        (ClassSplit(val=["0815"]), r"^data\.split\.val: .*known: greek, greek/a, "),
        (ClassSplit(val=10, test=3), r"^data\.split\.val: 10 means 10 of 12 classes, but only 9 are left \(taken: test 3\)"),
        (ClassSplit(test=0.01), r"^data\.split\.test: 0 of 12 classes .* at least 2"),
        (ClassSplit(val=["latin/a"]), r"^data\.split\.val: 1 of 12 classes"),
        (ClassSplit(val=6, test=6), r"^data\.split\.train: 0 of 12 classes are left for it \(test 6, val 6\)"),
        (ClassSplit(train=1, val=2, test=2), r"^data\.split\.train: 1 of 12"),
    ],
)  # fmt: skip
def test_an_impossible_division_is_refused_in_one_line(split: ClassSplit, message: str) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        divide_classes(NAMES, split)
    assert "\n" not in str(caught.value)


def test_no_classes_at_all_are_refused() -> None:
    with pytest.raises(ValueError, match=r"data\.split\."):
        divide_classes([], ClassSplit())


# --- standard training classes


def test_held_out_classes_leave_the_standard_test_classes_alone() -> None:
    found = hold_out_classes(NAMES[:8], NAMES[8:], ValidationSplit(val=0.25))
    assert [len(part) for part in found] == [6, 2, 4]
    assert found.test == tuple(NAMES[8:])
    assert [n for n in NAMES[:8] if n in {*found.train, *found.val}] == NAMES[:8]
    assert list(found.train) == [name for name in NAMES if name in found.train]
    other = hold_out_classes(NAMES[:8], NAMES[8:], ValidationSplit(val=0.25, seed=1))
    assert other.val != found.val


def test_held_out_classes_can_be_named() -> None:
    found = hold_out_classes(NAMES[:8], NAMES[8:], ValidationSplit(val=["latin"]))
    assert found.val == tuple(NAMES[4:8])


@pytest.mark.parametrize(
    ("val", "message"),
    [
        (
            7,
            r"^data\.split\.val: 7 of the 8 standard training classes, which leaves 1 for training",
        ),
        (20, r"^data\.split\.val: 8 of the 8 standard training classes, which leaves 0"),
        (0.01, r"^data\.split\.val: 0 of the 8 standard training classes"),
        (["thai"], r"^data\.split\.val: no class or folder 'thai'"),
    ],
)
def test_an_impossible_share_of_the_training_classes_is_refused(val: object, message: str) -> None:
    split = ValidationSplit.model_validate({"val": val})
    with pytest.raises(ValueError, match=message):
        hold_out_classes(NAMES[:8], NAMES[8:], split)


# --- labels for a semi-supervised method

LABELS = np.repeat(np.arange(10), 3)


def seen(fraction: float, seed: int = 0) -> set[int]:
    found = visible_labels(LABELS, classes=10, fraction=fraction, seed=seed)
    assert found.dtype == np.int64
    assert all(a in {b, -1} for a, b in zip(found.tolist(), LABELS.tolist(), strict=True))
    # All images of a class are seen, or none.
    assert set(np.bincount(found[found >= 0], minlength=10).tolist()) <= {0, 3}
    return set(found.tolist()) - {-1}


def test_a_larger_share_of_labels_contains_the_smaller_ones() -> None:
    steps = [seen(fraction / 10) for fraction in range(11)]
    assert [len(each) for each in steps] == [0, 2, 2, 3, 4, 5, 6, 7, 8, 9, 10]
    assert all(few <= many for few, many in itertools.pairwise(steps))


def test_the_seed_decides_whose_labels_are_seen() -> None:
    assert seen(0.3) == seen(0.3)
    assert len({frozenset(seen(0.3, seed)) for seed in range(6)}) > 1


def test_the_smallest_share_of_labels_still_has_two_classes() -> None:
    assert len(seen(1e-6)) == 2


def test_no_images_have_no_labels() -> None:
    empty = visible_labels(np.zeros(0, np.int64), classes=0, fraction=0.5, seed=0)
    assert empty.shape == (0,)


def test_the_published_test_classes_can_stay_shut_while_settings_are_chosen() -> None:
    found = divide_classes(NAMES, ClassSplit(val=2, test="published"))
    assert found.test == tuple(NAMES[6:])
    assert (len(found.train), len(found.val)) == (4, 2)
    again = divide_classes(NAMES, ClassSplit(val=2, test="published", seed=1))
    assert again.test == found.test
    assert again.val != found.val


# --- folds, and test classes of their own seed

MANY = [f"class {number:02}" for number in range(43)]


def folds(of: int, **split: object) -> list[Division]:
    settings = [split | {"fold": {"number": number, "of": of}} for number in range(1, of + 1)]
    return [divide_classes(MANY, ClassSplit.model_validate(each)) for each in settings]


@pytest.mark.parametrize("of", [2, 4, 7])
def test_folds_are_disjoint_equally_large_and_cover_all_but_the_test_classes(of: int) -> None:
    whole = divide_classes(MANY, ClassSplit())
    found = folds(of)
    assert {each.test for each in found} == {whole.test}
    held_out = [name for each in found for name in each.val]
    assert sorted(held_out) == sorted([*whole.train, *whole.val])
    assert max(len(each.val) for each in found) - min(len(each.val) for each in found) <= 1
    for each in found:
        assert sorted([*each.train, *each.val]) == sorted(held_out)
        assert list(each.train) == sorted(each.train)


def test_folds_depend_on_the_seed_and_not_on_the_share_of_validation_classes() -> None:
    assert folds(4) == folds(4, val=0.4)
    assert folds(4) != folds(4, seed=1, test_seed=0)
    assert {each.test for each in folds(4)} == {each.test for each in folds(4, seed=1, test_seed=0)}


def test_classes_outside_a_share_of_train_are_in_no_fold() -> None:
    whole = divide_classes(MANY, ClassSplit(train=10, val=6, test=9))
    used = {*whole.train, *whole.val}
    assert all({*each.train, *each.val} == used for each in folds(4, train=10, val=6, test=9))


def test_folds_of_standard_training_classes_leave_the_standard_test_classes_alone() -> None:
    splits = [ValidationSplit(fold=Fold(number=number, of=3)) for number in (1, 2, 3)]
    found = [hold_out_classes(NAMES[:8], NAMES[8:], split) for split in splits]
    assert sorted(name for each in found for name in each.val) == sorted(NAMES[:8])
    assert {each.test for each in found} == {tuple(NAMES[8:])}
    assert all(not {*each.train} & {*each.val} for each in found)


def test_too_many_folds_are_refused_in_one_line() -> None:
    message = (
        r"^data\.split\.fold: 16 folds of 30 classes for training and validation leave 1 in a "
        r"fold, but it needs at least 2; make fewer folds or add classes$"
    )
    with pytest.raises(ValueError, match=message):
        folds(16)


def test_the_test_classes_can_have_a_seed_of_their_own() -> None:
    def of(**seeds: int) -> Division:
        return divide_classes(MANY, ClassSplit.model_validate(seeds))

    assert of(seed=3, test_seed=3) == of(seed=3)
    assert of(seed=5, test_seed=3).test == of(seed=3).test
    assert of(seed=5, test_seed=3).val != of(seed=3).val
    assert sorted(name for part in of(seed=5, test_seed=3) for name in part) == sorted(MANY)


def test_settings_that_are_not_set_are_not_written_out() -> None:
    old = {"train": "rest", "val": 0.2, "test": 0.3, "seed": 0}
    assert ClassSplit().model_dump(mode="json") == old
    assert ValidationSplit().model_dump(mode="json") == {"val": 0.2, "seed": 0}
    assert ClassSplit(test_seed=0).model_dump(mode="json") == old | {"test_seed": 0}


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"split": {"fold": {"number": 5, "of": 4}}}, r"^data\.split\.fold\.number: 5 of 4; folds are numbered 1 to 4"),
        ({"split": {"fold": {"number": 1, "of": 1}}}, r"^data\.split\.fold\.of: .*2.*got 1"),
        ({"split": {"test": ["class 1"], "test_seed": 1}}, r"^data\.split\.test_seed: 'test' names the test classes"),
        ({"protocol": "published", "split": {"fold": {"number": 1, "of": 4}}}, r"^data\.split\.fold: the published protocol"),
        ({"name": "folder", "root": "x", "labels": "none", "split": {"fold": {"number": 1, "of": 4}}}, r"^data\.split\.fold: .* labels is none"),
    ],
)  # fmt: skip
def test_a_fold_that_cannot_be_is_refused_in_one_line(
    data: dict[str, object], message: str
) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        workload.check({"data": {"name": "strokes"} | data})  # type: ignore[dict-item]
    assert "\n" not in str(caught.value)
