"""Outcomes of ``harness verify``, a line of ``studies/<study>.verified.jsonl`` each.

They are files beside the study records, so that a rebuilt database has them, too.
"""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from harness.records.plain_file import (
    names_in,
    open_no_follow,
    read_no_follow,
    unreadable,
    writing,
)

_ENDING = ".verified.jsonl"
_DIGITS = 10


@dataclass(frozen=True, slots=True)
class VerifyOutcome:
    """What came of killing a study and running it to its end again."""

    study: str
    checked: str
    """When, UTC, as in 2026-01-31T12:00:00."""
    kills: int
    is_equal: bool
    git_commit: str | None
    dirty: bool | None
    """Whether tracked files differed from the commit."""
    differences: str
    """The tables that differ; empty if none does."""
    first_run: str | None = None
    """Of a difference between training states: the run, the epoch and the parts where it begins."""
    first_epoch: int | None = None
    first_parts: str | None = None

    @property
    def text(self) -> str:
        """The outcome in a line."""
        kills = f"{self.kills} kill{'s' * (self.kills != 1)} on {self.checked[:10]}"
        if self.git_commit:
            kills += f" at commit {self.git_commit[:_DIGITS]}"
            kills += " with uncommitted changes" * bool(self.dirty)
        if self.is_equal:
            return f"{kills}: equal"
        return f"{kills}: NOT equal: {self.differences}{self._first}"

    @property
    def _first(self) -> str:
        if self.first_run is None:
            return ""
        return (
            f"; training parts ways in epoch {self.first_epoch} of run {self.first_run}: "
            f"{self.first_parts}"
        )


_VERIFICATION = TypeAdapter(VerifyOutcome)


def add_verification(results: Path, made: VerifyOutcome) -> None:
    """Append an outcome to the file of its study.

    Raises:
        StoreError: the disk is full, or the place is not writable.
    """
    path = results / "studies" / f"{made.study}{_ENDING}"
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = open_no_follow(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        with os.fdopen(descriptor, "ab") as stream:
            stream.write(json.dumps(asdict(made)).encode() + b"\n")
            stream.flush()
            os.fsync(stream.fileno())


def read_verifications(results: Path, notices: list[str]) -> list[VerifyOutcome]:
    """Return all outcomes, oldest first for each study; a damaged line adds a notice.

    Raises:
        StoreError: a file cannot be read.
    """
    found = []
    for name in names_in(results / "studies"):
        if not name.endswith(_ENDING):
            continue
        path = results / "studies" / name
        try:
            lines = read_no_follow(path).split(b"\n")
        except OSError as error:
            raise unreadable(path, error) from None
        for number, line in enumerate(lines, start=1):
            try:
                found += [_VERIFICATION.validate_json(line)] if line.strip() else []
            except ValidationError:
                notices.append(f"{path}:{number}: not an outcome of harness verify; left out")
    return found
