"""A folder of prepared images that all runs share: written once, then mapped into memory.

The folder is ``$GCUDML_CACHE``, else ``$XDG_CACHE_HOME/gcudml``, else ``~/.cache/gcudml``. A file's
name is a digest of what it was made from, so nothing in it goes out of date; all of it can be
deleted at any time while no run is going on.
"""

import contextlib
import hashlib
import io
import json
import math
import os
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import numpy as np
from jaxtyping import UInt8

if sys.platform != "win32":
    import fcntl


def cache_folder() -> Path:
    """Where prepared images and measurements are kept; need not exist yet."""
    if chosen := os.environ.get("GCUDML_CACHE"):
        return Path(chosen).expanduser()
    root = os.environ.get("XDG_CACHE_HOME")
    return (Path(root) if root else Path("~/.cache").expanduser()) / "gcudml"


def digest(content: object) -> str:
    """24 hexadecimal digits for a JSON value; the order of keys does not matter."""
    text = json.dumps(content, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:24]


def cached_images(
    key: str,
    shape: tuple[int, int, int, int],
    make: Callable[[], Iterable[UInt8[np.ndarray, "block channels size size"]]],
) -> UInt8[np.ndarray, "n channels size size"]:
    """The images named ``key``, mapped; made and stored where they are not there yet.

    Pages are shared with all processes that read them. One that is written to becomes a copy of
    this process: the file never changes.

    A file that is cut short or is no array of that shape is made anew. Of several processes that
    ask for the same key one makes it and the others wait.

    Args:
        key: Digest of everything that the images depend on.
        shape: ``(n, channels, size, size)``.
        make: Yields the images in order, in blocks of any length, so that never all are in memory.

    Raises:
        OSError: the folder cannot be written or the disk is full; names the file.
    """
    path = cache_folder() / "images" / f"{key}.npy"
    images = _open(path, shape)
    if images is not None:
        return images
    with locked(path):
        images = _open(path, shape)  # another process may have made it while this one waited
        if images is None:
            with replacing(path) as draft:
                _write(draft, shape, make())
            images = _open(path, shape)
    if images is None:
        raise OSError(f"{path}: cannot be read back after it was written; check the disk")
    return images


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold the lock that belongs to ``path``; it ends with the process, however that ends.

    Without file locks (Windows) nothing is held: then a file may be made twice, to equal effect.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.with_suffix(".lock").open("a") as holder:
        if sys.platform != "win32":
            fcntl.flock(holder, fcntl.LOCK_EX)
            # Only a killed process leaves drafts: whoever holds the lock is the only writer.
            for left in path.parent.glob(f"{path.stem}.*.draft"):
                left.unlink(missing_ok=True)
        yield


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A draft to write; it becomes ``path`` at once if the block succeeds and vanishes if not.

    Raises:
        OSError: as the block raised it, with the file's name where it had none (a full disk).
    """
    draft = path.with_suffix(f".{os.getpid()}.draft")
    try:
        yield draft
        draft.replace(path)
    except OSError as error:
        if error.errno is None or error.filename is not None:
            raise
        raise OSError(error.errno, error.strerror, str(draft)) from error
    finally:
        draft.unlink(missing_ok=True)


def _open(
    path: Path, shape: tuple[int, int, int, int]
) -> UInt8[np.ndarray, "n channels size size"] | None:
    """The mapped array, or None where there is no whole one."""
    header = _header(shape)
    try:
        with path.open("rb") as stream:
            is_whole = stream.read(len(header)) == header
            is_whole &= os.fstat(stream.fileno()).st_size == len(header) + math.prod(shape)
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
        stream.write(_header(shape))
        for block in blocks:
            stream.write(np.ascontiguousarray(block).data)
            written += len(block)
        if written != shape[0]:
            raise RuntimeError(f"{written} images were made where {shape[0]} were announced")
        stream.flush()
        os.fsync(stream.fileno())


def _header(shape: tuple[int, int, int, int]) -> bytes:
    """What a ``.npy`` file of such images begins with."""
    stream = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        stream, {"descr": "|u1", "fortran_order": False, "shape": shape}
    )
    return stream.getvalue()
