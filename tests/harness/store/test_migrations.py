"""A database knows its version, is brought forward change by change, and is never taken back."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import duckdb
import pytest

from harness.errors import StoreError
from harness.stats.paired import t_quantile
from harness.store import database
from harness.store.bulk_rows import FROM_WORKLOAD
from harness.store.migrations import (
    MIGRATIONS,
    add_queries,
    add_sampling_error,
    describe_columns,
    migrate,
    schema_version,
)
from harness.store.view_comments import COLUMNS, OF_ONE_VIEW
from harness.store.workload_files import DECLARED_TABLES, OWN_TABLES

VIEWS = "SELECT view_name FROM duckdb_views() WHERE NOT internal"


@pytest.fixture
def con() -> Iterator[duckdb.DuckDBPyConnection]:
    connection = duckdb.connect()
    yield connection
    connection.close()


def add_colour(con: duckdb.DuckDBPyConnection) -> None:
    con.execute("ALTER TABLE trial ADD COLUMN colour VARCHAR")
    con.execute("UPDATE trial SET colour = 'blue'")


def break_halfway(con: duckdb.DuckDBPyConnection) -> None:
    con.execute("ALTER TABLE trial ADD COLUMN shape VARCHAR")
    raise RuntimeError("power cut")


def columns(con: duckdb.DuckDBPyConnection, table: str) -> list[str]:
    return [row[0] for row in con.execute(f"DESCRIBE {table}").fetchall()]


def test_an_empty_database_gets_the_whole_schema(con: duckdb.DuckDBPyConnection) -> None:
    assert schema_version(con) == 0
    assert migrate(con) == 0
    assert schema_version(con) == len(MIGRATIONS)
    assert migrate(con) == len(MIGRATIONS)


def test_a_later_change_is_applied_once_and_keeps_the_rows(con: duckdb.DuckDBPyConnection) -> None:
    migrate(con)
    con.execute(
        "INSERT INTO trial VALUES ('t', 's', 0, 'l', 'search', 'trial', NULL, '{}', '{}', false, NULL)"
    )
    assert migrate(con, [*MIGRATIONS, add_colour]) == len(MIGRATIONS)
    assert con.execute("SELECT trial_id, colour FROM trial").fetchall() == [("t", "blue")]
    assert schema_version(con) == len(MIGRATIONS) + 1
    migrate(con, [*MIGRATIONS, add_colour])
    assert columns(con, "trial").count("colour") == 1


def test_what_an_older_database_holds_was_not_pruned(con: duckdb.DuckDBPyConnection) -> None:
    migrate(con, MIGRATIONS[:2])
    con.execute(
        "INSERT INTO study VALUES ('s', 'q', 'recall@1', 'tpe', '{}', 'f', now(), now(), 'c', '{}')"
    )
    con.execute(
        "INSERT INTO trial VALUES ('t', 's', 0, 'l', 'search', 'trial', NULL, '{}', '{}', false)"
    )
    con.execute("INSERT INTO member VALUES ('t', 0, 'r')")
    con.execute(
        "INSERT INTO run (run_id, workload, seed, test, state, attempts, code, data, params)"
        " VALUES ('r', 'w', 0, false, 'done', 1, 'c', 'd', '{}')"
    )
    con.execute("INSERT INTO recall VALUES ('r', 'val', 1, 0.5, 10, 0)")
    assert migrate(con) == 2
    shown = con.execute("SELECT mean, seeds_done, seeds_pruned, pruned FROM leaderboard").fetchall()
    assert shown == [(0.5, 1, 0, None)]
    assert con.execute("FROM pruned").fetchall() == []


def test_a_change_that_breaks_leaves_no_trace_but_those_before_stay(
    con: duckdb.DuckDBPyConnection,
) -> None:
    with pytest.raises(RuntimeError, match="power cut"):
        migrate(con, [*MIGRATIONS, add_colour, break_halfway])
    assert schema_version(con) == len(MIGRATIONS) + 1
    assert "colour" in columns(con, "trial")
    assert "shape" not in columns(con, "trial")


def test_a_newer_database_is_refused_with_both_versions(tmp_path: Path) -> None:
    with database.connect(tmp_path, read_only=False) as con:
        con.execute("UPDATE meta SET value = '99' WHERE key = 'schema_version'")
    for read_only in (True, False):
        known = rf"results\.duckdb: schema version 99.*up to {len(MIGRATIONS)}; update"
        with (
            pytest.raises(StoreError, match=known),
            database.connect(tmp_path, read_only=read_only),
        ):
            pass


@pytest.mark.parametrize("version", range(1, len(MIGRATIONS)))
def test_an_older_database_is_brought_up_to_date_by_whoever_reads_it(
    tmp_path: Path, version: int
) -> None:
    old = duckdb.connect(str(database.database_path(tmp_path)))
    migrate(old, MIGRATIONS[:version])
    old.execute("INSERT INTO recall VALUES ('r', 'test', 1, 0.5, 10, 0)")
    old.close()
    assert database.query(tmp_path, "SELECT run_id, recall FROM recall").rows == [("r", 0.5)]
    assert database.query(tmp_path, "SELECT count(*) FROM classes").rows == [(0,)]
    with database.connect(tmp_path, read_only=True) as con:
        assert schema_version(con) == len(MIGRATIONS)


def test_comparisons_from_before_errors_were_kept_get_theirs(
    con: duckdb.DuckDBPyConnection,
) -> None:
    before = MIGRATIONS.index(add_sampling_error)
    migrate(con, MIGRATIONS[:before])
    for trial, n in (("few", 10), ("many", 40)):
        con.execute(
            "INSERT INTO comparison VALUES ('s', $1, 'test', 'm', $2, 0, 0, 0, 0.5, 1, 0.5, false)",
            [trial, n],
        )
    migrate(con)
    errors = con.execute("SELECT trial_id, p_error FROM comparison ORDER BY n").fetchall()
    assert errors == [("few", 0.0), ("many", 0.5 / 2**9)]


def test_tables_that_a_workload_made_before_they_were_declared_give_way(
    con: duckdb.DuckDBPyConnection,
) -> None:
    migrate(con, MIGRATIONS[: MIGRATIONS.index(add_queries)])
    for table in ("queries", "projection", "classes"):
        con.execute(f"CREATE TABLE {table} (run_id VARCHAR NOT NULL, x BIGINT)")
    migrate(con)
    for table in ("queries", "projection"):
        assert columns(con, table) == ["run_id", *DECLARED_TABLES[table]]
    assert con.execute("FROM classes").fetchall() == []


def test_a_foreign_database_is_refused(tmp_path: Path) -> None:
    with duckdb.connect(str(database.database_path(tmp_path))) as con:
        con.execute("CREATE TABLE mine (x INTEGER)")
    for read_only in (True, False):
        with (
            pytest.raises(StoreError, match=r"results\.duckdb: .*not one of results.*move it away"),
            database.connect(tmp_path, read_only=read_only),
        ):
            pass
    with duckdb.connect(str(database.database_path(tmp_path))) as con:
        assert con.execute("SELECT table_name FROM duckdb_tables()").fetchall() == [("mine",)]


def test_every_table_column_and_view_is_described(con: duckdb.DuckDBPyConnection) -> None:
    migrate(con)
    silent = con.execute(
        """
        SELECT table_name FROM duckdb_tables() WHERE comment IS NULL
        UNION ALL
        SELECT view_name FROM duckdb_views() WHERE NOT internal AND comment IS NULL
        UNION ALL
        SELECT table_name || '.' || column_name FROM duckdb_columns()
        WHERE NOT internal AND comment IS NULL
        """
    ).fetchall()
    assert silent == []


def test_what_is_described_of_views_is_there(con: duckdb.DuckDBPyConnection) -> None:
    migrate(con)
    known = {view: set(columns(con, view)) for (view,) in con.execute(VIEWS).fetchall()}
    assert COLUMNS.keys() <= set().union(*known.values())
    assert [(view, column) for view, column in OF_ONE_VIEW if column not in known[view]] == []


def test_views_and_columns_that_had_no_comment_get_one(con: duckdb.DuckDBPyConnection) -> None:
    before = MIGRATIONS.index(describe_columns)
    migrate(con, MIGRATIONS[:before])
    con.execute('CREATE TABLE mine (run_id VARCHAR, "group" INTEGER)')
    con.execute("CREATE OR REPLACE VIEW openings AS SELECT 's' AS study, 't' AS trial")
    migrate(con)
    comments = con.execute(
        "SELECT column_name, comment FROM duckdb_columns() WHERE table_name = $1", ["mine"]
    ).fetchall()
    assert comments == [("run_id", FROM_WORKLOAD), ("group", FROM_WORKLOAD)]
    comments = con.execute(
        "SELECT comment FROM duckdb_columns() WHERE table_name = $1", ["openings"]
    ).fetchall()
    assert comments == [("The study.",), ("The label of the trial.",)]


def test_names_that_workloads_may_not_take_are_those_of_the_schema(
    con: duckdb.DuckDBPyConnection,
) -> None:
    migrate(con)
    tables = {row[0] for row in con.execute("SELECT table_name FROM duckdb_tables()").fetchall()}
    assert tables == OWN_TABLES | DECLARED_TABLES.keys()
    for table, declared in DECLARED_TABLES.items():
        assert columns(con, table) == ["run_id", *declared]


def test_the_quantiles_in_the_database_are_those_of_stats(con: duckdb.DuckDBPyConnection) -> None:
    migrate(con)
    rows = con.execute("SELECT df, value FROM t_quantile ORDER BY df").fetchall()
    assert rows[:9] == [(df, t_quantile(df)) for df in range(1, 10)]
    assert rows[-1] == (1000, t_quantile(1000))


def test_the_documented_views_are_there(con: duckdb.DuckDBPyConnection) -> None:
    migrate(con)
    views = con.execute(VIEWS).fetchall()
    assert {name for (name,) in views} == {
        "circumstances", "classes", "comparisons", "curves", "failures", "leaderboard", "mixed",
        "openings", "pruned", "results", "summary", "trials",
    }  # fmt: skip
    for (name,) in views:
        assert re.fullmatch(r"[a-z]+", name)
        assert con.execute(f"FROM {name}").fetchall() == []
