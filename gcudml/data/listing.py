"""What a data set's files say about its classes, before any image is opened."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import NamedTuple


class Listing(NamedTuple):
    """Classes, their files and their standard halves."""

    root: Path
    """Folder that the paths start at."""
    files: Mapping[str, tuple[str, ...]]
    """Class name -> its files, as paths from the root with ``/``."""
    train: tuple[str, ...]
    """Classes that the published protocol trains on."""
    test: tuple[str, ...]
    """Classes that the published protocol tests on."""
    queries: frozenset[str] | None = None
    """The files that are queries, where a test class has queries and a gallery; of a class without
    any, every image is a query. None: the data set knows no such difference."""

    def select(self, classes: Iterable[str]) -> list[str]:
        """The files of some classes, class by class."""
        return [path for name in classes for path in self.files[name]]


def shown(name: str) -> str:
    """A file's name for a message: what a terminal would obey, or cannot show, is escaped."""
    text = name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)


def halves(names: tuple[str, ...]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The first half of some classes, rounded down, and the rest: what the literature does."""
    middle = len(names) // 2
    return names[:middle], names[middle:]
