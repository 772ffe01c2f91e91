"""Compare two results folders of one study, table by table and row by row."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from harness.records.folders import run_dir, work_dir
from harness.records.studies.study_record import read_study_records
from harness.records.trial import digest
from harness.store.database import query, reading

FILES = frozenset({".png", ".webp", ".safetensors"})
"""Suffixes of files whose bytes depend on nothing but their content: images and models."""
_EXPRESSIONS = {
    # Leave out times, machine names and the number of attempts, which differ between equal studies.
    "run": "SELECT run_id, seed, test, state, failure, code, data FROM run",
    "claim": "SELECT study, number, claim, known_pairs, planned_pairs FROM claim",
    "epoch": "SELECT run_id, epoch, name, value FROM epoch WHERE name NOT LIKE 'seconds/%'",
}
_LEFT_OUT = ("study", "meta", "t_quantile", "forecast", "verification")

Row = tuple[object, ...]


class TableDiff(NamedTuple):
    """Comparison of one table in two folders."""

    table: str
    rows: int
    """Number of rows in the first folder."""
    digest: str
    """Digest of the first folder's rows, twelve hex digits."""
    differences: tuple[str, ...]
    """One line per kind of difference; empty if the tables are equal."""

    def __str__(self) -> str:
        """Format as ``recall  96 rows  3f2a...  equal``."""
        said = "; ".join(self.differences) or "equal"
        return f"{self.table:<12} {self.rows:>7} rows  {self.digest}  {said}"


def compare(ours: Path, theirs: Path) -> list[TableDiff]:
    """Compare all tables, except wall times, and the files written by the runs of two folders.

    Raises:
        InputError: one of the folders holds no results.
    """
    with reading(ours), reading(theirs):  # what follows finds both open
        names = dict.fromkeys([*_tables(ours), *_tables(theirs)])
        tables = [_compare_table(name, ours, theirs) for name in names]
    return [*tables, _compared("files", _file_rows(ours), _file_rows(theirs), ("run_id", "file"))]


class StateApart(NamedTuple):
    """Where the training of two folders parts ways."""

    run_id: str
    epoch: int
    parts: tuple[str, ...]
    """What differs after this epoch, and did not before."""


def first_state_apart(ours: Path, theirs: Path) -> StateApart | None:
    """Return the first epoch after which a training state differs; None if none does."""
    one, other = _states(ours), _states(theirs)
    apart = sorted(key for key in {*one, *other} if one.get(key) != other.get(key))
    if not apart:
        return None
    epoch, run_id, _ = apart[0]
    return StateApart(run_id, epoch, tuple(part for e, r, part in apart if (e, r) == apart[0][:2]))


def _states(results: Path) -> dict[tuple[int, str, str], str]:
    rows = query(results, "SELECT epoch, run_id, part, digest FROM states").rows
    return {(epoch, run_id, part): digest for epoch, run_id, part, digest in rows}


def _tables(results: Path) -> list[str]:
    rows = query(
        results, "SELECT table_name FROM duckdb_tables() WHERE NOT internal ORDER BY ALL"
    ).rows
    return [str(name) for (name,) in rows if name not in _LEFT_OUT]


def _compare_table(table: str, ours: Path, theirs: Path) -> TableDiff:
    if table not in {*_tables(ours)} & {*_tables(theirs)}:
        return TableDiff(table, 0, digest([])[:12], ("only one of the folders has it",))
    # Columns of a workload's table are added as rows need them, so their order varies.
    columns, other_columns = _columns(table, ours), _columns(table, theirs)
    if columns != other_columns:
        apart = sorted({*columns} ^ {*other_columns})
        return TableDiff(table, 0, digest([])[:12], (f"columns differ: {', '.join(apart)}",))
    chosen = ", ".join(f'"{name}"' for name in columns)
    sql = _EXPRESSIONS.get(table, f'SELECT {chosen} FROM "{table}"')
    found = query(ours, sql)
    return _compared(table, found.rows, query(theirs, sql).rows, found.columns)


def _columns(table: str, results: Path) -> list[str]:
    rows = query(
        results,
        "SELECT column_name FROM duckdb_columns() WHERE table_name = $1 ORDER BY ALL",
        [table],
    ).rows
    return [str(name) for (name,) in rows]


def _file_rows(results: Path) -> list[Row]:
    """Return (run, name, digest) for each file in ``FILES`` written by a member of a study."""
    rows: list[Row] = []
    run_ids = {member.run_id for each in read_study_records(results) for member in each.members}
    for run_id in sorted(run_ids):
        work = work_dir(run_dir(results, run_id))
        for path in sorted(work.rglob("*")):
            if path.suffix in FILES:
                content = digest(path.read_bytes().hex())[:12]
                rows.append((run_id, str(path.relative_to(work)), content))
    return rows


def _compared(
    table: str, ours: Sequence[Row], theirs: Sequence[Row], columns: Sequence[str]
) -> TableDiff:
    one, other = sorted(ours, key=repr), sorted(theirs, key=repr)
    whole = digest([repr(row) for row in one])[:12]
    if [*map(repr, one)] == [*map(repr, other)]:
        return TableDiff(table, len(one), whole, ())
    return TableDiff(table, len(one), whole, _differences(one, other, columns))


def _differences(
    ours: Sequence[Row], theirs: Sequence[Row], columns: Sequence[str]
) -> tuple[str, ...]:
    """Describe rows found in one folder only, and the largest difference between numbers."""
    one, other = _by_key(ours), _by_key(theirs)
    lines = []
    for rows, others, where in ((one, other, "uninterrupted"), (other, one, "killed")):
        if only := [key for key in rows if key not in others]:
            lines.append(f"{len(only)} rows only in the {where} study, first {_show(only[0])}")
    apart = [key for key in one if key in other and repr(one[key]) != repr(other[key])]
    if apart:
        worst = max(apart, key=lambda key: _distance(one[key], other[key]))
        names = [columns[place] for place, value in enumerate(ours[0]) if isinstance(value, float)]
        lines.append(
            f"{len(apart)} rows differ, most {_show(worst)}: {', '.join(names)} "
            f"{_show(one[worst])} and {_show(other[worst])}"
        )
    return tuple(lines)


def _by_key(rows: Sequence[Row]) -> Mapping[Row, Row]:
    """Map each row's non-float values to its float values."""
    return {
        tuple(repr(v) if isinstance(v, list | dict) else v for v in row if not _is_real(v)): tuple(
            value for value in row if _is_real(value)
        )
        for row in rows
    }


def _is_real(value: object) -> bool:
    return isinstance(value, float)


def _distance(one: Row, other: Row) -> float:
    if len(one) != len(other):
        return math.inf
    return max(abs(float(str(a)) - float(str(b))) for a, b in zip(one, other, strict=True))


def _show(row: Row) -> str:
    return " ".join(str(value) for value in row)
