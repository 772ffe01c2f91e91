"""Images in folders: found, fingerprinted and decoded.

A class is a folder below the root that directly holds images; its name is its path from the root.
Hidden files and folders, other files, and images that lie in the root itself belong to no class.
"""

import functools
import hashlib
import json
import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple, TypeVar

import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageOps, UnidentifiedImageError

from gcudml.config import FolderData
from gcudml.data.cache import cache_folder, digest, locked, replacing

VERSION = 1  # goes up whenever the same file gives other pixels
BLOCK_IMAGES = 256
MOST_NAMED = 5  # broken files in one error
SETTLED_S = 2.0  # a file changed more recently may change again within its time stamp's grain
# Needs another program to read, or is a mere placeholder in Pillow.
UNREADABLE_FORMATS = {"BUFR", "EPS", "GRIB", "HDF5", "MPEG", "WMF"}

Result = TypeVar("Result")


class Known(NamedTuple):
    """A file's digest, and its size and time of change (ns) when it was read."""

    stamp: list[int]
    content: str


def scan(config: FolderData) -> dict[str, tuple[str, ...]]:
    """Class name -> its files, as paths from the root with ``/``; both in alphabetical order.

    Links to folders are followed, each folder once.

    Raises:
        ValueError: no such folder, or no class folder with an image in it.
    """
    root = config.path
    source = f"; {config.source}" if config.source else ""
    if not root.is_dir():
        raise ValueError(
            f"data.root: no folder {str(root)!r}; give the folder that holds a folder for each "
            f"class{source}"
        )
    endings = _readable_endings()
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
        images = sorted(
            f"{name}/{file}"
            for file in files
            if not file.startswith(".") and os.path.splitext(file)[1].lower() in endings  # noqa: PTH122 -- half the time of a scan
        )
        if images and name != ".":
            found[name] = tuple(images)
    if not found:
        raise ValueError(
            f"data.root: no class folder with images in {str(root)!r}; put each class's images "
            f"into a folder of its own{source}"
        )
    return dict(sorted(found.items()))


def select(listing: Mapping[str, Sequence[str]], classes: Iterable[str]) -> list[str]:
    """The files of some classes, class by class."""
    return [path for name in classes for path in listing[name]]


def content_digests(config: FolderData, paths: Sequence[str]) -> dict[str, str]:
    """Digest of each file's bytes.

    Kept in the cache folder by size and time of change, so that only new files are read.

    Raises:
        ValueError: files that cannot be read; names up to five.
        OSError: the cache cannot be written.
    """
    root = config.path
    kept_in = cache_folder() / "digests" / f"{digest(str(root.resolve()))}.json"
    kept = _read_digests(kept_in)
    stamps = {path: _stamp(f"{root}/{path}") for path in paths}
    digests = {path: kept[path].content for path in paths if _is_known(kept, path, stamps[path])}
    unknown = [path for path in paths if path not in digests]
    if not unknown:
        return digests
    read: list[str] = []
    for block in _in_blocks(root, unknown, _digest_file):
        read += block
    digests |= zip(unknown, read, strict=True)
    youngest = time.time_ns() - int(SETTLED_S * 1e9)
    settled = {
        path: Known(stamps[path], digests[path])
        for path in unknown
        if (stamp := stamps[path]) and stamp[1] < youngest
    }
    if settled:
        with locked(kept_in), replacing(kept_in) as draft:
            kept = _read_digests(kept_in) | settled  # another process may have added some
            draft.write_text(json.dumps(kept), encoding="utf-8")
    return digests


def decode(
    config: FolderData, paths: Sequence[str]
) -> Iterator[UInt8[np.ndarray, "block channels size size"]]:
    """Decode files in order, in blocks, on several threads.

    Raises:
        ValueError: files that cannot be decoded; names up to five.
    """
    for images in _in_blocks(config.path, paths, functools.partial(decode_image, config=config)):
        yield np.stack(images)


