"""The command line: what it prints, with what it exits, and what an interruption leaves."""

from __future__ import annotations

import csv
import io
import json
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import toy_workload
from command_line import Harness, Said, start
from driver_place import RECALL
from roots import ROOT
from waiting import DEADLINE_S, assert_soon, is_alive

from harness.store.database import query

STUDY = """
study: quality
question: Does quality matter?
workload: toy_workload
base: {epochs: 2, clusters: 2}
search:
  quality: {grid: [0.2, 0.5]}
seeds: 2
"""


@pytest.fixture
def harness(tmp_path: Path, command_line: Harness) -> Harness:
    """The command line in this process, in a folder with ``study.yaml``."""
    (tmp_path / "study.yaml").write_text(STUDY)
    return command_line


def test_run_prints_the_table_and_the_report(harness: Harness, tmp_path: Path) -> None:
    said = harness("run", "study.yaml", "--executor", "local", "--results", "r", "--reports", "p")
    assert (said.status, said.err) == (0, "")
    lines = said.out.splitlines()
    assert lines[0] == "study quality: Does quality matter?"
    report = lines.index(f"report: {Path('p/quality.html')}")
    (best,) = lines[report + 1 :]
    assert any(re.fullmatch(r"time: .* for \d runs?; the forecast was .*", each) for each in lines)
    assert re.fullmatch(
        r"best model: r/runs/\w+/work \(quality=0\.5, seed \d, val 0\.\d{4}\)", best
    )
    assert lines[report - 1].startswith("answer: quality=0.5 has the highest mean Recall@1")
    table = lines[report - 7 : report - 1]
    assert table[0].split() == ["trial", "Recall@1", "(test)", "sd", "95", "%", "interval", "seeds"]
    assert [line.split("  ")[0] for line in table[2:]] == [
        "quality=0.2 (baseline)",
        "quality=0.5",
        "raw pixels",
        "untrained",
    ]
    assert all(line.endswith("2/2") for line in table[2:])
    assert (tmp_path / "p" / "quality.html").exists()
    assert (tmp_path / "r" / "results.duckdb").exists()


def test_a_failed_run_makes_the_exit_status_one(harness: Harness) -> None:
    said = harness("run", "study.yaml", "--executor", "local", "--set", "fail=crash")
    assert said.status == 1
    assert "crash: RuntimeError: this run was told to crash" in said.out


def test_failed_runs_are_tried_again_by_class(harness: Harness, tmp_path: Path) -> None:
    options = ["study.yaml", "--executor", "local", "--set", "fail=diverge"]
    options += ["--set", "only_seeds=[1]", "--set", "mended_by=mended"]
    assert harness("run", *options).status == 1
    (tmp_path / "mended").touch()
    assert harness("retry", *options, "--class", "oom", "--class", "stalled").status == 1
    said = harness("retry", *options)
    assert said.status == 0
    assert "report: " in said.out
    wrong = harness("retry", *options, "--class", "tired")
    assert (wrong.status, "'tired' is not one of" in wrong.err) == (2, True)


def test_a_spent_budget_is_said_last_and_is_no_failure(harness: Harness) -> None:
    said = harness("run", "study.yaml", "--executor", "local", "--set", "budget={runs: 6}")
    assert said.status == 0
    assert said.out.splitlines()[-1].startswith("the budget of 6 runs is spent: 0 of 2 trials")


def test_a_search_that_only_time_ends_is_checked_and_previewed(
    harness: Harness, tmp_path: Path
) -> None:
    text = STUDY.replace("grid: [0.2, 0.5]", "uniform: [0.0, 1.0]")
    (tmp_path / "search.yaml").write_text(text + "sampler: random\nbudget: {hours: 1.5}\n")
    fine = "search.yaml: valid: as many trials as fit into 1.5 h\n"
    assert harness("check", "search.yaml").out == fine
    assert (
        "will propose until its budget is spent" in harness("run", "search.yaml", "--dry-run").out
    )


def test_a_dry_run_writes_nothing(harness: Harness, tmp_path: Path) -> None:
    said = harness("run", "study.yaml", "--dry-run", "--set", "seeds=1")
    assert said.status == 0
    assert said.out.count("to do") == 4
    assert "4 runs, 0 done" in said.out
    assert [path.name for path in tmp_path.iterdir()] == ["study.yaml"]


def test_a_study_that_has_grown_is_refused_until_that_is_said(harness: Harness) -> None:
    harness("run", "study.yaml", "--executor", "local", "--set", "seeds=1")
    refused = harness("run", "study.yaml", "--executor", "local")
    assert (refused.status, refused.out) == (2, "")
    assert "error:   seeds: 1 -> 2\n" in refused.err
    assert "--extend" in refused.err
    dry = harness("run", "study.yaml", "--dry-run")
    assert "changed since it was run: seeds: 1 -> 2\n" in dry.out
    said = harness("run", "study.yaml", "--executor", "local", "--extend")
    assert (said.status, said.err) == (0, "")
    assert "4 reused" in said.out


