"""A study whose files were removed or damaged between two calls, or while it is trained."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

import duckdb
import pytest
from driver_place import GRID, RECALL, Place, Witness, interrupt

from harness.cli import commands
from harness.errors import StoreError
from harness.records.event_log import read_spool
from harness.records.folders import run_dir, spool_path
from harness.records.run_state import replay
from harness.store.database import database_path

FILES = GRID.replace("epochs: 1", "epochs: 3, checkpoints: true")


def a_run(place: Place) -> str:
    ((run_id,),) = place.ask(
        "SELECT run_id FROM member JOIN trial USING (trial_id) WHERE label = 'quality=0.5' AND seed = 1"
    )
    return str(run_id)


def change(path: Path, old: bytes, new: bytes) -> None:
    """Change what is in a file, and nothing that a look at its folder could show."""
    status, content = path.stat(), path.read_bytes()
    assert old in content
    assert len(old) == len(new)
    path.write_bytes(content.replace(old, new, 1))
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


def check(place: Place, monkeypatch: pytest.MonkeyPatch) -> int:
    monkeypatch.setattr(
        sys, "argv", ["harness", "rebuild", "--check", "--results", str(place.results)]
    )
    with pytest.raises(SystemExit) as exit_:
        commands.main()
    return int(exit_.value.code or 0)


def test_a_run_whose_folder_was_removed_shows_what_was_trained_last(place: Place) -> None:
    place.have_run()
    expected = place.ask(RECALL)
    run_id = a_run(place)
    with duckdb.connect(str(database_path(place.results))) as con:  # as if it had come out so then
        con.execute("UPDATE recall SET recall = 0.125 WHERE run_id = $1", [run_id])
    shutil.rmtree(run_dir(place.results, run_id))
    outcome = place.run()
    assert (outcome.done, outcome.trained) == (8, 1)
    assert place.ask(RECALL) == expected


def test_what_was_removed_is_gone_from_the_database_before_it_is_trained_again(
    place: Place,
) -> None:
    place.have_run()
    shutil.rmtree(run_dir(place.results, a_run(place)))
    shutil.rmtree(run_dir(place.results, str(place.ask("SELECT min(run_id) FROM recall")[0][0])))
    outcome = place.run(watcher=Witness(interrupt(1)))
    assert (outcome.signal is not None, outcome.trained) == (True, 1)
    assert place.ask("SELECT count(*) FROM run") == [(7,)]
    assert place.ask("SELECT count(DISTINCT run_id) FROM recall") == [(7,)]


def test_a_damaged_spool_is_named_and_its_run_trained_anew_to_the_same_table(
    place: Place, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    place.run(FILES)
    expected = place.ask(RECALL)
    path = spool_path(run_dir(place.results, a_run(place)))
    change(path, b'"epoch":1', b'"epoch":9')
    assert check(place, monkeypatch) == 1
    said = capsys.readouterr().out
    assert f"{path}:3: a damaged line; the run counts as unfinished" in said
    witness = Witness()
    outcome = place.run(FILES, watcher=witness)
    assert (outcome.done, outcome.trained) == (8, 1)
    assert [f"{path}:3: a damaged line" in text for text in witness.said] == [True]
    assert place.ask(RECALL) == expected
    epochs = place.ask(f"SELECT DISTINCT epoch FROM epoch WHERE run_id = '{a_run(place)}'")
    assert sorted(epochs) == [(0,), (1,), (2,)]
    assert place.run(FILES).trained == 0
    assert check(place, monkeypatch) == 1
    assert (
        f"{path}:3: a damaged line; a later attempt started from scratch" in capsys.readouterr().out
    )


def test_a_folder_without_damage_is_said_to_have_none(
    place: Place, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    place.have_run()
    before = {path: path.stat().st_mtime_ns for path in place.results.rglob("*")}
    assert check(place, monkeypatch) == 0
    assert capsys.readouterr().out == f"{place.results}: 1 studies and 8 runs: nothing is damaged\n"
    assert {path: path.stat().st_mtime_ns for path in place.results.rglob("*")} == before


class Vandal(Witness):
    """Removes the spool of runs after their first epoch."""

    def __init__(self, place: Place, most: int) -> None:
        super().__init__()
        self.place, self.most = place, most

    def tick(self, snapshot: object) -> None:
        running = snapshot.running  # type: ignore[attr-defined]
        for line in running:
            if line.state.epochs == 1 and self.most:
                self.most -= 1
                spool_path(run_dir(self.place.results, line.run_id)).unlink()
                (self.place.folder / "go").touch()


WAITING = GRID.replace("epochs: 1", "epochs: 2, checkpoints: true, wait_for: go, only_seeds: [0]")


@pytest.mark.process
def test_a_run_whose_spool_is_removed_while_it_is_trained_starts_anew(place: Place) -> None:
    vandal = Vandal(place, most=1)
    outcome = place.run(WAITING, executor="process", workers=1, watcher=vandal)
    assert (outcome.done, outcome.failed) == (8, 0)
    assert [text for text in vandal.said if "the run starts from scratch" in text]
    alone = place.folder / "alone"
    place.run(WAITING, results=alone)
    assert place.ask(RECALL) == place.ask(RECALL, alone)
    for (run_id,) in place.ask("SELECT run_id FROM run"):
        state = replay(read_spool(spool_path(run_dir(place.results, str(run_id)))))
        assert (state.state, state.damage) == ("done", None)


def test_a_folder_in_place_of_a_spool_is_one_line(place: Place) -> None:
    place.have_run()
    path = spool_path(run_dir(place.results, a_run(place)))
    path.unlink()
    path.mkdir()
    with pytest.raises(StoreError, match=r"spool\.jsonl: is not a plain file but a folder; "):
        place.run()
