"""Print a results database as text: tables, views and columns with comments, and all rows.

To show that a change of the program leaves the database as it was: dump before and after, with a
new results folder or with a copy of an old one, and compare the two texts. Opening brings the
database up to date. ``meta`` is left out: it holds the versions of tables and views.

    python tests/benchmarks/schema_dump.py RESULTS > before.txt
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import duckdb

from harness.store.database import connect

CATALOGS = {
    "duckdb_tables": "table_name",
    "duckdb_views": "view_name",
    "duckdb_columns": "table_name, column_index",
}
WITHOUT = ("database_name", "estimated_size")


def lines(con: duckdb.DuckDBPyConnection) -> Iterator[str]:
    """Each object of the database, then each row of every table and view."""
    for catalog, order in CATALOGS.items():
        found = con.execute(f"FROM {catalog}() WHERE NOT internal ORDER BY {order}")
        names = [column[0] for column in found.description]
        for values in found.fetchall():
            kept = {
                name: value
                for name, value in zip(names, values, strict=True)
                if name not in WITHOUT and not name.endswith("_oid")
            }
            yield f"{catalog} {kept}"
    tables = con.execute(
        "SELECT DISTINCT table_name FROM duckdb_columns() WHERE NOT internal ORDER BY ALL"
    ).fetchall()
    for (table,) in tables:
        if table != "meta":
            for row in con.execute(f'FROM "{table}" ORDER BY ALL').fetchall():
                yield f"{table} {row}"


if __name__ == "__main__":
    with connect(Path(sys.argv[1]), read_only=False) as con:
        print("\n".join(lines(con)))
