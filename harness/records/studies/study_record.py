"""The records of studies, from which, together with the spools, the database can be rebuilt.

Each is a file ``studies/<study>.json`` below the results folder, and is always replaced as a whole.
Its first line holds a checksum of the rest; records of earlier versions of this program have none.
The previous record is kept as ``<study>.json.before`` and replaces a damaged one: it misses at most
half a minute of a budget, and the next call adds the trials that it lacks. A deleted record stays
deleted; the previous one is used only in case of damage.
"""

from __future__ import annotations

import hashlib
import json
import os
import uuid
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Annotated, NamedTuple

from pydantic import ConfigDict, Field, TypeAdapter, ValidationError, with_config

from harness.errors import StoreError
from harness.records.events import Time
from harness.records.plain_file import names_in, read_no_follow, unreadable, unwritable, writing
from harness.records.studies.claims import NotedClaim
from harness.records.studies.forecasts import NotedForecast
from harness.records.trial import Trial
from harness.workload import JsonValue

Int64 = Annotated[int, Field(ge=-(2**63), lt=2**63)]


class Member(NamedTuple):
    """The run that belongs to a trial, seed and fold; one run can serve several studies."""

    trial_id: str
    seed: Int64
    run_id: str
    is_pruned: bool = False
    """Whether the study stopped this run early, or skipped it because its trial was pruned."""
    fold: Int64 = 0
    """Fold of the training data that it holds out, from 1; 0 if they are not cut."""

    @property
    def key(self) -> tuple[str, int, int]:
        """What it answers for: trial, seed and fold."""
        return (self.trial_id, self.seed, self.fold)


@with_config(ConfigDict(extra="forbid"))
@dataclass(frozen=True, slots=True)
class StudyRecord:
    """A study as planned so far."""

    study: str
    question: str
    metric: str
    """The primary metric without a split, such as ``recall@1``."""
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
    """Id of a pruned trial -> the reason, in one line."""
    spent_seconds: float = 0.0
    """Time that all calls of the study have spent on its runs."""
    search_end: int | None = None
    """Number of trials at which the search was ended, to leave time for the confirmation."""
    search_end_hours: float | None = None
    """Time budget when the search was ended; with a larger one the search continues."""
    rules: int = 1
    """Number of the rules by which the search proposes and prunes; see ``harness.search.rules``."""
    claims: tuple[NotedClaim, ...] = ()
    """The study's claims, and when each was made; see ``harness.records.studies.claims``."""
    test_sets: Mapping[str, str] = field(default_factory=dict)
    """Id of a trial that is scored on test classes -> digest of its test set, where known."""
    forecasts: tuple[NotedForecast, ...] = ()
    """Forecasts of the time that its runs take, oldest first; see the room's ``forecasts``."""
    version: int = 0
    """Increases each time a driver writes (``harness.engine.record_writer``); 0 in old records."""


_RECORD = TypeAdapter(StudyRecord)


class DamagedRecordError(StoreError):
    """The content of a record is not what was written."""

    def __init__(self, path: Path, what: str) -> None:
        self.what = f"{path}: damaged: {what}"
        super().__init__(f"{self.what}; run its study again, which makes a new one")


def record_path(results: Path, study: str) -> Path:
    """Return the path of a study's record; it need not exist."""
    return results / "studies" / f"{study}.json"


def write_study_record(results: Path, record: StudyRecord) -> None:
    """Replace ``studies/<study>.json`` atomically: a reader sees the old record or the new one.

    Raises:
        StoreError: the disk is full, or the place is not writable.
    """
    path = record_path(results, record.study)
    # Not the process id: two containers can have the same.
    draft = path.with_name(f".{path.name}.{uuid.uuid4().hex}.draft")
    document = {item.name: getattr(record, item.name) for item in fields(record)}
    document["trials"] = [
        {item.name: getattr(trial, item.name) for item in fields(trial)} for trial in record.trials
    ]
    for name in ("claims", "forecasts"):
        document[name] = [asdict(note) for note in getattr(record, name)]
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
    """Read the record of a study; None if there is none.

    Args:
        results: The results folder.
        study: Name of the study.
        notices: Receives a line if the record is damaged and the previous one is used instead.

    Raises:
        DamagedRecordError: the record is damaged, and the previous one is damaged or missing.
        StoreError: the record cannot be read, or was written by another version of this program.
    """
    path = record_path(results, study)
    try:
        return _read(path, study)
    except DamagedRecordError as error:
        before = _before(path)
        with suppress(StoreError):
            if (found := _read(before, study)) is not None:
                if notices is not None:
                    notices.append(f"{error.what}; {before.name} is used instead")
                return found
        raise


