"""The records of studies: with the spools, all that the database is made from.

Each is a file ``studies/<study>.json`` below the results folder, replaced whole. Its first line
holds a checksum of all that follows; a record of an earlier version of this program has none.
Beside it ``<study>.json.before`` keeps the record before, which takes the place of a damaged one:
it lacks half a minute of a budget at most, and a new call adds the trials that it lacks. A record
that was deleted is gone: the one before is for damage alone.
"""

from __future__ import annotations

import hashlib
import json
import os
import uuid
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Annotated, NamedTuple

from pydantic import ConfigDict, Field, TypeAdapter, ValidationError, with_config

from harness.errors import StoreError
from harness.records.events import Time
from harness.records.plain_file import names_in, read_no_follow, unreadable, unwritable
from harness.records.trial import Trial
from harness.workload import JsonValue

Int64 = Annotated[int, Field(ge=-(2**63), lt=2**63)]


class Member(NamedTuple):
    """Which run answers for a trial and seed; one run can serve several studies."""

    trial_id: str
    seed: Int64
    run_id: str
    is_pruned: bool = False
    """Whether the study has stopped this run early, or spares it since it gave its trial up."""


@with_config(ConfigDict(extra="forbid"))
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
    created: Time
    updated: Time
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
    rules: int = 1
    """By which its search proposes and gives trials up; see ``harness.search.rules``."""
    version: int = 0
    """Grows each time a driver writes (``harness.engine.record_writer``); 0 in old records."""


_RECORD = TypeAdapter(StudyRecord)


class DamagedRecordError(StoreError):
    """The content of a record is not what was written."""

    def __init__(self, path: Path, what: str) -> None:
        """Keep what is wrong with the record in ``path``."""
        self.what = f"{path}: damaged: {what}"
        super().__init__(f"{self.what}; run its study again, which makes a new one")


def record_path(results: Path, study: str) -> Path:
    """The file of a study's record; it need not exist."""
    return results / "studies" / f"{study}.json"


def write_study_record(results: Path, record: StudyRecord) -> None:
    """Replace ``studies/<study>.json`` whole: a reader sees the old record or the new one.

    Raises:
        StoreError: the disk is full, or the place is not writable.
    """
    path = record_path(results, record.study)
    # Not by process id: those of two containers can be equal.
    draft = path.with_name(f".{path.name}.{uuid.uuid4().hex}.draft")
    document = {item.name: getattr(record, item.name) for item in fields(record)}
    document["trials"] = [
        {item.name: getattr(trial, item.name) for item in fields(trial)} for trial in record.trials
    ]
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with draft.open("xb") as stream:
            stream.write(_sealed(json.dumps(document, indent=1, default=dict).encode()[2:]))
            stream.flush()
            os.fsync(stream.fileno())
        _keep_before(path)
        draft.replace(path)
        _sync_directory(path.parent)
    except OSError as error:
        with suppress(OSError):
            draft.unlink(missing_ok=True)
        raise unwritable(path, error) from None


def read_study_record(
    results: Path, study: str, notices: list[str] | None = None
) -> StudyRecord | None:
    """The record of a study; None where there is none.

    Args:
        results: The results folder.
        study: Its name.
        notices: Gets a line where the record is damaged and the one before takes its place.

    Raises:
        DamagedRecordError: the record is damaged, and so is the one before, or there is none.
        StoreError: the record cannot be read, or is of another version of this program.
    """
    path = record_path(results, study)
    try:
        return _read(path, study)
    except DamagedRecordError as error:
        before = _before(path)
        with suppress(StoreError):
            if (found := _read(before, study)) is not None:
                if notices is not None:
                    notices.append(f"{error.what}; {before.name} is used in its place")
                return found
        raise


def read_study_records(results: Path, notices: list[str] | None = None) -> tuple[StudyRecord, ...]:
    """The records of all studies, by name; none where there is no results folder.

    What cannot be read is left out: one damaged file is no reason to refuse other studies.

    Args:
        results: The results folder.
        notices: Gets a line for each record that is damaged or left out.
    """
    records = []
    names = names_in(results / "studies")
    for study in [name.removesuffix(".json") for name in names if name.endswith(".json")]:
        try:
            record = read_study_record(results, study, notices)
        except StoreError as error:
            if notices is not None:
                notices.append(f"{error}; until then the study is left out")
        else:
            records += [] if record is None else [record]
    return tuple(records)


def set_aside(results: Path, study: str) -> Path:
    """Rename the record of a study, which is damaged, and the one before; the record's new name.

    Raises:
        StoreError: the place is not writable.
    """
    path = record_path(results, study)
    aside = path.with_name(f"{path.name}.damaged-{uuid.uuid4().hex[:8]}")
    try:
        path.replace(aside)
        with suppress(FileNotFoundError):
            _before(path).replace(aside.with_name(f"{aside.name}.before"))
    except OSError as error:
        raise unwritable(aside, error) from None
    return aside


def remove_drafts(results: Path, study: str) -> None:
    """Remove what writers of a study's record have left that were killed; see the caller's lock."""
    with suppress(OSError):
        for path in (results / "studies").glob(f".{study}.json.*.draft"):
            path.unlink(missing_ok=True)


def _read(path: Path, study: str) -> StudyRecord | None:
    """The record in a file; None where there is no such file."""
    try:
        content = read_no_follow(path)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise unreadable(path, error) from None
    body = content[len(_sealed(b"")) :]
    is_whole = content == _sealed(body)
    if not is_whole and content.startswith(_HEAD[:12]):
        raise DamagedRecordError(path, "its checksum does not fit")
    try:
        record = _RECORD.validate_json(b"{" + body if is_whole else content, strict=True)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        reason = f"{where}: {first['msg']}" if where else first["msg"]
        if is_whole:
            raise StoreError(
                f"{path}: of another version of this program ({_line(reason)}); use that, or "
                "another folder with --results"
            ) from None
        raise DamagedRecordError(path, f"no study record ({_line(reason)})") from None
    if not is_whole and record.version:
        raise DamagedRecordError(path, "its checksum does not fit")
    if not all(0 <= trial.number < 2**31 for trial in record.trials):
        raise DamagedRecordError(path, "the number of a trial is out of range")
    if {record.study, *(trial.study for trial in record.trials)} != {study}:
        raise DamagedRecordError(path, "the record of another study")
    return record


_HEAD = b'{\n "checksum": "%s",\n'


def _sealed(body: bytes) -> bytes:
    """A record's file, of which ``body`` is all but the line with the checksum."""
    return _HEAD % hashlib.sha256(body).hexdigest().encode() + body


def _before(path: Path) -> Path:
    """The record before the one in ``path``."""
    return path.with_name(f"{path.name}.before")


def _keep_before(path: Path) -> None:
    """Keep the record that is there as the one before, unless it is damaged."""
    link = path.with_name(f".{path.name}.{uuid.uuid4().hex}.draft")
    with suppress(OSError, StoreError):  # none yet, or a disk without links: no copy then
        content = read_no_follow(path)
        if content == _sealed(content[len(_sealed(b"")) :]):
            link.hardlink_to(path)
            link.replace(_before(path))


def _line(text: str) -> str:
    return " ".join(text.split())[:200]


def _sync_directory(directory: Path) -> None:
    """Make the names in ``directory`` survive a power cut, where the system can."""
    if not hasattr(os, "O_DIRECTORY"):
        return
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
