"""The tables of the README, and the verdicts on what it claims, made from files of kept results; a
test checks that they are.

python tests/benchmarks/readme_tables.py keep STUDY --results DIR   # from a database into results/
python tests/benchmarks/readme_tables.py write                      # from results/ into the README
"""

from __future__ import annotations

import argparse
import json
import re
from pathlib import Path
from typing import Any

from harness.records.studies.claims import Claim, NotedClaim
from harness.report.data.evidence.claims import ClaimFinding
from harness.report.findings.claim_lines import claim_line
from harness.stats.paired import may_show_p
from harness.store.database import query
from harness.store.tables.claims import Pairs, judged
from harness.study.loading import load_study

ROOT = Path(__file__).resolve().parent.parent.parent
KEPT = Path(__file__).resolve().parent / "results"
README = ROOT / "README.md"
NOT_MEASURED = "Not measured yet."
"""In place of a table whose file is missing."""
WORK_OF_SCALE = {
    "clustering": ("k-means, N/10 clusters", ""),
    "neighbours": ("8 neighbours of each, exact", ""),
    "evaluation": ("Recall@K and MAP@R, exact", ""),
    "tables": ("tables of a run with N queries", "report"),
    "ingest": ("two such runs into the database", "report"),
    "page": ("the page", "report"),
}
"""Key of its exponents -> what it is called, and the work that it is a part of."""

