"""Update a results database to this program's schema: migrate tables, re-create views.

``tables.sql`` creates missing tables and comments on all of them; a change to an existing table
needs a numbered migration. ``views.sql`` holds every view: if a database's views differ from it,
they are re-created, whatever the schema version.
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
from harness.store.tables.bulk_rows import FROM_WORKLOAD, quoted

Migration = Callable[[duckdb.DuckDBPyConnection], None]

SCHEMA_VERSION = 11
"""Increase this with every change to ``tables.sql``; views have no version."""

_MOST_DEGREES_OF_FREEDOM = 1000
_VIEWS_KEY = "views_sha256"
_LINES = re.MULTILINE | re.DOTALL


def add_pruning(con: duckdb.DuckDBPyConnection) -> None:
    """Migration 3: add the columns on pruning; older searches pruned nothing."""
    con.execute("ALTER TABLE trial ADD COLUMN pruned VARCHAR")
    con.execute("ALTER TABLE member ADD COLUMN is_pruned BOOLEAN DEFAULT false")


def add_sampling_error(con: duckdb.DuckDBPyConnection) -> None:
    """Migration 4: add the sampling error of a p-value estimated from random sign flips."""
    con.execute("ALTER TABLE comparison ADD COLUMN p_error DOUBLE")
    rows = con.execute("SELECT DISTINCT p, n FROM comparison").fetchall()
    for p, n in rows:
        con.execute(
            "UPDATE comparison SET p_error = $1 WHERE p = $2 AND n = $3",
            [sampling_error(p, n), p, n],
        )


def drop_undeclared(con: duckdb.DuckDBPyConnection) -> None:
    """Migration 6: drop workload tables whose names ``tables.sql`` has declared since.

    Their rows are still in the workload's files; ``harness rebuild`` ingests those that fit.
    """
    con.execute("DROP TABLE IF EXISTS queries")
    con.execute("DROP TABLE IF EXISTS projection")


def describe_columns(con: duckdb.DuckDBPyConnection) -> None:
    """Migration 7: add a comment to each workload column that has none."""
    silent = con.execute(
        """
        SELECT table_name, column_name FROM duckdb_columns() WHERE NOT internal AND comment IS NULL
            AND table_name IN (SELECT table_name FROM duckdb_tables())
        """
    ).fetchall()
    for table, column in silent:
        con.execute(f"COMMENT ON COLUMN {quoted(table)}.{quoted(column)} IS '{FROM_WORKLOAD}'")


_NEW_IN_10 = (
    "claim",
    "claim_result",
    "class_counts",
    "comparison_over_classes",
    "effect",
    "explained_variance",
    "look",
)


def add_experiment(con: duckdb.DuckDBPyConnection) -> None:
    """Migration 10: add who started a run, a trial's test set and a query's class count.

    Tables of a workload that are named like new ones are dropped; see migration 6. A workload may
    have written the class count before.
    """
    con.execute("ALTER TABLE run ADD COLUMN username VARCHAR")
    con.execute("ALTER TABLE run ADD COLUMN command VARCHAR")
    con.execute("ALTER TABLE trial ADD COLUMN test_set VARCHAR")
    con.execute("ALTER TABLE IF EXISTS queries ADD COLUMN IF NOT EXISTS classes_before_hit BIGINT")
    for table in _NEW_IN_10:
        con.execute(f"DROP TABLE IF EXISTS {table}")


def _add_folds(con: duckdb.DuckDBPyConnection) -> None:
    """Add the fold of a member; a seed had one run before.

    The fold is part of the primary key, so the table is made anew.
    """
    con.execute("CREATE TEMP TABLE earlier AS SELECT *, 0 AS fold FROM member")
    con.execute("DROP TABLE member")
    con.execute(_statement("member"))
    con.execute("INSERT INTO member BY NAME SELECT * FROM earlier")
    con.execute("DROP TABLE earlier")
    for column in ("classes", "share"):
        con.execute(f"ALTER TABLE IF EXISTS comparison_over_classes ALTER {column} DROP NOT NULL")
    con.execute(
        "ALTER TABLE IF EXISTS comparison_over_classes ADD COLUMN IF NOT EXISTS folds INTEGER"
    )


def _add_members(con: duckdb.DuckDBPyConnection) -> None:
    """Add the images of a cluster.

    Tables of a workload that are named like new ones are dropped; see migration 6.
    """
    con.execute("ALTER TABLE IF EXISTS clusters ADD COLUMN IF NOT EXISTS members BIGINT[]")
    for table in ("cluster_pictures", "label_agreement"):
        con.execute(f"DROP TABLE IF EXISTS {table}")


def _drop_new_in_11(con: duckdb.DuckDBPyConnection) -> None:
    """Drop tables of a workload that are named like new ones; see migration 6."""
    for table in ("forecast", "pareto_point", "states", "verification"):
        con.execute(f"DROP TABLE IF EXISTS {table}")


def add_designs(con: duckdb.DuckDBPyConnection) -> None:
    """Migration 11: add what folds, studies of variance, plans, fronts and verifications write."""
    _add_folds(con)
    _add_members(con)
    _drop_new_in_11(con)


MIGRATIONS: Mapping[int, Migration] = {
    3: add_pruning,
    4: add_sampling_error,
    6: drop_undeclared,
    7: describe_columns,
    10: add_experiment,
    11: add_designs,
}
"""Version -> migration of existing tables to that version.

