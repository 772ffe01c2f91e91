"""Keep the outcomes of ``harness verify`` in the database."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict

import duckdb

from harness.records.studies.verifications import VerifyOutcome
from harness.store.tables.bulk_rows import insert_rows


def replace_verifications(con: duckdb.DuckDBPyConnection, found: Sequence[VerifyOutcome]) -> None:
    """Replace all outcomes by those of the results folder."""
    con.execute("DELETE FROM verification")
    if found:
        insert_rows(con, "verification", [asdict(each) for each in found], replace=False)


def last_verification(con: duckdb.DuckDBPyConnection, study: str) -> VerifyOutcome | None:
    """Return the newest outcome of a study; None if there is none."""
    row = con.execute(
        """
        SELECT
            study, strftime(checked, '%Y-%m-%dT%H:%M:%S'), kills, is_equal, git_commit, dirty,
            differences, first_run, first_epoch, first_parts
        FROM verifications WHERE study = $1 AND is_newest
        """,
        [study],
    ).fetchone()
    return None if row is None else VerifyOutcome(*row)