def read_study_records(results: Path, notices: list[str] | None = None) -> tuple[StudyRecord, ...]:
    """Read the records of all studies, sorted by name; empty if there is no results folder.

    Unreadable records are skipped: one damaged file must not block the other studies.

    Args:
        results: The results folder.
        notices: Receives a line for each record that is damaged or skipped.
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
    """Rename a study's damaged record and the previous one; return the damaged record's new path.

    Raises:
        StoreError: the place is not writable.
    """
    path = record_path(results, study)
    aside = path.with_name(f"{path.name}.damaged-{uuid.uuid4().hex[:8]}")
    with writing(aside):
        path.replace(aside)
        with suppress(FileNotFoundError):
            _before(path).replace(aside.with_name(f"{aside.name}.before"))
    return aside


def remove_drafts(results: Path, study: str) -> None:
    """Remove drafts of a study's record left by killed writers; the caller must hold its lock."""
    with suppress(OSError):
        for path in (results / "studies").glob(f".{study}.json.*.draft"):
            path.unlink(missing_ok=True)


def _read(path: Path, study: str) -> StudyRecord | None:
    """Read the record in a file; None if there is no such file."""
    try:
        content = read_no_follow(path)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise unreadable(path, error) from None
    body = content[len(_sealed(b"")) :]
    is_whole = content == _sealed(body)
    if not is_whole and content.startswith(_HEAD[:12]):
        raise DamagedRecordError(path, "its checksum does not match")
    try:
        record = _RECORD.validate_json(b"{" + body if is_whole else content, strict=True)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        reason = f"{where}: {first['msg']}" if where else first["msg"]
        if is_whole:
            raise StoreError(
                f"{path}: written by another version of this program ({_line(reason)}); use that "
                "version, or another folder with --results"
            ) from None
        raise DamagedRecordError(path, f"not a study record ({_line(reason)})") from None
    if not is_whole and record.version:
        raise DamagedRecordError(path, "its checksum does not match")
    if not all(0 <= trial.number < 2**31 for trial in record.trials):
        raise DamagedRecordError(path, "the number of a trial is out of range")
    if {record.study, *(trial.study for trial in record.trials)} != {study}:
        raise DamagedRecordError(path, "the record of another study")
    return record


_HEAD = b'{\n "checksum": "%s",\n'


def _sealed(body: bytes) -> bytes:
    """Return the content of a record's file: the line with the checksum, then ``body``."""
    return _HEAD % hashlib.sha256(body).hexdigest().encode() + body


def _before(path: Path) -> Path:
    """Return the path of the previous record of the one in ``path``."""
    return path.with_name(f"{path.name}.before")


def _keep_before(path: Path) -> None:
    """Keep the current record as the previous one, unless it is damaged."""
    link = path.with_name(f".{path.name}.{uuid.uuid4().hex}.draft")
    with suppress(OSError, StoreError):  # no record yet, or a disk without hard links: no copy
        content = read_no_follow(path)
        if content == _sealed(content[len(_sealed(b"")) :]):
            link.hardlink_to(path)
            link.replace(_before(path))


def _line(text: str) -> str:
    return " ".join(text.split())[:200]


def _sync_directory(directory: Path) -> None:
    """Make file names in ``directory`` survive a power cut, if the system supports it."""
    if not hasattr(os, "O_DIRECTORY"):
        return
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
