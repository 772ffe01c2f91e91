"""One axis of a study, and access to parameters by dotted key."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Annotated, Self, TypeAlias

from pydantic import BaseModel, ConfigDict, Field, model_validator

from harness.records.trial import digest
from harness.workload import JsonValue

Whole: TypeAlias = Annotated[int, Field(strict=True)]
"""A whole number; ``true`` and text are rejected."""
Number: TypeAlias = Annotated[float, Field(strict=True)]
"""A number; ``true`` and text are rejected."""
Condition: TypeAlias = dict[str, JsonValue]
"""Dotted key -> the required value, or a list of allowed values."""
AXIS_KINDS = ("grid", "choice", "uniform", "loguniform", "int", "logint")


class Strict(BaseModel):
    """Immutable model that rejects unknown keys: a typo must not become a silent default."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, allow_inf_nan=False, use_attribute_docstrings=True
    )


def only_one(model: Strict, fields: Sequence[str]) -> str:
    """Return which of these fields is set.

    Raises:
        ValueError: none of them is set, or several are.
    """
    given = [name for name in fields if getattr(model, name) is not None]
    if len(given) != 1:
        found = " and ".join(given) or "none of them"
        raise ValueError(f"give one of {', '.join(fields)}, got {found}")
    return given[0]


class Axis(Strict):
    """How one parameter varies; set exactly one of the kinds."""

    grid: list[JsonValue] | None = Field(default=None, min_length=1)
    """Every one of these values."""
    choice: list[JsonValue] | None = Field(default=None, min_length=1)
    """One of these values; the same as ``grid`` for the grid sampler."""
    uniform: tuple[Number, Number] | None = None
    """A number in [low, high]."""
    loguniform: tuple[Number, Number] | None = None
    """A number in [low, high], uniform on a log scale."""
    int: tuple[Whole, Whole] | None = None
    """A whole number in [low, high]."""
    logint: tuple[Whole, Whole] | None = None
    """A whole number in [low, high], uniform on a log scale."""
    when: Condition | None = None
    """Condition on other parameters; trials that do not meet it lack this axis."""

    @model_validator(mode="after")
    def _check_kind(self) -> Self:
        only_one(self, AXIS_KINDS)
        if self.bounds is not None:
            low, high = self.bounds
            if low >= high:
                raise ValueError(f"{self.kind} needs low < high, got {low} and {high}")
            if self.is_log and low <= 0:
                raise ValueError(f"{self.kind} needs low > 0, got {low}")
        seen: set[str] = set()
        for value in self.values or []:
            is_whole = isinstance(value, float) and value.is_integer()
            name = digest(round(value) if is_whole else value)  # type: ignore[arg-type]
            if name in seen:  # 1 and 1.0 are one value, as in ``same_value``
                raise ValueError(f"{self.kind} lists {value!r} twice")
            seen.add(name)
        return self

    @property
    def kind(self) -> str:
        """The kind that is set."""
        return next(kind for kind in AXIS_KINDS if getattr(self, kind) is not None)

    @property
    def values(self) -> list[JsonValue] | None:
        """The listed values, or None for a range."""
        return self.grid if self.grid is not None else self.choice

    @property
    def bounds(self) -> tuple[float, float] | None:
        """Low and high of a range, or None for a list."""
        return self.uniform or self.loguniform or self.int or self.logint

    @property
    def is_log(self) -> bool:
        """Whether a range is uniform on a log scale."""
        return self.kind.startswith("log")

    @property
    def is_whole(self) -> bool:
        """Whether a range holds whole numbers only."""
        return self.kind in ("int", "logint")


def set_at(target: dict[str, JsonValue], dotted: str, value: JsonValue) -> None:
    """Set a parameter in place by its dotted key, creating missing mappings."""
    *outer, last = dotted.split(".")
    for key in outer:
        inner = target.get(key)
        if not isinstance(inner, dict):
            inner = target[key] = {}
        target = inner
    target[last] = value


def get_at(params: Mapping[str, JsonValue], dotted: str) -> JsonValue:
    """Return the value at a dotted key, or None if there is none."""
    value: JsonValue = dict(params)
    for key in dotted.split("."):
        if not isinstance(value, dict) or key not in value:
            return None
        value = value[key]
    return value


def matches(condition: Condition, values: Mapping[str, JsonValue]) -> bool:
    """Return whether every key of ``condition`` has its required value or one of its values."""
    for key, wanted in condition.items():
        allowed = wanted if isinstance(wanted, list) else [wanted]
        if not any(same_value(values.get(key), each) for each in allowed):
            return False
    return True


def same_value(one: JsonValue, other: JsonValue) -> bool:
    """Compare values so that 1 equals 1.0 but not true."""
    if isinstance(one, bool) or isinstance(other, bool):
        return one is other
    if isinstance(one, int | float) and isinstance(other, int | float):
        return math.isclose(one, other, rel_tol=1e-12)
    return one == other
