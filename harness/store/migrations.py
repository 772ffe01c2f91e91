"""Bring a results database to the schema of this program: tables migrate, views are re-created.

``tables.sql`` creates the tables that are missing and comments on all of them; a change of a table
that exists is a numbered migration. ``views.sql`` holds every view: a database with other views
gets those of this program, whatever its version.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Mapping
from functools import cache
from importlib.resources import files

import duckdb

from harness.errors import StoreError
from harness.stats.paired import sampling_error, t_quantile
from harness.store.bulk_rows import FROM_WORKLOAD, quoted

Migration = Callable[[duckdb.DuckDBPyConnection], None]

SCHEMA_VERSION = 8
"""Raise it with every change of ``tables.sql``; views have no version."""

_MOST_DEGREES_OF_FREEDOM = 1000
_VIEWS_KEY = "views_sha256"


def add_pruning(con: duckdb.DuckDBPyConnection) -> None:
    """Migration 3: what searches have given up; until then they gave up nothing."""
    con.execute("ALTER TABLE trial ADD COLUMN pruned VARCHAR")
    con.execute("ALTER TABLE member ADD COLUMN is_pruned BOOLEAN DEFAULT false")


def add_sampling_error(con: duckdb.DuckDBPyConnection) -> None:
    """Migration 4: how far a sampled p may be from the exact one."""
    con.execute("ALTER TABLE comparison ADD COLUMN p_error DOUBLE")
    rows = con.execute("SELECT DISTINCT p, n FROM comparison").fetchall()
    for p, n in rows:
        con.execute(
            "UPDATE comparison SET p_error = $1 WHERE p = $2 AND n = $3",
            [sampling_error(p, n), p, n],
        )


def drop_undeclared(con: duckdb.DuckDBPyConnection) -> None:
    """Migration 6: drop what a workload has put into tables that ``tables.sql`` declares since.

    It is still in the workload's files, from which ``harness rebuild`` takes what fits.
    """
    con.execute("DROP TABLE IF EXISTS queries")
    con.execute("DROP TABLE IF EXISTS projection")


def describe_columns(con: duckdb.DuckDBPyConnection) -> None:
    """Migration 7: comments on columns that a workload has made and that have none."""
    silent = con.execute(
        """
        SELECT table_name, column_name FROM duckdb_columns() WHERE NOT internal AND comment IS NULL
            AND table_name IN (SELECT table_name FROM duckdb_tables())
        """
    ).fetchall()
    for table, column in silent:
        con.execute(f"COMMENT ON COLUMN {quoted(table)}.{quoted(column)} IS '{FROM_WORKLOAD}'")


MIGRATIONS: Mapping[int, Migration] = {
    3: add_pruning,
    4: add_sampling_error,
    6: drop_undeclared,
    7: describe_columns,
}
"""Version -> the change of existing tables that leads to it.

Tables that are new in a version do not exist at that time: ``tables.sql`` creates them afterwards.
"""


def schema_version(con: duckdb.DuckDBPyConnection) -> int:
    """The version of the database; 0 for an empty one.

    Raises:
        StoreError: it holds tables, but is no results database.
    """
    tables = con.execute("SELECT table_name FROM duckdb_tables()").fetchall()
    if not tables:
        return 0
    row = None
    if ("meta",) in tables:
        row = con.execute("SELECT value FROM meta WHERE key = 'schema_version'").fetchone()
    if row is None:
        raise StoreError(
            "a DuckDB database, but not one of results: it has no schema version; "
            "move it away, then make it anew with `harness rebuild`"
        )
    return int(row[0])


def migrate(
    con: duckdb.DuckDBPyConnection,
    migrations: Mapping[int, Migration] = MIGRATIONS,
    newest: int = SCHEMA_VERSION,
) -> int:
    """Bring tables and views up to date, all or nothing, and return the version it had.

    Raises:
        StoreError: the database is newer than this program, or no results database.
    """
    before = schema_version(con)
    refuse_newer(before, newest)
    if before == newest and _has_views(con):
        return before
    con.begin()
    try:
        if before < newest:
            _update_tables(con, before, migrations)
        _replace_views(con)
        con.execute(
            "INSERT OR REPLACE INTO meta VALUES ('schema_version', $1), ($2, $3)",
            [str(newest), _VIEWS_KEY, _digest_of_views()],
        )
    except BaseException:
        con.rollback()
        raise
    con.commit()
    return before


def is_outdated(con: duckdb.DuckDBPyConnection) -> bool:
    """Whether it is a results database with older tables than this program's, or other views."""
    try:
        version = schema_version(con)
    except StoreError:
        return False
    return 0 < version < SCHEMA_VERSION or (version == SCHEMA_VERSION and not _has_views(con))


def refuse_newer(version: int, newest: int = SCHEMA_VERSION) -> None:
    """Stop where the database has schema ``version`` and this program knows ``newest`` only.

    Raises:
        StoreError: naming both versions.
    """
    if version > newest:
        raise StoreError(
            f"schema version {version}, but this program knows up to {newest}; update the "
            "program, or move the database away and make it anew with `harness rebuild`"
        )


def _update_tables(
    con: duckdb.DuckDBPyConnection, before: int, migrations: Mapping[int, Migration]
) -> None:
    """Migrate the tables of version ``before`` and create those it lacks."""
    if before > 0:
        for number, change in sorted(migrations.items()):
            if number > before:
                change(con)
    con.execute(_sql("tables.sql"))
    if before == 0:
        degrees = list(range(1, _MOST_DEGREES_OF_FREEDOM + 1))
        con.execute(
            "INSERT INTO t_quantile SELECT unnest($1::INTEGER[]), unnest($2::DOUBLE[])",
            [degrees, [t_quantile(df) for df in degrees]],
        )


def _replace_views(con: duckdb.DuckDBPyConnection) -> None:
    """Create all views again; a workload's table of the same name is dropped (see migration 6)."""
    tables = {name for (name,) in con.execute("SELECT table_name FROM duckdb_tables()").fetchall()}
    views = _sql("views.sql")
    for name in tables.intersection(
        re.findall(r"^CREATE OR REPLACE VIEW (\w+)", views, re.MULTILINE)
    ):
        con.execute(f"DROP TABLE {quoted(name)}")
    con.execute(views)


def _has_views(con: duckdb.DuckDBPyConnection) -> bool:
    """Whether its views are those of ``views.sql``."""
    row = con.execute("SELECT value FROM meta WHERE key = $1", [_VIEWS_KEY]).fetchone()
    return row == (_digest_of_views(),)


@cache
def _digest_of_views() -> str:
    return hashlib.sha256(_sql("views.sql").encode()).hexdigest()


def _sql(name: str) -> str:
    return files("harness.store").joinpath(name).read_text(encoding="utf-8")
