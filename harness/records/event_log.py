"""The events of a run in its ``spool.jsonl``: one JSON object a line, appended, synced and sealed.

Every line ends with the checksum of what stands before it, and names the checksum of the line that
was the last whole one when it was written (``previous``). So damage is told from a crash: a line
that was torn by a crash was never named by the line after it, and is passed over; one that was
whole, and is not any more, was named. A torn line is also left alone while it is the last, since
its writer may be about to end it. Lines before the first checksum are those of an older version of
this program, and are taken as they are.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple, Protocol

from harness.records.events import Damaged, Entry, Event, Started, from_json, to_json
from harness.records.plain_file import open_no_follow, unreadable, unwritable
from harness.workload import JsonValue

_KEY = b',"checksum":"'
_DIGITS = 16
_SEAL = len(_KEY) + _DIGITS + len(b'"}')
_BLOCK = 1 << 16
_APPEND = os.O_RDWR | os.O_CREAT | os.O_APPEND


class Entries(NamedTuple):
    """What was read from a spool."""

    entries: tuple[Entry, ...]
    is_from_start: bool
    """Whether they begin with the spool's first line, so that whatever was read before is void:
    always so at first, and again where the file was removed or replaced."""


def append(path: Path, event: Event) -> None:
    """Add one event to the spool file ``path`` and sync it to the disk.

    The file and its folders are made where they are missing. A torn last line is closed first, so
    that it cannot spoil this one. ``Started`` alone is not synced: a run of which a power cut
    leaves no more than its start has lost nothing, and a sync costs milliseconds.

    Raises:
        StoreError: the disk is full, or the place is not writable.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with os.fdopen(open_no_follow(path, _APPEND), "ab+", buffering=0) as stream:
            # Journaling file systems commit the name of a new file with its first sync.
            line = sealed(to_json(event), previous=_last_mark(stream))
            _write(stream, line, is_synced=not isinstance(event, Started))
    except OSError as error:
        raise unwritable(path, error) from None


def append_lines(path: Path, lines: bytes) -> None:
    """Add whole lines of a copy of the spool file ``path``, which ended as this one does, and sync.

    Raises:
        StoreError: the disk is full, or the place is not writable.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with os.fdopen(open_no_follow(path, _APPEND), "ab+", buffering=0) as stream:
            _write(stream, lines, is_synced=True)
    except OSError as error:
        raise unwritable(path, error) from None


def sealed(document: Mapping[str, JsonValue], *, previous: str) -> bytes:
    """The line of an event: its JSON with ``previous``, and then its checksum."""
    text = json.dumps({**document, "previous": previous}, separators=(",", ":"), allow_nan=False)
    body = text.encode()[:-1]
    return body + _KEY + _checksum(body).encode() + b'"}\n'


@dataclass
class SpoolReader:
    """Reads a run's spool as it grows."""

    path: Path
    offset: int = field(default=0, init=False)
    """So many bytes have been read: more of them are a sign of life."""
    _inode: int | None = field(default=None, init=False)
    _lines: int = field(default=0, init=False)
    _marks: set[str] = field(default_factory=set, init=False)
    """Of the whole lines: two writers that do not know of each other may both follow one."""
    _has_checksums: bool = field(default=False, init=False)
    _doubtful: int | None = field(default=None, init=False)
    """The first line since the last whole one, if there are any."""

    def read(self) -> Entries:
        """What was added since the last call; nothing where there is no file.

        A last line without its line end is left for the next call.

        Raises:
            StoreError: the file is there and cannot be read.
        """
        try:
            with os.fdopen(open_no_follow(self.path, os.O_RDONLY), "rb") as stream:
                status = os.fstat(stream.fileno())
                if status.st_ino != self._inode or status.st_size < self.offset:
                    self._start_over(status.st_ino)
                is_from_start = self.offset == 0
                stream.seek(self.offset)
                text = stream.read()
        except FileNotFoundError:
            self._start_over(None)
            return Entries((), True)
        except OSError as error:
            raise unreadable(self.path, error) from None
        end = text.rfind(b"\n") + 1
        whole, rest = text[:end], text[end:]
        if rest and _checked(rest[:-1]) is not None:  # its line end is what was damaged
            whole, rest = text + b"\n", b""
        entries = [entry for line in whole.split(b"\n")[:-1] for entry in self._take(line)]
        if self._doubtful is not None and self._has_checksums and not rest:
            entries.append(Damaged(self._doubtful))
            self._doubtful = None
        self.offset += len(text) - len(rest)
        return Entries(tuple(entries), is_from_start)

    def _start_over(self, inode: int | None) -> None:
        self.offset, self._inode = 0, inode
        self._lines, self._marks, self._has_checksums, self._doubtful = 0, {""}, False, None

    def _take(self, line: bytes) -> Iterator[Entry]:
        """The event on a line, after what it gives away of those before it."""
        self._lines += 1
        found = _checked(line) or (None if self._has_checksums else _unsealed(line))
        if found is None:
            if line:
                self._doubtful = self._doubtful or self._lines
            return
        if found.previous is not None:
            self._has_checksums = True
            if found.previous not in self._marks:
                yield Damaged(self._doubtful or max(1, self._lines - 1))
        self._doubtful = None
        self._marks.add(found.mark)
        if found.event is not None:
            yield found.event


