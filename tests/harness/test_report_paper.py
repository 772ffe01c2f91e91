from __future__ import annotations

import csv
import io
from pathlib import Path

import pytest
from report_fixtures import Made, controls, make_study, momentum, value_of

from harness.report import paper
from harness.report.costs import cost_section
from harness.report.paper import (
    csv_text,
    latex,
    latex_table,
    markdown,
    markdown_table,
    methods_paragraph,
)
from harness.report.tables import load_tables

HOSTILE = "100 % <b>a_b</b> & $x^2$ ~ #1 {\\cmd} | `c`\nnext"


def test_methods_say_what_was_done_with_what_and_how_it_was_tested(tmp_path: Path) -> None:
    tables = load_tables(make_study(tmp_path, momentum()), "momentum")
    text = methods_paragraph(tables, None)
    for part in (
        "4 settings of method.teacher_momentum were trained, each with the same 5 random seeds (0 to 4).",
        "All 30 runs finished.",
        "Controls that were not trained were scored alike: raw pixels, untrained.",
        "We report Recall@1 on test classes as mean with 95 % t-interval over seeds.",
        "Differences to the baseline teacher_momentum=0 are paired by seed",
        "exact two-sided sign-flip tests; p values are corrected by Holm over 3 comparisons.",
        "With fewer than 6 pairs no such test can reach 0.05: the comparison is exploratory.",
        "Runs were made on cpu with torch 2.11.0.",
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
    assert "0 of 4 runs finished; the others count nowhere." in methods_paragraph(tables, None)
    assert latex_table(tables) == markdown_table(tables) == ""


def test_latex_is_a_booktabs_table_with_the_numbers_of_the_page(tmp_path: Path) -> None:
    tables = load_tables(make_study(tmp_path, momentum(), seeds=8), "momentum")
    lines = latex_table(tables).splitlines()
    assert [line for line in lines if "rule" in line] == [
        r"\toprule",
        r"\midrule",
        r"\midrule",
        r"\bottomrule",
    ]
    summary = tables.summaries[tables.primary, tables.trials[1].trial_id]
    (best,) = [line for line in lines if "0.9}" in line]
    half = (summary.high - summary.low) / 2
    level = rf"\textbf{{{summary.mean:.3f} $\pm$ {half:.3f}}}"
    assert best.startswith(rf"\textbf{{teacher\_momentum=0.9}} & {level} & ")
    assert best.endswith(r" & 8 \\")
    (worst,) = [line for line in lines if line.startswith(r"teacher\_momentum=0.999")]
    assert "$-$0.0" in worst
    columns = {line.count(" & ") for line in lines if line.endswith(r"\\")}
    assert columns == {7}
    assert r"\begin{tabular}{lrrrrrrr}" in lines


def test_markdown_has_a_row_a_trial_and_one_width(tmp_path: Path) -> None:
    made = [Made(HOSTILE, 0.6, {"m": 0}, "baseline"), Made("m=1", 0.5, {"m": 1}), *controls()]
    tables = load_tables(make_study(tmp_path, made), "momentum")
    rows = [line for line in markdown_table(tables).splitlines() if line.startswith("|")]
    assert len(rows) == 2 + 4
    assert {row.replace("\\|", "").count("|") for row in rows} == {9}
    assert r"\<b\>a\_b\</b\>" in rows[2]


def test_special_characters_are_escaped() -> None:
    assert latex(HOSTILE) == (
        r"100 \% \textless{}b\textgreater{}a\_b\textless{}/b\textgreater{} \& "
        r"\$x\textasciicircum{}2\$ \textasciitilde{} \#1 \{\textbackslash{}cmd\} \textbar{} `c` next"
    )
    assert markdown("a|b*c_d`e[f]<g>\nh") == r"a\|b\*c\_d\`e\[f\]\<g\> h"


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
    monkeypatch.setattr(paper, "MOST_CSV_RUNS", 29)
    rows = list(csv.DictReader(io.StringIO(csv_text(tables))))
    assert [row["trial"] for row in rows] == [trial.label for trial in tables.trials]
    summary = tables.summaries[tables.primary, tables.trials[0].trial_id]
    assert float(rows[0]["test/recall@1 mean"]) == summary.mean
    assert rows[0]["test/recall@1 n"] == "5"


def test_costs_name_failures_time_memory_and_machines(tmp_path: Path) -> None:
    made = momentum()
    made[1] = Made(made[1].label, 0.6, made[1].varied, failed=(2,))
    tables = load_tables(make_study(tmp_path, made), "momentum")
    text = cost_section(tables.trials, tables.runs)
    assert "diverged, attempt 1: loss is nan at epoch 3" in text
    assert "29 done, 1 failed" in text
    done = sum(12.5 + seed for one in range(4) for seed in range(5) if (one, seed) != (1, 2))
    assert f"{done + 4.5 + 10 * 0.8:.0f} s in all" in text
    assert "516 MiB at most in a run" in text
    assert "none: every run was trained for this study" in text
    assert "<dd>a-host</dd>" in text


def test_costs_of_a_study_that_has_not_started_say_so(tmp_path: Path) -> None:
    made = [Made("m=0", 0.5, {"m": 0}, "baseline", unstarted=(0, 1))]
    tables = load_tables(make_study(tmp_path, made, seeds=2), "momentum")
    assert "No run has started" in cost_section(tables.trials, tables.runs)
    assert cost_section((), ()) == ""
