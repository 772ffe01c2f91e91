"""Export a study's rows as CSV or Parquet, one file per main table or view."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import duckdb

from harness.report.findings.tables.text_table import FORMULA_STARTS
from harness.store import database
from harness.store.tables.bulk_rows import quoted

_WAIT_S = 10.0
_RUNS = """
    SELECT
        trial.study, trial.label AS trial, trial.number, member.seed, member.is_pruned,
        member.fold, run.* EXCLUDE (seed)
    FROM trial JOIN member USING (trial_id) JOIN run USING (run_id)
    WHERE study = $study
    ORDER BY trial.number, trial_id, member.seed, member.fold
"""
QUERIES: dict[str, str] = {
    "trials": "SELECT * FROM trials WHERE study = $study ORDER BY number, trial_id",
    "runs": _RUNS,
    "results": "SELECT * FROM results WHERE study = $study"
    " ORDER BY number, trial_id, seed, split, name",
    "folds": "SELECT * FROM folds WHERE study = $study AND fold > 0"
    " ORDER BY number, trial_id, seed, fold, split, name",
    "summary": "SELECT * FROM summary WHERE study = $study ORDER BY number, trial_id, split, k",
    "comparisons": "SELECT * FROM comparisons WHERE study = $study"
    " ORDER BY number, trial_id, split, metric",
    "mixed": "SELECT * FROM mixed WHERE study = $study ORDER BY phase, what, runs DESC, value",
    "curves": "SELECT * FROM curves WHERE study = $study"
    " ORDER BY number, trial_id, seed, fold, epoch, name",
}
"""File stem -> query for its rows."""
FURTHER = (
    "agreement",
    "claims",
    "control_comparisons",
    "effects",
    "evidence",
    "flips",
    "forecasts",
    "importance",
    "interactions",
    "pareto",
    "purity_by_size",
    "recall_by_classes",
    "variance",
)
"""Views that get a file if the study has rows in them."""


def write_tables(results: Path, study: str, form: Literal["csv", "parquet"], folder: Path) -> None:
    """Write the files of ``QUERIES`` and ``FURTHER`` into ``folder``, all from the same moment.

    Raises:
        InputError: there are no results yet.
        StoreError: the database cannot be read, or the disk is full.
    """
    options = {"csv": "FORMAT csv, HEADER", "parquet": "FORMAT parquet, COMPRESSION zstd"}[form]
    with database.connect(results, read_only=True, wait_s=_WAIT_S, may_copy=True) as con:
        for name, sql in (QUERIES | _further(con, study)).items():
            path = str(folder / f"{name}.{form}").replace("'", "''")
            rows = _without_formulas(con, sql, study) if form == "csv" else sql
            con.execute(f"COPY ({rows}) TO '{path}' ({options})", {"study": study})


def _further(con: duckdb.DuckDBPyConnection, study: str) -> dict[str, str]:
    """Return the queries of those of ``FURTHER`` that hold something of the study."""
    queries = {name: f"SELECT * FROM {name} WHERE study = $study ORDER BY ALL" for name in FURTHER}
    return {
        name: sql
        for name, sql in queries.items()
        if con.execute(f"SELECT 1 FROM ({sql}) LIMIT 1", {"study": study}).fetchone()
    }


def _without_formulas(con: duckdb.DuckDBPyConnection, sql: str, study: str) -> str:
    """Return the query with ``no_formula`` applied to each text column."""
    described = con.execute(f"DESCRIBE {sql}", {"study": study}).fetchall()
    texts = [quoted(name) for name, kind, *_ in described if kind == "VARCHAR"]
    starts = ", ".join(f"chr({ord(start)})" for start in FORMULA_STARTS)
    cells = [f"if({name}[1] IN ({starts}), chr(39) || {name}, {name}) AS {name}" for name in texts]
    return f"SELECT * REPLACE ({', '.join(cells)}) FROM ({sql})"
