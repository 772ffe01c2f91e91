"""One way in which a user's files or words can be wrong, and what the command line answers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class HostileRow:
    """A row of the table in ``test_hostile_input``; modules ``*_rows.py`` beside it list them."""

    name: str
    """A few words; they become the test's name."""
    prepare: Callable[[Path], Sequence[str]]
    """Makes what is wrong in an empty folder, the current one, and gives what follows `harness`."""
    says: Sequence[str]
    """Regular expressions, each of which is found in what is printed on either stream."""
    status: int = 2
    """The exit status."""
    lines: int | None = 1
    """Lines on stderr; None where their number does not matter."""
