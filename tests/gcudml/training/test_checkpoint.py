"""A run that is stopped anywhere and called again ends in the same numbers."""

from __future__ import annotations

import errno
import json
import random
import shutil
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

    def copy(self, folder: Path) -> Path:
        return Path(shutil.copytree(self.folder, folder))


@pytest.fixture(scope="module")
def wholes(tmp_path_factory: pytest.TempPathFactory) -> dict[bool, Whole]:
    """With closed and with open test classes."""
    made: dict[bool, Whole] = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GCUDML_CACHE", str(tmp_path_factory.mktemp("cache")))
        for test in (False, True):
            folder = tmp_path_factory.mktemp("whole")
            made[test] = Whole(folder, *train_tiny(folder, test=test))
    return made


@pytest.fixture(scope="module")
def killed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What a tiny run leaves that is killed while it reports its second epoch."""
    folder = tmp_path_factory.mktemp("killed")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GCUDML_CACHE", str(tmp_path_factory.mktemp("cache")))
        stop_tiny(folder)
    return folder


@pytest.fixture
def stopped(killed: Path, tmp_path: Path) -> Path:
    """A copy of it to go on from."""
    return Path(shutil.copytree(killed, tmp_path / "stopped"))


def without_times(epochs: list[dict[str, float]]) -> list[dict[str, float]]:
    return [{k: v for k, v in e.items() if not k.startswith("seconds/")} for e in epochs]


def settings(method: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {"method": method, "train": {"epochs": EPOCHS}}


@pytest.mark.parametrize("name", SETTINGS)
def test_a_stopped_run_goes_on_to_the_same_numbers(tmp_path: Path, name: str) -> None:
    config = tiny(**settings(SETTINGS[name]))
    whole, test = Killer(at=EPOCHS), name == "gcudml"  # scores follow from the model, see below
    expected = run(config, seed=1, workdir=tmp_path / "whole", report=whole, test=test)
    folder = tmp_path / "stopped"
    reported: dict[float, dict[str, float]] = {}
    for at in (1, 2):  # killed twice, while it reports: that epoch is trained again
        killer = Killer(at)
        with pytest.raises(Stop):
            run(config, seed=1, workdir=folder, report=killer, test=test)
        reported |= {epoch["epoch"]: epoch for epoch in killer.epochs}
    last = Killer(at=EPOCHS)
    assert run(config, seed=1, workdir=folder, report=last, test=test) == expected
    assert [epoch["epoch"] for epoch in last.epochs] == [2, 3]
    reported |= {epoch["epoch"]: epoch for epoch in last.epochs}
    assert without_times(list(reported.values())) == without_times(whole.epochs)
    for file in ("tables/clusters.jsonl", "tables/states.jsonl", "facts.json"):
        ours, theirs = folder / file, tmp_path / "whole" / file
        assert ours.exists() == theirs.exists()
        if ours.exists():
            assert ours.read_text() == theirs.read_text()
    models = [each / model_file.FILE for each in (folder, tmp_path / "whole")]
    assert models[0].read_bytes() == models[1].read_bytes()


def test_a_run_that_is_told_to_stop_saves_its_epoch_first(
    wholes: dict[bool, Whole], tmp_path: Path
) -> None:
    first, rest = Recorder(most=1), Killer(at=EPOCHS)
    assert run(tiny(), seed=0, workdir=tmp_path, report=first, test=True) == {}
    assert len(first.epochs) == 1
    assert run(tiny(), seed=0, workdir=tmp_path, report=rest, test=True) == wholes[True].results
    assert [epoch["epoch"] for epoch in rest.epochs] == [1]


def test_an_epoch_with_a_number_that_is_none_is_never_gone_on_from(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(epoch_module, "embedding_health", lambda _: {"spread": float("nan")})
    config = tiny(**settings(METHODS["gcudml"] | {"name": "gcudml"}))
    run(config, seed=1, workdir=tmp_path, report=Recorder(most=1), test=False)
    assert not (tmp_path / checkpoint.FILE).exists()


def stop_tiny(workdir: Path) -> None:
    """Leave a tiny run as one that is killed while it reports its second epoch."""
    with pytest.raises(Stop):
        run(tiny(), seed=0, workdir=workdir, report=Killer(at=1), test=False)


def test_the_chosen_model_takes_the_place_of_the_checkpoint(stopped: Path) -> None:
    assert kept_files(stopped) == {checkpoint.FILE}
    finish_tiny(stopped)
    assert kept_files(stopped) == {model_file.FILE}


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
        whole.copy(folder)
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
def test_the_checkpoint_of_another_run_is_not_used(
    stopped: Path, tmp_path: Path, change: Any
) -> None:
    fresh = tmp_path / "fresh"
    expected, _ = train_tiny(fresh, **change)
    found, epochs = train_tiny(stopped, **change)
    assert found == expected
    assert len(epochs) == 2
    tables = [(each / "tables" / "clusters.jsonl").read_text() for each in (stopped, fresh)]
    assert tables[0] == tables[1]


@pytest.mark.parametrize("damage", ["cut", "empty", "code"])
def test_a_damaged_checkpoint_costs_time_only(
    wholes: dict[bool, Whole], stopped: Path, damage: str, capfd: pytest.CaptureFixture[str]
) -> None:
    path = stopped / checkpoint.FILE
    if damage == "code":
        torch.save({"key": "", "content": nn.Linear(1, 1)}, path)
    else:
        path.write_bytes(path.read_bytes()[: 1000 if damage == "cut" else 0])
    again, epochs = train_tiny(stopped)
    assert (again, len(epochs)) == (wholes[False].results, 2)
    assert "checkpoint.pt: not readable" in capfd.readouterr().err


def test_a_checkpoint_of_an_older_form_starts_the_run_over(
    wholes: dict[bool, Whole],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(checkpoint, "FORM", checkpoint.FORM - 1)
        stop_tiny(tmp_path)
    again, epochs = train_tiny(tmp_path)
    assert (again, len(epochs)) == (wholes[False].results, 2)
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
    wholes: dict[bool, Whole], killed: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    whole = wholes[False]
    model = (whole.folder / model_file.FILE).read_bytes()
    randomness = random.Random(0)
    for number in range(5):
        folder = Path(shutil.copytree(killed, tmp_path / str(number)))
        path = folder / checkpoint.FILE
        flip_byte(path, randomness.randrange(path.stat().st_size), randomness.randint(1, 255))
        again, epochs = train_tiny(folder)
        assert (again, without_times(epochs)) == (whole.results, without_times(whole.epochs))
        assert (folder / model_file.FILE).read_bytes() == model
        said = capfd.readouterr().err
        assert said.count("\n") == said.count("checkpoint.pt: not readable (damaged") == 1


def test_a_damaged_table_of_clusters_starts_the_run_over(
    wholes: dict[bool, Whole], stopped: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    table = stopped / "tables" / "clusters.jsonl"
    flip_byte(table, 30, 1)
    again, epochs = train_tiny(stopped)
    assert (again, len(epochs)) == (wholes[False].results, 2)
    assert table.read_text() == (wholes[False].folder / "tables/clusters.jsonl").read_text()
    assert "clusters.jsonl: not readable" in capfd.readouterr().err


def test_damaged_facts_of_an_earlier_attempt_are_written_anew(
    wholes: dict[bool, Whole], stopped: Path
) -> None:
    facts = stopped / "facts.json"
    facts.write_text(facts.read_text().replace("criterion", "criterium"))
    finish_tiny(stopped)
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
    assert names == ["facts.json", "images", "model.safetensors", "tables"]


def test_drafts_of_killed_attempts_are_removed(stopped: Path) -> None:
    for name in ("checkpoint.123.draft", "model.123.draft"):
        (stopped / name).write_bytes(b"half")
    assert json.loads((stopped / "facts.json").read_text())
    finish_tiny(stopped)
    assert not list(stopped.glob("*.draft"))
