"""Rows of the results database with the types that a report expects of them."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from decimal import Decimal
from pathlib import Path

from harness.store import database
from harness.workload import JsonValue


def read_rows(
    results: Path, sql: str, params: Sequence[object] | Mapping[str, object]
) -> list[tuple[object, ...]]:
    """The rows of a query.

    Raises:
        InputError: no results yet.
        StoreError: the database cannot be read.
    """
    return [tuple(row) for row in database.query(results, sql, params).rows]


def read_object(value: object) -> dict[str, JsonValue]:
    """A column of JSON as a dict; NULL and anything but an object give an empty one."""
    loaded = json.loads(value) if isinstance(value, str) else value
    return loaded if isinstance(loaded, dict) else {}


def text_or_none(value: object) -> str | None:
    """A column of text; NULL is None."""
    return None if value is None else str(value)


def number(value: object) -> float:
    """A column of numbers that is never NULL."""
    if isinstance(value, int | float | Decimal):
        return float(value)
    raise TypeError(f"expected a number, got {value!r}")


def integer(value: object) -> int:
    """A column of whole numbers that is never NULL."""
    return int(number(value))


def number_or_none(value: object) -> float | None:
    """A column of numbers; NULL and what is not finite are None."""
    if value is None or not math.isfinite(number(value)):
        return None
    return number(value)
