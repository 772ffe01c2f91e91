"""Cache of large arrays that all runs share, such as images: written once, then memory-mapped.

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
from typing import Any

import numpy as np
from jaxtyping import Shaped

from gcudml.runtime.checksum import END_BYTES, SummedWriter, is_sound
from gcudml.runtime.files import Stamp, cache_folder, locked, replacing, say_damaged

_verified: dict[Path, Stamp] = {}


def cached_array(
    kind: str,
    key: str,
    shape: tuple[int, ...],
    make: Callable[[], Iterable[Shaped[np.ndarray, "..."]]],
    *,
    dtype: type[np.generic],
    verify: bool = False,
) -> Shaped[np.ndarray, "..."]:
    """Memory-map the array stored under ``key``, creating the file if there is none.

    Pages are shared by all processes that read them. The mapping is copy-on-write, so the file
    never changes.

    A file that is truncated, has no checksum or holds another kind of array is rebuilt. If several
    processes ask for the same key, one builds the file and the others wait.

    Args:
        kind: Folder of the file, such as ``images``.
        key: Digest of everything that the array depends on.
        shape: Shape of the array, without a 0.
        make: Yields the array in order, in blocks of any length along the first axis, so that it
            is never all in memory.
        dtype: Type of the array's elements.
        verify: Read the whole file, and rebuild it if its checksum is wrong. A file that this
            process has verified is read again only after it has changed.

    Raises:
        OSError: the folder cannot be written or the disk is full; names the file.
    """
    path = cache_folder() / kind / f"{key}.npy"
    wanted = np.dtype(dtype)
    array = _open(path, shape, wanted, verify=verify)
    if array is not None:
        return array
    with locked(path):
        # Another process may have built it while this one waited.
        array = _open(path, shape, wanted, verify=verify)
        if array is None:
            if path.exists():
                say_damaged(path)
            with replacing(path) as draft:
                _write(draft, shape, wanted, make())
            array = _open(path, shape, wanted, verify=False)
    if array is None:
        raise OSError(f"{path}: cannot be read back after it was written; check the disk")
    return array


def _open(
    path: Path, shape: tuple[int, ...], dtype: np.dtype[Any], *, verify: bool
) -> Shaped[np.ndarray, "..."] | None:
    """Map the array; None if there is no complete file."""
    header = _header(shape, dtype)
    try:
        with path.open("rb") as stream:
            status = os.fstat(stream.fileno())
            content = math.prod(shape) * dtype.itemsize
            is_whole = status.st_size == len(header) + content + END_BYTES
            is_whole &= stream.read(len(header)) == header
            stamp = Stamp(status.st_size, status.st_mtime_ns, status.st_ctime_ns)
            if is_whole and verify and _verified.get(path) != stamp:
                is_whole = is_sound(stream)
                if is_whole and stamp.is_settled:
                    _verified[path] = stamp
    except FileNotFoundError:
        return None
    return np.memmap(path, dtype, "c", len(header), shape) if is_whole else None


def _write(
    path: Path,
    shape: tuple[int, ...],
    dtype: np.dtype[Any],
    blocks: Iterable[Shaped[np.ndarray, "..."]],
) -> None:
    written = 0
    # Not through a mapping: on a full disk, writing to a mapped page kills the process (SIGBUS).
    with path.open("wb") as stream:
        writer = SummedWriter(stream)
        writer.write(_header(shape, dtype))
        for block in blocks:
            writer.write(np.ascontiguousarray(block, dtype).data)
            written += len(block)
        if written != shape[0]:
            raise RuntimeError(f"{written} rows were made where {shape[0]} were announced")
        writer.finish()
        os.fsync(stream.fileno())


def _header(shape: tuple[int, ...], dtype: np.dtype[Any]) -> bytes:
    """Header of a ``.npy`` file that holds such an array."""
    stream = io.BytesIO()
    described = np.lib.format.dtype_to_descr(dtype)
    np.lib.format.write_array_header_1_0(
        stream, {"descr": described, "fortran_order": False, "shape": shape}
    )
    return stream.getvalue()
