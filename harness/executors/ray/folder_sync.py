"""Copies of a run's work folder between machines: what has changed, and putting it in place.

A workload appends to its files and then replaces its checkpoint, which says how far they count. So
the newest file is read first and written last: a copy may hold more than its checkpoint counts, as
after a crash, and never less.
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
    """By what a file is known to be unchanged."""

    size: int
    modified_ns: int


class Content(NamedTuple):
    """A file on its way."""

    data: bytes
    modified_ns: int


class Changes(NamedTuple):
    """What has changed in a folder."""

    contents: Mapping[str, Content]
    """Relative name -> file, of those that are new or different, the newest first."""
    present: Mapping[str, Stamp]
    """All files that are there; any other is gone."""


def stamps(folder: Path) -> dict[str, Stamp]:
    """The files below ``folder``, which need not exist."""
    found = {}
    for path in sorted(folder.rglob("*")):
        try:
            status = path.stat()
        except FileNotFoundError:  # renamed since it was listed
            continue
        if path.is_file():
            name = path.relative_to(folder).as_posix()
            found[name] = Stamp(status.st_size, status.st_mtime_ns)
    return found


def changes(folder: Path, seen: Mapping[str, Stamp]) -> Changes:
    """What is different below ``folder`` from what it was at ``seen``."""
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
    """Make ``folder`` what another one was when ``found`` was found there.

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
