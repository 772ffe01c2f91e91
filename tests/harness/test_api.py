"""The harness from Python: studies as files, mappings and specs, and their results as frames."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
from pathlib import Path

import pandas
import pytest
import quadratic
from roots import ROOT

import harness
from harness.api import Options, Results
from harness.engine.run_options import RunOptions
from harness.errors import InputError
from harness.executors.interface import ExecutorName
from harness.study.loading import load_study
from harness.workload import load_workload

HILL = {
    "study": "hill",
    "question": "Where is the top?",
    "workload": "quadratic",
    "search": {"x": {"grid": [0.0, 0.25]}, "y": {"grid": [-0.5]}},
    "baseline": {"x": 0.0, "y": -0.5},
    "metric": "height",
    "seeds": 3,
}
FRAMES = (
    "claims", "comparisons",
    "control_comparisons", "curves", "effects", "evidence", "failures", "leaderboard", "mixed", "openings", "recall", "results",
    "runs", "scores", "studies", "summary", "trials", "vault",
)  # fmt: skip


@pytest.fixture
def done(tmp_path: Path) -> Results:
    outcome, results = harness.run(HILL, results=tmp_path / "results", executor="local")
    assert outcome.exit_status == 0
    return results


@pytest.mark.parametrize("executor", ["local", pytest.param("process", marks=pytest.mark.process)])
def test_a_mapping_is_a_study(tmp_path: Path, executor: ExecutorName) -> None:
    outcome, results = harness.run(
        HILL, results=tmp_path / "results", executor=executor, workers=2, threads=1
    )
    assert (outcome.study, outcome.done, outcome.failed, outcome.trained) == ("hill", 6, 0, 6)
    means = results.trials.set_index("trial")["mean"]
    assert means["x=0.25, y=-0.5"] > means["x=0, y=-0.5"]
    assert results.studies["command"].tolist() == ["harness.run(...)"]


def test_file_mapping_and_spec_are_the_same_study(tmp_path: Path) -> None:
    file = tmp_path / "hill.json"  # JSON is YAML
    file.write_text(json.dumps(HILL))
    spec = load_study(HILL).spec
    trained = [
        harness.run(study, results=tmp_path / "results", executor="local").outcome.trained
        for study in (HILL, str(file), file, spec)
    ]
    assert trained == [6, 0, 0, 0]
    assert harness.load(tmp_path / "results").studies["fingerprint"].tolist() == [spec.fingerprint]


def test_overrides_are_those_of_the_command_line(tmp_path: Path) -> None:
    outcome, results = harness.run(
        HILL, results=tmp_path, overrides=["seeds=1", "epochs=2"], executor="local"
    )
    assert outcome.total == 2
    assert sorted(results.curves["epoch"].unique()) == [0, 1]


def test_every_frame_has_the_columns_of_its_table(done: Results) -> None:
    assert {name for name in vars(Results) if isinstance(getattr(Results, name), property)} == set(
        FRAMES
    )
    tables = {"runs": "run", "scores": "score", "studies": "study"}
    for name in FRAMES:
        frame = getattr(done, name)
        assert isinstance(frame, pandas.DataFrame)
        described = done.query(f"DESCRIBE {tables.get(name, name)}")
        assert list(frame.columns) == described["column_name"].tolist()
    filled = {name for name in FRAMES if len(getattr(done, name))}
    assert filled == set(FRAMES) - {
        "claims", "control_comparisons", "effects", "evidence", "failures", "mixed", "recall", "summary",
    }  # fmt: skip


def test_frames_hold_numbers_and_times(done: Results) -> None:
    (row,) = done.comparisons.query("split == 'test'").to_dict("records")
    assert row["n"] == 3
    assert row["low"] < row["difference"] < row["high"]
    assert row["p_error"] == 0.0
    assert done.runs["started"].dtype.kind == "M"
    assert done.curves.groupby("epoch")["value"].count().tolist() == [12] * 4
    assert done.frame("results").equals(done.results)
    asked = done.query("SELECT count(*) AS n FROM curves WHERE seed = $seed", {"seed": 1})
    assert asked["n"].tolist() == [16]


def test_a_report_is_written_from_python(done: Results, tmp_path: Path) -> None:
    page = done.report("hill", tmp_path / "pages")
    assert "Where is the top?" in page.read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"seeds": 0}, r"^study: seeds: input should be greater than or equal to 1, got 0"),
        ({"seed": 3}, r"^study: seed: unknown key; did you mean 'seeds'"),
        ({"base": {"z": 1}}, r"^study: z: unknown; known: x, y"),
        ({"base": {"x": {1, 2}}}, r"^study: \{1, 2\} is not text, a number, true, false or null"),
        ({"base": {"x": float("nan")}}, r"^study: nan is not a usable number"),
        ({"base": {"epochs": 10**5000}}, r"^study: a whole number of 5001 digits is too large"),
        ({"extends": "nowhere.yaml"}, r"^study: extends: no file 'nowhere.yaml'"),
        ({"workload": "no_such_module"}, r"no such module"),
    ],
)
def test_a_wrong_mapping_is_one_line(
    tmp_path: Path, change: dict[str, object], message: str
) -> None:
    with pytest.raises(InputError, match=message) as caught:
        harness.run({**HILL, **change}, results=tmp_path / "results", executor="local")
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "results").exists()


def test_a_tuple_is_a_list(tmp_path: Path) -> None:
    assert load_study(HILL | {"seeds": (4, 5)}).spec.seed_list == (4, 5)


def test_nothing_to_load_is_said_at_once(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no results in .*nowhere yet; run a study first"):
        harness.load(tmp_path / "nowhere")
    assert not (tmp_path / "nowhere").exists()


def test_wrong_sql_is_one_line(done: Results) -> None:
    for sql in ("SELEC 1", "FROM nowhere", "DROP TABLE run", "SELECT 1/0::INTEGER, error('no')"):
        with pytest.raises(InputError, match=r"^SQL: "):
            done.query(sql)


def test_without_pandas_the_remedy_is_named(done: Results, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pandas", None)
    for ask in (lambda: harness.load(done.folder), lambda: done.summary):
        with pytest.raises(InputError, match=r"pip install 'gcudml-harness\[pandas\]'"):
            ask()


def test_there_is_no_other_attribute() -> None:
    assert harness.__all__ == ["load", "run"]
    with pytest.raises(AttributeError, match="no attribute 'stop'"):
        harness.stop  # noqa: B018


def test_every_option_of_a_run_is_a_keyword() -> None:
    fields = {field.name for field in dataclasses.fields(RunOptions)} - {"results"}
    assert Options.__optional_keys__ == fields


def test_a_watcher_is_told(tmp_path: Path) -> None:
    from driver_place import Witness

    witness = Witness()
    harness.run(HILL, results=tmp_path, watcher=witness, executor="local")
    assert len(witness.ended_lines) == 6


@pytest.mark.process
def test_code_that_is_edited_meanwhile_is_not_run_under_its_old_version(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = Path(quadratic.__file__).read_text(encoding="utf-8")
    file = tmp_path / "edited_workload.py"
    file.write_text(source, encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    study = HILL | {"workload": "edited_workload"}
    harness.run(study, results=tmp_path / "results", executor="local")
    file.write_text("# A comment changes nothing.\n" + source, encoding="utf-8")
    assert harness.run(study, results=tmp_path / "results").outcome.trained == 0
    file.write_text(source.replace("0.3", "0.4"), encoding="utf-8")
    for executor in ("local", "process"):
        with pytest.raises(InputError, match=r"edited_workload.py: has changed since it was imp"):
            harness.run(study, results=tmp_path / "results", executor=executor)
    del sys.modules["edited_workload"]


def test_the_second_workload_is_small_and_needs_three_functions() -> None:
    source = Path(quadratic.__file__).read_text(encoding="utf-8")
    assert source.count("\n") <= 40
    assert "torch" not in source.partition('"""\n\n')[2]
    assert [name for name in vars(quadratic) if callable(getattr(quadratic, name))] == [
        "schema", "check", "run",
    ]  # fmt: skip
    loaded = load_workload("quadratic")
    assert loaded.check(loaded.check({})) == quadratic.DEFAULTS
    assert loaded.check({"x": 1})["x"] == 1.0
    for wrong in ({"x": True}, {"epochs": 2.5}, {"x": "far"}, {"z": 1}):
        with pytest.raises(ValueError, match=r"^[xz]|^epochs"):
            loaded.check(wrong)


