"""How numbers are written: "±" is half an interval, and p is shown from six pairs on, everywhere."""

from __future__ import annotations

import dataclasses
import json
import re
from pathlib import Path

import pytest
from report_fixtures import Made, controls, make_study, momentum
from roots import ROOT

from harness.answers.of_results import reported
from harness.cli.output import result_lines
from harness.export.export_study import export_study
from harness.report.comparison_page import write_comparison
from harness.report.data.load import load_tables
from harness.report.data.study_data import Summary, comparison_of
from harness.report.findings.estimates import decimal, difference_text, evidence, plus_minus, signed
from harness.report.findings.sentences import comparison_sentences
from harness.report.findings.tables.methods_text import methods_paragraph
from harness.report.findings.tables.paper_table import paper_table
from harness.report.index_page import write_all
from harness.report.plots.effects.interactions import component_pictures
from harness.report.plots.render import figure_json
from harness.stats.paired import MIN_SEEDS_FOR_TEST, may_show_p, t_interval
from harness.store.database import query

P_VALUE = re.compile(r"(?<![\w>])p\s*(?:=|<|\(Holm\)|&lt;)\s*|exact p<|Holm p<|\| p \|")


def read(path: Path) -> str:
    """A page without its scripts."""
    return re.sub(r"<script.*?</script>", "", path.read_text(encoding="utf-8"), flags=re.S)


@pytest.mark.parametrize("seeds", [5, 6])
def test_a_p_below_six_seeds_is_nowhere_but_in_the_database_and_its_rows(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], seeds: int
) -> None:
    variants = [
        Made("full", 0.60, variant="full", role="baseline"),
        Made("less", 0.64, variant="less"),
        *controls(),
    ]
    results = make_study(tmp_path / "r", variants, seeds=seeds, with_clusters=False)
    make_study(results, momentum(), study="other", seeds=seeds, with_clusters=False)
    print("\n".join(result_lines(reported(results, "momentum", tmp_path))))
    write_all(results, tmp_path)
    tables = load_tables(results, "momentum")
    shown = {
        "terminal": capsys.readouterr().out,
        "page": read(tmp_path / "momentum.html"),
        "index": read(tmp_path / "index.html"),
        "compared": read(write_comparison(results, ["momentum", "other"], tmp_path)),
        "latex": export_study(results, "momentum", "latex"),
        "markdown": export_study(results, "momentum", "markdown"),
        "sentences": " ".join(comparison_sentences(tables)) + methods_paragraph(tables, None),
        "bars": figure_json(component_pictures(tables)[0]),
    }
    found = {place for place, text in shown.items() if P_VALUE.search(text)}
    assert found == (set(shown) if may_show_p(seeds) else set())
    rows = query(results, "SELECT p, p_holm FROM comparisons").rows
    assert rows
    assert None not in {p for row in rows for p in row}
    export_study(results, "momentum", "csv", str(tmp_path / "csv"))
    head, *lines = (tmp_path / "csv" / "comparisons.csv").read_text().splitlines()
    place = head.split(",").index("p")
    assert all(line.split(",")[place] for line in lines)


def test_a_row_of_few_pairs_has_no_p_beside_one_of_many(tmp_path: Path) -> None:
    made = [
        Made("m=0", 0.60, {"m": 0}, "baseline"),
        Made("m=1", 0.64, {"m": 1}),
        Made("m=2", 0.66, {"m": 2}, failed=(0, 1, 2)),
    ]
    tables = load_tables(make_study(tmp_path, made, seeds=8, with_clusters=False), "momentum")
    _, many, few = paper_table(tables).rows
    assert many[-2:] == ("0.008", "0.016")
    assert few[-2:] == ("", "")
    assert (
        "With fewer than 6 pairs a row is exploratory and has no p." in paper_table(tables).caption
    )
    assert "no p is given for them" in methods_paragraph(tables, None)


