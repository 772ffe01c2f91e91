"""The division of classes: disjoint, seeded, and refused where it cannot be."""

from __future__ import annotations

import pytest

from gcudml.config import ClassSplit
from gcudml.data.splits import divide_classes

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
