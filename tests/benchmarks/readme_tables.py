"""The tables of the README, made from files of kept results; a test checks that they are.

python tests/benchmarks/readme_tables.py keep STUDY --results DIR   # from a database into results/
python tests/benchmarks/readme_tables.py write                      # from results/ into the README
"""

from __future__ import annotations

import argparse
import json
import re
from pathlib import Path
from typing import Any

from harness.store import query

ROOT = Path(__file__).resolve().parent.parent.parent
KEPT = Path(__file__).resolve().parent / "results"
README = ROOT / "README.md"

SUMMARY = """
    SELECT s.trial, s.role, s.mean, s.sd, s.low, s.high, s.n,
           c.difference, c.low AS difference_low, c.high AS difference_high, c.p, c.p_holm
    FROM summary s
    LEFT JOIN comparisons c
      ON c.trial_id = s.trial_id AND c.split = s.split AND c.metric = 'recall@1'
    WHERE s.study = $study AND s.k = 1 AND s.split = 'test'
    ORDER BY s.number
"""
MADE_WITH = """
    SELECT DISTINCT r.git_commit, r.dirty, r.code, r.data, r.threads,
           r.facts->>'$.number_format' AS number_format
    FROM trial JOIN member USING (trial_id) JOIN run r USING (run_id) WHERE study = $study
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    keep_command = commands.add_parser("keep")
    keep_command.add_argument("study")
    keep_command.add_argument("--results", type=Path, default=Path("results"))
    commands.add_parser("write")
    arguments = parser.parse_args()
    if arguments.command == "keep":
        keep(arguments.study, arguments.results)
    else:
        README.write_text(filled(README.read_text(encoding="utf-8")), encoding="utf-8")


def keep(study: str, results: Path) -> None:
    """Write the test table of a study, and what it was made with, to a file."""
    table = query(results, SUMMARY, {"study": study})
    made = query(results, MADE_WITH, {"study": study})
    if not table.rows:
        raise SystemExit(f"{study}: no test results in {results}")
    content = {
        "study": study,
        "rows": [dict(zip(table.columns, row, strict=True)) for row in table.rows],
        "made_with": [dict(zip(made.columns, row, strict=True)) for row in made.rows],
    }
    KEPT.mkdir(exist_ok=True)
    path = KEPT / f"{study}.json"
    path.write_text(json.dumps(content, indent=1, default=str) + "\n", encoding="utf-8")


def filled(text: str) -> str:
    """The README with every marked table made anew from its file."""

    def table(match: re.Match[str]) -> str:
        kept = json.loads((KEPT / f"{match[1]}.json").read_text(encoding="utf-8"))
        rows = figures_table(kept) if "figures" in kept else study_table(kept)
        return f"<!-- table: {match[1]} -->\n{rows}\n<!-- end -->"

    return re.sub(r"<!-- table: ([\w-]+) -->\n.*?<!-- end -->", table, text, flags=re.S)


def study_table(kept: dict[str, Any]) -> str:
    """Recall@1 on test classes and the paired difference to the baseline, a line a trial."""
    lines = [
        "| trial | Recall@1 (test) | 95 % interval | against the baseline, paired | Holm p | seeds |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for row in kept["rows"]:
        against = holm = ""
        if row["difference"] is not None and row["role"] != "baseline":
            against = (
                f"{row['difference']:+.3f} "
                f"[{row['difference_low']:+.3f}, {row['difference_high']:+.3f}]"
            )
            holm = f"{row['p_holm']:.3f}"
        name = f"{row['trial']} (baseline)" if row["role"] == "baseline" else row["trial"]
        interval = f"{row['low']:.3f} to {row['high']:.3f}"
        lines.append(
            f"| {name} | {row['mean']:.3f} | {interval} | {against} | {holm} | {row['n']} |"
        )
    return "\n".join(lines)


def figures_table(kept: dict[str, Any]) -> str:
    """Name and value of each figure of a benchmark; a column a case where there are several."""
    figures = kept["figures"]
    if all(isinstance(each, dict) for each in figures.values()):
        names = list(dict.fromkeys(name for case in figures.values() for name in case))
        lines = [f"| figure | {' | '.join(figures)} |", "| --- |" + " --- |" * len(figures)]
        for name in names:
            cells = [_cell(case.get(name, "")) for case in figures.values()]
            lines.append(f"| {name} | {' | '.join(cells)} |")
        return "\n".join(lines)
    lines = ["| figure | value |", "| --- | --- |"]
    lines += [f"| {name.replace('_', ' ')} | {value} |" for name, value in kept["figures"].items()]
    return "\n".join(lines)


def _cell(value: object) -> str:
    """A number or a text; an estimate with its interval."""
    if isinstance(value, list):
        estimate, low, high = value
        return f"{estimate} [{low}, {high}]"
    return str(value)


if __name__ == "__main__":
    main()