A migration cannot use tables that are new in its version: ``tables.sql`` creates them afterwards.
"""


def schema_version(con: duckdb.DuckDBPyConnection) -> int:
    """Return the schema version of the database; 0 if it is empty.

    Raises:
        StoreError: the database holds tables, but is not a results database.
    """
    try:
        row = con.execute("SELECT value FROM meta WHERE key = 'schema_version'").fetchone()
    except (duckdb.CatalogException, duckdb.BinderException):  # no such table or column
        row = None
    if row is not None:
        return int(row[0])
    # Listing tables is slow in a database just opened, so it comes last.
    if con.execute("SELECT 1 FROM duckdb_tables() LIMIT 1").fetchone() is None:
        return 0
    raise StoreError(
        "a DuckDB database, but not a results database: it has no schema version; "
        "move it away, then recreate it with `harness rebuild`"
    )


def migrate(
    con: duckdb.DuckDBPyConnection,
    migrations: Mapping[int, Migration] = MIGRATIONS,
    newest: int = SCHEMA_VERSION,
) -> int:
    """Update tables and views in one transaction, and return the previous schema version.

    Raises:
        StoreError: the database is newer than this program, or not a results database.
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
    """Whether this is a results database with an older schema or different views."""
    try:
        version = schema_version(con)
    except StoreError:
        return False
    return 0 < version < SCHEMA_VERSION or (version == SCHEMA_VERSION and not _has_views(con))


def refuse_newer(version: int, newest: int = SCHEMA_VERSION) -> None:
    """Reject a database whose schema ``version`` is above ``newest``.

    Raises:
        StoreError: the database is newer; the message names both versions.
    """
    if version > newest:
        raise StoreError(
            f"schema version {version}, but this program knows up to {newest}; update the "
            "program, or move the database away and recreate it with `harness rebuild`"
        )


def _update_tables(
    con: duckdb.DuckDBPyConnection, before: int, migrations: Mapping[int, Migration]
) -> None:
    """Migrate existing tables from version ``before``, and create missing ones."""
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
    """Re-create all views; drop workload tables of the same name (see migration 6)."""
    tables = {name for (name,) in con.execute("SELECT table_name FROM duckdb_tables()").fetchall()}
    views = _sql("views.sql")
    for name in tables.intersection(
        re.findall(r"^CREATE OR REPLACE VIEW (\w+)", views, re.MULTILINE)
    ):
        con.execute(f"DROP TABLE {quoted(name)}")
    con.execute(views)


def _has_views(con: duckdb.DuckDBPyConnection) -> bool:
    """Whether the views in the database are those of ``views.sql``."""
    row = con.execute("SELECT value FROM meta WHERE key = $1", [_VIEWS_KEY]).fetchone()
    return row == (_digest_of_views(),)


@cache
def _digest_of_views() -> str:
    return hashlib.sha256(_sql("views.sql").encode()).hexdigest()


def _statement(table: str) -> str:
    """Return the statement of ``tables.sql`` that creates a table."""
    found = re.search(rf"^CREATE TABLE IF NOT EXISTS {table} \(.*?^\);", _sql("tables.sql"), _LINES)
    assert found is not None
    return found[0]


def _sql(name: str) -> str:
    return files("harness.store.tables").joinpath(name).read_text(encoding="utf-8")
