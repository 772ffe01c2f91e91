"""The append-only files of runs and the records of studies: what the database is made from.

Below the results folder::

    studies/<study>.json        one StudyRecord, replaced whole
    runs/<run_id>/spool.jsonl   the run's events, one JSON object a line, synced line by line
    runs/<run_id>/work/         the workload's own folder: tables/*.jsonl, facts.json, images/
    runs/<run_id>/stderr.log    what the worker printed

A line may be torn by a crash. It is left alone while it is the last, since its writer may be
about to end it, and passed over for good once another line follows.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Literal, NamedTuple

from harness.errors import StoreError
from harness.events import Damaged, Entry, EpochReported, Finished, Started
from harness.trial import Trial
from harness.workload import JsonValue

State = Literal["queued", "running", "done", "failed", "pruned"]


def run_dir(results: Path, run_id: str) -> Path:
    """The folder of a run; it need not exist."""
    return results / "runs" / run_id


def spool_path(directory: Path) -> Path:
    """The file of events in a run's folder ``directory`` (see ``run_dir``)."""
    return directory / "spool.jsonl"


def work_dir(directory: Path) -> Path:
    """The workload's own folder in a run's folder ``directory``."""
    return directory / "work"


@dataclass(frozen=True, slots=True)
class RunState:
    """Where a run stands, by its events."""

    state: State = "queued"
    failure: str | None = None
    message: str | None = None
    attempts: int = 0
    reported: tuple[int, ...] = ()
    """Epochs that count, in order. An attempt that goes on from a checkpoint keeps those before."""
    last_metrics: Mapping[str, float] = field(default_factory=dict)
    """Of the epoch reported last."""
    curve: Mapping[int, float] = field(default_factory=dict)
    """Epoch -> finite value of the metric that ``replay`` was told to watch, in order."""
    results: Mapping[str, float] = field(default_factory=dict)
    seconds: float | None = None
    started: str | None = None
    """When the newest attempt began, as it wrote; None where its start is missing."""
    finished: str | None = None
    """When it ended."""
    files: Mapping[str, str] = field(default_factory=dict)
    """Path below the work folder -> digest, of what a run that is done has left there."""
    damage: str | None = None
    """What is wrong with the spool: ``line 3 is damaged``. Such a run counts as unfinished until an
    attempt starts it anew."""

    @property
    def epochs(self) -> int:
        """How many epochs count."""
        return len(self.reported)

    @property
    def is_over(self) -> bool:
        """Whether the newest attempt has ended."""
        return self.state in ("done", "failed", "pruned")


def replay(
    entries: Iterable[Entry], before: RunState | None = None, *, watched: str | None = None
) -> RunState:
    """The state after ``entries``, which follow those that led to ``before``.

    Events of an attempt older than the newest are passed over, and so is all that follows an
    attempt's first ``Finished``: a worker that was given up cannot change what was decided. An end
    counts only where nothing of what led to it is damaged, and a good one where its start is there.

    Args:
        entries: What happened.
        before: The state until then.
        watched: A metric that epochs report, of which the ``curve`` is kept.
    """
    state = before or RunState()
    for entry in entries:
        if isinstance(entry, Damaged):
            state = _damaged(state, f"line {entry.line} is damaged")
            continue
        if entry.attempt < state.attempts:
            continue
        if entry.attempt > state.attempts:
            state = replace(_unfinished(state), attempts=entry.attempt, started=None)
            if isinstance(entry, Started) and entry.is_anew:
                state = RunState("running", attempts=entry.attempt)
        if isinstance(entry, Started):
            if state.started is None:
                state = replace(state, started=entry.time)
        elif state.is_over:
            continue
        elif isinstance(entry, EpochReported):
            state = _with_epoch(state, entry, watched)
        elif state.started is None and entry.state != "failed":
            state = _damaged(state, f"the start of attempt {entry.attempt} is missing")
        elif state.damage is None:
            state = _ended(state, entry)
    return state


def _unfinished(state: RunState) -> RunState:
    """The state of a run that goes on, by what its epochs have said so far."""
    return RunState(
        "running",
        attempts=state.attempts,
        reported=state.reported,
        curve=state.curve,
        started=state.started,
        damage=state.damage,
    )


def _damaged(state: RunState, damage: str) -> RunState:
    return replace(_unfinished(state), damage=state.damage or damage)


def _ended(state: RunState, event: Finished) -> RunState:
    return replace(
        state,
        state=event.state,
        failure=event.failure,
        message=event.message,
        results=event.results,
        seconds=event.seconds,
        finished=event.time,
        files=event.files,
    )


def _with_epoch(state: RunState, event: EpochReported, watched: str | None) -> RunState:
    """The state after one more epoch, which voids what was said of it and of later ones."""
    reported = tuple(epoch for epoch in state.reported if epoch < event.epoch)
    curve = {epoch: value for epoch, value in state.curve.items() if epoch < event.epoch}
    value = math.nan if watched is None else event.metrics.get(watched, math.nan)
    if math.isfinite(value):
        curve[event.epoch] = value
    return replace(
        state, reported=(*reported, event.epoch), last_metrics=event.metrics, curve=curve
    )


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


def unwritable(path: Path, error: OSError) -> StoreError:
    """The error to show when ``path`` cannot be written, with a remedy that fits."""
    remedies: list[tuple[type[OSError], str]] = [
        (PermissionError, "give write access or choose another folder with --results"),
        (FileExistsError, "a file is in the way; move it or choose another folder with --results"),
        (NotADirectoryError, "a file is in the way; choose another folder with --results"),
    ]
    remedy = next(
        (text for kind, text in remedies if isinstance(error, kind)),
        "free some space there, then run the same command again",
    )
    return StoreError(f"{path}: cannot write: {error.strerror or error}; {remedy}")


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
