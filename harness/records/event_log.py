"""Append and read the events of a run in its ``spool.jsonl``: one checksummed JSON line per event.

Every line ends with a checksum of its own text and holds the checksum of the last complete line
before it (``previous``). This chain distinguishes damage from a crash. A line torn by a crash is
never referenced by the next line, and is skipped. A line that is referenced but no longer valid was
damaged later. A torn last line is ignored for now: its writer may still be completing it. Lines
before the first checksum were written by an older version of this program and are not verified.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from io import FileIO
from pathlib import Path
from typing import NamedTuple

from harness.records.events import Damaged, Entry, Event, Started, from_json, to_json
from harness.records.plain_file import file_stamp, open_no_follow, unreadable, writing
from harness.workload import JsonValue

_KEY = b',"checksum":"'
_DIGITS = 16
_SEAL = len(_KEY) + _DIGITS + len(b'"}')
_BLOCK = 1 << 16
_APPEND = os.O_RDWR | os.O_CREAT | os.O_APPEND


class Entries(NamedTuple):
    """Entries read from a spool by one call."""

    entries: tuple[Entry, ...]
    is_from_start: bool
    """Whether the entries start at the spool's first line, so that they replace all earlier ones:
    true for the first read, and after the file was removed or replaced."""


def append(path: Path, event: Event) -> None:
    """Append one event to the spool file ``path`` and sync it to disk.

    The file and its folders are created if missing. A torn last line is terminated first, so that
    the event starts on a line of its own. ``Started`` is not synced: a sync takes milliseconds, and
    a run that has only started has nothing to lose in a power failure.

    Raises:
        StoreError: the disk is full, or the path is not writable.
    """
    SpoolWriter(path).append(event)


@dataclass
class SpoolWriter:
    """Appends the events of one attempt, and reads the spool only if others have written to it."""

    path: Path
    _last: tuple[int, int] | None = field(default=None, init=False)
    """Inode and size of the spool after the last append; None if others wrote in the meantime."""
    _mark: str = field(default="", init=False)
    """Checksum of the last line that was appended."""

    @property
    def is_last(self) -> bool:
        """Whether the spool still ends with what this writer appended last."""
        stamp = file_stamp(self.path)
        return stamp is not None and (stamp[0], stamp[2]) == self._last

    def append(self, event: Event) -> None:
        """Append an event; see the function ``append``.

        Raises:
            StoreError: the disk is full, or the path is not writable.
        """
        with _appending(self.path) as stream:
            before = os.fstat(stream.fileno())
            if (before.st_ino, before.st_size) != self._last:
                self._mark = _last_mark(stream)
            line = sealed(to_json(event), previous=self._mark)
            # No sync of the folder: journaling file systems commit a new name with the first fsync.
            _write(stream, line, is_synced=not isinstance(event, Started))
            self._mark = _checksum(line[: -_SEAL - 1])
            after = os.fstat(stream.fileno()).st_size
            self._last = (before.st_ino, after) if after == before.st_size + len(line) else None


def append_lines(path: Path, lines: bytes) -> None:
    """Append complete lines from a copy of the spool file ``path`` that had the same end, and sync.

    Raises:
        StoreError: the disk is full, or the path is not writable.
    """
    with _appending(path) as stream:
        _write(stream, lines, is_synced=True)


def sealed(document: Mapping[str, JsonValue], *, previous: str) -> bytes:
    """Return the line of an event: its JSON with ``previous``, followed by its checksum."""
    text = json.dumps({**document, "previous": previous}, separators=(",", ":"), allow_nan=False)
    body = text.encode()[:-1]
    return body + _KEY + _checksum(body).encode() + b'"}\n'


@dataclass
class SpoolReader:
    """Incremental reader of a run's spool."""

    path: Path
    offset: int = field(default=0, init=False)
    """Number of bytes read so far; if it grows, the run is alive."""
    _inode: int | None = field(default=None, init=False)
    _lines: int = field(default=0, init=False)
    _marks: set[str] = field(default_factory=set, init=False)
    """Checksums of all complete lines, since two concurrent writers may reference the same line."""
    _has_checksums: bool = field(default=False, init=False)
    _doubtful: int | None = field(default=None, init=False)
    """Number of the first invalid line after the last complete one, if any."""

    def read(self) -> Entries:
        """Read what was added since the last call; nothing if there is no file.

        A last line without a line end is left for the next call.

        Raises:
            StoreError: the file exists but cannot be read.
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
        if rest and _checked(rest[:-1]) is not None:  # complete except for a damaged line end
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
        """Yield the event on a line, preceded by damage to earlier lines that this line reveals."""
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
    """Read the whole spool file ``path``; see ``SpoolReader.read``."""
    return SpoolReader(path).read().entries


class _Line(NamedTuple):
    event: Event | None
    """None for a kind of event that only a newer version of this program knows."""
    mark: str
    """Checksum by which the next line references this one."""
    previous: str | None
    """Checksum of the line before; None for a line without a checksum of its own."""


def _checked(line: bytes) -> _Line | None:
    """Parse a line with a valid checksum; None for any other line."""
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
    """Parse a line of an older version, which wrote no checksums; None if it is not an event."""
    try:
        document = json.loads(line)
        if not isinstance(document, dict):
            return None
        return _Line(from_json(document), _checksum(line), None)
    except (ValueError, RecursionError):
        return None


def _checksum(body: bytes) -> str:
    return hashlib.blake2b(body, digest_size=_DIGITS // 2).hexdigest()


@contextmanager
def _appending(path: Path) -> Iterator[FileIO]:
    """Open a spool, unbuffered, for appending and reading; its folders are created."""
    with writing(path):
        try:
            descriptor = open_no_follow(path, _APPEND)
        except FileNotFoundError:
            path.parent.mkdir(parents=True, exist_ok=True)
            descriptor = open_no_follow(path, _APPEND)
        with os.fdopen(descriptor, "ab+", buffering=0) as stream:
            yield stream


def _last_mark(stream: FileIO) -> str:
    """Return the checksum of the last complete line of a spool; empty if there is none."""
    start = stream.seek(0, os.SEEK_END)
    text = b""
    while start:
        step = min(_BLOCK, start)
        start -= step
        stream.seek(start)
        text = stream.read(step) + text
        lines = text.split(b"\n")
        # The first line may have started before this block.
        for line in reversed(lines if start == 0 else lines[1:]):
            if (found := _checked(line) or _unsealed(line)) is not None:
                return found.mark
    return ""


def _write(stream: FileIO, lines: bytes, *, is_synced: bool) -> None:
    size = stream.seek(0, os.SEEK_END)
    if size:
        stream.seek(size - 1)
        if stream.read(1) != b"\n":
            lines = b"\n" + lines
    # A raw write may be partial when the disk fills up.
    while lines:
        lines = lines[stream.write(lines) :]
    if is_synced:
        os.fsync(stream.fileno())
