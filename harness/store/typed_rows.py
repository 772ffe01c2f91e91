"""Read rows of the results database, and convert columns to the types that a report expects."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from decimal import Decimal
from pathlib import Path

from harness.store import database
from harness.workload import JsonValue

_WAIT_S = 10.0


@contextmanager
def one_state(results: Path) -> Iterator[None]:
    """Keep the database open for a ``with`` block whose ``read_rows`` all see the same state.

    Opening it takes much longer than most queries. Until the block ends, no driver can write.

    Raises:
        InputError: there are no results yet.
        StoreError: the database cannot be read.
    """
    with database.connect(results, read_only=True, wait_s=_WAIT_S):
        yield


def read_rows(
    results: Path, sql: str, params: Sequence[object] | Mapping[str, object]
) -> list[tuple[object, ...]]:
    """Return the rows of a query.

    Raises:
        InputError: there are no results yet.
        StoreError: the database cannot be read.
    """
    return [tuple(row) for row in database.query(results, sql, params).rows]


def read_object(value: object) -> dict[str, JsonValue]:
    """Convert a JSON value to a dict; empty for NULL and anything but an object."""
    loaded = json.loads(value) if isinstance(value, str) else value
    return loaded if isinstance(loaded, dict) else {}


def text_or_none(value: object) -> str | None:
    """Convert a text value to str; NULL becomes None."""
    return None if value is None else str(value)


def number(value: object) -> float:
    """Convert a numeric value that is never NULL to float."""
    if isinstance(value, int | float | Decimal):
        return float(value)
    raise TypeError(f"expected a number, got {value!r}")


def integer(value: object) -> int:
    """Convert an integer value that is never NULL to int."""
    return int(number(value))


def number_or_none(value: object) -> float | None:
    """Convert a numeric value to float; NULL and non-finite numbers become None."""
    if value is None or not math.isfinite(number(value)):
        return None
    return number(value)