def test_plus_minus_is_half_the_interval_wherever_it_stands(tmp_path: Path) -> None:
    results = make_study(tmp_path, momentum(), seeds=3, with_clusters=False)
    tables = load_tables(results, "momentum")
    view = tables.primary
    best = tables.ranked(view)[0]
    found = tables.summaries[view, best.trial_id]
    half = (found.high - found.low) / 2
    assert half != pytest.approx(found.sd, rel=0.5)
    page = read(write_all(results, tmp_path).pages[0])
    assert f"{found.mean:.3f} ± {half:.3f} (95 % interval)" in page
    assert f"{found.mean:.4f} ± {half:.4f}" in export_study(results, "momentum", "markdown")
    assert rf"{found.mean:.4f} $\pm$ {half:.4f}" in export_study(results, "momentum", "latex")
    assert "± half its 95 % t-interval" in paper_table(tables).caption
    assert "± half its 95 % t-interval" in methods_paragraph(tables, None)
    assert f"{found.mean:.4f} ± {found.sd:.4f}" not in page


def test_one_seed_has_no_plus_minus_anywhere(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    results = make_study(tmp_path / "r", momentum(), seeds=1, with_clusters=False)
    print("\n".join(result_lines(reported(results, "momentum", tmp_path))))
    texts = [
        capsys.readouterr().out,
        read(tmp_path / "momentum.html"),
        export_study(results, "momentum", "latex"),
        export_study(results, "momentum", "markdown"),
    ]
    for text in texts:
        assert "±" not in text
        assert r"\pm" not in text
        assert "nan" not in text.lower()
    assert "for one seed, without an interval" in texts[1]


@pytest.mark.parametrize(
    ("summary", "text"),
    [
        (Summary(0.61249, 0.01, 0.60249, 0.62249, 5), "0.612 ± 0.010"),
        (Summary(0.5, None, None, None, 1), "0.500"),
        (Summary(0.5, 1e-5, 0.49999, 0.50001, 5), "0.500 ± <0.001"),
        (Summary(0.5, 0.0, 0.5, 0.5, 5), "0.500 ± 0.000"),
        (Summary(-0.0001, 0.1, -0.2001, 0.1999, 5), "0.000 ± 0.200"),
        (Summary(-12.5, 0.1, -12.6, -12.4, 5), "\N{MINUS SIGN}12.500 ± 0.100"),
    ],
)
def test_a_mean_and_its_half_interval(summary: Summary, text: str) -> None:
    assert plus_minus(summary) == text


def test_equal_values_have_no_spread_however_their_mean_is_rounded() -> None:
    assert t_interval([0.1] * 3) == (0.1, 0.0, 0.1, 0.1)


def test_signs_are_true_and_zero_has_none() -> None:
    assert decimal(-0.5) == "\N{MINUS SIGN}0.500"
    assert decimal(-0.0001) == decimal(0.0) == "0.000"
    assert signed(0.00004, 4) == signed(-0.00004, 4) == "0.0000"
    assert signed(0.00006, 4) == "+0.0001"


def test_a_difference_of_one_pair_has_no_interval_and_no_p() -> None:
    found = comparison_of(1, 0.25, None, None, 1.0, 1.0, 1.0)
    assert difference_text(found) == "+0.250"
    assert evidence(found) == "1 paired seed: exploratory"
    assert (found.p, found.p_holm) == (None, None)


def test_the_interval_of_a_difference_has_signs_in_exports_too(tmp_path: Path) -> None:
    made = [dataclasses.replace(one, failed=()) for one in momentum()]
    results = make_study(tmp_path, made, seeds=6, with_clusters=False)
    text = export_study(results, "momentum", "latex")
    assert re.search(r"0\.999 .*& \$-\$0\.0\d{3} & \[\$-\$0\.0\d{3}, \$-\$0\.0\d{3}\] &", text)
    assert re.search(r"0\.9 .*& \+0\.0\d{3} & \[\+0\.0\d{3}, \+0\.0\d{3}\] &", text)


def test_no_table_of_the_readme_has_a_p_of_fewer_than_six_seeds() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    kept = ROOT / "tests" / "benchmarks" / "results"
    seen = 0
    for name, table in re.findall(r"<!-- table: ([\w-]+) -->\n(.*?)<!-- end -->", text, flags=re.S):
        rows = json.loads((kept / f"{name}.json").read_text(encoding="utf-8")).get("rows", [])
        if any("p_holm" in row for row in rows):
            has_few = max(row["n"] for row in rows) < MIN_SEEDS_FOR_TEST
            assert ("Holm p" in table) == (not has_few), name
            seen += has_few
    assert seen == 4
