"""Atomic writes, locks and checksummed JSON, for files in a cache that all runs share."""

import contextlib
import hashlib
import json
import os
import sys
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

if sys.platform != "win32":
    import fcntl

SETTLED_S = 2.0  # a more recent change may be followed by one with the same time stamp


class Stamp(NamedTuple):
    """Size and times of a file, which change with its content."""

    size: int
    modified_ns: int
    changed_ns: int
    """Time of the last change of any kind; resetting ``modified_ns`` does not reset this."""

    @property
    def is_settled(self) -> bool:
        """Whether any later change is certain to change the stamp.

        Anybody can set ``modified_ns``, so if it is in the future, only ``changed_ns`` counts. If
        that is in the future too, the clock was set back and nothing is certain.
        """
        now = time.time_ns()
        is_ahead = self.modified_ns > now
        newest = self.changed_ns if is_ahead else max(self.modified_ns, self.changed_ns)
        return newest < now - int(SETTLED_S * 1e9)


def stamp_of(path: str | Path) -> Stamp | None:
    """Return the stamp of a file; None if its status cannot be read."""
    try:
        status = os.stat(path)  # noqa: PTH116 -- a Path would take longer than the call
    except OSError:
        return None
    return Stamp(status.st_size, status.st_mtime_ns, status.st_ctime_ns)


def cache_folder() -> Path:
    """Return the folder for prepared images, features and measurements; it may not exist yet."""
    if chosen := os.environ.get("GCUDML_CACHE"):
        return Path(chosen).expanduser()
    root = os.environ.get("XDG_CACHE_HOME")
    return (Path(root) if root else Path("~/.cache").expanduser()) / "gcudml"


def digest(content: object) -> str:
    """Digest a JSON value to 24 hexadecimal digits, independent of the order of keys."""
    text = json.dumps(content, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:24]


def read_sealed(path: Path, *, quietly: bool = False) -> object:
    """Read a JSON file written by ``write_sealed``; None if there is none.

    A file without a valid checksum also gives None, so the caller recreates its content; unless
    ``quietly``, this is reported on stderr.
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
        say_damaged(path)
    return None


def write_sealed(path: Path, content: object) -> None:
    """Write a JSON file with its checksum, replacing any earlier one.

    Raises:
        OSError: the file cannot be written.
    """
    body = json.dumps(content).encode()
    with replacing(path) as draft:
        draft.write_bytes(_seal(body) + body + b"}")


def _seal(body: bytes) -> bytes:
    """Return the header of a sealed file; header, body and a closing ``}`` form valid JSON."""
    return f'{{"sha256":"{hashlib.sha256(body).hexdigest()}","content":'.encode()


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold the lock of ``path``; it is released when the process ends, however it ends.

    Without file locks (Windows) there is no lock: a file may be created twice, with equal content.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.with_suffix(".lock").open("a") as holder:
        if sys.platform != "win32":
            fcntl.flock(holder, fcntl.LOCK_EX)
            # The holder of the lock is the only writer, so any draft is from a killed process.
            for left in path.parent.glob(f"{path.stem}.*.draft"):
                left.unlink(missing_ok=True)
        yield


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a draft; it atomically replaces ``path`` if the block succeeds, else it is deleted.

    Raises:
        OSError: raised by the block; the file's name is added if it has none (a full disk).
    """
    # Not named by process id: two containers or machines can have equal ones.
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


def say_damaged(path: Path) -> None:
    """Report on stderr that a file is unusable and will be recreated."""
    reason = "damaged, or of an older version (no valid checksum)"
    print(f"{path}: {reason}; recreating it", file=sys.stderr)
