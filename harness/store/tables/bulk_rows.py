"""Insert rows in bulk: plain JSON objects, into existing tables or tables made to fit them.

All rows are passed as one JSON text, about fifty times faster than one statement per row.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence

import duckdb

from harness.workload import JsonValue

Row = Mapping[str, JsonValue]

NAME = re.compile(r"[a-z][a-z0-9_]*")
"""Valid names for the tables and columns of a workload."""

FROM_WORKLOAD = "As the workload wrote it."
"""Database comment on a column that a workload created."""

_EMPTY_LIST = "[]"


def column_types(con: duckdb.DuckDBPyConnection, table: str) -> dict[str, str]:
    """Return column -> type, in column order; empty if the table does not exist."""
    rows = con.execute(
        """
        SELECT column_name, data_type FROM duckdb_columns()
        WHERE table_name = $1 AND database_name = current_database() AND schema_name = 'main'
        ORDER BY column_index
        """,
        [table],
    ).fetchall()
    return dict(rows)


def insert_rows(
    con: duckdb.DuckDBPyConnection, table: str, rows: Sequence[Row], *, replace: bool = True
) -> None:
    """Insert ``rows`` into ``table``; columns missing from a row become null.

    With ``replace``, a row overwrites the one with the same primary key; keys must be unique
    within ``rows``. Numbers must be finite.
    """
    if not rows:
        return
    names, source, values = _as_source(con, table, rows)
    con.execute(
        f"{'INSERT OR REPLACE' if replace else 'INSERT'} INTO {quoted(table)} "
        f"({', '.join(map(quoted, names))}) "
        f"SELECT {', '.join('item.' + quoted(name) for name in names)} FROM {source}",
        values,
    )


def update_rows(con: duckdb.DuckDBPyConnection, table: str, key: str, rows: Sequence[Row]) -> None:
    """Update the columns given in ``rows``, matching rows of ``table`` by ``key``."""
    if not rows:
        return
    names, source, values = _as_source(con, table, rows)
    changes = [f"{quoted(name)} = item.{quoted(name)}" for name in names if name != key]
    con.execute(
        f"UPDATE {quoted(table)} SET {', '.join(changes)} "
        f"FROM {source} WHERE {quoted(table)}.{quoted(key)} = item.{quoted(key)}",
        values,
    )


def delete_runs(con: duckdb.DuckDBPyConnection, table: str, run_ids: Iterable[str]) -> None:
    """Delete the rows of the given runs from ``table``."""
    con.execute(
        f"DELETE FROM {quoted(table)} WHERE run_id IN (SELECT unnest($1::VARCHAR[]))",
        [list(run_ids)],
    )


def tables_of_runs(con: duckdb.DuckDBPyConnection) -> list[str]:
    """Return the tables that have a ``run_id``, except ``member``, which belongs to studies."""
    rows = con.execute(
        """
        SELECT table_name FROM duckdb_columns() JOIN duckdb_tables() USING (table_oid, table_name)
        WHERE column_name = 'run_id' AND table_name <> 'member'
        ORDER BY table_name
        """
    ).fetchall()
    return [str(name) for (name,) in rows]


def fit_table(con: duckdb.DuckDBPyConnection, table: str, kinds: Mapping[str, str]) -> None:
    """Create or widen ``table`` so that its columns can hold ``kinds`` (see ``kinds_of``).

    A column has the narrowest type that holds all its values so far: integers mixed with fractions
    make it DOUBLE, any other mix makes it JSON.
    """
    types = column_types(con, table)
    if not types:
        con.execute(f"CREATE TABLE {quoted(table)} (run_id VARCHAR NOT NULL)")
        con.execute(f"COMMENT ON TABLE {quoted(table)} IS 'Written by the workload.'")
        con.execute(f"COMMENT ON COLUMN {quoted(table)}.run_id IS 'The run.'")
    for name, kind in kinds.items():
        if kind == _EMPTY_LIST:
            continue
        if name not in types:
            con.execute(f"ALTER TABLE {quoted(table)} ADD COLUMN {quoted(name)} {kind}")
            con.execute(f"COMMENT ON COLUMN {quoted(table)}.{quoted(name)} IS '{FROM_WORKLOAD}'")
            continue
        wider = types[name] if fits(kind, types[name]) else _join(types[name], kind)
        if wider != types[name]:
            change = f"ALTER TABLE {quoted(table)} ALTER COLUMN {quoted(name)} TYPE {wider}"
            con.execute(change + (f" USING to_json({quoted(name)})" if wider == "JSON" else ""))


def kinds_of(rows: Iterable[Row]) -> dict[str, str]:
    """Return column -> narrowest DuckDB type for its values; omit columns that are always null."""
    kinds: dict[str, str] = {}
    for row in rows:
        for name, value in row.items():
            kind = _kind(value)
            if kind is not None and kinds.get(name) != kind:
                kinds[name] = _join(kinds.get(name, kind), kind)
    return kinds


def join_kinds(first: Mapping[str, str], second: Mapping[str, str]) -> dict[str, str]:
    """Merge the kinds of two sets of rows into those of their union (see ``kinds_of``)."""
    joined = {name: _join(first.get(name, kind), kind) for name, kind in second.items()}
    return {**first, **joined}


def fits(kind: str, column_type: str) -> bool:
    """Whether a column of ``column_type`` can hold values of ``kind`` without being widened."""
    if kind == "BIGINT":
        return column_type in ("INTEGER", "BIGINT", "DOUBLE", "JSON")
    if kind == _EMPTY_LIST:
        return column_type.endswith("[]") or column_type == "JSON"
    if kind == "BIGINT[]":
        return column_type in ("BIGINT[]", "DOUBLE[]", "JSON")
    return column_type in (kind, "JSON")


def quoted(name: str) -> str:
    """Quote ``name`` as an SQL identifier."""
    return '"' + name.replace('"', '""') + '"'


def _as_source(
    con: duckdb.DuckDBPyConnection, table: str, rows: Sequence[Row]
) -> tuple[list[str], str, list[str]]:
    """Return the columns used by ``rows``, SQL that yields the rows as ``item``, and its values."""
    given = set().union(*rows)
    columns = con.execute(f"FROM {quoted(table)} LIMIT 0").description or ()
    types = {name: str(kind) for name, kind, *_ in columns if name in given}
    names = list(types)
    text = json.dumps(rows, ensure_ascii=False, allow_nan=False, default=dict)
    # File names and output that are not UTF-8 contain lone surrogates, which DuckDB rejects.
    text = text.encode("utf-8", "replace").decode("utf-8")
    source = "(SELECT unnest(from_json($1, $2)) AS item) AS given"
    return names, source, [text, json.dumps([types])]


def _kind(value: JsonValue) -> str | None:
    """Return the DuckDB type of one value; None for null."""
    if value is None:
        return None
    if isinstance(value, bool):
        return "BOOLEAN"
    if isinstance(value, int):
        return "BIGINT" if -(2**63) <= value < 2**63 else "DOUBLE"
    if isinstance(value, float):
        return "DOUBLE"
    if isinstance(value, str):
        return "VARCHAR"
    if isinstance(value, dict):
        return "JSON"
    types = set(map(type, value))  # fast path: most lists hold a single type
    if len(types) == 1 and (plain := _PLAIN_LISTS.get(types.pop())):
        return plain
    if all(type(item) is int and -(2**31) <= item < 2**31 for item in value) and value:
        return "BIGINT[]"
    kinds = {kind for kind in map(_kind, value) if kind is not None}
    if not kinds:
        return _EMPTY_LIST
    if kinds == {"BIGINT", "DOUBLE"}:
        return "DOUBLE[]"
    only = kinds.pop()
    return f"{only}[]" if not kinds and only in _SCALARS else "JSON"


_PLAIN_LISTS = {bool: "BOOLEAN[]", float: "DOUBLE[]", str: "VARCHAR[]"}
_SCALARS = ("BOOLEAN", "BIGINT", "DOUBLE", "VARCHAR")


def _join(first: str, second: str) -> str:
    """Return the narrowest type that holds values of both types."""
    if first == second:
        return first
    if _EMPTY_LIST in (first, second):
        other = second if first == _EMPTY_LIST else first
        return other if other.endswith("[]") else "JSON"
    if {first, second} == {"BIGINT", "DOUBLE"}:
        return "DOUBLE"
    if {first, second} == {"BIGINT[]", "DOUBLE[]"}:
        return "DOUBLE[]"
    return "JSON"
