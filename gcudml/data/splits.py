"""Which classes are for training, validation and test; no class is in two parts."""

import difflib
from collections.abc import Sequence
from typing import NamedTuple

from gcudml.config import ClassSplit, Share
from gcudml.seeding import numpy_generator

FEWEST_CLASSES = 2  # with one class every retrieval is right


class Division(NamedTuple):
    """Class names of each part, in the order of all classes."""

    train: tuple[str, ...]
    val: tuple[str, ...]
    test: tuple[str, ...]


def divide_classes(names: Sequence[str], split: ClassSplit) -> Division:
    """Assign classes to parts.

    Lists come first; then counts and fractions are drawn at random from the classes that no list
    names, first for the test part, so that a change of ``val`` or ``train`` leaves the test
    classes as they are. A fraction is one of all classes, rounded.

    Args:
        names: All classes. ``/`` separates levels: a list may name ``outer/inner`` or, for all
            classes below it, ``outer``.
        split: Counts, fractions or lists.

    Raises:
        ValueError: ``data.split.PART: ...``: an unknown name, a class in two parts, or too few
            classes.
    """
    shares: dict[str, Share | str] = {"test": split.test, "val": split.val, "train": split.train}
    chosen = {
        part: _select(names, share, part)
        for part, share in shares.items()
        if isinstance(share, list)
    }
    _refuse_overlap(chosen)
    listed = set().union(*chosen.values())
    free = [name for name in names if name not in listed]
    order = numpy_generator(split.seed, "classes").permutation(len(free)).tolist()
    for part, share in shares.items():
        if isinstance(share, list):
            continue
        count = len(order) if isinstance(share, str) else _count(share, len(names))
        if count > len(order):
            taken = ", ".join(f"{other} {len(mine)}" for other, mine in chosen.items()) or "none"
            raise ValueError(
                f"data.split.{part}: {share} means {count} of {len(names)} classes, but only "
                f"{len(order)} are left (taken: {taken}); make the parts smaller"
            )
        chosen[part] = {free[place] for place in order[:count]}
        order = order[count:]
    for part in ("train", "val", "test"):
        if len(chosen[part]) < FEWEST_CLASSES:
            sizes = ", ".join(f"{other} {len(chosen[other])}" for other in shares if other != part)
            raise ValueError(
                f"data.split.{part}: {len(chosen[part])} of {len(names)} classes are left for it "
                f"({sizes}), but a part needs at least {FEWEST_CLASSES}; "
                "make the other parts smaller or add classes"
            )
    return Division(
        *(tuple(n for n in names if n in chosen[part]) for part in ("train", "val", "test"))
    )


def _count(share: int | float, total: int) -> int:
    return share if isinstance(share, int) else round(share * total)


def _select(names: Sequence[str], wanted: Sequence[str], part: str) -> set[str]:
    """The classes that a list of classes and outer folders names."""
    found: set[str] = set()
    for entry in wanted:
        folder = entry.strip("/")
        matches = {name for name in names if name == folder or name.startswith(folder + "/")}
        if not matches:
            raise ValueError(
                f"data.split.{part}: no class or folder {entry!r}; {_hint(names, folder)}"
            )
        found |= matches
    return found


def _hint(names: Sequence[str], wanted: str) -> str:
    """The nearest known name, or a few known ones."""
    folders = dict.fromkeys(
        "/".join(name.split("/")[:depth])
        for name in names
        for depth in range(1, name.count("/") + 2)
    )
    close = difflib.get_close_matches(wanted, folders, n=1, cutoff=0.5)
    if close:
        return f"did you mean {close[0]!r}?"
    some = list(folders)[:8]
    return f"known: {', '.join(some)}{', …' if len(folders) > len(some) else ''}"


def _refuse_overlap(chosen: dict[str, set[str]]) -> None:
    parts = [part for part in ("train", "val", "test") if part in chosen]
    for later, part in enumerate(parts):
        for other in parts[:later]:
            both = sorted(chosen[part] & chosen[other])
            if both:
                more = f" and {len(both) - 1} more" if len(both) > 1 else ""
                raise ValueError(
                    f"data.split.{part}: class {both[0]!r}{more} is in {other} too; "
                    "take it out of one of the lists"
                )
