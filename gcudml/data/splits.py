"""Class splits: training, validation and test parts; no class is in two parts."""

import difflib
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Int64

from gcudml.config import ClassSplit, Share
from gcudml.config.data import Fold, ValidationSplit
from gcudml.runtime.seeding import numpy_generator

FEWEST_CLASSES = 2  # with one class every retrieved image is a hit
FEWEST_CLASS_IMAGES = 2  # of a training class, so that it has a positive pair
FEWEST_IMAGES = 4  # in a part without classes, so that an image has others to be told from


class Division(NamedTuple):
    """Class names of each part, in the order of all classes."""

    train: tuple[str, ...]
    val: tuple[str, ...]
    test: tuple[str, ...]


def divide_classes(names: Sequence[str], split: ClassSplit) -> Division:
    """Assign classes to parts.

    Lists come first. Counts and fractions are then drawn at random from the classes that no list
    names, for the test part first, so that changing ``val`` or ``train`` does not change the test
    classes. A fraction is of all classes, rounded. With ``fold``, training and validation classes
    are then cut anew; the test classes do not change.

    Args:
        names: All classes. ``/`` separates levels: a list may name ``outer/inner``, or ``outer``
            for all classes below it.
        split: Counts, fractions or lists.

    Raises:
        ValueError: ``data.split.PART: ...``: an unknown name, a class in two parts, or too few
            classes.
    """
    test = list(halves(names)[1]) if split.test == "published" else split.test
    shares: dict[str, Share | str] = {"test": test, "val": split.val, "train": split.train}
    chosen = {
        part: _select(names, share, part)
        for part, share in shares.items()
        if isinstance(share, list)
    }
    _refuse_overlap(chosen)
    listed = set().union(*chosen.values())
    free = [name for name in names if name not in listed]
    order = _draw_order(split, free=len(free), total=len(names))
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
    division = Division(
        *(tuple(n for n in names if n in chosen[part]) for part in ("train", "val", "test"))
    )
    return division if split.fold is None else _cut(names, division, split.fold, split.seed)


