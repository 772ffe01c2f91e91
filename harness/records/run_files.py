"""Digests of a run's files, and detection of files that have changed since."""

from __future__ import annotations

import hashlib
import os
import re
import stat
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

FACTS = "facts.json"
TABLES = "tables"
_CHUNK = 1 << 20
TABLE_FILE = re.compile(TABLES + r"/[^/]+\.jsonl")


class Left(NamedTuple):
    """The files that a run has left behind."""

    directory: Path
    """The run's work folder."""
    files: Mapping[str, str]
    """Path below the folder -> digest at the end of the run; empty if not recorded."""


def digest_file(path: str | Path) -> str:
    """Compute a digest of a file's content: 16 hex digits of its SHA-256.

    Raises:
        OSError: the file cannot be read.
    """
    found = hashlib.sha256()
    with open(path, "rb", buffering=0) as stream:  # noqa: PTH123 -- a run leaves hundreds of files
        while chunk := stream.read(_CHUNK):
            found.update(chunk)
    return found.hexdigest()[:16]


def digests_below(directory: Path) -> dict[str, str]:
    """Return path below ``directory`` (with ``/``) -> digest, for every plain file.

    Links are left out, and so are files that vanish in the meantime or cannot be read.
    """
    found = {}
    for folder, folders, names in os.walk(directory):
        folders.sort()
        above = Path(folder).relative_to(directory).as_posix()
        for name in sorted(names):
            path = f"{folder}/{name}"
            with suppress(OSError):
                if stat.S_ISREG(os.lstat(path).st_mode):
                    found[name if above == "." else f"{above}/{name}"] = digest_file(path)
    return found


def damage_of(left: Left, name: str) -> str | None:
    """Say in a few words what is wrong with a file that a run left; None if nothing is.

    Args:
        left: The run's folder, and the digests of its files.
        name: Path below the folder, with ``/``.
    """
    path = left.directory / name
    if path.is_symlink() or (path.exists() and not path.is_file()):
        return "is not a plain file"  # a link or a pipe could lead anywhere
    if not left.files:
        return None
    if name not in left.files:
        return "is not from the run that ended here"
    try:
        is_as_left = digest_file(path) == left.files[name]
    except FileNotFoundError:
        return "is gone"
    except OSError as error:
        return f"cannot be read ({error.strerror or error})"
    return None if is_as_left else "is damaged: not what the run wrote"
