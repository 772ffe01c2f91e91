"""Find images in a folder, and the classes its sub-folders stand for.

A class is a folder below the root that directly holds images; its name is its path from the root.
Hidden files and folders, other files, and images directly in the root belong to no class. Without
labels, every image at any depth counts and none has a class.
"""

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

from PIL import Image

from gcudml.config import FolderData
from gcudml.data.splits import halves

ROOT = "."
NO_CLASS = ""
"""Key of all images if they have no classes."""
# Picture formats that cannot be read here: skipping them would silently change a study.
UNREAD_ENDINGS = frozenset(
    {
        ".heic",
        ".heif",
        ".avif",
        ".jxl",
        ".raw",
        ".dng",
        ".cr2",
        ".cr3",
        ".nef",
        ".arw",
        ".orf",
        ".psd",
        ".ai",
        ".eps",
        ".pdf",
        ".ps",
        ".svg",
        ".svgz",
    }
)
# Formats that need another program, or that Pillow registers without being able to read.
UNREADABLE_FORMATS = {"BUFR", "EPS", "GRIB", "HDF5", "MPEG", "WMF"}


class Listing(NamedTuple):
    """Classes, their files and their standard halves."""

    root: Path
    """Folder that the paths are relative to."""
    files: Mapping[str, tuple[str, ...]]
    """Class name -> its files, as paths relative to the root with ``/``."""
    train: tuple[str, ...]
    """Classes that the published protocol trains on."""
    test: tuple[str, ...]
    """Classes that the published protocol tests on."""
    queries: frozenset[str] | None = None
    """Files that are queries, where test classes have separate queries and gallery. In a class
    without any, every image is a query. None: the data set does not separate the two."""

    def select(self, classes: Iterable[str]) -> list[str]:
        """List the files of some classes, class by class."""
        return [path for name in classes for path in self.files[name]]


def scan(config: FolderData) -> Listing:
    """List the class folders in alphabetical order, with their files.

    Without labels all files are under ``NO_CLASS``, and there are no standard halves.

    Raises:
        ValueError: the folder does not exist or holds no usable image.
    """
    root = config.path
    source = f"; {config.source}" if config.source else ""
    if not root.is_dir():
        raise ValueError(
            f"data.root: no folder {str(root)!r}; give the folder that holds one folder per "
            f"class{source}"
        )
    if config.labels == "none":
        everything = image_paths(root)
        if not everything:
            raise ValueError(f"data.root: no image below {str(root)!r}; put some there{source}")
        return Listing(root, {NO_CLASS: everything}, (), ())
    found = class_folders(root)
    if not found:
        raise ValueError(
            f"data.root: no class folder with images in {str(root)!r}; put each class's images "
            f"into a folder of its own, or set data.labels to none if they have no classes{source}"
        )
    return Listing(root, found, *halves(tuple(found)))


def class_folders(root: Path) -> dict[str, tuple[str, ...]]:
    """Map class names to files, as paths relative to the root with ``/``, both alphabetically.

    Links to folders are followed, but each folder is visited only once.

    Raises:
        ValueError: a folder, or a picture in it, cannot be read.
    """
    return _folders(root, root_too=False)


def image_paths(root: Path) -> tuple[str, ...]:
    """List all images at any depth below ``root``, as relative paths with ``/``, alphabetically.

    Raises:
        ValueError: no such folder; or a folder, or a picture in it, cannot be read.
    """
    if not root.is_dir():
        raise ValueError(f"{root}: no such folder; name one that holds images")
    found = _folders(root, root_too=True)
    return tuple(sorted(path for paths in found.values() for path in paths))


def _folders(root: Path, *, root_too: bool) -> dict[str, tuple[str, ...]]:
    """Map each folder that holds images to its files, with or without the root itself."""
    endings = _readable_endings()
    unread_endings = UNREAD_ENDINGS - endings
    unread: list[str] = []
    broken: list[str] = []
    found: dict[str, tuple[str, ...]] = {}
    seen: set[tuple[int, int]] = set()
    for folder, inner, files in os.walk(root, followlinks=True, onerror=_refuse):
        status = Path(folder).stat()
        if (status.st_dev, status.st_ino) in seen:
            inner.clear()
            continue
        seen.add((status.st_dev, status.st_ino))
        inner[:] = sorted(name for name in inner if not name.startswith("."))
        name = Path(folder).relative_to(root).as_posix()
        counts = name != ROOT or root_too
        images: list[str] = []
        for file in files:
            if file.startswith("."):
                continue
            path = file if name == ROOT else f"{name}/{file}"
            ending = os.path.splitext(file)[1].lower()  # noqa: PTH122 -- half the time of a scan
            if ending in endings:
                images.append(path)
            elif ending in unread_endings and counts:
                unread.append(path)
            elif _is_broken_link(folder, file):
                broken.append(path)
        if images and counts:
            found[name] = tuple(sorted(images))
    if broken:
        raise ValueError(
            f"data.root: {shown(min(broken))} in {str(root)!r} is a broken link; repair or "
            "remove it"
        )
    if unread:
        raise ValueError(
            f"data.root: {len(unread)} files in {str(root)!r} are images in unsupported formats, "
            f"such as {shown(min(unread))}; convert them to JPEG or PNG, or move them out"
        )
    return dict(sorted(found.items()))


def _is_broken_link(folder: str, name: str) -> bool:
    """Whether a name is a dangling link, which may have been meant as a class folder."""
    path = Path(folder, name)
    return path.is_symlink() and not path.exists()


def _readable_endings() -> frozenset[str]:
    return frozenset(
        ending
        for ending, name in Image.registered_extensions().items()
        if name in Image.OPEN and name not in UNREADABLE_FORMATS
    )


def _refuse(error: OSError) -> None:
    raise ValueError(
        f"data.root: cannot read folder {error.filename!r} ({error.strerror}); "
        "allow reading it or remove it"
    ) from error


def shown(name: str) -> str:
    """Escape the control and non-printable characters of a file name for a message."""
    text = name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)