def halves(names: Sequence[str]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Split classes into the first half, rounded down, and the rest, as the literature does."""
    middle = len(names) // 2
    return tuple(names[:middle]), tuple(names[middle:])


def hold_out_classes(
    training: Sequence[str], test: Sequence[str], split: ValidationSplit
) -> Division:
    """Hold out validation classes from the standard training classes; test classes do not change.

    Args:
        training: The standard training classes; a list of names selects from them as in
            ``divide_classes``.
        test: The standard test classes.
        split: A fraction is of the standard training classes, rounded.

    Raises:
        ValueError: ``data.split.val: ...``: an unknown name, or too few classes are left.
    """
    if split.fold is not None:
        return _cut(training, Division(tuple(training), (), tuple(test)), split.fold, split.seed)
    division = _hold_out(training, split, path="classes", test=test)
    if min(len(division.train), len(division.val)) < FEWEST_CLASSES:
        raise ValueError(
            f"data.split.val: {len(division.val)} of the {len(training)} standard training "
            f"classes, which leaves {len(division.train)} for training; both need at least "
            f"{FEWEST_CLASSES}, change val or set protocol to published"
        )
    return division


def hold_out_images(paths: Sequence[str], split: ClassSplit) -> Division:
    """Split images without classes into training and validation; there is no test part.

    Args:
        paths: All images. A list may name some of them, or folders that contain them.
        split: Only ``val``, a count or a fraction of the images or names, and ``seed`` are used.

    Raises:
        ValueError: ``data.split.val: ...``: an unknown name, or too few images are left.
    """
    division = _hold_out(paths, split, path="images", test=())
    if min(len(division.train), len(division.val)) < FEWEST_IMAGES:
        raise ValueError(
            f"data.split.val: {len(division.val)} of {len(paths)} images, which leaves "
            f"{len(division.train)} for training; both need at least {FEWEST_IMAGES}, change val "
            "or add images"
        )
    return division


def thinned_sizes(available: Sequence[int], *, imbalance: float, total: int | None) -> list[int]:
    """Return how many images each class keeps, so that sizes decay geometrically.

    Args:
        available: Images of each class; the first class becomes the largest.
        imbalance: Size of the first class divided by that of the last, up to rounding.
        total: Sum of the sizes; None: the largest for which every class has enough images.

    Raises:
        ValueError: a class has fewer images than it would keep, or would keep fewer than two, as
            ``data.train_images: ...``, or ``data.imbalance: ...`` if no total could help.
    """
    last = max(1, len(available) - 1)
    shares = np.array([imbalance ** (-place / last) for place in range(len(available))])
    most = float((np.array(available) / shares).min())
    exact = shares * (most if total is None else total / shares.sum())
    sizes = np.floor(exact + 1e-9).astype(int)
    if total is not None:  # the largest remainders are rounded up
        order = np.argsort(sizes - exact, kind="stable")
        sizes[order[: total - sizes.sum()]] += 1
    if (sizes > available).any() or sizes.min() < FEWEST_CLASS_IMAGES:
        enough = int(np.floor(most * shares).sum())
        least = int(np.ceil(FEWEST_CLASS_IMAGES / shares[-1] * shares.sum()))
        raise ValueError(
            f"data.train_images: {sizes.sum()} images of {len(available)} training classes at "
            f"imbalance {imbalance:g} mean {sizes.min()} to {sizes.max()} a class; these classes "
            f"allow {least} to {enough} images"
            if least <= enough
            else f"data.imbalance: {imbalance:g} leaves the smallest of {len(available)} training "
            f"classes fewer than {FEWEST_CLASS_IMAGES} images; lower it"
        )
    return [int(size) for size in sizes]


def visible_labels(
    labels: Int64[np.ndarray, " n"], *, classes: int, fraction: float, seed: int
) -> Int64[np.ndarray, " n"]:
    """Keep the labels of some classes and set those of the others to -1.

    Args:
        labels: ``(n,)`` class indices, 0..classes-1.
        classes: Number of classes.
        fraction: Fraction of the classes whose labels are visible, rounded. 0 shows none, 1 all;
            any value between shows at least two, since one class gives no negative pair.
        seed: Draws the classes; the classes of a smaller fraction are among those of a larger one.

    Returns:
        A new ``(n,)`` array.
    """
    count = round(fraction * classes)
    if fraction > 0:
        count = max(count, FEWEST_CLASSES)
    order = numpy_generator(seed, "labelled").permutation(classes)
    return np.where(np.isin(labels, order[:count]), labels, -1)


def _draw_order(split: ClassSplit, *, free: int, total: int) -> list[int]:
    """Return the order in which ``free`` of all ``total`` classes are drawn, test classes first."""
    order: list[int] = numpy_generator(split.seed, "classes").permutation(free).tolist()
    if split.test_seed is None or isinstance(split.test, list | str):
        return order
    drawn = numpy_generator(split.test_seed, "classes").permutation(free).tolist()
    test = drawn[: _count(split.test, total)]
    return [*test, *(place for place in order if place not in set(test))]


def _cut(names: Sequence[str], division: Division, fold: Fold, seed: int) -> Division:
    """Cut training and validation classes into folds of equal size, and hold one of them out."""
    others = {*division.train, *division.val}
    known = [name for name in names if name in others]
    if len(known) // fold.of < FEWEST_CLASSES:
        raise ValueError(
            f"data.split.fold: {fold.of} folds of {len(known)} classes for training and validation "
            f"leave {len(known) // fold.of} in a fold, but it needs at least {FEWEST_CLASSES}; "
            "make fewer folds or add classes"
        )
    order = numpy_generator(seed, "folds").permutation(len(known))
    held_out = {known[place] for place in np.array_split(order, fold.of)[fold.number - 1]}
    return Division(
        tuple(name for name in known if name not in held_out),
        tuple(name for name in known if name in held_out),
        division.test,
    )


def _hold_out(
    names: Sequence[str], split: ValidationSplit | ClassSplit, *, path: str, test: Sequence[str]
) -> Division:
    """Take what ``split.val`` asks for from ``names``; ``path`` is that of the random numbers."""
    if isinstance(split.val, list):
        held_out = _select(names, split.val, "val")
    else:
        order = numpy_generator(split.seed, path).permutation(len(names)).tolist()
        held_out = {names[place] for place in order[: _count(split.val, len(names))]}
    return Division(
        tuple(name for name in names if name not in held_out),
        tuple(name for name in names if name in held_out),
        tuple(test),
    )


def _count(share: int | float, total: int) -> int:
    return share if isinstance(share, int) else round(share * total)


def _select(names: Sequence[str], wanted: Sequence[str], part: str) -> set[str]:
    """Resolve a list of classes and outer folders to class names."""
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
    """Suggest the closest known name, or list a few."""
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
