"""Messages from a running worker to the driver: plain JSON both ways, one object an event.

A run is tried one or more times. Each attempt is ``Started``, any number of ``EpochReported`` and
one ``Finished``; an attempt whose worker was killed lacks the last.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from datetime import UTC, datetime
from typing import Literal, TypeAlias, cast, get_args

from harness.trial import Run
from harness.workload import JsonValue

Failure = Literal["diverged", "collapsed", "oom", "crash", "timeout", "stalled", "invalid"]
FAILURES: tuple[Failure, ...] = get_args(Failure)


@dataclass(frozen=True, slots=True)
class Started:
    """A worker has begun an attempt at a run."""

    attempt: int
    """Counts from 1."""
    time: str
    """ISO-8601, UTC; see ``utc_now``."""
    run: Run
    host: str
    pid: int
    threads: int
    commit: str | None
    """Git commit of the code, where it lies in a repository."""
    dirty: bool | None
    """Whether tracked files differed from that commit."""
    versions: Mapping[str, str]
    """Distribution name -> version."""
    device: str | None = None
    """The GPU that the worker was given, as ``CUDA_VISIBLE_DEVICES`` names it."""
    together: int = 1
    """How many runs the worker executes at once, this one included."""


@dataclass(frozen=True, slots=True)
class EpochReported:
    """The numbers of one epoch; they may be non-finite here, but not in the database."""

    attempt: int
    time: str
    epoch: int
    metrics: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Finished:
    """The end of an attempt, written by the worker or, where that has died, by the driver."""

    attempt: int
    time: str
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


Event: TypeAlias = Started | EpochReported | Finished

_KINDS: Mapping[str, type[Event]] = {
    "started": Started,
    "epoch": EpochReported,
    "finished": Finished,
}
_NAMES = {kind: name for name, kind in _KINDS.items()}
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
        ValueError: not an event, or one that lacks a field.
    """
    kind = _KINDS.get(str(document.get("event")))
    if kind is None:
        raise ValueError(f"not an event: {document.get('event')!r}; known: {', '.join(_KINDS)}")
    known = {item.name for item in fields(kind)}
    values: dict[str, object] = {key: value for key, value in document.items() if key in known}
    try:
        for name in _NUMBER_MAPS & values.keys():
            numbers = cast("Mapping[str, float | str]", values[name])
            values[name] = {key: float(number) for key, number in numbers.items()}
        for name in {"seconds", "peak_mib"} & values.keys():
            number = cast("float | str | None", values[name])
            values[name] = None if number is None else float(number)
        if kind is Started:
            run = cast("dict[str, JsonValue]", values["run"])
            values["run"] = Run(**{item.name: run[item.name] for item in fields(Run)})  # type: ignore[arg-type]  # as to_json wrote them
        return kind(**values)  # type: ignore[arg-type]  # as to_json wrote them
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise ValueError(f"{document['event']} event: {error}") from None


def _number_to_json(number: float) -> float | str:
    """``number``, or its name where JSON has none for it."""
    number = float(number)  # a NumPy scalar is no JSON
    if math.isfinite(number):
        return number
    return "NaN" if math.isnan(number) else ("Infinity" if number > 0 else "-Infinity")