def decode_image(path: Path, *, config: FolderData) -> UInt8[np.ndarray, "channels size size"]:
    """One image as a square of pixels 0..255.

    Turned as its EXIF data say, transparency put on white, squeezed to a square with antialiasing.
    Of several frames the first. 16-bit values are divided by 257; floating-point values are taken
    as 0..1 if none is above 1, else as 0..255.
    """
    mode = "RGB" if config.color == "rgb" else "L"
    size = config.image_size
    with Image.open(path) as opened:
        opened.draft(mode, (2 * size, 2 * size))  # a JPEG decodes at about the size that is needed
        image = _plain(ImageOps.exif_transpose(opened), mode)
    if image.size != (size, size):
        image = image.resize((size, size), Image.Resampling.BICUBIC, reducing_gap=3.0)
    pixels = np.asarray(image)
    pixels = pixels[None] if mode == "L" else pixels.transpose(2, 0, 1)
    return 255 - pixels if config.invert else pixels


def _plain(image: Image.Image, mode: str) -> Image.Image:
    """The image in ``mode`` (L or RGB), without transparency and with 8 bits a channel."""
    if image.mode == "F" or image.mode.startswith("I"):
        image = _eight_bits(image)
    elif "transparency" in image.info or image.mode in {"RGBA", "LA", "PA", "RGBa", "La"}:
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, "white")
        image = Image.alpha_composite(white, image)
    if image.mode not in {mode, "L", "1"}:
        image = image.convert("RGB")  # not every mode turns into grey directly
    return image if image.mode == mode else image.convert(mode)


def _eight_bits(image: Image.Image) -> Image.Image:
    values = np.nan_to_num(np.asarray(image, dtype=np.float64))
    if image.mode != "F":
        values = values / 257
    elif values.max(initial=0) <= 1:
        values = values * 255
    return Image.fromarray(values.round().clip(0, 255).astype(np.uint8))


def _in_blocks(
    root: Path, paths: Sequence[str], work: Callable[[Path], Result]
) -> Iterator[list[Result]]:
    """What ``work`` makes of each file, in order, in blocks, on several threads.

    After a file it fails on it only looks for more of them, to name them together.
    """
    broken: list[str] = []

    def attempt(path: str) -> list[Result]:
        try:
            return [work(root / path)]
        except MemoryError:
            raise
        except Exception as error:  # decoders of damaged files raise anything
            broken.append(f"{path} ({_reason(error)})")
            return []

    with ThreadPoolExecutor(min(16, os.cpu_count() or 1)) as pool:
        for first in range(0, len(paths), BLOCK_IMAGES):
            block = paths[first : first + BLOCK_IMAGES]
            results = [result for found in pool.map(attempt, block) for result in found]
            if not broken:
                yield results
            elif len(broken) > MOST_NAMED:
                break
    if broken:
        more = " and more" if len(broken) > MOST_NAMED else ""
        named = ", ".join(sorted(broken)[:MOST_NAMED])
        raise ValueError(
            f"data.root: broken images in {str(root)!r}: {named}{more}; "
            "replace them or take them away"
        )


def _readable_endings() -> frozenset[str]:
    return frozenset(
        ending
        for ending, name in Image.registered_extensions().items()
        if name in Image.OPEN and name not in UNREADABLE_FORMATS
    )


def _stamp(path: str) -> list[int]:
    """Size and time of change; empty where the file cannot be looked at."""
    try:
        status = os.stat(path)  # noqa: PTH116 -- a Path would take longer than the call
    except OSError:
        return []
    return [status.st_size, status.st_mtime_ns]


def _is_known(kept: Mapping[str, Known], path: str, stamp: list[int]) -> bool:
    return path in kept and kept[path].stamp == stamp


def _digest_file(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()[:32]


def _read_digests(path: Path) -> dict[str, Known]:
    """What an earlier call kept; nothing where that is missing or damaged."""
    try:
        kept = json.loads(path.read_text(encoding="utf-8"))
        return {name: Known(list(stamp), str(value)) for name, (stamp, value) in kept.items()}
    except (OSError, ValueError, TypeError, AttributeError):
        return {}


def _reason(error: Exception) -> str:
    """A decoder's message in a few words; a path in it would be said twice."""
    if isinstance(error, UnidentifiedImageError):
        return "not an image"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return str(error).splitlines()[0][:80] if str(error) else type(error).__name__


def _refuse(error: OSError) -> None:
    raise ValueError(
        f"data.root: cannot look into folder {error.filename!r} ({error.strerror}); "
        "allow reading it or take it away"
    ) from error
