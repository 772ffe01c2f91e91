"""Where the best model lies: chosen on validation, confirmed trials first."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest
from store_examples import a_record, a_run, a_trial, start

from harness.errors import InputError, StoreError
from harness.export.best_model import best_model, take_model
from harness.records.event_log import append
from harness.records.events import Finished
from harness.records.folders import run_dir, spool_path, work_dir
from harness.records.run_files import digests_below
from harness.records.studies.study_record import write_study_record
from harness.records.trial import Trial
from harness.store import rebuild

TIME = "2026-03-01T12:00:00.250000+00:00"
Results = Sequence[tuple[Trial, Mapping[int, Mapping[str, float]]]]


def write(results: Path, values: Results, metric: str = "recall@1") -> None:
    """A study in which each trial's runs (by seed) ended with these numbers."""
    seeds = sorted({seed for _, runs in values for seed in runs})
    write_study_record(results, a_record([trial for trial, _ in values], seeds, metric))
    for trial, runs in values:
        for seed, found in runs.items():
            run = a_run(trial, seed)
            spool = spool_path(run_dir(results, run.run_id))
            append(spool, start(run))
            append(spool, Finished(1, TIME, "done", results=found))
    rebuild.rebuild(results)


def val(score: float, test: float = 0.5) -> dict[str, float]:
    return {"val/recall@1": score, "test/recall@1": test}


def test_it_is_the_best_seed_of_the_best_confirmed_trial_by_validation(tmp_path: Path) -> None:
    baseline, winner = a_trial(0, "baseline"), a_trial(1)
    control = a_trial(2, "control")
    lucky = a_trial(7, phase="search")
    write(
        tmp_path,
        [
            (baseline, {0: val(0.9, test=0.99), 1: val(0.1)}),
            (winner, {0: val(0.6), 1: val(0.7, test=0.1)}),
            (control, {0: val(0.95), 1: val(0.95)}),
            (lucky, {0: val(0.99), 1: val(0.99)}),
        ],
    )
    found = best_model(tmp_path, "s")
    assert found is not None
    assert (found.trial, found.seed, found.score) == ("m=1", 1, 0.7)
    assert found.run_id == a_run(winner, 1).run_id
    assert found.path == tmp_path / "runs" / found.run_id / "work"


def test_a_model_file_is_named_where_there_is_one(tmp_path: Path) -> None:
    trial = a_trial(0, "baseline")
    write(tmp_path, [(trial, {0: val(0.4)})])
    work = work_dir(run_dir(tmp_path, a_run(trial, 0).run_id))
    work.mkdir(parents=True)
    (work / "model.safetensors").write_bytes(b"weights")
    (work / "facts.json").write_text("{}")
    found = best_model(tmp_path, "s")
    assert found is not None
    assert found.path == work / "model.safetensors"


def test_a_trial_that_lacks_seeds_comes_after_whole_ones(tmp_path: Path) -> None:
    whole, torn = a_trial(0, "baseline"), a_trial(1)
    write(tmp_path, [(whole, {0: val(0.3), 1: val(0.3)}), (torn, {0: val(0.8)})])
    found = best_model(tmp_path, "s")
    assert found is not None
    assert (found.trial, found.seed) == ("m=0", 0)


def test_before_a_confirmation_the_search_has_the_best(tmp_path: Path) -> None:
    first, second = a_trial(0, "baseline", "search"), a_trial(1, phase="search")
    write(tmp_path, [(first, {0: {"val/view": 0.3}}), (second, {0: {"val/view": 0.5}})], "view")
    found = best_model(tmp_path, "s")
    assert found is not None
    assert (found.trial, found.score) == ("m=1", 0.5)


def test_without_a_validation_score_there_is_none(tmp_path: Path) -> None:
    write(tmp_path, [(a_trial(0, "baseline"), {0: {"test/recall@1": 0.5}})])
    assert best_model(tmp_path, "s") is None


def test_the_model_is_copied_with_all_that_says_what_it_is(tmp_path: Path) -> None:
    baseline, winner = a_trial(0, "baseline"), a_trial(1)
    results = tmp_path / "results"
    write(results, [(baseline, {0: val(0.5), 1: val(0.5)}), (winner, {0: val(0.6), 1: val(0.7)})])
    for seed in (0, 1):
        work = work_dir(run_dir(results, a_run(winner, seed).run_id))
        work.mkdir(parents=True)
        (work / "model.safetensors").write_bytes(b"weights of seed %d" % seed)
        (work / "other.txt").write_text("stays")
    found = take_model(results, "s", tmp_path / "deep" / "best")
    assert found.path == tmp_path / "deep" / "best" / "model.safetensors"
    assert found.path.read_bytes() == b"weights of seed 1"
    assert {path.name for path in found.path.parent.iterdir()} == {"model.safetensors", "run.json"}
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["best"]
    about = json.loads((found.path.parent / "run.json").read_text())
    assert (about["study"], about["trial"], about["seed"]) == ("s", "m=1", 1)
    assert about["params"] == winner.params
    assert about["results"] == {"test/recall@1": 0.5, "val/recall@1": 0.7}
    other = take_model(results, "s", tmp_path / "named", trial="m=1")
    assert other.seed == 1


def test_what_cannot_be_taken_is_one_line_and_leaves_nothing(tmp_path: Path) -> None:
    results, target = tmp_path / "results", tmp_path / "best"
    write(results, [(a_trial(0, "baseline"), {0: {"test/recall@1": 0.5}})])
    for study, trial, words in (
        ("t", None, "unknown study 't'; known: s"),
        ("s", None, "no run has a validation score"),
        ("s", "m=7", "unknown trial 'm=7'; did you mean 'm=0'"),
        ("s", "m=0", "left no model"),
    ):
        with pytest.raises(InputError, match=words):
            take_model(results, study, target, trial)
        assert not target.exists()
    work = work_dir(run_dir(results, a_run(a_trial(0, "baseline"), 0).run_id))
    work.mkdir(parents=True)
    (work / "model.bin").write_bytes(b"weights")
    taken = take_model(results, "s", target, "m=0")
    assert taken.score is None
    assert taken.path == target / "model.bin"
    with pytest.raises(InputError, match="already exists"):
        take_model(results, "s", target, "m=0")
    assert (target / "model.bin").read_bytes() == b"weights"


def test_a_model_that_is_not_what_its_run_wrote_is_not_taken(tmp_path: Path) -> None:
    results, target, trial = tmp_path / "results", tmp_path / "best", a_trial(0, "baseline")
    write_study_record(results, a_record([trial], [0]))
    directory = run_dir(results, a_run(trial, 0).run_id)
    model = work_dir(directory) / "model.safetensors"
    model.parent.mkdir(parents=True)
    model.write_bytes(b"weights")
    append(spool_path(directory), start(a_run(trial, 0)))
    files = digests_below(model.parent)
    append(spool_path(directory), Finished(1, TIME, "done", results=val(0.5), files=files))
    rebuild.rebuild(results)
    model.write_bytes(b"weighty")
    with pytest.raises(StoreError, match=r"model\.safetensors: is damaged: .*run the study again"):
        take_model(results, "s", target)
    assert not target.exists()
    model.write_bytes(b"weights")
    assert take_model(results, "s", target).path.read_bytes() == b"weights"
