"""What is measured beside a run: it changes nothing, and nothing of it is known to a search."""

from __future__ import annotations

from pathlib import Path

import pytest
from tiny import Recorder, tiny, train_tiny

import gcudml.training.run
from gcudml.training.extra_scores import best_oracle_epoch
from gcudml.training.run import run

EVERY_EPOCH = {"train": {"epochs": 4}, "evaluate": {"test_every_epoch": True, "teacher": True}}


def own(metrics: dict[str, float]) -> dict[str, float]:
    """What a run without side scores reports as well, less its times."""
    beside = ("hindsight/", "teacher/", "student/", "seconds/")
    return {name: value for name, value in metrics.items() if not name.startswith(beside)}


def test_the_test_classes_of_every_epoch_change_no_other_number(tmp_path: Path) -> None:
    plain, plain_epochs = train_tiny(tmp_path / "a", test=True, train={"epochs": 4})
    beside, epochs = train_tiny(tmp_path / "b", test=True, **EVERY_EPOCH)
    assert [own(epoch) for epoch in epochs] == [own(epoch) for epoch in plain_epochs]
    assert {name: beside[name] for name in plain} == plain
    extra = set(beside) - set(plain)
    assert extra == {f"test/recall@{k}_best_test_epoch" for k in (1, 2, 4, 8)}


def test_the_best_epoch_in_hindsight_is_the_best_of_all_that_were_reported(tmp_path: Path) -> None:
    results, epochs = train_tiny(tmp_path, test=True, **EVERY_EPOCH)
    seen = [epoch["hindsight/recall@1"] for epoch in epochs]
    best = seen.index(max(seen))
    assert results["test/recall@1_best_test_epoch"] == seen[best] >= results["test/recall@1"]
    assert results["test/recall@8_best_test_epoch"] == epochs[best]["hindsight/recall@8"]
    assert results["test/recall@1_last_epoch"] == seen[-1]
    recalls = [epoch["val/recall@1"] for epoch in epochs]
    assert results["test/recall@1"] == seen[recalls.index(max(recalls))]


def test_a_run_that_goes_on_keeps_the_best_epoch_in_hindsight(tmp_path: Path) -> None:
    whole, _ = train_tiny(tmp_path / "whole", test=True, **EVERY_EPOCH)
    config = tiny(**EVERY_EPOCH)
    run(config, seed=0, workdir=tmp_path / "cut", report=Recorder(most=2), test=True)
    again = Recorder()
    again.epochs = [{}, {}]  # those of the first call
    assert run(config, seed=0, workdir=tmp_path / "cut", report=again, test=True) == whole


def test_a_search_neither_opens_nor_scores_the_test_classes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = []
    original = gcudml.training.run.load
    monkeypatch.setattr(
        gcudml.training.run,
        "load",
        lambda config, part: opened.append(part) or original(config, part),
    )
    results, epochs = train_tiny(tmp_path, test=False, **EVERY_EPOCH)
    assert sorted(set(opened)) == ["train", "val"]
    assert not [name for name in results if "test" in name]
    assert not [name for epoch in epochs for name in epoch if name.startswith("hindsight/")]
    with pytest.raises(RuntimeError, match="may not use the test classes"):
        gcudml.training.run._open_test(tiny(), test=False)


def test_teacher_and_student_are_compared_on_validation_classes(tmp_path: Path) -> None:
    slow = {"teacher_momentum": 0.99, "momentum_warmup": False}
    asked = {"evaluate": {"teacher": True}, "train": {"epochs": 1, "learning_rate": 0.03}}
    _, (apart,) = train_tiny(tmp_path / "a", method=slow, **asked)
    assert any(apart[f"teacher/recall@{k}"] != apart[f"student/recall@{k}"] for k in (1, 2, 4, 8))
    _, (alike,) = train_tiny(tmp_path / "b", method=slow | {"teacher_momentum": 0.0}, **asked)
    for k in (1, 2, 4, 8):
        assert alike[f"teacher/recall@{k}"] == alike[f"student/recall@{k}"]


def test_a_tie_in_hindsight_goes_to_the_earlier_epoch() -> None:
    first = {"hindsight/recall@1": 0.5, "hindsight/recall@2": 0.7}
    assert best_oracle_epoch({}, first | {"loss": 1.0}, k=1) == first
    assert best_oracle_epoch(first, {"hindsight/recall@1": 0.5}, k=1) == first
    assert best_oracle_epoch({}, {"loss": 1.0}, k=1) == {}
