"""Errors that a user can act on, each a line ready to be shown; also the nearest known name.

Every message says what is wrong, where, and what to do about it. The command line prints the
message alone and exits with ``exit_status``; anything that is not a ``HarnessError`` is a bug.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class HarnessError(Exception):
    """A problem that a user can act on; its text is one line: what, where, remedy."""

    exit_status = 2


class InputError(HarnessError):
    """A file, option or value that the user gave is wrong. Nothing was run or written."""


class StoreError(HarnessError):
    """The results database is unusable: missing, damaged, or newer than this program."""


class StoreBusyError(StoreError):
    """Another process holds the results database; the message names it."""


class StoreDamagedError(StoreError):
    """The database file is damaged; it can be rebuilt from the spools, which hold its content."""


def nearest(name: str, known: Iterable[str]) -> str:
    """Suggest the nearest known name (``did you mean ...?``), and list all of them."""
    known = list(known)
    close = difflib.get_close_matches(name, known, n=1)
    guess = f"did you mean {close[0]!r}? " if close else ""
    return f"{guess}known: {', '.join(known) or 'none'}"
