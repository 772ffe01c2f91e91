"""A folder of prepared images that all runs share: written once, then mapped into memory.

The folder is ``$GCUDML_CACHE``, else ``$XDG_CACHE_HOME/gcudml``, else ``~/.cache/gcudml``. A file's
name is a digest of what it was made from, so nothing in it goes out of date; all of it can be
deleted at any time while no run is going on. Every file carries a checksum of its own: one without
a valid one is said on stderr and made anew.
"""

import io
import math
import os
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
from jaxtyping import UInt8

from gcudml.runtime.checksum import END_BYTES, SummedWriter, is_sound
from gcudml.runtime.files import Stamp, cache_folder, locked, replacing, say_damaged

_verified: dict[Path, Stamp] = {}


def cached_images(
    key: str,
    shape: tuple[int, int, int, int],
    make: Callable[[], Iterable[UInt8[np.ndarray, "block channels size size"]]],
    *,
    verify: bool = False,
) -> UInt8[np.ndarray, "n channels size size"]:
    """The images named ``key``, mapped; made and stored where they are not there yet.

    Pages are shared with all processes that read them. One that is written to becomes a copy of
    this process: the file never changes.

    A file that is cut short, has no checksum or is no array of that shape is made anew. Of several
    processes that ask for the same key one makes it and the others wait.

    Args:
        key: Digest of everything that the images depend on.
        shape: ``(n, channels, size, size)``.
        make: Yields the images in order, in blocks of any length, so that never all are in memory.
        verify: Read the whole file once, and make it anew where its checksum is wrong. A file that
            this process has verified is read again only after it has changed.

    Raises:
        OSError: the folder cannot be written or the disk is full; names the file.
    """
    path = cache_folder() / "images" / f"{key}.npy"
    images = _open(path, shape, verify=verify)
    if images is not None:
        return images
    with locked(path):
        # Another process may have made it while this one waited.
        images = _open(path, shape, verify=verify)
        if images is None:
            if path.exists():
                say_damaged(path)
            with replacing(path) as draft:
                _write(draft, shape, make())
            images = _open(path, shape, verify=False)
    if images is None:
        raise OSError(f"{path}: cannot be read back after it was written; check the disk")
    return images


def _open(
    path: Path, shape: tuple[int, int, int, int], *, verify: bool
) -> UInt8[np.ndarray, "n channels size size"] | None:
    """The mapped array, or None where there is no whole one."""
    header = _header(shape)
    try:
        with path.open("rb") as stream:
            status = os.fstat(stream.fileno())
            is_whole = status.st_size == len(header) + math.prod(shape) + END_BYTES
            is_whole &= stream.read(len(header)) == header
            stamp = Stamp(status.st_size, status.st_mtime_ns, status.st_ctime_ns)
            if is_whole and verify and _verified.get(path) != stamp:
                is_whole = is_sound(stream)
                if is_whole and stamp.is_settled:
                    _verified[path] = stamp
    except FileNotFoundError:
        return None
    return np.memmap(path, np.uint8, "c", len(header), shape) if is_whole else None


def _write(
    path: Path,
    shape: tuple[int, int, int, int],
    blocks: Iterable[UInt8[np.ndarray, "block channels size size"]],
) -> None:
    written = 0
    # Plain writes, not a mapped file: on a full disk a mapped page kills the process (SIGBUS).
    with path.open("wb") as stream:
        writer = SummedWriter(stream)
        writer.write(_header(shape))
        for block in blocks:
            writer.write(np.ascontiguousarray(block).data)
            written += len(block)
        if written != shape[0]:
            raise RuntimeError(f"{written} images were made where {shape[0]} were announced")
        writer.finish()
        os.fsync(stream.fileno())


def _header(shape: tuple[int, int, int, int]) -> bytes:
    """What a ``.npy`` file of such images begins with."""
    stream = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        stream, {"descr": "|u1", "fortran_order": False, "shape": shape}
    )
    return stream.getvalue()
