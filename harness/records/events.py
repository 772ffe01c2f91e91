"""Events that a worker reports to the driver, and their JSON form, one object per event.

A run has one or more attempts. Each attempt consists of ``Started``, any number of
``EpochReported`` and one ``Finished``, which is missing if the worker was killed.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from datetime import UTC, datetime
from typing import Annotated, Literal, TypeAlias, get_args

from pydantic import AfterValidator, Field, TypeAdapter, ValidationError

from harness.records.trial import Run
from harness.workload import JsonValue

MOST_COUNT = 2**31 - 1
"""The largest epoch or attempt number that fits into the database."""


def _checked_time(time: str) -> str:
    try:
        datetime.fromisoformat(time).astimezone(UTC)
    except OverflowError:  # in year 1
        raise ValueError(f"{time!r} cannot be converted to UTC") from None
    return time


Time: TypeAlias = Annotated[str, AfterValidator(_checked_time)]
"""Time as ISO-8601 text in UTC; see ``utc_now``."""
Count: TypeAlias = Annotated[int, Field(ge=1, le=MOST_COUNT)]
Epoch: TypeAlias = Annotated[int, Field(ge=-MOST_COUNT, le=MOST_COUNT)]

Failure = Literal["diverged", "collapsed", "oom", "crash", "timeout", "stalled", "invalid"]
FAILURES: tuple[Failure, ...] = get_args(Failure)


@dataclass(frozen=True, slots=True)
class Started:
    """A worker has begun an attempt at a run."""

    attempt: Count
    """Number of the attempt, from 1."""
    time: Time
    run: Run
    host: str
    pid: int
    threads: Count
    commit: str | None
    """Git commit of the code; None outside a repository."""
    dirty: bool | None
    """Whether tracked files differed from that commit; None if unknown."""
    versions: Mapping[str, str]
    """Distribution name -> version."""
    device: str | None = None
    """The GPU assigned to the worker, as ``CUDA_VISIBLE_DEVICES`` names it."""
    together: Count = 1
    """Number of runs that the worker executes at once, including this one."""
    user: str | None = None
    """Who started it; None in events written before this field existed."""
    command: str | None = None
    """The command line that started it; None in events written before this field existed."""
    is_anew: bool = False
    """Whether the attempt starts from scratch, which voids what earlier attempts reported."""


@dataclass(frozen=True, slots=True)
class EpochReported:
    """The metrics of one epoch; they may be non-finite here, but not in the database."""

    attempt: Count
    time: Time
    epoch: Epoch
    metrics: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Finished:
    """The end of an attempt, written by the worker or, if the worker has died, by the driver."""

    attempt: Count
    time: Time
    state: Literal["done", "failed", "pruned"]
    failure: Failure | None = None
    message: str | None = None
    """One line: why the run failed or was pruned."""
    seconds: float | None = None
    """Wall time of the attempt, divided equally among the runs that one worker executes at once."""
    peak_mib: float | None = None
    """Peak resident memory of the worker, including all runs that it executes."""
    results: Mapping[str, float] = field(default_factory=dict)
    """``split/metric`` -> value, as returned by the workload."""
    stderr: str | None = None
    """The last lines of output of the attempt."""
    files: Mapping[str, str] = field(default_factory=dict)
    """Path below the work folder -> digest, for every file of a finished run. Empty in events
    written before this field existed."""


Event: TypeAlias = Started | EpochReported | Finished


@dataclass(frozen=True, slots=True)
class Damaged:
    """Takes the place of a spool line that is not what was written."""

    line: int
    """Line number in the spool, from 1."""


Entry: TypeAlias = Event | Damaged
"""One entry of a spool as it is read: an event, or a mark of damage."""

_KINDS: Mapping[str, type[Event]] = {
    "started": Started,
    "epoch": EpochReported,
    "finished": Finished,
}
_NAMES = {kind: name for name, kind in _KINDS.items()}
_READERS: Mapping[str, TypeAdapter[Event]] = {
    name: TypeAdapter(kind) for name, kind in _KINDS.items()
}
_NUMBER_MAPS = {"metrics", "results"}


def utc_now() -> str:
    """Return the current time as ISO-8601 text in UTC, to the microsecond."""
    return datetime.now(UTC).isoformat(timespec="microseconds")


def to_json(event: Event) -> dict[str, JsonValue]:
    """Convert an event to plain JSON values, with its kind under ``event``.

    Non-finite numbers, which JSON lacks, become the texts ``NaN``, ``Infinity`` and ``-Infinity``;
    ``from_json`` converts them back.
    """
    document: dict[str, JsonValue] = {"event": _NAMES[type(event)]}
    for item in fields(event):
        value = getattr(event, item.name)
        if isinstance(value, Run):
            document[item.name] = {name.name: getattr(value, name.name) for name in fields(value)}
        elif item.name in _NUMBER_MAPS:
            document[item.name] = {key: _number_to_json(number) for key, number in value.items()}
        elif isinstance(value, float):
            document[item.name] = _number_to_json(value)
        else:
            document[item.name] = dict(value) if isinstance(value, Mapping) else value
    return document


def from_json(document: Mapping[str, JsonValue]) -> Event:
    """Restore an event from the output of ``to_json``.

    Unknown fields are ignored, so that an older program can read what a newer one wrote.

    Raises:
        ValueError: ``document`` is not an event, lacks a field, or has a field of the wrong type.
    """
    name = document.get("event")
    reader = _READERS.get(name) if isinstance(name, str) else None
    if reader is None:
        raise ValueError(f"not an event: {name!r}; known: {', '.join(_KINDS)}")
    try:
        return reader.validate_python(document)
    except ValidationError as error:
        detail = error.errors(include_url=False)[0]
        where = ".".join(map(str, detail["loc"]))
        raise ValueError(f"{name} event: {where}: {detail['msg']}") from None


def _number_to_json(number: float) -> float | str:
    """Return ``number``, or its name if it is not finite."""
    number = float(number)  # json cannot write NumPy scalars
    if math.isfinite(number):
        return number
    return "NaN" if math.isnan(number) else ("Infinity" if number > 0 else "-Infinity")
