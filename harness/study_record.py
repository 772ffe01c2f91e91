"""The records of studies: with the spools, all that the database is made from.

Each is a file ``studies/<study>.json`` below the results folder, replaced whole.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import NamedTuple

from harness.errors import StoreError
from harness.spool import unwritable
from harness.trial import Trial
from harness.workload import JsonValue


class Member(NamedTuple):
    """Which run answers for a trial and seed; one run can serve several studies."""

    trial_id: str
    seed: int
    run_id: str
    is_pruned: bool = False
    """Whether the study has stopped this run early, or spares it since it gave its trial up."""


@dataclass(frozen=True, slots=True)
class StudyRecord:
    """A study as planned so far: with the spools, all that the database is made from."""

    study: str
    question: str
    metric: str
    """The primary one, without a split: ``recall@1``."""
    sampler: str
    spec: Mapping[str, JsonValue]
    fingerprint: str
    created: str
    updated: str
    command: str
    versions: Mapping[str, str]
    trials: tuple[Trial, ...]
    members: tuple[Member, ...]
    pruned: Mapping[str, str] = field(default_factory=dict)
    """Id of a trial that was given up -> why, in a line."""
    spent_seconds: float = 0.0
    """Time that the calls of the study have spent on its runs."""
    search_end: int | None = None
    """At so many trials the search was ended, to leave time for the confirmation."""
    search_end_hours: float | None = None
    """What the budget was then; with a greater one the search goes on."""


def write_study_record(results: Path, record: StudyRecord) -> None:
    """Replace ``studies/<study>.json`` whole: a reader sees the old record or the new one.

    Raises:
        StoreError: the disk is full, or the place is not writable.
    """
    path = results / "studies" / f"{record.study}.json"
    part = path.with_suffix(f".{os.getpid()}.part")  # another driver may write its own
    document = {item.name: getattr(record, item.name) for item in fields(record)}
    document["trials"] = [
        {item.name: getattr(trial, item.name) for item in fields(trial)} for trial in record.trials
    ]
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with part.open("w", encoding="utf-8") as stream:
            json.dump(document, stream, indent=1, default=dict)
            stream.flush()
            os.fsync(stream.fileno())
        part.replace(path)
        _sync_directory(path.parent)
    except OSError as error:
        with suppress(OSError):
            part.unlink(missing_ok=True)
        raise unwritable(path, error) from None


def read_study_records(results: Path) -> tuple[StudyRecord, ...]:
    """The records of all studies, by name; none where there is no results folder.

    Raises:
        StoreError: a record is damaged.
    """
    return tuple(_read_record(path) for path in sorted((results / "studies").glob("*.json")))


def _read_record(path: Path) -> StudyRecord:
    """One study's record."""
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        document["trials"] = tuple(Trial(**trial) for trial in document["trials"])
        document["members"] = tuple(Member(*member) for member in document["members"])
        return StudyRecord(**document)
    except (ValueError, TypeError, KeyError) as error:
        reason = str(error).splitlines()[0]
        raise StoreError(
            f"{path}: not a study record ({reason}); delete it and run its study again"
        ) from None


def _sync_directory(directory: Path) -> None:
    """Make the names in ``directory`` survive a power cut, where the system can."""
    if not hasattr(os, "O_DIRECTORY"):
        return
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