@pytest.mark.process
@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["run", "no.yaml"], "error: no.yaml: no such file; give the path of a study file\n"),
        (["run", "study.yaml", "--set", "seeds=0"], "error: --set seeds=0: seeds: "),
        (["run", "study.yaml", "--set", "data=missing"], "error: --set data=missing: data: no "),
        (["run", "study.yaml", "--workers", "0"], "Error: Invalid value for '--workers'"),
        (["run"], "Error: Missing argument 'STUDY.yaml'"),
        (["check", "study.yaml", "--set", "workload=no.such"], "no such module"),
        (["sql", "SELECT 1"], "error: no results in results yet; run a study first\n"),
        (["report", "nothing"], "error: no results in results yet; run a study first\n"),
        (["ls", "--results", "no"], "error: no results in no yet; run a study first\n"),
        (["rebuild"], "error: results: no such results folder"),
    ],
)
def test_wrong_input_is_one_line_and_status_two(
    harness: Harness, tmp_path: Path, arguments: list[str], words: str
) -> None:
    said = harness(*arguments)
    assert said.status == 2
    assert words in said.err
    assert said.out == ""
    assert "Traceback" not in said.err
    assert [path.name for path in tmp_path.iterdir()] == ["study.yaml"]


def test_every_line_of_an_error_is_marked(harness: Harness, tmp_path: Path) -> None:
    (tmp_path / "study.yaml").write_text(STUDY.replace("seeds: 2", "seedz: 2\nmetrik: nmi"))
    said = harness("check", "study.yaml")
    assert said.status == 2
    assert [line.split(": ")[:2] for line in said.err.splitlines()] == [
        ["error", "study.yaml:8:1"],
        ["error", "study.yaml:9:1"],
    ]