def read_spool(path: Path) -> tuple[Entry, ...]:
    """All that is in the spool file ``path``; see ``SpoolReader.read``."""
    return SpoolReader(path).read().entries


class _Line(NamedTuple):
    event: Event | None
    """None where only a newer version of this program knows what it means."""
    mark: str
    """What the next line calls it by."""
    previous: str | None
    """What it calls the line before it by; None where it has no checksum."""


def _checked(line: bytes) -> _Line | None:
    """A line with a checksum that is right; None for any other."""
    body, seal = line[:-_SEAL], line[-_SEAL:]
    mark = _checksum(body)
    if seal != _KEY + mark.encode() + b'"}':
        return None
    event, previous = None, ""
    with suppress(ValueError, RecursionError):
        document = json.loads(body + b"}")
        previous = str(document["previous"])
        event = from_json(document)
    return _Line(event, mark, previous)


def _unsealed(line: bytes) -> _Line | None:
    """A line of an older version, which wrote no checksums; None where it is no event."""
    try:
        document = json.loads(line)
        if not isinstance(document, dict):
            return None
        return _Line(from_json(document), _checksum(line), None)
    except (ValueError, RecursionError):
        return None


def _checksum(body: bytes) -> str:
    return hashlib.blake2b(body, digest_size=_DIGITS // 2).hexdigest()


class _Stream(Protocol):
    """A file that is opened for appending and reading, without a buffer."""

    def seek(self, offset: int, whence: int = 0, /) -> int: ...
    def read(self, size: int, /) -> bytes: ...
    def write(self, data: bytes, /) -> int: ...
    def fileno(self) -> int: ...


def _last_mark(stream: _Stream) -> str:
    """The mark of the last whole line of a spool; empty where there is none."""
    start = stream.seek(0, os.SEEK_END)
    text = b""
    while start:
        step = min(_BLOCK, start)
        start -= step
        stream.seek(start)
        text = stream.read(step) + text
        lines = text.split(b"\n")
        # The first one may have begun before this block.
        for line in reversed(lines if start == 0 else lines[1:]):
            if (found := _checked(line) or _unsealed(line)) is not None:
                return found.mark
    return ""


def _write(stream: _Stream, lines: bytes, *, is_synced: bool) -> None:
    size = stream.seek(0, os.SEEK_END)
    if size:
        stream.seek(size - 1)
        if stream.read(1) != b"\n":
            lines = b"\n" + lines
    # A raw write may take only a part of it when the disk fills up.
    while lines:
        lines = lines[stream.write(lines) :]
    if is_synced:
        os.fsync(stream.fileno())
