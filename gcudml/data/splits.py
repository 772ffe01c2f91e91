"""Dividing classes into train, val and test, so that no class is in two of them."""

import difflib
from collections.abc import Sequence
from typing import Literal, TypeAlias

from gcudml.config import ClassSplit, Share
from gcudml.seeding import numpy_generator

Part: TypeAlias = Literal["train", "val", "test"]
PARTS: tuple[Part, ...] = ("test", "val", "train")  # the order in which they take their share


def split_classes(names: Sequence[str], split: ClassSplit) -> dict[Part, list[int]]:
    """Class indices of each part, rising.

    Lists are served first: a list's entry is a class or a folder that holds classes. Then ``test``,
    ``val`` and ``train`` take their counts or fractions (of all classes, rounded) from the rest in
    an order drawn with ``split.seed``.

    Raises:
        ValueError: ``data.split.<part>: what; remedy``, for an unknown name, a class in two parts,
            or a part with fewer than two classes.
    """
    shares = {part: getattr(split, part) for part in PARTS}
    taken: dict[int, Part] = {}
    for part, share in shares.items():
        if isinstance(share, list):
            for index in _named(names, share, part):
                if taken.setdefault(index, part) != part:
                    raise ValueError(
                        f"data.split.{part}: class {names[index]!r} is also in {taken[index]}; "
                        "a class belongs to one part"
                    )
    order = numpy_generator(split.seed, "class split").permutation(len(names))
    free = [int(index) for index in order if int(index) not in taken]
    chosen: dict[Part, list[int]] = {
        part: [index for index, owner in taken.items() if owner == part] for part in PARTS
    }
    for part, share in shares.items():
        if isinstance(share, list):
            continue
        wanted = _count(share, total=len(names), free=len(free))
        if wanted > len(free):
            raise ValueError(
                f"data.split.{part}: wants {wanted} classes, {len(free)} of {len(names)} are left"
            )
        chosen[part], free = free[:wanted], free[wanted:]
    for part, indices in chosen.items():
        if len(indices) < 2:
            raise ValueError(
                f"data.split.{part}: {len(indices)} of {len(names)} classes; needs at least 2, "
                "give this part more"
            )
    return {part: sorted(indices) for part, indices in chosen.items()}


def _count(share: Share | Literal["rest"], *, total: int, free: int) -> int:
    if share == "rest":
        return free
    return share if isinstance(share, int) else round(float(share) * total)  # type: ignore[arg-type]


def _named(names: Sequence[str], wanted: Sequence[str], part: str) -> list[int]:
    """Indices of the classes that are named, or that lie in a folder that is."""
    found = []
    for entry in wanted:
        folder = entry.rstrip("/") + "/"
        matches = [i for i, name in enumerate(names) if name == entry or name.startswith(folder)]
        if not matches:
            known = {name for name in names} | {
                name.rsplit("/", depth)[0] for name in names for depth in range(name.count("/") + 1)
            }
            close = difflib.get_close_matches(entry, sorted(known), n=1)
            guess = f"; did you mean {close[0]!r}?" if close else ""
            raise ValueError(f"data.split.{part}: no class or folder {entry!r}{guess}")
        found += matches
    return found
