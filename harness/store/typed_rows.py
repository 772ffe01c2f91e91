"""Read rows of the results database with JSON columns as dicts."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any

import duckdb

from harness.workload import JsonValue


def read_rows(
    con: duckdb.DuckDBPyConnection, sql: str, params: Sequence[object] | Mapping[str, object]
) -> list[Any]:
    """Return the rows of a query as tuples; JSON columns become dicts, as ``read_object`` does."""
    con.execute(sql, params)
    is_json = [str(kind) == "JSON" for _, kind, *_ in con.description or ()]
    rows: list[tuple[Any, ...]] = con.fetchall()
    if not any(is_json):
        return rows
    return [
        tuple(
            read_object(value) if is_object else value
            for value, is_object in zip(row, is_json, strict=True)
        )
        for row in rows
    ]


def read_object(value: object) -> dict[str, JsonValue]:
    """Convert a JSON value to a dict; empty for NULL and anything but an object."""
    loaded = json.loads(value) if isinstance(value, str) else value
    return loaded if isinstance(loaded, dict) else {}


def finite_or_none(value: float | None) -> float | None:
    """Return a number as it is; None for NULL and non-finite numbers."""
    return value if value is not None and math.isfinite(value) else None


def named_rows(
    columns: Sequence[str], rows: Sequence[Sequence[object]]
) -> list[dict[str, JsonValue]]:
    """Return each row as a mapping of plain values; a repeated name gets a number: ``n_1``."""
    names: list[str] = []
    for column in columns:
        number, name = 0, column
        while name in names:
            number += 1
            name = f"{column}_{number}"
        names.append(name)
    return [dict(zip(names, map(plain, row), strict=True)) for row in rows]


def plain(value: object) -> JsonValue:
    """Convert a value to JSON: null if it is not finite, text for dates and the like."""
    if isinstance(value, float | Decimal):
        return float(value) if math.isfinite(value) else None
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, Mapping):
        return {str(key): plain(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [plain(inner) for inner in value]
    return str(value)
