"""Embed small pictures from the runs' work folders in the page, each one once.

A workload names them in its tables, as ``images/NAME.webp`` or ``.png``. They are embedded
unchanged; the first bytes tell the format. A file that is missing, too large, of another format or
no longer what its run wrote is not a picture.
"""

from __future__ import annotations

import base64
import hashlib
import re
from dataclasses import dataclass, field
from pathlib import Path

from harness.records.event_log import read_spool
from harness.records.folders import run_dir, spool_path, work_dir
from harness.records.run_files import Left, damage_of
from harness.records.run_state import replay

MOST_BYTES_OF_ONE = 64_000
MOST_BYTES = 2_000_000
"""Maximum size of all pictures of a page, as text."""
_NAME = re.compile(r"images/[A-Za-z0-9_-][A-Za-z0-9_.-]{0,199}\.(?:webp|png)")


@dataclass(frozen=True, slots=True)
class ShownImage:
    """An image of the data, as the page shows it."""

    image: int
    label: str
    picture: str | None
    """Name of its picture in the page."""


@dataclass
class Pictures:
    """The pictures of one page, in the order requested."""

    results: Path
    room: int | None = None
    """Maximum size of all of them as text, in bytes; None for ``MOST_BYTES``."""
    data: dict[str, str] = field(default_factory=dict)
    """Name in the page -> the picture as a data URI."""
    _size: int = 0
    _names: dict[str, str] = field(default_factory=dict)
    """Digest of a picture -> its name in the page."""
    _known: dict[tuple[str, str], str | None] = field(default_factory=dict)
    _left: dict[str, Left] = field(default_factory=dict)
    """run_id -> the files it left."""

    def add(self, run_id: str, path: object) -> str | None:
        """Add a picture of a run and return its name in the page.

        None if there is no such picture, or no room left.

        Args:
            run_id: The run in whose work folder it lies.
            path: The value in the table; anything but a valid path is not a picture.
        """
        if not isinstance(path, str) or not _NAME.fullmatch(path):
            return None
        key = (run_id, path)
        if key not in self._known:
            left = self._left_by(run_id)
            is_damaged = damage_of(left, path) is not None
            self._known[key] = None if is_damaged else self._take(left.directory / path)
        return self._known[key]

    def _left_by(self, run_id: str) -> Left:
        if run_id not in self._left:
            directory = run_dir(self.results, run_id)
            files = replay(read_spool(spool_path(directory))).files
            self._left[run_id] = Left(work_dir(directory), files)
        return self._left[run_id]

    def _take(self, path: Path) -> str | None:
        content = _read(path)
        kind = _kind(content)
        if kind is None:
            return None
        digest = hashlib.sha256(content).hexdigest()
        if digest not in self._names:
            text = f"data:image/{kind};base64,{base64.b64encode(content).decode()}"
            room = MOST_BYTES if self.room is None else self.room
            if self._size + len(text) > room:
                return None
            self._size += len(text)
            self._names[digest] = f"p{len(self.data)}"
            self.data[self._names[digest]] = text
        return self._names[digest]


def _read(path: Path) -> bytes:
    """Read a small regular file; empty if there is none."""
    try:
        # A link could lead anywhere: to a device, or out of the results.
        if path.is_symlink() or not path.is_file() or path.stat().st_size > MOST_BYTES_OF_ONE:
            return b""
        return path.read_bytes()
    except OSError:
        return b""


def _kind(content: bytes) -> str | None:
    """Return ``webp`` or ``png``, judging by the first bytes."""
    if content[:4] == b"RIFF" and content[8:12] == b"WEBP":
        return "webp"
    return "png" if content[:8] == b"\x89PNG\r\n\x1a\n" else None
