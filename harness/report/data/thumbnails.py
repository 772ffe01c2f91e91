"""Small pictures that runs left in their work folders, as data of the page: each one once.

A workload names them in its tables, as ``images/NAME.webp`` or ``.png``. They are taken as they
are: what a file is, its first bytes tell, and one that is missing, too large or something else is
no picture; nor is one that is not any more what its run wrote.
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
"""Of all pictures of a page as text."""
_NAME = re.compile(r"images/[A-Za-z0-9_-][A-Za-z0-9_.-]{0,199}\.(?:webp|png)")


@dataclass
class Pictures:
    """The pictures of one page, in the order in which they were asked for."""

    results: Path
    room: int | None = None
    """Most bytes of all of them as text; None: ``MOST_BYTES``."""
    data: dict[str, str] = field(default_factory=dict)
    """Name in the page -> the picture as a data URI."""
    _size: int = 0
    _names: dict[str, str] = field(default_factory=dict)
    """Digest of a picture -> its name in the page."""
    _known: dict[tuple[str, str], str | None] = field(default_factory=dict)
    _left: dict[str, Left] = field(default_factory=dict)
    """Run -> what it left."""

    def add(self, run_id: str, path: object) -> str | None:
        """Take in a picture of a run and return its name in the page.

        None where there is no such picture, or no room for it any more.

        Args:
            run_id: The run in whose work folder it lies.
            path: What the table says; anything but a proper name is no picture.
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
    """A small regular file; empty where there is none."""
    try:
        # A link could lead anywhere: to a device, or out of the results.
        if path.is_symlink() or not path.is_file() or path.stat().st_size > MOST_BYTES_OF_ONE:
            return b""
        return path.read_bytes()
    except OSError:
        return b""


def _kind(content: bytes) -> str | None:
    """``webp`` or ``png``, by the first bytes."""
    if content[:4] == b"RIFF" and content[8:12] == b"WEBP":
        return "webp"
    return "png" if content[:8] == b"\x89PNG\r\n\x1a\n" else None