@pytest.mark.parametrize("stop", range(4))
def test_the_second_workload_resumes_exactly(tmp_path: Path, stop: int) -> None:
    def train(workdir: Path, stop: int) -> tuple[dict[int, object], object]:
        workdir.mkdir(exist_ok=True)
        told: dict[int, object] = {}

        def report(epoch: int, metrics: dict[str, float]) -> bool:
            if len(told) == stop:
                raise KeyboardInterrupt
            told[epoch] = metrics
            return True

        params = quadratic.check({"x": 0.1})
        found = quadratic.run(params, seed=3, workdir=workdir, report=report, test=True)
        return told, found

    with pytest.raises(KeyboardInterrupt):
        train(tmp_path / "stopped", stop)
    told, found = train(tmp_path / "stopped", 4)
    whole, expected = train(tmp_path / "whole", 4)
    assert found == expected
    assert told == {epoch: whole[epoch] for epoch in range(stop, 4)}


@pytest.mark.process
def test_importing_the_harness_loads_nothing_heavy() -> None:
    code = "import sys, harness; print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT
    )
    names = {name for name in done.stdout.split() if name.startswith("harness")}
    assert names == {"harness"}


@pytest.mark.parametrize(
    ("changes", "options", "message"),
    [
        ({}, {"results": ""}, "not a folder name"),
        ({}, {"workers": 99_999_999}, "--workers 99999999: give a whole number from 1 to 1024"),
        ({}, {"threads": True}, "--threads True: give a whole number"),
        ({"workload": ".x"}, {}, "study: workload: '.x' is not a module name"),
        ({"question": " "}, {}, "study: question: is blank"),
        ({"seeds": "12"}, {}, "got '12'; write 12 without quotes"),
    ],
)
def test_what_cannot_be_is_refused_from_python_too(
    tmp_path: Path, changes: dict[str, object], options: dict[str, object], message: str
) -> None:
    study = {
        "study": "quality",
        "question": "Does it matter?",
        "workload": "toy_workload",
        "search": {"quality": {"grid": [0.2, 0.5]}},
    }
    with pytest.raises(InputError) as caught:
        harness.run(study | changes, **({"results": tmp_path / "r"} | options))  # type: ignore[arg-type]
    assert message in str(caught.value)
    assert not (tmp_path / "r").exists()