SUMMARY = """
    SELECT s.trial, s.role, s.mean, s.sd, s.low, s.high, s.n,
           c.difference, c.low AS difference_low, c.high AS difference_high, c.p, c.p_holm
    FROM summary s
    LEFT JOIN comparisons c
      ON c.trial_id = s.trial_id AND c.split = s.split AND c.metric = 'recall@1'
    WHERE s.study = $study AND s.k = 1 AND s.split = 'test'
    ORDER BY s.number
"""
EFFECTS = """
    SELECT kind, term, estimate, low, high, p_holm, n FROM effects
    WHERE study = $study AND split = 'test' AND metric = 'recall@1' AND kind <> 'main'
    ORDER BY kind DESC, abs(estimate) DESC
"""
MADE_WITH = """
    SELECT DISTINCT r.git_commit, r.dirty, r.code, r.data, r.threads,
           r.facts->>'$.number_format' AS number_format
    FROM trial JOIN member USING (trial_id) JOIN run r USING (run_id) WHERE study = $study
"""
BY_SEED = """
    SELECT name, trial, seed, value FROM results
    WHERE study = $study AND split = 'test' AND phase = 'confirm'
        AND name IN (SELECT 'recall@1' UNION SELECT metric FROM claim WHERE study = $study)
    ORDER BY name, number, seed
"""
CLAIMS = """
    SELECT trial, relation, other, metric, margin, noted::VARCHAR, known_pairs, planned_pairs
    FROM claim WHERE study = $study ORDER BY number
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
    by_seed: dict[str, dict[str, dict[int, float]]] = {}
    for name, trial, seed, value in query(results, BY_SEED, {"study": study}).rows:
        by_seed.setdefault(name, {}).setdefault(trial, {})[seed] = value
    content = {
        "study": study,
        "rows": [dict(zip(table.columns, row, strict=True)) for row in table.rows],
        "made_with": [dict(zip(made.columns, row, strict=True)) for row in made.rows],
        "by_seed": by_seed,
        "claims": query(results, CLAIMS, {"study": study}).rows,
    }
    effects = query(results, EFFECTS, {"study": study})
    if effects.rows:
        content["effects"] = [dict(zip(effects.columns, row, strict=True)) for row in effects.rows]
    KEPT.mkdir(exist_ok=True)
    path = KEPT / f"{study}.json"
    path.write_text(json.dumps(content, indent=1, default=str) + "\n", encoding="utf-8")


def filled(text: str) -> str:
    """The README with every marked table made anew from its file; where there is none it says so."""

    def table(match: re.Match[str]) -> str:
        path = KEPT / f"{match[1]}.json"
        if not path.exists():
            return f"<!-- table: {match[1]} -->\n{NOT_MEASURED}\n<!-- end -->"
        kept = json.loads(path.read_text(encoding="utf-8"))
        tables = {
            "costs": scale_tables,
            "figures": figures_table,
            "effects": effects_table,
            "study": study_table,
        }
        made = next((make for key, make in tables.items() if key in kept), levers_table)
        rows = made(kept)
        return f"<!-- table: {match[1]} -->\n{rows}\n<!-- end -->"

    def claims(match: re.Match[str]) -> str:
        return f"<!-- claims: {match[1]} -->\n{claims_list(match[1])}\n<!-- end -->"

    text = re.sub(r"<!-- table: ([\w-]+) -->\n.*?<!-- end -->", table, text, flags=re.S)
    return re.sub(r"<!-- claims: ([\w-]+) -->\n.*?<!-- end -->", claims, text, flags=re.S)


def claims_list(study: str) -> str:
    """The verdict on each claim of a shipped study, from its kept values by seed."""
    path = study_file(study)
    name = path.relative_to(ROOT).as_posix()
    claims = load_study(path).spec.claimed
    kept = json.loads((KEPT / f"{study}.json").read_text(encoding="utf-8"))
    if "by_seed" not in kept:
        count = "the claim" if len(claims) == 1 else f"the {len(claims)} claims"
        return f"- not tested: {count} of `{name}`, since only means were kept, no values by seed"
    return "\n".join(f"- {claim_line(found, digits=3)}" for found in tested(claims, kept))


def tested(claims: tuple[Claim, ...], kept: dict[str, Any]) -> list[ClaimFinding]:
    """The claims of a study, tested on kept values by seed."""
    notes = {
        Claim(*row[:5]): NotedClaim(Claim(*row[:5]), *row[5:]) for row in kept.get("claims", [])
    }
    pairs = []
    for claim in claims:
        values = kept["by_seed"].get(claim.metric, {})
        one, other = values.get(claim.trial, {}), values.get(claim.other, {})
        shared = sorted(one.keys() & other.keys(), key=int)
        found = [one[seed] - other[seed] for seed in shared]
        pairs.append(Pairs(found, len(found), len(found), "" if found else "no values are kept"))
    return [
        ClaimFinding(claim, notes.get(claim), result)
        for claim, result in zip(claims, judged(claims, pairs), strict=True)
    ]


def study_file(study: str) -> Path:
    """The file of a shipped study, which is named after its place."""
    for path in sorted((ROOT / "studies").rglob("*.yaml")):
        if "-".join(path.relative_to(ROOT / "studies").with_suffix("").parts) == study:
            return path
    raise SystemExit(f"no file below studies/ is the study {study}")


def study_table(kept: dict[str, Any]) -> str:
    """Recall@1 on test classes and the paired difference to the baseline, a line a trial."""
    # A row cannot have more pairs than it, or the baseline, has seeds.
    most = max((row["n"] for row in kept["rows"] if row["role"] == "baseline"), default=0)
    with_p = any(may_show_p(min(row["n"], most)) for row in kept["rows"])
    heads = ["trial", "Recall@1 (test)", "95 % interval", "against the baseline, paired"]
    heads += ["Holm p", "seeds"] if with_p else ["seeds"]
    lines = [f"| {' | '.join(heads)} |", "| --- |" + " --- |" * (len(heads) - 1)]
    for row in kept["rows"]:
        against = holm = ""
        if row["difference"] is not None and row["role"] != "baseline":
            against = (
                f"{row['difference']:+.3f} "
                f"[{row['difference_low']:+.3f}, {row['difference_high']:+.3f}]"
            )
            holm = f"{row['p_holm']:.3f}" if may_show_p(min(row["n"], most)) else ""
        name = f"{row['trial']} (baseline)" if row["role"] == "baseline" else row["trial"]
        interval = f"{row['low']:.3f} to {row['high']:.3f}"
        cells = [name, f"{row['mean']:.3f}", interval, against, *([holm] if with_p else [])]
        lines.append(f"| {' | '.join(cells)} | {row['n']} |")
    return "\n".join(lines)


def effects_table(kept: dict[str, Any]) -> str:
    """What each component is worth on its own, and each pair beyond that, a line an effect."""
    names = {"shapley": "Shapley value", "interaction": "interaction"}
    lines = [
        "| effect | of | Recall@1 (test) | 95 % interval | Holm p | seeds |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for row in kept["effects"]:
        interval = f"{row['low']:+.3f} to {row['high']:+.3f}"
        p_holm = f"{row['p_holm']:.3f}" if may_show_p(row["n"]) else ""
        kind = names.get(row["kind"], row["kind"])
        cells = (kind, row["term"], f"{row['estimate']:+.3f}", interval, p_holm)
        lines.append(f"| {' | '.join(cells)} | {row['n']} |")
    return "\n".join(lines)


def figures_table(kept: dict[str, Any]) -> str:
    """Name and value of each figure of a benchmark; a column a case where there are several."""
    figures = kept["figures"]
    if all(isinstance(each, dict) for each in figures.values()):
        names = list(dict.fromkeys(name for case in figures.values() for name in case))
        lines = [f"| figure | {' | '.join(figures)} |", "| --- |" + " --- |" * len(figures)]
        for name in names:
            cells = [_cell(case.get(name, "")) for case in figures.values()]
            if name == "commit":
                cells = [cell[:7] for cell in cells]
            lines.append(f"| {name} | {' | '.join(cells)} |")
        return "\n".join(lines)
    lines = ["| figure | value |", "| --- | --- |"]
    lines += [f"| {name.replace('_', ' ')} | {value} |" for name, value in kept["figures"].items()]
    return "\n".join(lines)


def levers_table(kept: dict[str, Any]) -> str:
    """What each lever of speed is worth, and whether a run uses it."""
    lines = [
        "| lever | work | times as fast | least to most | ms | in use |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for row in kept["rows"]:
        cells = (row[name] for name in ("lever", "work", "ratio", "from_to", "ms", "in_use"))
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def scale_tables(kept: dict[str, Any]) -> str:
    """Time and memory against N, and what the approximate indexes save and lose."""
    sizes = sorted({cost["size"] for cost in kept["costs"]})
    heads = [f"N = {size:,}" for size in sizes]
    lines = [
        f"| work | {' | '.join(heads)} | time grows as | memory as |",
        "| --- |" + " --- |" * (len(sizes) + 2),
    ]
    by_place = {(cost["work"], cost["size"]): cost for cost in kept["costs"]}
    for key, (name, whole) in WORK_OF_SCALE.items():
        if key not in kept["exponents"]:
            continue
        cells = [
            cell_of(by_place[whole or key, size], f"{key} " if whole else "") for size in sizes
        ]
        grows = ["" if e is None else f"N^{e:g}" for e in kept["exponents"][key]]
        lines.append(f"| {' | '.join([name, *cells, *grows])} |")
    lines += [
        "",
        "| index | N | s to build | ms a query | exact: ms a query | % of the exact neighbours "
        "| Recall@1 (exact) | Recall@8 (exact) | MiB |",
        "| --- |" + " --- |" * 8,
    ]
    lines += [index_line(cost) for cost in kept["costs"] if cost["work"] in ("ivf", "hnsw")]
    return "\n".join(lines)


def cell_of(cost: dict[str, Any], part: str) -> str:
    """Seconds and memory at one size, and how they are known."""
    if "predicted_seconds" in cost:
        return f"not measured; predicted {cost['predicted_seconds']:,g} s" + " in all" * bool(part)
    seconds = cost[f"{part}seconds"]
    shown = f"{seconds:,.0f}" if seconds >= 100 else f"{seconds:.2g}"
    if "asked" in cost:
        return f"{shown} s, extrapolated from {cost['asked']:,} queries; {cost['mib']:g} MiB"
    return f"{shown} s, {cost[f'{part}mib']:g} MiB"


def index_line(cost: dict[str, Any]) -> str:
    """What one index saves and loses at one size."""
    name, size = cost["work"].upper(), f"{cost['size']:,}"
    if "predicted_seconds" in cost:
        said = f"not measured; predicted {cost['predicted_seconds']:,g} s"
        return f"| {name} | {size} | {said} | | | | | | |"
    recalls = [
        f"{cost[f'recall@{k}_difference']:+.4f} ({cost[f'exact_recall@{k}']:.3f})" for k in (1, 8)
    ]
    cells = [
        f"{cost['build_s']:.2g}",
        f"{cost['ms_a_query']:.2g}",
        f"{cost['exact_ms_a_query']:.2g}",
        f"{cost['found_percent']:.1f}",
        *recalls,
        f"{cost['mib']:g}",
    ]
    return f"| {' | '.join([name, size, *cells])} |"


def _cell(value: object) -> str:
    """A number or a text; a mean, which comes with its deviation, with its interval."""
    if isinstance(value, list):
        estimate, _, low, high = value
        return f"{estimate} [{low}, {high}]"
    return str(value)


if __name__ == "__main__":
    main()
