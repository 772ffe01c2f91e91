"""Cache of prepared images that all runs share: written once, then memory-mapped.

The folder is ``$GCUDML_CACHE``, else ``$XDG_CACHE_HOME/gcudml``, else ``~/.cache/gcudml``. A file's
name is a digest of its inputs, so no file goes stale; the whole cache can be deleted whenever
nothing is running. Every file ends with a checksum; a file without a valid one is reported on
stderr and rebuilt.
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
    """Memory-map the images stored under ``key``, creating the file if there is none.

    Pages are shared by all processes that read them. The mapping is copy-on-write, so the file
    never changes.

    A file that is truncated, has no checksum or holds an array of another shape is rebuilt. If
    several processes ask for the same key, one builds the file and the others wait.

    Args:
        key: Digest of everything that the images depend on.
        shape: ``(n, channels, size, size)``.
        make: Yields the images in order, in blocks of any length, so that they are never all in
            memory.
        verify: Read the whole file, and rebuild it if its checksum is wrong. A file that this
            process has verified is read again only after it has changed.

    Raises:
        OSError: the folder cannot be written or the disk is full; names the file.
    """
    path = cache_folder() / "images" / f"{key}.npy"
    images = _open(path, shape, verify=verify)
    if images is not None:
        return images
    with locked(path):
        # Another process may have built it while this one waited.
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
    """Map the array; None if there is no complete file."""
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
    # Not through a mapping: on a full disk, writing to a mapped page kills the process (SIGBUS).
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
    """Header of a ``.npy`` file that holds such images."""
    stream = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        stream, {"descr": "|u1", "fortran_order": False, "shape": shape}
    )
    return stream.getvalue()
