"""Ingest the files that a workload writes: ``tables/<name>.jsonl`` and ``facts.json``.

A file that cannot be ingested is skipped as a whole, with a notice: a workload's output must never
stop the study.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import duckdb

from harness.records.run_files import FACTS, TABLE_FILE, TABLES, Left, damage_of
from harness.store.tables.bulk_rows import (
    NAME,
    Row,
    column_types,
    delete_runs,
    fit_table,
    fits,
    insert_rows,
    join_kinds,
    kinds_of,
)
from harness.workload import JsonValue

OWN_TABLES = frozenset(
    {
        "claim",
        "claim_result",
        "comparison",
        "comparison_over_classes",
        "control_comparison",
        "effect",
        "epoch",
        "explained_variance",
        "label_agreement",
        "forecast",
        "look",
        "member",
        "meta",
        "pareto_point",
        "recall",
        "run",
        "score",
        "study",
        "t_quantile",
        "trial",
        "verification",
    }
)
"""Tables of the schema whose names a workload's files may not use."""

DECLARED_TABLES: Mapping[str, Sequence[str]] = {
    "class_counts": ("split", "classes", "classes_before_hit", "queries"),
    "cluster_pictures": ("epoch", "cluster", "size", "purity", "images", "labels", "pictures"),
    "clusters": ("epoch", "cluster", "size", "purity", "group", "members"),
    "projection": ("image", "file", "label", "x", "y", "picture"),
    "queries": (
        "image",
        "file",
        "label",
        "dropped",
        "first_hit",
        "neighbours",
        "neighbour_labels",
        "similarities",
        "picture",
        "neighbour_pictures",
        "classes_before_hit",
    ),
    "states": ("epoch", "part", "digest"),
}
"""Tables of the schema that a workload fills, with their columns; the types are fixed."""
_MOST_WAITING = 20_000  # limit on rows held in memory, of many runs or of a large one


def write_tables(
    con: duckdb.DuckDBPyConnection, runs: Mapping[str, Left], notices: list[str]
) -> None:
    """Ingest the tables in the work folders of finished ``runs`` (run id -> the files it left).

    Existing rows of these runs are replaced. Missing tables are created; columns are added and
    widened as the rows require. Each omission adds a line to ``notices``.
    """
    views = {name for (name,) in con.execute("SELECT view_name FROM duckdb_views()").fetchall()}
    waiting = _Waiting({}, {}, set())
    for run_id, left in runs.items():
        for name in _table_files(left):
            path = left.directory / name
            table = path.stem
            if (damage := damage_of(left, name)) is not None:
                notices.append(
                    f"{path}: {damage}; left out; to recreate it, remove {path.parents[2]} and "
                    "run its study again"
                )
                continue
            if not NAME.fullmatch(table) or table in OWN_TABLES | views:
                notices.append(
                    f"{path}: skipped: a table cannot be named {table!r}; use lower-case letters, "
                    "digits and _, and no name that the schema uses"
                )
                continue
            try:
                found = _look_through(con, table, path, notices)
            except OSError as error:
                notices.append(f"{path}: skipped: cannot be read: {error.strerror or error}")
                continue
            if found.problem:
                notices.append(f"{path}: skipped: {found.problem}")
                continue
            # Read a long file a second time rather than hold it in memory.
            for rows in _blocks(path, []) if found.rows is None else [found.rows]:
                waiting.rows.setdefault(table, []).extend({"run_id": run_id, **row} for row in rows)
                waiting.kinds[table] = join_kinds(waiting.kinds.get(table, {}), found.kinds)
                if sum(map(len, waiting.rows.values())) >= _MOST_WAITING:
                    _take_over(con, waiting, runs)
    _take_over(con, waiting, runs)


def _table_files(left: Left) -> list[str]:
    """Return existing and expected table files, as paths below the work folder."""
    there = {f"{TABLES}/{path.name}" for path in (left.directory / TABLES).glob("*.jsonl")}
    return sorted(there | {name for name in left.files if TABLE_FILE.fullmatch(name)})


class _Waiting(NamedTuple):
    """Rows waiting to be inserted."""

    rows: dict[str, list[Row]]
    """Table -> rows."""
    kinds: dict[str, dict[str, str]]
    """Table -> column -> kind of the waiting rows."""
    cleared: set[str]
    """Tables from which the runs' previous rows have been deleted."""


