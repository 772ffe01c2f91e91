"""A folder of prepared images that all runs share: written once, then mapped into memory.

The folder is ``$GCUDML_CACHE``, else ``$XDG_CACHE_HOME/gcudml``, else ``~/.cache/gcudml``. A file's
name is a digest of what it was made from, so nothing in it goes out of date; all of it can be
deleted at any time while no run is going on. Every file carries a checksum of its own: one without
a valid one is said on stderr and made anew.
"""

import contextlib
import hashlib
import io
import json
import math
import os
import sys
import time
import uuid
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import UInt8

from gcudml.data.checksum import END_BYTES, SummedWriter, is_sound

if sys.platform != "win32":
    import fcntl

SETTLED_S = 2.0  # a file changed more recently may change again within its time stamp's grain
_verified: dict[Path, "Stamp"] = {}


class Stamp(NamedTuple):
    """What changes with a file's content, as far as a glance can tell."""

    size: int
    modified_ns: int
    changed_ns: int
    """Time of the last change of any kind: setting ``modified_ns`` back does not set this back."""

    @property
    def is_settled(self) -> bool:
        """Whether a later change is certain to give another stamp.

        A time ahead of the clock is no sign of a recent change where ``modified_ns`` has it, which
        anybody can set: ``changed_ns`` decides then. Where that is ahead too, the clock was set
        back, and nothing is certain.
        """
        now = time.time_ns()
        is_ahead = self.modified_ns > now
        newest = self.changed_ns if is_ahead else max(self.modified_ns, self.changed_ns)
        return newest < now - int(SETTLED_S * 1e9)


def stamp_of(path: str | Path) -> Stamp | None:
    """The stamp of a file; None where it cannot be looked at."""
    try:
        status = os.stat(path)  # noqa: PTH116 -- a Path would take longer than the call
    except OSError:
        return None
    return Stamp(status.st_size, status.st_mtime_ns, status.st_ctime_ns)


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
                _say_damaged(path)
            with replacing(path) as draft:
                _write(draft, shape, make())
            images = _open(path, shape, verify=False)
    if images is None:
        raise OSError(f"{path}: cannot be read back after it was written; check the disk")
    return images


def read_sealed(path: Path, *, quietly: bool = False) -> object:
    """The content of a JSON file that ``write_sealed`` wrote; None where there is none.

    One without a valid checksum counts as none: make its content anew. Unless ``quietly``, it is
    said on stderr.
    """
    try:
        found = path.read_bytes()
    except OSError:
        return None
    start = len(_seal(b""))
    body = found[start:-1]
    if found == _seal(body) + body + b"}":
        return json.loads(body)
    if not quietly:
        _say_damaged(path)
    return None


def write_sealed(path: Path, content: object) -> None:
    """Replace a JSON file by one with its checksum.

    Raises:
        OSError: it cannot be written.
    """
    body = json.dumps(content).encode()
    with replacing(path) as draft:
        draft.write_bytes(_seal(body) + body + b"}")


def _seal(body: bytes) -> bytes:
    """What goes before a JSON text, so that with a ``}`` behind it is one again."""
    return f'{{"sha256":"{hashlib.sha256(body).hexdigest()}","content":'.encode()


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
    # Not by process: those of two containers or machines have equal numbers.
    draft = path.with_suffix(f".{uuid.uuid4().hex}.draft")
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


def _say_damaged(path: Path) -> None:
    reason = "damaged, or of an older version (no valid checksum)"
    print(f"{path}: {reason}; making it anew", file=sys.stderr)


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
