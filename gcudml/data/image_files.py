"""Digests and decoding of image files, on several threads.

``MOST_PIXELS`` limits the size of an image, ``PIXELS_AT_ONCE`` the pixels that are being decoded at
one time. A JPEG file counts at its reduced size: it is decoded at about the size that is needed.
"""

import contextlib
import functools
import hashlib
import os
import stat
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Literal, NamedTuple, TypeVar

import numpy as np
from jaxtyping import Float64, UInt8
from PIL import Image, ImageOps, UnidentifiedImageError

from gcudml.data.folder import shown
from gcudml.runtime.files import (
    Stamp,
    cache_folder,
    digest,
    locked,
    read_sealed,
    stamp_of,
    write_sealed,
)

VERSION = 1  # increment whenever the same file gives different pixels
BLOCK_IMAGES = 256
MOST_NAMED = 5  # broken files named in one error
MOST_PIXELS = 178_956_970  # of one decoded image; equals Pillow's default limit
PIXELS_AT_ONCE = 1 << 27  # of all images being decoded; a larger image is decoded alone
ROWS_AT_ONCE = 512
# Pillow's own limit ignores the reduced size of a JPEG, and warns from half of it on.
Image.MAX_IMAGE_PIXELS = None

Result = TypeVar("Result")


class Appearance(NamedTuple):
    """How an image file is converted to pixels."""

    image_size: int
    """Side of the square."""
    color: Literal["rgb", "grey"]
    invert: bool
    """Invert brightness."""
    fit: Literal["squeeze", "crop"]
    """``squeeze`` ignores the aspect ratio; ``crop`` scales the short side and keeps the centre."""

    @property
    def channels(self) -> int:
        """Number of channels: 3 for RGB, 1 for grey."""
        return 3 if self.color == "rgb" else 1


class _Room:
    """Budget of pixels, shared by all images that are being decoded."""

    def __init__(self, pixels: int) -> None:
        self._all = self._free = pixels
        self._changed = threading.Condition()

    @contextlib.contextmanager
    def taken(self, pixels: int) -> Iterator[None]:
        """Wait until this many pixels are free and reserve them; a larger image reserves all."""
        pixels = min(pixels, self._all)
        with self._changed:
            self._changed.wait_for(lambda: self._free >= pixels)
            self._free -= pixels
        try:
            yield
        finally:
            with self._changed:
                self._free += pixels
                self._changed.notify_all()


_ROOM = _Room(PIXELS_AT_ONCE)


class Known(NamedTuple):
    """Digest of a file, and the file's stamp when it was read."""

    stamp: Stamp
    content: str


def content_digests(root: Path, paths: Sequence[str]) -> dict[str, str]:
    """Digest the bytes of each file; ``paths`` are relative to ``root``.

    Digests are cached by file size and change time, so that only new or changed files are read.

    Raises:
        ValueError: some files cannot be read; the message names up to five.
        OSError: the cache cannot be written.
    """
    kept_in = cache_folder() / "digests" / f"{digest(str(root.resolve()))}.json"
    kept = _digests_in(read_sealed(kept_in, quietly=True))
    stamps = {path: stamp_of(f"{root}/{path}") for path in paths}
    digests = {path: kept[path].content for path in paths if _is_known(kept, path, stamps[path])}
    unknown = [path for path in paths if path not in digests]
    if not unknown:
        return digests
    read: list[str] = []
    for block in _in_blocks(root, unknown, _digest_file):
        read += block
    digests |= zip(unknown, read, strict=True)
    settled = {
        path: Known(stamp, digests[path])
        for path in unknown
        if (stamp := stamps[path]) and stamp.is_settled
    }
    if settled:
        with locked(kept_in):  # another process may have added some
            write_sealed(kept_in, _digests_in(read_sealed(kept_in)) | settled)
    return digests


def decode(
    root: Path, paths: Sequence[str], *, appearance: Appearance
) -> Iterator[UInt8[np.ndarray, "block channels size size"]]:
    """Decode files in order, in blocks, on several threads.

    Raises:
        ValueError: some files cannot be decoded; the message names up to five.
    """
    work = functools.partial(decode_image, appearance=appearance)
    for images in _in_blocks(root, paths, work):
        yield np.stack(images)


def decode_image(path: Path, *, appearance: Appearance) -> UInt8[np.ndarray, "channels size size"]:
    """Decode one image to a square of pixels 0..255.

    Applies the EXIF orientation, composites transparency on white, and resizes with antialiasing.
    Of several frames, the first is used. 16-bit values are divided by 257; floating-point values
    are taken as 0..1 if none is above 1, else as 0..255.
    """
    mode = "RGB" if appearance.color == "rgb" else "L"
    size = appearance.image_size
    _check_is_file(path)
    with Image.open(path) as opened:
        opened.draft(mode, (2 * size, 2 * size))  # a JPEG decodes at about the size that is needed
        width, height = opened.size
        if width * height > MOST_PIXELS:
            raise ValueError(
                f"{width} x {height} pixels; at most {MOST_PIXELS // 10**6} million can be read"
            )
        with _ROOM.taken(width * height):
            return _squared(opened, mode, appearance)


