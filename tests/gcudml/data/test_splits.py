"""The division of classes: disjoint, seeded, and refused where it cannot be."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from gcudml.config import ClassSplit
from gcudml.config.data import ValidationSplit
from gcudml.data.splits import divide_classes, hold_out_classes, visible_labels

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
