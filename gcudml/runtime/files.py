"""Files that are whole or not there, in a cache that all runs share."""

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

SETTLED_S = 2.0  # a file changed more recently may change again within its time stamp's grain


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
        say_damaged(path)
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


def say_damaged(path: Path) -> None:
    """Say on stderr that a file is unusable and made anew."""
    reason = "damaged, or of an older version (no valid checksum)"
    print(f"{path}: {reason}; making it anew", file=sys.stderr)
