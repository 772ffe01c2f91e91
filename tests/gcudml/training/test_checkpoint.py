"""A run that is stopped anywhere and called again ends in the same numbers."""

from __future__ import annotations

import errno
import json
import random
from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
from flip import flip_byte
from method_settings import METHODS
from tiny import Recorder, context_for, one_step, tiny, train_tiny
from torch import nn

from gcudml.methods import build_method
from gcudml.training import checkpoint, model_file
from gcudml.training import epoch as epoch_module
from gcudml.training.run import run

EPOCHS = 4
LONG_MEMORY = {  # options under which more than the student outlives an epoch
    "classifiers of two epochs": {
        "name": "gcudml",
        "clusters": 8,
        "groups": 2,
        "recluster_every": 2,
        "momentum_warmup": True,
    },
    "classifiers that are kept": {
        "name": "gcudml",
        "clusters": 8,
        "groups": 2,
        "renumbering": "warm_start",
        "distillation": "logits",
        "group_embedding": "wide",
        "weights": {"metric": 1, "group": 1, "collaborative": 1, "distillation": 1},
    },
    "old neighbours": {"name": "stml", "refresh_every": 3},
    "proxies": {"name": "supervised", "loss": {"name": "ProxyAnchorLoss"}},
    "one clustering of many epochs": {"name": "udml_ss", "clusters": 8, "recluster_every": 3},
    "centres to start from": {"name": "udml_ss", "clusters": 8, "recluster_every": 1},
    "old labels": {"name": "gce", "learners": 2, "labels": "pseudo", "data_subsets": "fixed"}
    | {"clusters": 8},
}
SETTINGS = {name: {"name": name} | options for name, options in METHODS.items()} | LONG_MEMORY


class Stop(Exception):
    """The run is killed here."""


class Killer(Recorder):
    """Stops the run while it reports an epoch, or right after that."""

    def __init__(self, at: int) -> None:
        super().__init__()
        self.at = at

    def __call__(self, step: int, metrics: Mapping[str, float]) -> bool:
        self.epochs.append(dict(metrics) | {"epoch": step})
        if step == self.at:
            raise Stop
        return True


class Whole(NamedTuple):
    """A tiny run that nothing disturbed."""

    folder: Path
    results: dict[str, float]
    epochs: list[dict[str, float]]


@pytest.fixture(scope="module")
def wholes(tmp_path_factory: pytest.TempPathFactory) -> dict[bool, Whole]:
    """With closed and with open test classes."""
    made = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GCUDML_CACHE", str(tmp_path_factory.mktemp("cache")))
        for test in (False, True):
            folder = tmp_path_factory.mktemp("whole")
            made[test] = Whole(folder, *train_tiny(folder, test=test))
    return made


def without_times(epochs: list[dict[str, float]]) -> list[dict[str, float]]:
    return [{k: v for k, v in e.items() if not k.startswith("seconds/")} for e in epochs]


