"""A database knows its version, is brought forward change by change, and is never taken back."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path

import duckdb
import pytest
from old_schemas import make_old
from store_examples import TRIAL, ask, write

from harness.errors import StoreError
from harness.stats.paired import t_quantile
from harness.store import database
from harness.store.tables import migrations
from harness.store.tables.bulk_rows import FROM_WORKLOAD
from harness.store.tables.migrations import (
    MIGRATIONS,
    SCHEMA_VERSION,
    migrate,
    schema_version,
)
from harness.store.tables.workload_files import DECLARED_TABLES, OWN_TABLES

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


def with_other_views(sql: Callable[[str], str]) -> Callable[[str], str]:
    """The SQL of a program whose view ``pruned`` is another and has no comments."""
    other = "CREATE OR REPLACE VIEW pruned AS SELECT 'other' AS reason;"
    return lambda name: sql(name) + other if name == "views.sql" else sql(name)


def columns(con: duckdb.DuckDBPyConnection, table: str) -> list[str]:
    return [row[0] for row in con.execute(f"DESCRIBE {table}").fetchall()]


def schema_of(con: duckdb.DuckDBPyConnection) -> list[tuple[object, ...]]:
    """Every table, view and column with its comment, and what it is made of."""
    return con.execute(
        """
        SELECT table_name, comment, sql, NULL, NULL FROM duckdb_tables()
        UNION ALL
        SELECT view_name, comment, sql, NULL, NULL FROM duckdb_views() WHERE NOT internal
        UNION ALL
        SELECT table_name, comment, column_name, data_type, column_index FROM duckdb_columns()
        WHERE NOT internal
        ORDER BY ALL
        """
    ).fetchall()


def test_an_empty_database_gets_the_whole_schema(con: duckdb.DuckDBPyConnection) -> None:
    assert schema_version(con) == 0
    assert migrate(con) == 0
    assert schema_version(con) == SCHEMA_VERSION
    assert migrate(con) == SCHEMA_VERSION


def test_a_later_change_is_applied_once_and_keeps_the_rows(con: duckdb.DuckDBPyConnection) -> None:
    migrate(con)
    con.execute(
        "INSERT INTO trial VALUES ('t', 's', 0, 'l', 'search', 'trial', NULL, '{}', '{}', false, NULL, NULL)"
    )
    later = {**MIGRATIONS, SCHEMA_VERSION + 1: add_colour}
    assert migrate(con, later, SCHEMA_VERSION + 1) == SCHEMA_VERSION
    assert con.execute("SELECT trial_id, colour FROM trial").fetchall() == [("t", "blue")]
    assert schema_version(con) == SCHEMA_VERSION + 1
    migrate(con, later, SCHEMA_VERSION + 1)
    assert columns(con, "trial").count("colour") == 1


def test_what_an_older_database_holds_was_not_pruned(con: duckdb.DuckDBPyConnection) -> None:
    make_old(con, 2)
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


def test_a_change_that_breaks_leaves_no_trace_nor_do_those_before(
    con: duckdb.DuckDBPyConnection,
) -> None:
    make_old(con, 2)
    before = schema_of(con)
    broken = {**MIGRATIONS, SCHEMA_VERSION + 1: break_halfway}
    with pytest.raises(RuntimeError, match="power cut"):
        migrate(con, broken, SCHEMA_VERSION + 1)
    assert schema_version(con) == 2
    assert schema_of(con) == before
    assert migrate(con) == 2


def test_a_newer_database_is_refused_with_both_versions(tmp_path: Path) -> None:
    with database.connect(tmp_path, read_only=False) as con:
        con.execute("UPDATE meta SET value = '99' WHERE key = 'schema_version'")
    for read_only in (True, False):
        known = rf"results\.duckdb: schema version 99.*up to {SCHEMA_VERSION}; update"
        with (
            pytest.raises(StoreError, match=known),
            database.connect(tmp_path, read_only=read_only),
        ):
            pass


@pytest.mark.parametrize("version", range(1, SCHEMA_VERSION))
def test_an_older_database_is_brought_up_to_date_by_whoever_reads_it(
    tmp_path: Path, version: int
) -> None:
    old = duckdb.connect(str(database.database_path(tmp_path)))
    make_old(old, version)
    old.execute("INSERT INTO recall VALUES ('r', 'test', 1, 0.5, 10, 0)")
    old.close()
    assert database.query(tmp_path, "SELECT run_id, recall FROM recall").rows == [("r", 0.5)]
    assert database.query(tmp_path, "SELECT count(*) FROM classes").rows == [(0,)]
    with database.connect(tmp_path, read_only=True) as con:
        assert schema_version(con) == SCHEMA_VERSION


@pytest.mark.parametrize("version", range(1, SCHEMA_VERSION))
def test_an_older_database_gets_the_schema_of_a_new_one(version: int) -> None:
    with duckdb.connect() as new, duckdb.connect() as old:
        migrate(new)
        make_old(old, version)
        migrate(old)
        assert schema_of(old) == schema_of(new)


@pytest.mark.parametrize("read_only", [True, False])
def test_views_that_another_program_left_are_replaced_in_a_database_of_the_same_version(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, read_only: bool
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(migrations, "_sql", with_other_views(migrations._sql))
        migrations._digest_of_views.cache_clear()
        write(tmp_path, [TRIAL], {0: [0.5]})
        assert ask(tmp_path, "SELECT reason FROM pruned") == [("other",)]
    migrations._digest_of_views.cache_clear()
    with database.connect(tmp_path, read_only=read_only) as con:
        assert con.execute("FROM pruned").fetchall() == []
        assert con.execute("SELECT mean FROM trials").fetchall() == [(0.5,)]
        given = schema_of(con)
    with duckdb.connect() as new:
        migrate(new)
        assert given == schema_of(new)


def test_views_that_are_up_to_date_are_not_made_anew(tmp_path: Path) -> None:
    oids = "SELECT view_oid FROM duckdb_views() WHERE NOT internal ORDER BY ALL"
    with database.connect(tmp_path, read_only=False) as con:
        before = con.execute(oids).fetchall()
        assert migrate(con) == SCHEMA_VERSION
        assert con.execute(oids).fetchall() == before


def test_comparisons_from_before_errors_were_kept_get_theirs(
    con: duckdb.DuckDBPyConnection,
) -> None:
    make_old(con, 3)
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
    make_old(con, 5)
    for table in ("queries", "projection", "classes", "circumstances", "mixed"):
        con.execute(f"CREATE TABLE {table} (run_id VARCHAR NOT NULL, x BIGINT)")
    migrate(con)
    for table in ("queries", "projection"):
        assert columns(con, table) == ["run_id", *DECLARED_TABLES[table]]
    for view in ("classes", "circumstances", "mixed"):
        assert con.execute(f"FROM {view}").fetchall() == []


@pytest.mark.parametrize("table", ["mine", "meta"])
def test_a_foreign_database_is_refused(tmp_path: Path, table: str) -> None:
    with duckdb.connect(str(database.database_path(tmp_path))) as con:
        con.execute(f"CREATE TABLE {table} (x INTEGER)")
    for read_only in (True, False):
        with (
            pytest.raises(
                StoreError, match=r"results\.duckdb: .*not a results database.*move it away"
            ),
            database.connect(tmp_path, read_only=read_only),
        ):
            pass
    with duckdb.connect(str(database.database_path(tmp_path))) as con:
        assert con.execute("SELECT table_name FROM duckdb_tables()").fetchall() == [(table,)]


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


def test_columns_that_had_no_comment_get_one(con: duckdb.DuckDBPyConnection) -> None:
    make_old(con, 6)
    con.execute('CREATE TABLE mine (run_id VARCHAR, "group" INTEGER)')
    migrate(con)
    comments = con.execute(
        "SELECT column_name, comment FROM duckdb_columns() WHERE table_name = $1", ["mine"]
    ).fetchall()
    assert comments == [("run_id", FROM_WORKLOAD), ("group", FROM_WORKLOAD)]
    comments = con.execute(
        "SELECT comment FROM duckdb_columns() WHERE table_name = 'openings' LIMIT 2"
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
        "agreement", "circumstances", "claims", "classes", "comparisons", "control_comparisons", "curves", "effects", "evidence",
        "failures", "flips", "folds", "forecasts", "importance", "interactions", "leaderboard", "mixed", "openings", "pareto", "pruned",
        "purity_by_size", "recall_by_classes", "results", "summary", "trials", "variance", "vault", "verifications",
    }  # fmt: skip
    for (name,) in views:
        assert re.fullmatch(r"[a-z_]+", name)
        assert con.execute(f"FROM {name}").fetchall() == []