def _take_over(con: duckdb.DuckDBPyConnection, waiting: _Waiting, run_ids: Iterable[str]) -> None:
    """Insert the waiting rows; before a table's first insert, delete its rows of ``run_ids``."""
    for table, rows in waiting.rows.items():
        fit_table(con, table, waiting.kinds[table])
        if table not in waiting.cleared:
            delete_runs(con, table, run_ids)
            waiting.cleared.add(table)
        insert_rows(con, table, rows, replace=False)
    waiting.rows.clear()
    waiting.kinds.clear()


def read_facts(directory: Path, files: Mapping[str, str], notices: list[str]) -> JsonValue:
    """Read the workload's ``facts.json``; None if it is missing or unusable.

    If it is not valid JSON or differs from what the run wrote, a line is added to ``notices``.

    Args:
        directory: The work folder.
        files: Path -> digest of the files that the run left; see ``Left``.
        notices: Lines to show to the user.
    """
    path = directory / FACTS
    is_expected = FACTS in files or path.exists()
    if is_expected and (damage := damage_of(Left(directory, files), FACTS)) is not None:
        notices.append(f"{path}: {damage}; left out")
        return None
    try:
        return _parse(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, RecursionError) as error:
        notices.append(f"{path}: skipped: {str(error).splitlines()[0]}")
        return None


class _Looked(NamedTuple):
    """Result of checking a file of rows."""

    kinds: dict[str, str]
    """Column -> kind; see ``kinds_of``."""
    problem: str | None
    """Why the file cannot be ingested, if so."""
    rows: list[dict[str, JsonValue]] | None
    """All rows; None if the file does not fit into one block."""


def _look_through(
    con: duckdb.DuckDBPyConnection, table: str, path: Path, notices: list[str]
) -> _Looked:
    """Check a whole file before any of its rows is inserted."""
    found = _Looked({}, None, [])
    for number, rows in enumerate(_blocks(path, notices)):
        kinds = kinds_of(rows)
        found = _Looked(
            join_kinds(found.kinds, kinds),
            found.problem or _misfit(con, table, rows, kinds),
            None if number else rows,
        )
    return found


def _blocks(path: Path, notices: list[str]) -> Iterator[list[dict[str, JsonValue]]]:
    """Yield the JSON objects of a file, one per line, in blocks of ``_MOST_WAITING``."""
    rows: list[dict[str, JsonValue]] = []
    unreadable = 0
    # Not splitlines(): it also splits at characters that are allowed inside JSON strings.
    with path.open(encoding="utf-8", errors="replace") as lines:
        for line in lines:
            if not line.strip():
                continue
            try:
                row = _parse(line)
            except (ValueError, RecursionError):
                row = None
            if not isinstance(row, dict):
                unreadable += 1
                continue
            rows.append(row)
            if len(rows) == _MOST_WAITING:
                yield rows
                rows = []
    if rows:
        yield rows
    if unreadable:
        notices.append(f"{path}: {unreadable} line(s) are not JSON objects; left out")


def _misfit(
    con: duckdb.DuckDBPyConnection, table: str, rows: Sequence[Row], kinds: Mapping[str, str]
) -> str | None:
    """Return why ``rows`` of these ``kinds`` do not fit into ``table``; None if they do."""
    names = {name for row in rows for name in row}
    if wrong := sorted(name for name in names if not NAME.fullmatch(name) or name == "run_id"):
        return (
            f"a column cannot be named {wrong[0]!r}; use lower-case letters, digits and _, "
            "and not run_id"
        )
    if table not in DECLARED_TABLES:
        return None
    types = column_types(con, table)
    needed = con.execute(
        "SELECT column_name FROM duckdb_columns() WHERE table_name = $1 AND NOT is_nullable",
        [table],
    ).fetchall()
    for (name,) in needed:
        if name != "run_id" and any(row.get(name) is None for row in rows):
            return f"a row lacks {name!r}"
    for name, kind in kinds.items():
        if name in DECLARED_TABLES[table] and not fits(kind, types[name]):
            return f"{name!r} holds {kind}, but the column {table}.{name} is {types[name]}"
    return None


def _parse(text: str) -> JsonValue:
    """Parse JSON ``text``, with null for every non-finite number."""
    value: JsonValue = _DECODER.decode(text)
    return value


def _finite(text: str) -> float | None:
    """Parse a number; None if it overflows."""
    number = float(text)
    return number if math.isfinite(number) else None


_DECODER = json.JSONDecoder(parse_constant=lambda _: None, parse_float=_finite)
"""Shared: constructing a decoder takes as long as decoding a line."""
