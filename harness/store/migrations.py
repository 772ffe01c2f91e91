"""Schema changes of the results database, numbered from 1, each in a transaction of its own."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib.resources import files

import duckdb

from harness.errors import StoreError
from harness.stats.paired import sampling_error, t_quantile
from harness.store.bulk_rows import FROM_WORKLOAD, quoted
from harness.store.view_comments import comment_on_views

Migration = Callable[[duckdb.DuckDBPyConnection], None]

_MOST_DEGREES_OF_FREEDOM = 1000


def create_schema(con: duckdb.DuckDBPyConnection) -> None:
    """Migration 1: all of ``schema.sql``, and the quantiles that its views look up."""
    con.execute(files("harness.store").joinpath("schema.sql").read_text(encoding="utf-8"))
    degrees = list(range(1, _MOST_DEGREES_OF_FREEDOM + 1))
    con.execute(
        "INSERT INTO t_quantile SELECT unnest($1::INTEGER[]), unnest($2::DOUBLE[])",
        [degrees, [t_quantile(df) for df in degrees]],
    )


def add_openings(con: duckdb.DuckDBPyConnection) -> None:
    """Migration 2: the view of when test classes were opened, and why."""
    con.execute(
        """
        CREATE VIEW openings AS
        SELECT
            trial.study, trial.label AS trial, trial_id, trial.number, member.seed, run_id,
            run.started AS opened,
            CASE study.sampler
                WHEN 'grid' THEN 'a fixed study: all its trials were known before any result'
                ELSE 'a confirmation: chosen by a search on validation classes'
            END AS reason
        FROM trial
        JOIN study USING (study)
        JOIN member USING (trial_id)
        JOIN run USING (run_id)
        WHERE run.test
        ORDER BY run.started, trial.study, trial.number, member.seed
        """
    )
    con.execute(
        "COMMENT ON VIEW openings IS 'When a run was allowed to score the test classes, and why.'"
    )


def add_pruning(con: duckdb.DuckDBPyConnection) -> None:
    """Migration 3: what searches have given up, which no table of results shows."""
    con.execute(files("harness.store").joinpath("pruned.sql").read_text(encoding="utf-8"))


def add_sampling_error(con: duckdb.DuckDBPyConnection) -> None:
    """Migration 4: how far a sampled p may be from the exact one."""
    con.execute("ALTER TABLE comparison ADD COLUMN p_error DOUBLE")
    rows = con.execute("SELECT DISTINCT p, n FROM comparison").fetchall()
    for p, n in rows:
        con.execute(
            "UPDATE comparison SET p_error = $1 WHERE p = $2 AND n = $3",
            [sampling_error(p, n), p, n],
        )
    con.execute(
        "COMMENT ON COLUMN comparison.p_error IS "
        "'Standard error of p: 0 up to 20 seeds, where it is exact; beyond, signs are sampled.'"
    )
    con.execute(
        """
        CREATE OR REPLACE VIEW comparisons AS
        SELECT
            trial.study, trial.label AS trial, trial_id, trial.number, comparison.split,
            comparison.metric, comparison.n, comparison.difference, comparison.low,
            comparison.high, comparison.p, comparison.p_error, comparison.p_holm,
            comparison.prob_improvement, comparison.exploratory
        FROM comparison
        JOIN trial USING (trial_id)
        ORDER BY trial.study, trial.number, comparison.split, comparison.metric
        """
    )
    con.execute(
        "COMMENT ON VIEW comparisons IS "
        "'Each trial against its baseline, paired by seed: difference, interval, exact p, Holm p.'"
    )


def add_decisive_split(con: duckdb.DuckDBPyConnection) -> None:
    """Migration 5: ``trials`` also has the mean of confirmed trials that have no test score."""
    con.execute(files("harness.store").joinpath("decisive_split.sql").read_text(encoding="utf-8"))


def add_queries(con: duckdb.DuckDBPyConnection) -> None:
    """Migration 6: what single queries found, and a map of the embeddings."""
    con.execute(files("harness.store").joinpath("queries.sql").read_text(encoding="utf-8"))


def describe_columns(con: duckdb.DuckDBPyConnection) -> None:
    """Migration 7: comments on columns that have none; ``migrate`` adds those of the views."""
    silent = con.execute(
        """
        SELECT table_name, column_name FROM duckdb_columns() WHERE NOT internal AND comment IS NULL
            AND table_name IN (SELECT table_name FROM duckdb_tables())
        """
    ).fetchall()
    for table, column in silent:
        con.execute(f"COMMENT ON COLUMN {quoted(table)}.{quoted(column)} IS '{FROM_WORKLOAD}'")


def add_mixed(con: duckdb.DuckDBPyConnection) -> None:
    """Migration 8: where the runs of a study were made by other means than each other."""
    con.execute(files("harness.store").joinpath("mixed.sql").read_text(encoding="utf-8"))


MIGRATIONS: tuple[Migration, ...] = (
    create_schema,
    add_openings,
    add_pruning,
    add_sampling_error,
    add_decisive_split,
    add_queries,
    describe_columns,
    add_mixed,
)
"""The change at index i leads from version i to version i + 1."""


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


def migrate(con: duckdb.DuckDBPyConnection, migrations: Sequence[Migration] = MIGRATIONS) -> int:
    """Bring the database to the newest version and return the version it had.

    Raises:
        StoreError: the database is newer than this program, or no results database.
    """
    before = schema_version(con)
    refuse_newer(before, len(migrations))
    for number, change in enumerate(migrations[before:], start=before + 1):
        con.execute("BEGIN")
        try:
            change(con)
            if number == len(migrations):
                comment_on_views(con)  # a view that was replaced has lost them
            con.execute("INSERT OR REPLACE INTO meta VALUES ('schema_version', $1)", [str(number)])
        except BaseException:
            con.execute("ROLLBACK")
            raise
        con.execute("COMMIT")
    return before


def is_older(con: duckdb.DuckDBPyConnection) -> bool:
    """Whether it is a results database with a schema older than this program's."""
    try:
        return 0 < schema_version(con) < len(MIGRATIONS)
    except StoreError:
        return False


def refuse_newer(version: int, newest: int = len(MIGRATIONS)) -> None:
    """Stop where the database has schema ``version`` and this program knows ``newest`` only.

    Raises:
        StoreError: naming both versions.
    """
    if version > newest:
        raise StoreError(
            f"schema version {version}, but this program knows up to {newest}; update the "
            "program, or move the database away and make it anew with `harness rebuild`"
        )
