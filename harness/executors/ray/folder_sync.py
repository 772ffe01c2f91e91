"""Copies changes of a run's work folder between machines.

A workload appends to its files and then replaces its checkpoint, which records how much of them
counts. So the newest file is read first and written last: a copy may hold more than its checkpoint
covers, as after a crash, but never less.
"""

from __future__ import annotations

import os
import uuid
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from harness.records.plain_file import unwritable


class Stamp(NamedTuple):
    """Size and modification time, by which an unchanged file is recognised."""

    size: int
    modified_ns: int


class Content(NamedTuple):
    """The content of a file to copy."""

    data: bytes
    modified_ns: int


class Changes(NamedTuple):
    """The changes in a folder since an earlier state."""

    contents: Mapping[str, Content]
    """Relative name -> content of every new or changed file, newest first."""
    present: Mapping[str, Stamp]
    """Relative name -> stamp of every existing file; any other file has been removed."""


def stamps(folder: Path) -> dict[str, Stamp]:
    """Return relative name -> stamp of the files below ``folder``, which need not exist."""
    found = {}
    for path in sorted(folder.rglob("*")):
        try:
            status = path.stat()
        except FileNotFoundError:  # renamed or removed since it was listed
            continue
        if path.is_file():
            name = path.relative_to(folder).as_posix()
            found[name] = Stamp(status.st_size, status.st_mtime_ns)
    return found


def changes(folder: Path, seen: Mapping[str, Stamp]) -> Changes:
    """Read what has changed below ``folder`` since the state ``seen``."""
    present = stamps(folder)
    contents = {}
    for name in sorted(present, key=lambda name: -present[name].modified_ns):
        if seen.get(name) == present[name]:
            continue
        try:
            data = (folder / name).read_bytes()
        except FileNotFoundError:
            del present[name]
        else:
            contents[name] = Content(data, present[name].modified_ns)
    return Changes(contents, present)


def put(folder: Path, found: Changes) -> None:
    """Apply the changes found in another folder to ``folder``, removing files that are gone there.

    Raises:
        StoreError: the disk is full, or the place is not writable.
    """
    for name, content in reversed(list(found.contents.items())):
        path = folder / name
        part = path.with_name(f"{path.name}.{uuid.uuid4().hex}.part")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with part.open("wb") as stream:
                stream.write(content.data)
                stream.flush()
                os.fsync(stream.fileno())
            os.utime(part, ns=(content.modified_ns, content.modified_ns))
            part.replace(path)
        except OSError as error:
            with suppress(OSError):
                part.unlink(missing_ok=True)
            raise unwritable(path, error) from None
    for name in stamps(folder).keys() - found.present.keys():
        (folder / name).unlink(missing_ok=True)
