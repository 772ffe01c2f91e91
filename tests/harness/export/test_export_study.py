"""A study for other tools: each export is read back by the tool it is for."""

from __future__ import annotations

import csv
import errno
import io
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import duckdb
import optuna
import pytest
import toy_workload
from driver_place import Place
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import TrialState
from store_examples import a_trial, write

from harness.cli import commands
from harness.cli.row_formats import format_rows
from harness.errors import InputError, StoreError
from harness.export.export_study import MARKER, export_study
from harness.store.database import query

GRID = """
study: momentum
question: How slowly should the teacher follow the student?
workload: toy_workload
base: {epochs: 3, clusters: 2}
search:
  method.teacher_momentum: {grid: [0.0, 0.9]}
  fail: {grid: [null, diverge]}
forbid: [{fail: diverge, method.teacher_momentum: 0.9}]
seeds: 6
baseline: {method.teacher_momentum: 0.0, fail: null}
"""
SEARCH = """
study: best
question: What is best?
workload: toy_workload
base: {epochs: 2, clusters: 2, quality: 0.1}
search:
  quality: {uniform: [0.2, 1.0]}
  clusters: {logint: [2, 9]}
  method.teacher_momentum: {choice: [0.0, 0.5]}
sampler: random
pruner: median
trials: 12
seeds: 2
parallel_trials: 2
confirm: {top: 2, seeds: 2}
"""
SAMPLE = "SELECT trial_id, mean, pruned FROM trials WHERE study = 'best' AND phase = 'search'"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A results folder with a grid, some of whose runs failed, and a confirmed search."""
    folder = tmp_path_factory.mktemp("made")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(toy_workload.FOLDER, str(folder))
        place = Place(folder)
        place.run(GRID)
        place.run(SEARCH)
        yield place.results


# CSV, Parquet


def test_csv_and_parquet_have_the_rows_of_the_database(made: Path, tmp_path: Path) -> None:
    for form in ("csv", "parquet"):
        said = export_study(made, "momentum", form, str(tmp_path / form))
        assert said.startswith(f"{tmp_path / form}: one file each for trials, runs, results, ")
    names = {"trials", "runs", "results", "folds", "summary", "comparisons", "curves", "mixed"}
    names |= {"control_comparisons", "forecasts", "purity_by_size"}
    assert {path.stem for path in (tmp_path / "csv").glob("[!.]*")} == names
    con = duckdb.connect()
    for name in names - {"mixed", "folds", "forecasts"}:  # all made alike, on one split
        parquet = con.execute(f"FROM '{tmp_path}/parquet/{name}.parquet'")
        columns = [column[0] for column in parquet.description or ()]
        rows = parquet.fetchall()
        view = "run" if name == "runs" else name
        key = "run_id" if name == "runs" else "trial_id"
        expected = query(
            made,
            f"SELECT * FROM {view} WHERE {key} IN (SELECT {key} FROM member JOIN trial USING"
            " (trial_id) WHERE study = 'momentum')",
        )
        assert len(rows) == len(expected.rows) > 0
        assert set(columns) >= set(expected.columns)
        with (tmp_path / "csv" / f"{name}.csv").open(newline="", encoding="utf-8") as stream:
            written = list(csv.DictReader(stream))
        assert list(written[0]) == columns
        assert len(written) == len(rows)
        for column in expected.columns:  # to the last digit
            at, here = columns.index(column), expected.columns.index(column)
            values = sorted(str(row[at]) for row in rows)
            assert values == sorted(str(row[here]) for row in expected.rows), column
            if column in ("mean", "difference", "value"):
                numbers = [None if row[at] is None else float(row[at]) for row in rows]
                assert [float(row[column]) if row[column] else None for row in written] == numbers


def test_a_csv_cell_of_text_starts_no_formula_and_a_number_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(toy_workload.FOLDER, str(tmp_path))
    place = Place(tmp_path)
    names = ["=1+1", "+1", "-1", "@x", "\\tx", "fine"]
    variants = ", ".join(f'"{name}": {{quality: 0.{n}}}' for n, name in enumerate(names, 1))
    place.run(
        "study: formulas\nquestion: Are they computed?\nworkload: toy_workload\n"
        f"base: {{epochs: 1}}\nvariants: {{{variants}}}\nseeds: 2\nbaseline: fine\n"
    )
    export_study(place.results, "formulas", "csv", str(tmp_path / "csv"))
    read = {}
    for name in ("trials", "comparisons"):
        with (tmp_path / "csv" / f"{name}.csv").open(newline="", encoding="utf-8") as stream:
            read[name] = list(csv.DictReader(stream))
    shown = ["'=1+1", "'+1", "'-1", "'@x", "'\tx", "fine"]
    assert [row["trial"] for row in read["trials"]][:6] == shown
    assert any(row["difference"].startswith("-0.") for row in read["comparisons"])
    text = format_rows(("+a",), [("=1",), (-0.5,), ("b",)], "csv")
    assert text == "'+a\n'=1\n-0.5\nb"


# The table of a paper


def test_the_latex_table_has_the_numbers_of_the_database(made: Path) -> None:
    text = export_study(made, "momentum", "latex")
    [(mean, sd, low, high)] = query(
        made, "SELECT mean, sd, low, high FROM trials WHERE study = 'momentum' AND number = 0"
    ).rows
    [(difference, p)] = query(
        made,
        "SELECT difference, p FROM comparisons WHERE study = 'momentum' AND number = 2"
        " AND split = 'test' AND metric = 'recall@1'",
    ).rows
    assert r"\begin{tabular}{lrrrrrrrrr}" in text
    assert rf"& {mean:.4f} $\pm$ {(high - low) / 2:.4f} & " in text
    assert rf"$\pm$ {sd:.4f}" not in text
    assert r" & 6 &  &  &  &  \\" in text
    assert f"& {difference:+.4f} & [" in text
    assert f"& {p:.3f} & {p:.3f}" in text
    assert r"fail=diverge (baseline) &" not in text
    assert r"fail=diverge &  &  &  &  & 0/6" in text
    assert text.index(r"\midrule" + "\nraw pixels") > text.index("teacher")
    assert r"\label{tab:momentum}" in text
    assert "over up to 6 seeds" in text
    assert r"95 \% t-interval" in text


def test_the_markdown_table_is_of_the_confirmation_and_gives_no_p_below_six_seeds(
    made: Path,
) -> None:
    text = export_study(made, "best", "markdown")
    lines = text.splitlines()
    assert [cell.strip() for cell in lines[0].split("|")[1:-1]] == [
        "trial", "Recall@1 (test)", "Recall@2", "Recall@4", "Recall@8", "seeds",
        "difference", "95 % interval",
    ]  # fmt: skip
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines[2:7]]
    assert [row[0] for row in rows[-2:]] == ["raw pixels", "untrained"]
    assert all(row[5] == "2" for row in rows)
    assert sum(bool(row[6]) for row in rows) == 4
    assert lines[-1].endswith("Exploratory: too few seeds for any verdict, so no p is given.")


def test_a_table_can_be_a_file(made: Path, tmp_path: Path) -> None:
    said = export_study(made, "momentum", "latex", str(tmp_path / "new" / "table.tex"))
    assert said.startswith(f"{tmp_path / 'new' / 'table.tex'}: a table")
    text = (tmp_path / "new" / "table.tex").read_text(encoding="utf-8")
    assert text == export_study(made, "momentum", "latex") + "\n"


# Optuna


def journal(file: Path) -> JournalStorage:
    return JournalStorage(JournalFileBackend(str(file)))


def test_optuna_reads_the_trials_of_a_search(made: Path, tmp_path: Path) -> None:
    file = tmp_path / "best.log"
    assert "optuna-dashboard" in export_study(made, "best", "optuna", str(file))
    assert [path.name for path in tmp_path.iterdir()] == ["best.log"]
    storage = journal(file)
    assert optuna.get_all_study_names(storage) == ["best", "best (confirmation)"]
    study = optuna.load_study(study_name="best", storage=storage)
    assert study.metric_names == ["val/recall@1"]
    assert study.user_attrs == {"question": "What is best?", "study": "best"}
    ours = {row[0]: row[1:] for row in query(made, SAMPLE + " AND role <> 'control'").rows}
    trials = {trial.user_attrs["trial_id"]: trial for trial in study.trials}
    assert trials.keys() == ours.keys()
    states = {trial.state for trial in trials.values()}
    assert states == {TrialState.COMPLETE, TrialState.PRUNED}
    for trial_id, (mean, pruned) in ours.items():
        trial = trials[trial_id]
        assert trial.state == (TrialState.PRUNED if pruned else TrialState.COMPLETE)
        assert trial.value == (None if pruned else mean)
        assert trial.user_attrs.get("pruned") == pruned
        assert trial.duration is not None
    value, number = max((mean, id_) for id_, (mean, pruned) in ours.items() if not pruned)
    assert (study.best_value, study.best_trial.user_attrs["trial_id"]) == (value, number)
    first = study.trials[0]
    assert first.user_attrs["role"] == "baseline"
    assert first.distributions == {
        "quality": FloatDistribution(0.1, 1.0),  # the baseline lies outside the axis
        "clusters": IntDistribution(2, 9, log=True),
        "method.teacher_momentum": CategoricalDistribution([0.0, 0.5, 0.9]),
    }
    assert first.params == {"quality": 0.1, "clusters": 2, "method.teacher_momentum": 0.9}
    assert optuna.importance.get_param_importances(study)


def test_a_trial_of_optuna_has_the_mean_curve_of_its_seeds(made: Path, tmp_path: Path) -> None:
    export_study(made, "momentum", "optuna", str(tmp_path / "log"))
    study = optuna.load_study(study_name="momentum", storage=journal(tmp_path / "log"))
    by_label = {trial.user_attrs["label"]: trial for trial in study.trials}
    assert len(by_label) == 3
    failed = next(trial for label, trial in by_label.items() if "fail=diverge" in label)
    assert (failed.state, failed.value) == (TrialState.FAIL, None)
    assert failed.params["fail"] == "diverge"
    assert (failed.user_attrs["seeds_done"], failed.user_attrs["seeds_failed"]) == (0, 6)
    good = next(trial for trial in study.trials if trial.params["method.teacher_momentum"] == 0.9)
    assert good.params["fail"] is None
    rows = query(
        made,
        "SELECT epoch, avg(value) FROM curves WHERE study = 'momentum' AND name = 'val/recall@1'"
        f" AND trial_id = '{good.user_attrs['trial_id']}' GROUP BY epoch ORDER BY epoch",
    ).rows
    assert good.intermediate_values == pytest.approx(dict(rows), rel=1e-15)
    assert len(rows) == 3
    assert study.metric_names == ["test/recall@1"]


def test_lists_and_truth_values_are_choices_too(tmp_path: Path) -> None:
    trials = [
        a_trial(number).__class__(
            "s", number, f"t{number}", "confirm", "trial", name, varied, {"n": number}
        )
        for number, (name, varied) in enumerate(
            [("a", {"x": True, "y": [1, 2]}), ("b", {"x": False, "y": [3]}), ("b", {"x": 1})]
        )
    ]
    write(tmp_path, trials, {0: [0.1], 1: [0.2], 2: [0.3]})
    with duckdb.connect(str(tmp_path / "results.duckdb")) as con:
        spec = '{"study": "s", "question": "q", "workload": "w", "metric": "recall@1"}'
        con.execute("UPDATE study SET spec = $1", [spec])
    export_study(tmp_path, "s", "optuna", str(tmp_path / "log"))
    study = optuna.load_study(study_name="s", storage=journal(tmp_path / "log"))
    assert [trial.params for trial in study.trials] == [
        {"variant": "a", "x": "true", "y": "[1, 2]"},
        {"variant": "b", "x": "false", "y": "[3]"},
        {"variant": "b", "x": 1},
    ]


def test_the_dashboard_of_optuna_opens_the_journal(made: Path, tmp_path: Path) -> None:
    pytest.importorskip("optuna_dashboard", reason="optuna-dashboard is not installed")
    import json

    from optuna_dashboard import wsgi

    export_study(made, "best", "optuna", str(tmp_path / "log"))
    app = wsgi(journal(tmp_path / "log"))

    def get(path: str) -> dict[str, object]:
        status: list[str] = []
        environ = {
            "REQUEST_METHOD": "GET", "PATH_INFO": path, "SERVER_NAME": "x", "SERVER_PORT": "80",
            "wsgi.url_scheme": "http", "wsgi.input": io.BytesIO(), "wsgi.errors": sys.stderr,
            "QUERY_STRING": "",
        }  # fmt: skip
        body = b"".join(app(environ, lambda line, _headers, *_: status.append(line)))
        assert status == ["200 OK"]
        return json.loads(body)

    names = {
        each["study_name"]: each["study_id"] for each in get("/api/studies")["study_summaries"]
    }
    assert names.keys() == {"best", "best (confirmation)"}
    detail = get(f"/api/studies/{names['best']}")
    assert {trial["state"] for trial in detail["trials"]} == {"Complete", "Pruned"}
    assert len(detail["union_search_space"]) == 3


# TensorBoard


def test_tensorboard_reads_curves_results_and_parameters(made: Path, tmp_path: Path) -> None:
    pytest.importorskip("tensorboard", reason="TensorBoard is not installed")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    from tensorboard.plugins.hparams import metadata

    export_study(made, "momentum", "tensorboard", str(tmp_path / "tb"))
    runs = {str(path.parent.relative_to(tmp_path / "tb")) for path in tmp_path.rglob("events.*")}
    assert len(runs) == 30
    (best,) = (run for run in runs if "teacher_momentum=0.9" in run and run.endswith("/seed-1"))
    (failed,) = (run for run in runs if "diverge" in run and run.endswith("/seed-1-failed"))
    events = EventAccumulator(str(tmp_path / "tb" / best)).Reload()
    curve = query(
        made,
        "SELECT epoch, value FROM curves WHERE study = 'momentum' AND seed = 1"
        " AND trial LIKE '%teacher_momentum=0.9%' AND name = 'val/recall@1' ORDER BY epoch",
    ).rows
    assert [(each.step, each.value) for each in events.Scalars("val/recall@1")][:3] == [
        (epoch, pytest.approx(value)) for epoch, value in curve
    ]
    assert events.Scalars("test/recall@1")[0].step == 2
    content = events.summary_metadata[metadata.SESSION_START_INFO_TAG].plugin_data.content
    hparams = metadata.parse_session_start_info_plugin_data(content).hparams
    assert hparams["method.teacher_momentum"].number_value == 0.9
    assert hparams["seed"].number_value == 1
    end = EventAccumulator(str(tmp_path / "tb" / failed)).Reload().summary_metadata
    content = end[metadata.SESSION_END_INFO_TAG].plugin_data.content
    assert metadata.parse_session_end_info_plugin_data(content).status == 2  # STATUS_FAILURE


# MLflow


@pytest.mark.timeout(120)
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_mlflow_reads_parameters_metrics_and_tags(made: Path, tmp_path: Path) -> None:
    pytest.importorskip("mlflow", reason="MLflow is not installed (extra mlflow)")
    from mlflow import MlflowClient

    file = tmp_path / "runs.db"
    assert "mlflow ui" in export_study(made, "momentum", "mlflow", str(file))
    assert [path.name for path in tmp_path.iterdir()] == ["runs.db"]
    client = MlflowClient(tracking_uri=f"sqlite:///{file}")
    experiment = client.get_experiment_by_name("momentum")
    runs = client.search_runs([experiment.experiment_id], max_results=1000)
    assert len(runs) == 30
    assert os.environ["MLFLOW_DISABLE_TELEMETRY"] == "true"
    (best,) = (
        run
        for run in runs
        if "teacher_momentum=0.9" in run.data.tags["harness.trial"]
        and run.data.params["seed"] == "1"
    )
    ours = query(
        made,
        "SELECT run_id, value FROM results WHERE study = 'momentum' AND seed = 1"
        " AND trial LIKE '%teacher_momentum=0.9%' AND split = 'test' AND name = 'recall@1'",
    ).rows
    found = (best.data.tags["harness.run_id"], best.data.metrics["test/recall_at_1"])
    assert [found] == ours
    assert best.info.status == "FINISHED"
    assert best.data.params["method.teacher_momentum"] == "0.9"
    history = client.get_metric_history(best.info.run_id, "loss")
    assert [point.step for point in history] == [0, 1, 2]
    states = {run.data.tags["harness.state"]: run.info.status for run in runs}
    assert states == {"done": "FINISHED", "failed": "FAILED"}
    again = export_study(made, "momentum", "mlflow", f"sqlite:///{file}")
    assert again == f"sqlite:///{file}: 0 new runs in the experiment 'momentum'"
    other = export_study(made, "best", "mlflow", f"sqlite:///{file}")
    assert "new runs in the experiment 'best'" in other
    assert " 0 new" not in other
    (tmp_path / "file").touch()
    nowhere = f"sqlite:///{tmp_path}/file/x.db"
    with pytest.raises(StoreError, match=r"file/x\.db: cannot write: [^\n]*--to$"):
        export_study(made, "best", "mlflow", nowhere)


@pytest.mark.parametrize(
    ("form", "library"),
    [("tensorboard", "tensorboard.compat.proto.event_pb2"), ("mlflow", "mlflow")],
)
def test_what_is_not_installed_is_named_with_its_extra(
    made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, form: str, library: str
) -> None:
    monkeypatch.setitem(sys.modules, library, None)
    with pytest.raises(InputError, match=rf"pip install 'gcudml-harness\[{form}\]'"):
        export_study(made, "momentum", form, str(tmp_path / "x"))
    assert list(tmp_path.iterdir()) == []


# Where it goes


def test_nothing_is_overwritten_without_force(made: Path, tmp_path: Path) -> None:
    file = tmp_path / "table.md"
    file.write_text("mine")
    with pytest.raises(InputError, match=r"table\.md: already exists; replace it with --force"):
        export_study(made, "momentum", "markdown", str(file))
    assert file.read_text() == "mine"
    export_study(made, "momentum", "markdown", str(file), force=True)
    assert file.read_text().startswith("| trial")
    assert [path.name for path in tmp_path.iterdir()] == ["table.md"]


def test_a_folder_is_replaced_only_if_it_is_an_export(made: Path, tmp_path: Path) -> None:
    folder = tmp_path / "rows"
    folder.mkdir()
    (folder / "thesis.tex").write_text("years of work")
    for force in (False, True):
        with pytest.raises(
            InputError, match=r"rows: (already exists|a folder, but not an earlier)"
        ):
            export_study(made, "momentum", "csv", str(folder), force=force)
    with pytest.raises(InputError, match="a folder, but not an earlier export"):
        export_study(made, "momentum", "latex", str(folder), force=True)
    assert (folder / "thesis.tex").read_text() == "years of work"
    (folder / "thesis.tex").rename(tmp_path / "thesis.tex")
    export_study(made, "momentum", "csv", str(folder), force=True)
    (folder / "old.csv").touch()
    export_study(made, "momentum", "csv", str(folder), force=True)
    assert (folder / MARKER).read_text() == "csv of momentum\n"
    assert not (folder / "old.csv").exists()
    with pytest.raises(InputError, match=r"thesis\.tex: a file is in the way"):
        export_study(made, "momentum", "csv", str(tmp_path / "thesis.tex"), force=True)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["rows", "thesis.tex"]


@pytest.mark.parametrize("form", ["csv", "latex", "optuna", "tensorboard"])
def test_a_full_disk_is_one_line_and_leaves_what_was_there(
    made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, form: str
) -> None:
    if form == "tensorboard":
        pytest.importorskip("tensorboard", reason="TensorBoard is not installed")
    target = tmp_path / "target"
    export_study(made, "momentum", form, str(target))
    before = sorted(path.name for path in tmp_path.rglob("*"))

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("harness.export.export_study.os.fsync", full)
    with pytest.raises(StoreError) as caught:
        export_study(made, "momentum", form, str(target), force=True)
    assert str(caught.value) == (
        f"{target}: cannot write: No space left on device; free some space, or choose another "
        "path with --to"
    )
    assert sorted(path.name for path in tmp_path.rglob("*")) == before


def test_a_place_that_cannot_be_is_one_line(made: Path, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StoreError, match=r"file/x\.md: cannot write: [^\n]*; free some space"):
        export_study(made, "momentum", "markdown", str(tmp_path / "file" / "x.md"))


# The command


Said = tuple[int, str, str]


@pytest.fixture
def harness(
    made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., Said]:
    monkeypatch.chdir(tmp_path)

    def call(*arguments: str) -> Said:
        monkeypatch.setattr(sys, "argv", ["harness", "export", "--results", str(made), *arguments])
        with pytest.raises(SystemExit) as exit_:
            commands.main()
        captured = capsys.readouterr()
        return int(exit_.value.code or 0), captured.out, captured.err

    return call


def test_the_command_says_where_the_export_lies(
    harness: Callable[..., Said], tmp_path: Path
) -> None:
    status, out, err = harness("momentum", "--format", "csv")
    assert (status, err) == (0, "")
    assert out.startswith("exports/momentum-csv: ")
    assert (tmp_path / "exports" / "momentum-csv" / "trials.csv").exists()
    (tmp_path / "study.yaml").write_text(GRID)
    assert harness("study.yaml", "--format", "latex")[1].startswith("\\begin{table}\n")


def test_what_cannot_be_exported_is_one_line(
    harness: Callable[..., Said], made: Path, tmp_path: Path
) -> None:
    write(tmp_path / "young", [a_trial(0, "baseline")], {0: []})
    for arguments, message in [
        (["momentun"], f"{made}: unknown study 'momentun'; did you mean 'momentum'? known: best"),
        (["s", "--results", "young"], "young: the study 's' has no finished run yet"),
        (["s", "--results", "empty"], "no results in empty yet; run a study first"),
    ]:
        status, out, err = harness(*arguments, "--format", "csv")
        assert (status, out, err.count("\n")) == (2, "", 1)
        assert message in err
    status, _, err = harness("momentum", "--format", "xlsx")
    assert (status, "'xlsx' is not one of" in err) == (2, True)
    assert not (tmp_path / "exports").exists()