def test_a_full_disk_is_an_error_and_no_traceback(
    harness: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device", "results/x")

    monkeypatch.setattr("harness.api.run_study", fail)
    said = harness("run", "study.yaml")
    assert (said.status, said.err.partition(";")[0]) == (2, "error: results/x: the disk is full")


def test_check_counts_runs(harness: Harness) -> None:
    said = harness("check", "study.yaml")
    assert said.out == "study.yaml: valid: 2 trials and 2 controls x 2 seeds = 8 runs\n"


@pytest.mark.process
def test_check_refuses_a_search_that_only_an_older_version_would_have_begun(
    harness: Harness, tmp_path: Path
) -> None:
    text = STUDY.replace("grid: [0.2, 0.5]", "uniform: [0.0, 1.0]").replace("seeds: 2", "seeds: 5")
    (tmp_path / "search.yaml").write_text(text + "sampler: random\ntrials: 4\npruner: wilcoxon\n")
    said = harness("check", "search.yaml")
    assert (said.status, said.out) == (2, "")
    assert "pruner: wilcoxon needs at least 6 seeds" in said.err
    assert harness("run", "search.yaml").err == said.err
    assert harness("check", "search.yaml", "--set", "seeds=6").status == 0


def test_schema_describes_the_workload_that_is_asked_for(harness: Harness) -> None:
    said = harness("schema", "--workload", "toy_workload")
    assert said.status == 0
    schema = json.loads(said.out)
    assert "baseline" in schema["properties"]
    assert "teacher_momentum" in said.out


def test_version_is_one_line(harness: Harness) -> None:
    said = harness("--version")
    assert (said.status, said.out.split()[0]) == (0, "harness")


def test_results_can_be_asked_listed_reported_and_made_anew(
    harness: Harness, tmp_path: Path
) -> None:
    harness("run", "study.yaml", "--executor", "local", "--set", "seeds=1")
    question = "SELECT trial, n FROM summary WHERE k = 1 AND split = 'val' ORDER BY number"
    expected = [("quality=0.2", 1), ("quality=0.5", 1), ("raw pixels", 1), ("untrained", 1)]
    rows = json.loads(harness("sql", question, "--format", "json").out)
    assert [(row["trial"], row["n"]) for row in rows] == expected
    text = harness("sql", question, "--format", "csv").out
    assert list(csv.reader(io.StringIO(text)))[1] == ["quality=0.2", "1"]
    assert harness("sql", question).out.splitlines()[0].split() == ["trial", "n"]
    wrong = harness("sql", "SELEC 1")
    assert (wrong.status, wrong.err[:11]) == (2, "error: SQL:")
    assert harness("ls").out.splitlines()[2].split()[:5] == ["quality", "4", "4", "4", "0"]
    (tmp_path / "reports" / "quality.html").unlink()
    assert "quality.html" in harness("report", "quality").out
    assert "quality.html" in harness("report", "study.yaml").out
    assert harness("rebuild").out == "results: rebuilt from 1 studies and 4 runs\n"
    assert json.loads(harness("sql", question, "--format", "json").out) == rows


def test_all_studies_are_reported_and_set_against_each_other(
    harness: Harness, tmp_path: Path
) -> None:
    harness("run", "study.yaml", "--executor", "local")
    harness("run", "study.yaml", "--executor", "local", "--set", "study=more", "--set", "seeds=3")
    everything = harness("report", "--all")
    assert (everything.status, everything.err) == (0, "")
    assert everything.out == (
        "report: reports/more.html\nreport: reports/quality.html\nindex: reports/index.html\n"
    )
    assert 'href="more.html"' in (tmp_path / "reports/index.html").read_text()
    compared = harness("compare", "study.yaml", "more", "--baseline", "more/quality=0.5")
    assert compared == Said(0, "report: reports/compare-quality.more.html\n", "")
    page = (tmp_path / "reports/compare-quality.more.html").read_text()
    assert "more / quality=0.5" in page
    for wrong in (["report"], ["report", "quality", "--all"]):
        assert harness(*wrong).err == (
            "error: report: give either a study, by its file or its name, or --all\n"
        )
    alone = harness("compare", "quality")
    assert alone == Said(2, "", "error: compare: name at least two different studies\n")


def test_a_study_that_cannot_be_reported_makes_the_exit_status_one(
    harness: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    from harness.report import index_page

    def fail(*_: object) -> Path:
        raise ValueError("not drawn")

    harness("run", "study.yaml", "--executor", "local")
    monkeypatch.setattr(index_page, "write_report", fail)
    said = harness("report", "--all")
    assert said == Said(
        1, "index: reports/index.html\n", "quality: no report: ValueError: not drawn\n"
    )


@pytest.mark.process
def test_help_does_not_wait_for_heavy_libraries() -> None:
    code = (
        "import sys\nsys.argv = ['harness', '--help']\nimport harness.cli.commands\n"
        "try:\n    harness.cli.commands.main()\nexcept SystemExit:\n    pass\n"
        "heavy = {'duckdb', 'optuna', 'plotly', 'scipy', 'torch', 'pydantic', 'rich.live'}\n"
        "assert not heavy & sys.modules.keys(), heavy & sys.modules.keys()\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "rebuild" in done.stdout


@pytest.mark.process
@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_call_that_is_interrupted_twice_stops_its_runs_and_keeps_the_rest(
    harness: Harness, tmp_path: Path, number: signal.Signals, status: int
) -> None:
    waiting = ["--set", "wait_for=never", "--set", "only_seeds=[1]"]
    process = start(tmp_path, "run", "study.yaml", "--workers", "2", *waiting)
    assert_soon(lambda: len(toy_workload.calls(tmp_path)) == 8)  # the last two wait for ever
    process.send_signal(number)
    assert process.stdout is not None
    while "finishing the running epochs" not in process.stdout.readline():
        pass
    process.send_signal(number)  # they never end
    out, err = process.communicate(timeout=DEADLINE_S)
    assert (process.returncode, err) == (
        status,
        "interrupted; run the same command again to continue\n",
    )
    assert "report: " in out
    assert not any(is_alive(int(str(call["pid"]))) for call in toy_workload.calls(tmp_path))
    states = query(tmp_path / "results", "SELECT count(*) FROM run WHERE state = 'done'").rows
    assert states == [(6,)]


@pytest.mark.process
def test_kill_9_leaves_no_process_and_trains_nothing_twice(
    harness: Harness, tmp_path: Path
) -> None:
    waiting = ["--set", "wait_for=go", "--set", "only_seeds=[1]"]
    process = start(tmp_path, "run", "study.yaml", "--workers", "2", *waiting)
    assert_soon(lambda: len(toy_workload.calls(tmp_path)) == 8)
    pids = [int(str(call["pid"])) for call in toy_workload.calls(tmp_path)]
    process.kill()
    process.communicate(timeout=DEADLINE_S)
    assert_soon(lambda: not any(map(is_alive, pids)))
    (tmp_path / "go").touch()
    second = start(tmp_path, "run", "study.yaml", "--workers", "2", *waiting)
    out, err = second.communicate(timeout=DEADLINE_S)
    assert second.returncode == 0, err
    assert "6 reused" in out
    assert len(toy_workload.calls(tmp_path)) == 10
    again = harness("run", "study.yaml", "--executor", "local", "--results", "whole", *waiting)
    assert again.status == 0
    assert query(tmp_path / "results", RECALL) == query(tmp_path / "whole", RECALL)
