"""Digests of a run's files, and what is damaged by them."""

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
    """What a run has left."""

    directory: Path
    """Its work folder."""
    files: Mapping[str, str]
    """Path below it -> digest, by the end of the run; none where that is not known."""


def digest_file(path: str | Path) -> str:
    """What tells a file from one that was changed: 16 hex digits of its SHA-256.

    Raises:
        OSError: it cannot be read.
    """
    found = hashlib.sha256()
    with open(path, "rb", buffering=0) as stream:  # noqa: PTH123 -- a run leaves hundreds of files
        while chunk := stream.read(_CHUNK):
            found.update(chunk)
    return found.hexdigest()[:16]


def digests_below(directory: Path) -> dict[str, str]:
    """Path below ``directory`` with ``/`` -> digest, of every file there that is no link.

    What vanishes meanwhile or cannot be read is left out.
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
    """What is wrong with a file that a run left, in a few words; None where nothing is.

    Args:
        left: The run's folder, and what was in it.
        name: Path below the folder, with ``/``.
    """
    path = left.directory / name
    if path.is_symlink() or (path.exists() and not path.is_file()):
        return "is no plain file"  # but a link, a folder, a pipe, that could lead anywhere
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
