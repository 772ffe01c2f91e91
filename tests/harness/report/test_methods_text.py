from __future__ import annotations

import csv
import io
from pathlib import Path

import pytest
from report_fixtures import Made, controls, make_study, momentum, value_of

from harness.report.data.load import load_tables
from harness.report.data.study_data import View
from harness.report.findings.tables import methods_text
from harness.report.findings.tables.methods_text import csv_text, methods_paragraph
from harness.report.findings.tables.paper_table import paper_table
from harness.report.html.costs import cost_section

HOSTILE = "100 % <b>a_b</b> & $x^2$ ~ #1 {\\cmd} | `c`\nnext"


def test_methods_say_what_was_done_with_what_and_how_it_was_tested(tmp_path: Path) -> None:
    tables = load_tables(make_study(tmp_path, momentum()), "momentum")
    text = methods_paragraph(tables, None)
    for part in (
        "4 settings of method.teacher_momentum were trained, each with the same 5 random seeds (0 to 4).",
        "All 30 runs finished.",
        "Untrained controls were scored in the same way: raw pixels, untrained.",
        "We report Recall@1 on test classes as mean ± half its 95 % t-interval over seeds.",
        "Differences from the baseline teacher_momentum=0 are paired by seed, with paired 95 % "
        "t-intervals. With fewer than 6 pairs no sign-flip test can reach 0.05: the comparison is "
        "exploratory, and no p is given.",
        "Runs were executed on cpu with torch 2.11.0.",
        "The code is commit f00df00df00d.",
    ):
        assert part in text, part


def test_methods_of_a_search_claim_no_test(tmp_path: Path) -> None:
    results = make_study(tmp_path, momentum(), sampler="tpe", seeds=2)
    text = methods_paragraph(load_tables(results, "momentum"), None)
    assert "proposed by the sampler tpe" in text
    assert "scored on validation classes only" in text
    assert "Holm" not in text
    assert "est classes" not in text


def test_methods_of_runs_that_all_failed_are_honest(tmp_path: Path) -> None:
    made = [
        Made("m=0", 0.5, {"m": 0}, "baseline", failed=(0, 1)),
        Made("m=1", 0.5, {"m": 1}, failed=(0, 1)),
    ]
    tables = load_tables(make_study(tmp_path, made, seeds=2), "momentum")
    assert "0 of 4 runs finished; the others do not count." in methods_paragraph(tables, None)


def test_the_table_of_a_paper_has_the_numbers_of_the_page(tmp_path: Path) -> None:
    made = [Made(HOSTILE, 0.6, {"m": 0}, "baseline"), Made("m=1", 0.5, {"m": 1}), *controls()]
    tables = load_tables(make_study(tmp_path, made, seeds=8), "momentum")
    assert tables.primary is not None
    table = paper_table(tables)
    assert table.headings[2:5] == ("Recall@2", "Recall@4", "Recall@8")
    assert {len(row) for row in table.rows} == {len(table.headings)} == {10}
    assert table.rows[0][0] == f"{HOSTILE} (baseline)"
    for trial, row in zip(tables.trials, table.rows, strict=True):
        summary = tables.summaries[tables.primary, trial.trial_id]
        half = (summary.high - summary.low) / 2
        assert row[1] == f"{summary.mean:.4f} ± {half:.4f}"
        other = tables.summaries[View("test", "recall@4"), trial.trial_id]
        assert row[3] == f"{other.mean:.4f}"
    assert table.rules == (2,)
    latex = table.latex("tab:momentum").splitlines()
    assert sum("rule" in line for line in latex) == 4
    assert r"\begin{tabular}{lrrrrrrrrr}" in latex
    rows = [line for line in table.markdown().splitlines() if line.startswith("|")]
    assert len(rows) == 2 + 4


@pytest.mark.parametrize("seeds", [1, 2])
def test_a_caption_speaks_of_intervals_where_there_are_some(tmp_path: Path, seeds: int) -> None:
    made = [Made("m=0", 0.6, {"m": 0}, "baseline"), Made("m=1", 0.5, {"m": 1})]
    tables = load_tables(make_study(tmp_path, made, seeds=seeds), "momentum")
    caption = paper_table(tables).caption
    assert "Differences from the baseline are paired by seed" in caption
    assert caption.count("95 % t-interval") == (2 if seeds > 1 else 0)


def test_the_csv_has_a_line_a_run_with_all_digits(tmp_path: Path) -> None:
    made = [Made(HOSTILE, 0.6, {"m": 0}, "baseline"), Made("m=1", 0.5, {"m": 1}, failed=(1,))]
    tables = load_tables(make_study(tmp_path, made, seeds=2), "momentum")
    rows = list(csv.DictReader(io.StringIO(csv_text(tables))))
    assert len(rows) == 4
    assert rows[0]["trial"] == HOSTILE
    assert [row["role"] for row in rows] == ["baseline", "baseline", "trial", "trial"]
    assert float(rows[1]["test/recall@1"]) == value_of(made[0], 1, "test", 1)
    assert (rows[3]["state"], rows[3]["failure"]) == ("failed", "diverged")
    assert rows[3]["test/recall@1"] == ""


def test_a_csv_of_too_many_runs_has_a_line_a_trial(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tables = load_tables(make_study(tmp_path, momentum()), "momentum")
    monkeypatch.setattr(methods_text, "MOST_CSV_RUNS", 29)
    rows = list(csv.DictReader(io.StringIO(csv_text(tables))))
    assert [row["trial"] for row in rows] == [trial.label for trial in tables.trials]
    summary = tables.summaries[tables.primary, tables.trials[0].trial_id]
    assert float(rows[0]["test/recall@1 mean"]) == summary.mean
    assert rows[0]["test/recall@1 n"] == "5"


@pytest.mark.parametrize("most_runs", [0, 2000])
def test_a_csv_cell_of_text_starts_no_formula_and_a_number_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, most_runs: int
) -> None:
    monkeypatch.setattr(methods_text, "MOST_CSV_RUNS", most_runs)
    made = [
        Made("=1+1", 0.6, {"m": 0}, "baseline", beside={"test/sum": -2.0}),
        Made("-1", 0.5, {"m": 1}),
    ]
    tables = load_tables(make_study(tmp_path, made, seeds=2), "momentum")
    rows = list(csv.DictReader(io.StringIO(csv_text(tables))))
    assert {row["trial"] for row in rows} == {"'=1+1", "'-1"}
    assert rows[0]["test/sum" if most_runs else "test/sum mean"].startswith("-1.")


def test_costs_name_failures_time_memory_and_machines(tmp_path: Path) -> None:
    made = momentum()
    made[1] = Made(made[1].label, 0.6, made[1].varied, failed=(2,))
    tables = load_tables(make_study(tmp_path, made), "momentum")
    text = cost_section(tables.trials, tables.runs)
    assert "diverged, attempt 1: loss is nan at epoch 3" in text
    assert "29 done, 1 failed" in text
    done = sum(12.5 + seed for one in range(4) for seed in range(5) if (one, seed) != (1, 2))
    assert f"{done + 4.5 + 10 * 0.8:.0f} s in total" in text
    assert "at most 516 MiB per run" in text
    assert "none: every run was trained for this study" in text
    assert "<dd>a-host</dd>" in text


def test_costs_of_a_study_that_has_not_started_say_so(tmp_path: Path) -> None:
    made = [Made("m=0", 0.5, {"m": 0}, "baseline", unstarted=(0, 1))]
    tables = load_tables(make_study(tmp_path, made, seeds=2), "momentum")
    assert "No run has started" in cost_section(tables.trials, tables.runs)
    assert cost_section((), ()) == ""