def _squared(
    opened: Image.Image, mode: str, appearance: Appearance
) -> UInt8[np.ndarray, "channels size size"]:
    """Convert an opened image to its square of pixels."""
    size = appearance.image_size
    ImageOps.exif_transpose(opened, in_place=True)
    image = _plain(opened, mode)
    box = _middle(image) if appearance.fit == "crop" else None
    if image.size != (size, size):
        image = image.resize((size, size), Image.Resampling.BICUBIC, box=box, reducing_gap=3.0)
    pixels = np.asarray(image)
    pixels = pixels[None] if mode == "L" else pixels.transpose(2, 0, 1)
    return 255 - pixels if appearance.invert else pixels


def _check_is_file(path: Path) -> None:
    """Reject pipes, devices and folders without opening them: reading a pipe could block for ever.

    Raises:
        OSError: the path does not exist.
        ValueError: the path is not a regular file.
    """
    kind = path.stat().st_mode
    if not stat.S_ISREG(kind):
        names = {stat.S_IFIFO: "a named pipe", stat.S_IFSOCK: "a socket", stat.S_IFDIR: "a folder"}
        raise ValueError(f"{names.get(stat.S_IFMT(kind), 'a device')}, not a file")


def _middle(image: Image.Image) -> tuple[float, float, float, float]:
    """Largest centred square: left, upper, right, lower."""
    width, height = image.size
    side = min(width, height)
    left, upper = (width - side) / 2, (height - side) / 2
    return left, upper, left + side, upper + side


def _plain(image: Image.Image, mode: str) -> Image.Image:
    """Convert to ``mode`` (L or RGB), without transparency and with 8 bits per channel."""
    if image.mode == "F" or image.mode.startswith("I"):
        image = _eight_bits(image)
    elif "transparency" in image.info or image.mode in {"RGBA", "LA", "PA", "RGBa", "La"}:
        image = _on_white(image)
    if image.mode not in {mode, "L", "1", "RGB"}:
        image = image.convert("RGB")  # not every mode converts to grey directly
    return image if image.mode == mode else image.convert(mode)


def _on_white(image: Image.Image) -> Image.Image:
    """Composite on white, in bands of rows: full copies of a large image take much memory."""
    flat = Image.new("RGB", image.size)
    for top in range(0, image.height, ROWS_AT_ONCE):
        rows = image.crop((0, top, image.width, min(top + ROWS_AT_ONCE, image.height)))
        white = Image.new("RGBA", rows.size, "white")
        flat.paste(Image.alpha_composite(white, rows.convert("RGBA")).convert("RGB"), (0, top))
    return flat


def _eight_bits(image: Image.Image) -> Image.Image:
    """Convert 16-bit, 32-bit or floating-point values to 8-bit grey, in bands of rows."""
    is_unit = image.mode == "F" and all(rows.max(initial=0) <= 1 for _, rows in _values_of(image))
    pixels = np.empty((image.height, image.width), dtype=np.uint8)
    for top, values in _values_of(image):
        if image.mode != "F":
            values /= 257
        elif is_unit:
            values *= 255
        values.round(out=values).clip(0, 255, out=values)
        pixels[top : top + len(values)] = values
    return Image.fromarray(pixels)


def _values_of(image: Image.Image) -> Iterator[tuple[int, Float64[np.ndarray, "rows width"]]]:
    """Yield the image in bands of rows, NaN as 0, each with the number of its first row."""
    for top in range(0, image.height, ROWS_AT_ONCE):
        rows = image.crop((0, top, image.width, min(top + ROWS_AT_ONCE, image.height)))
        yield top, np.nan_to_num(np.asarray(rows, dtype=np.float64), copy=False)


def _in_blocks(
    root: Path, paths: Sequence[str], work: Callable[[Path], Result]
) -> Iterator[list[Result]]:
    """Apply ``work`` to each file, in order, in blocks, on several threads.

    After the first failure it yields nothing more and only collects further failures to report.
    """
    broken: list[str] = []

    def attempt(path: str) -> list[Result]:
        try:
            return [work(root / path)]
        except MemoryError:
            raise
        except Exception as error:  # decoders can raise any exception on a damaged file
            broken.append(f"{shown(path)} ({shown(_reason(error))})")
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
            f"data.root: broken or missing images in {str(root)!r}: {named}{more}; "
            "replace them or leave them out"
        )


def _is_known(kept: Mapping[str, Known], path: str, stamp: Stamp | None) -> bool:
    return path in kept and kept[path].stamp == stamp


def _digest_file(path: Path) -> str:
    _check_is_file(path)
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()[:32]


def _digests_in(kept: object) -> dict[str, Known]:
    """Parse the digests kept by an earlier call; empty if missing or malformed."""
    try:
        known = kept.items() if isinstance(kept, dict) else ()
        return {name: Known(Stamp(*stamp), str(content)) for name, (stamp, content) in known}
    except (TypeError, ValueError):
        return {}


def _reason(error: Exception) -> str:
    """Shorten a decoder's message, without the path, which the caller names."""
    if isinstance(error, UnidentifiedImageError):
        return "not an image"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return str(error).splitlines()[0][:80] if str(error) else type(error).__name__
