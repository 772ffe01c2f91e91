"""What a checkout shows to the outside, as digests: two checkouts are the same outside or not.

    python tests/benchmarks/outside.py CHECKOUT RESULTS > before.txt
    python tests/benchmarks/outside.py OTHER RESULTS > after.txt; diff before.txt after.txt

RESULTS is a results folder that an older checkout left. A copy of it is rebuilt. Then a line each:
every help text, the schema of study files, the table and page of each study in the folder, columns
with types and comments, the rows of every table and view, and the code version of every shipped
study.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import duckdb

SCHEMA = (
    "SELECT table_name, comment FROM duckdb_tables() ORDER BY ALL",
    "SELECT view_name, comment FROM duckdb_views() WHERE NOT internal ORDER BY ALL",
    "SELECT table_name, column_index, column_name, data_type, is_nullable, column_default, comment"
    " FROM duckdb_columns() WHERE NOT internal ORDER BY ALL",
)
# The later names are those of older checkouts.
CODE = """
import sys
from pathlib import Path
try:
    from harness.study.loading import load_study
    try:
        from harness.study.trials.plan import make_plan
    except ImportError:
        from harness.study.plan import make_plan
except ImportError:
    from harness.plan import make_plan
    from harness.spec import load_study
from harness.workload import load_workload
for path in sorted(Path("studies").rglob("*.yaml")):
    try:
        loaded = load_study(path, ())
        plan = make_plan(loaded, load_workload(loaded.spec.workload))
        versions = {plan.code.of(each.params) for each in (*plan.fixed, *plan.controls)}
    except Exception as error:
        versions = {f"{type(error).__name__}: {error}"}
    print(path, *sorted(versions))
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("checkout", type=Path)
    parser.add_argument("results", type=Path)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        for line in shown(arguments.checkout.resolve(), arguments.results, Path(name)):
            print(line)


def shown(checkout: Path, old: Path, folder: Path) -> list[str]:
    """The lines."""

    def harness(*arguments: str) -> str:
        return called(checkout, "-m", "harness", *arguments)

    found = []
    help_text = harness("--help")
    commands = re.findall(r"^  ([a-z]+)  ", help_text.partition("Commands:")[2], re.M)
    found.append(f"help {digest(help_text)}")
    found += [f"help of {name} {digest(harness(name, '--help'))}" for name in commands]
    found.append(f"schema {digest(harness('schema'))}")

    results, reports = folder / "results", folder / "reports"
    shutil.copytree(old, results)
    harness("rebuild", "--results", str(results))
    for record in sorted((results / "studies").glob("*.json")):
        name = record.stem
        place = ["--results", str(results), "--reports", str(reports)]
        text = harness("report", name, *place).replace(str(folder), "FOLDER")
        found.append(f"table of {name} {digest(text)}")
        page = (reports / f"{name}.html").read_text(encoding="utf-8")
        found.append(f"page of {name} {digest(page.replace(str(folder), 'FOLDER'))}")
    with duckdb.connect(results / "results.duckdb", read_only=True) as con:
        for sql in SCHEMA:
            kind = sql.partition("duckdb_")[2].partition("(")[0]
            found.append(f"{kind} and comments {digest(repr(con.execute(sql).fetchall()))}")
        for (name,) in con.execute(
            "SELECT table_name FROM information_schema.tables ORDER BY ALL"
        ).fetchall():
            rows = sorted(map(repr, con.execute(f'SELECT * FROM "{name}"').fetchall()))
            found.append(f"rows of {name} {len(rows)} {digest(repr(rows))}")
    found += [f"code of {line}" for line in called(checkout, "-c", CODE).splitlines()]
    return found


def called(checkout: Path, *arguments: str) -> str:
    """What Python prints in a checkout."""
    variables = os.environ | {"PYTHONPATH": str(checkout), "COLUMNS": "100", "NO_COLOR": "1"}
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=checkout,
        env=variables,
        check=True,
        capture_output=True,
        text=True,
    ).stdout


def digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]


if __name__ == "__main__":
    main()