def settings(method: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {"method": method, "train": {"epochs": EPOCHS}}


@pytest.mark.parametrize("name", SETTINGS)
def test_a_stopped_run_goes_on_to_the_same_numbers(tmp_path: Path, name: str) -> None:
    config = tiny(**settings(SETTINGS[name]))
    whole = Killer(at=EPOCHS)
    expected = run(config, seed=1, workdir=tmp_path / "whole", report=whole, test=True)
    folder = tmp_path / "stopped"
    reported: dict[float, dict[str, float]] = {}
    for at in (1, 2):  # killed twice, while it reports: that epoch is trained again
        killer = Killer(at)
        with pytest.raises(Stop):
            run(config, seed=1, workdir=folder, report=killer, test=True)
        reported |= {epoch["epoch"]: epoch for epoch in killer.epochs}
    last = Killer(at=EPOCHS)
    assert run(config, seed=1, workdir=folder, report=last, test=True) == expected
    assert [epoch["epoch"] for epoch in last.epochs] == [2, 3]
    reported |= {epoch["epoch"]: epoch for epoch in last.epochs}
    assert without_times(list(reported.values())) == without_times(whole.epochs)
    for file in ("tables/clusters.jsonl", "facts.json"):
        ours, theirs = folder / file, tmp_path / "whole" / file
        assert ours.exists() == theirs.exists()
        if ours.exists():
            assert ours.read_text() == theirs.read_text()


def test_a_run_that_is_told_to_stop_saves_its_epoch_first(tmp_path: Path) -> None:
    config = tiny(**settings(METHODS["gcudml"] | {"name": "gcudml"}))
    whole, first, rest = Recorder(), Recorder(most=2), Killer(at=EPOCHS)
    expected = run(config, seed=1, workdir=tmp_path / "whole", report=whole, test=True)
    assert run(config, seed=1, workdir=tmp_path / "stopped", report=first, test=True) == {}
    assert len(first.epochs) == 2
    assert run(config, seed=1, workdir=tmp_path / "stopped", report=rest, test=True) == expected
    assert [epoch["epoch"] for epoch in rest.epochs] == [2, 3]


def test_an_epoch_with_a_number_that_is_none_is_never_gone_on_from(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(epoch_module, "embedding_health", lambda _: {"spread": float("nan")})
    config = tiny(**settings(METHODS["gcudml"] | {"name": "gcudml"}))
    run(config, seed=1, workdir=tmp_path, report=Recorder(most=1), test=False)
    assert not (tmp_path / checkpoint.FILE).exists()


def stop_tiny(workdir: Path, *, seed: int = 0, at: int = 1) -> None:
    """Leave a tiny run as one that is killed while it reports epoch ``at``."""
    with pytest.raises(Stop):
        run(tiny(), seed=seed, workdir=workdir, report=Killer(at), test=False)


def test_a_run_that_is_over_is_not_trained_again(tmp_path: Path) -> None:
    expected, _ = train_tiny(tmp_path, test=True)
    again, epochs = train_tiny(tmp_path, test=True)
    assert (again, epochs) == (expected, [])


def test_the_chosen_model_takes_the_place_of_the_checkpoint(tmp_path: Path) -> None:
    stop_tiny(tmp_path)
    assert kept_files(tmp_path) == {checkpoint.FILE}
    finish_tiny(tmp_path)
    assert kept_files(tmp_path) == {model_file.FILE}


def finish_tiny(workdir: Path) -> None:
    run(tiny(), seed=0, workdir=workdir, report=Killer(at=EPOCHS), test=False)


def kept_files(workdir: Path) -> set[str]:
    return {path.name for path in workdir.iterdir() if path.suffix in {".pt", ".safetensors"}}


@pytest.mark.parametrize("at", ["before the model", "between the two", "after both"])
def test_a_run_that_is_killed_at_its_end_has_the_same_results(
    wholes: dict[bool, Whole], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at: str
) -> None:
    whole = wholes[True]

    def die(*_: object) -> None:
        raise Stop

    folder = tmp_path / "killed"
    if at == "after both":
        train_tiny(folder, test=True)
    else:
        name = "save_model" if at == "before the model" else "checkpoint.remove"
        with monkeypatch.context() as patch:
            patch.setattr(f"gcudml.training.run.{name}", die)
            with pytest.raises(Stop):
                train_tiny(folder, test=True)
    again, epochs = train_tiny(folder, test=True)
    assert (again, epochs) == (whole.results, [])
    assert model_file.FILE in kept_files(folder)
    paths = [folder / model_file.FILE, whole.folder / model_file.FILE]
    assert paths[0].read_bytes() == paths[1].read_bytes()


@pytest.mark.parametrize("change", [{"seed": 2}, {"train": {"learning_rate": 0.5}}])
def test_the_checkpoint_of_another_run_is_not_used(tmp_path: Path, change: Any) -> None:
    stop_tiny(tmp_path / "a")
    expected, _ = train_tiny(tmp_path / "b", **change)
    found, epochs = train_tiny(tmp_path / "a", **change)
    assert found == expected
    assert len(epochs) == 2
    tables = [(tmp_path / name / "tables" / "clusters.jsonl").read_text() for name in "ab"]
    assert tables[0] == tables[1]


@pytest.mark.parametrize("damage", ["cut", "empty", "code"])
def test_a_damaged_checkpoint_costs_time_only(
    wholes: dict[bool, Whole], tmp_path: Path, damage: str, capfd: pytest.CaptureFixture[str]
) -> None:
    stop_tiny(tmp_path)
    path = tmp_path / checkpoint.FILE
    if damage == "code":
        torch.save({"key": "", "content": nn.Linear(1, 1)}, path)
    else:
        path.write_bytes(path.read_bytes()[: 1000 if damage == "cut" else 0])
    again, epochs = train_tiny(tmp_path)
    assert (again, len(epochs)) == (wholes[False].results, 2)
    assert "checkpoint.pt: not readable" in capfd.readouterr().err


def test_a_checkpoint_of_an_older_form_starts_the_run_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    expected, _ = train_tiny(tmp_path / "whole")
    with monkeypatch.context() as patch:
        patch.setattr(checkpoint, "FORM", checkpoint.FORM - 1)
        stop_tiny(tmp_path)
    again, epochs = train_tiny(tmp_path)
    assert (again, len(epochs)) == (expected, 2)
    assert "checkpoint.pt: not readable (of an older version)" in capfd.readouterr().err


@pytest.mark.parametrize("name", METHODS)
def test_the_state_of_a_method_is_made_of_tensors_and_plain_values(name: str) -> None:
    context = context_for(method={"name": name} | METHODS[name])
    method = build_method(context)
    one_step(method, context)
    waiting: list[Any] = [method.state_dict()]
    while waiting:
        value = waiting.pop()
        if isinstance(value, dict | list | tuple):
            assert type(value) in {dict, OrderedDict, list, tuple}
            waiting += value.values() if isinstance(value, dict) else value
        else:
            assert value is None or type(value) in {torch.Tensor, bool, int, float}


def test_flipped_bits_in_a_checkpoint_start_the_run_over(
    wholes: dict[bool, Whole], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    whole = wholes[False]
    model = (whole.folder / model_file.FILE).read_bytes()
    randomness = random.Random(0)
    for number in range(5):
        folder = tmp_path / str(number)
        stop_tiny(folder)
        path = folder / checkpoint.FILE
        flip_byte(path, randomness.randrange(path.stat().st_size), randomness.randint(1, 255))
        again, epochs = train_tiny(folder)
        assert (again, without_times(epochs)) == (whole.results, without_times(whole.epochs))
        assert (folder / model_file.FILE).read_bytes() == model
        said = capfd.readouterr().err
        assert said.count("\n") == said.count("checkpoint.pt: not readable (damaged") == 1


def test_a_damaged_table_of_clusters_starts_the_run_over(
    wholes: dict[bool, Whole], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    stop_tiny(tmp_path / "stopped")
    table = tmp_path / "stopped" / "tables" / "clusters.jsonl"
    flip_byte(table, 30, 1)
    again, epochs = train_tiny(tmp_path / "stopped")
    assert (again, len(epochs)) == (wholes[False].results, 2)
    assert table.read_text() == (wholes[False].folder / "tables/clusters.jsonl").read_text()
    assert "clusters.jsonl: not readable" in capfd.readouterr().err


def test_damaged_facts_of_an_earlier_attempt_are_written_anew(
    wholes: dict[bool, Whole], tmp_path: Path
) -> None:
    stop_tiny(tmp_path / "stopped")
    facts = tmp_path / "stopped" / "facts.json"
    facts.write_text(facts.read_text().replace("criterion", "criterium"))
    finish_tiny(tmp_path / "stopped")
    assert facts.read_text() == (wholes[False].folder / "facts.json").read_text()


def test_a_full_disk_costs_the_checkpoint_and_not_the_run(
    wholes: dict[bool, Whole],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:

    def fail(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(torch, "save", fail)
    found, _ = train_tiny(tmp_path / "b")
    assert found == wholes[False].results
    assert "checkpoint.pt: not written (No space left on device)" in capfd.readouterr().err
    names = sorted(path.name for path in (tmp_path / "b").iterdir())
    assert names == ["facts.json", "model.safetensors", "tables"]


def test_drafts_of_killed_attempts_are_removed(tmp_path: Path) -> None:
    stop_tiny(tmp_path)
    for name in ("checkpoint.123.draft", "model.123.draft"):
        (tmp_path / name).write_bytes(b"half")
    assert json.loads((tmp_path / "facts.json").read_text())
    finish_tiny(tmp_path)
    assert not list(tmp_path.glob("*.draft"))
