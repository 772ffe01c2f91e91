"""Copy a results database without test scores, for readers who must not see them yet.

A study's test scores are *open* once it is confirmed: it has ``confirm``, and all runs of its
confirmation have ended. Of a run that was allowed to score test classes, and that no open study
contains, only its state is copied. What is not known to be free of test scores is left out, so a
table that is added later is shut until somebody decides otherwise.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path

import duckdb

from harness.store.database import connect, database_path
from harness.store.tables.bulk_rows import quoted

_OPEN = """
CREATE TEMP TABLE open_study AS
WITH planned AS (
    SELECT study, count(*) AS runs, count(*) FILTER (run.state IN ('done', 'failed')) AS ended
    FROM whole.trial JOIN whole.member USING (trial_id) LEFT JOIN whole.run USING (run_id)
    WHERE trial.phase = 'confirm' AND NOT member.is_pruned
    GROUP BY study
)
SELECT study FROM whole.study JOIN planned USING (study)
WHERE json_type(spec, '$.confirm') = 'OBJECT' AND runs = ended
"""
_SEALED = """
CREATE TEMP TABLE sealed_study AS
SELECT study, sampler <> 'grid' AS is_search FROM whole.study
WHERE json_type(spec, '$.confirm') = 'OBJECT'
"""
_OPEN_RUN = """
CREATE TEMP TABLE open_run AS
SELECT DISTINCT run_id
FROM whole.member JOIN whole.trial USING (trial_id) JOIN open_study USING (study)
"""
_OPEN_RUNS = "run_id IN (SELECT run_id FROM open_run)"
_NO_TEST_RUNS = "run_id IN (SELECT run_id FROM whole.run WHERE NOT test)"
_OPEN_STUDIES = "study IN (SELECT study FROM open_study)"
_SEALED_STUDIES = "study IN (SELECT study FROM sealed_study)"
_SEALED_SEARCHES = "study IN (SELECT study FROM sealed_study WHERE is_search)"
_RULES: Mapping[str, str] = {
    "claim": "true",
    "member": "true",
    "run": "true",
    "study": "true",
    "trial": "true",
    "verification": "true",
    "epoch": f"{_OPEN_RUNS} OR {_NO_TEST_RUNS} AND NOT starts_with(name, 'test')",
    "explained_variance": f"{_OPEN_STUDIES} OR {_SEALED_SEARCHES}",
}
"""Table -> the rows that are copied, where the columns of the table do not tell."""
_OWN = ("meta", "t_quantile")
"""Tables that every new database has."""
_TELLING = ("failure", "message", "facts", "stderr")
"""Columns of a run that may tell of its results."""


def make_shut_copy(results: Path, folder: Path, *, wait_s: float = 10.0) -> frozenset[str]:
    """Write the shut copy of a results folder's database into an empty folder.

    The copy is written anew rather than deleted from: DuckDB keeps the smallest and the largest
    value of deleted rows, where queries can find them.

    Returns:
        The open studies.

    Raises:
        InputError: there are no results yet.
        StoreError: the database cannot be read.
    """
    whole = folder / "whole.duckdb"
    with connect(results, read_only=True, wait_s=wait_s):  # no one writes to it meanwhile
        shutil.copyfile(database_path(results), whole)
    try:
        with connect(folder, read_only=False) as con:
            con.execute(f"ATTACH '{str(whole).replace(chr(39), chr(39) * 2)}' AS whole (READ_ONLY)")
            for statement in (_OPEN, _SEALED, _OPEN_RUN):
                con.execute(statement)
            for table, columns in _tables(con).items():
                _copy(con, table, columns)
            erased = ", ".join(f"{column} = NULL" for column in _TELLING)
            con.execute(f"UPDATE run SET {erased} WHERE test AND NOT {_OPEN_RUNS}")
            found = con.execute("FROM open_study").fetchall()
    finally:
        whole.unlink()
    return frozenset(study for (study,) in found)


def _tables(con: duckdb.DuckDBPyConnection) -> dict[str, list[str]]:
    """Return the columns of each table of the whole database."""
    rows = con.execute(
        """
        SELECT table_name, list(column_name ORDER BY column_index) FROM duckdb_columns()
        WHERE database_name = 'whole' AND NOT internal
            AND table_name IN (SELECT table_name FROM duckdb_tables() WHERE database_name = 'whole')
        GROUP BY table_name ORDER BY table_name
        """
    ).fetchall()
    return {name: columns for name, columns in rows if name not in _OWN}


def _copy(con: duckdb.DuckDBPyConnection, table: str, columns: list[str]) -> None:
    rule = rule_of(table, columns)
    if rule is None:
        return
    name = quoted(table)
    con.execute(f"CREATE TABLE IF NOT EXISTS main.{name} AS FROM whole.{name} LIMIT 0")
    con.execute(f"INSERT INTO main.{name} BY NAME SELECT * FROM whole.{name} WHERE {rule}")


def rule_of(table: str, columns: list[str]) -> str | None:
    """Return the condition of the rows to copy; None if nothing is known about the table."""
    if table in _RULES:
        return _RULES[table]
    no_test = " AND split <> 'test'" * ("split" in columns)
    if "run_id" in columns:
        return f"{_OPEN_RUNS} OR {_NO_TEST_RUNS}{no_test}"
    if "study" in columns and "split" in columns:
        return f"{_OPEN_STUDIES} OR {_SEALED_STUDIES} AND split = 'val'"
    return _OPEN_STUDIES if "study" in columns else None
