"""Messages from a running worker to the driver: plain JSON both ways, one object an event.

A run is tried one or more times. Each attempt is ``Started``, any number of ``EpochReported`` and
one ``Finished``; an attempt whose worker was killed lacks the last.
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
"""The largest epoch or attempt that the database has room for."""


def _checked_time(time: str) -> str:
    try:
        datetime.fromisoformat(time).astimezone(UTC)
    except OverflowError:  # in year 1
        raise ValueError(f"{time!r} cannot be told in UTC") from None
    return time


Time: TypeAlias = Annotated[str, AfterValidator(_checked_time)]
"""ISO-8601, UTC; see ``utc_now``."""
Count: TypeAlias = Annotated[int, Field(ge=1, le=MOST_COUNT)]
Epoch: TypeAlias = Annotated[int, Field(ge=-MOST_COUNT, le=MOST_COUNT)]

Failure = Literal["diverged", "collapsed", "oom", "crash", "timeout", "stalled", "invalid"]
FAILURES: tuple[Failure, ...] = get_args(Failure)


@dataclass(frozen=True, slots=True)
class Started:
    """A worker has begun an attempt at a run."""

    attempt: Count
    """Counts from 1."""
    time: Time
    run: Run
    host: str
    pid: int
    threads: Count
    commit: str | None
    """Git commit of the code, where it lies in a repository."""
    dirty: bool | None
    """Whether tracked files differed from that commit."""
    versions: Mapping[str, str]
    """Distribution name -> version."""
    device: str | None = None
    """The GPU that the worker was given, as ``CUDA_VISIBLE_DEVICES`` names it."""
    together: Count = 1
    """How many runs the worker executes at once, this one included."""
    is_anew: bool = False
    """Whether it starts from nothing: what earlier attempts reported is void."""


@dataclass(frozen=True, slots=True)
class EpochReported:
    """The numbers of one epoch; they may be non-finite here, but not in the database."""

    attempt: Count
    time: Time
    epoch: Epoch
    metrics: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Finished:
    """The end of an attempt, written by the worker or, where that has died, by the driver."""

    attempt: Count
    time: Time
    state: Literal["done", "failed", "pruned"]
    failure: Failure | None = None
    message: str | None = None
    """One line: why it failed, or was pruned."""
    seconds: float | None = None
    """Wall time of the attempt; of runs that one worker executes at once, each has its share."""
    peak_mib: float | None = None
    """Largest resident memory of the worker, with all runs that it executes."""
    results: Mapping[str, float] = field(default_factory=dict)
    """``split/metric`` -> value, as the workload returned them."""
    stderr: str | None = None
    """The last lines that a failed attempt printed."""
    files: Mapping[str, str] = field(default_factory=dict)
    """Path below the work folder -> digest, of every file that a finished run left there. None is
    listed by versions of this program before this field."""


Event: TypeAlias = Started | EpochReported | Finished


@dataclass(frozen=True, slots=True)
class Damaged:
    """Stands in a run's events where its spool is not any more what was written."""

    line: int
    """Of the spool, from 1."""


Entry: TypeAlias = Event | Damaged
"""What a reader of a spool finds."""

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
    """The time now as ISO-8601 text in UTC, to the microsecond."""
    return datetime.now(UTC).isoformat(timespec="microseconds")


def to_json(event: Event) -> dict[str, JsonValue]:
    """The event as plain JSON values, its kind under ``event``.

    Non-finite numbers become the texts ``NaN``, ``Infinity`` and ``-Infinity``, because JSON has
    no such numbers; ``from_json`` turns them back.
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
    """The event that ``to_json`` made ``document`` from.

    Unknown fields are passed over, so that an older program reads what a newer one wrote.

    Raises:
        ValueError: not an event, one that lacks a field, or a field of the wrong type.
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
    """``number``, or its name where JSON has none for it."""
    number = float(number)  # a NumPy scalar is no JSON
    if math.isfinite(number):
        return number
    return "NaN" if math.isnan(number) else ("Infinity" if number > 0 else "-Infinity")
