"""Several drivers on one results folder: who trains which run, and what a dead one leaves."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from roots import ROOT
from waiting import assert_soon

from harness.engine.dispatch.leases import Leases, LeasesLostError
from harness.errors import StoreError
from harness.store.results_lock import sharing

HOLDER = """
import sys, time
from pathlib import Path
from harness.engine.dispatch.leases import Leases
with Leases(Path(sys.argv[1])) as leases:
    print(leases.claim("a"), flush=True)
    time.sleep(600)
"""


class Clock:
    """Seconds that pass when a test says so."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def mine(tmp_path: Path) -> Iterator[Leases]:
    with Leases(tmp_path) as leases:
        yield leases


def write_stranger(results: Path, *, beat: int, runs: list[str]) -> Path:
    """The file of a driver on another machine."""
    path = results / "drivers" / "elsewhere-1-abc.json"
    path.write_text(json.dumps(["elsewhere", "its boot", 1, beat, runs]))
    return path


def test_a_run_goes_to_one_driver_until_it_is_given_back(mine: Leases, tmp_path: Path) -> None:
    with Leases(tmp_path) as other:
        assert mine.claim("a")
        assert not other.claim("a")
        assert other.claim("b")
        (owner,) = other.taken().values()
        assert owner.pid == os.getpid()
        assert list(mine.taken()) == ["b"]
        mine.release("a")
        assert other.claim("a")


def test_a_driver_that_ends_gives_everything_back(mine: Leases, tmp_path: Path) -> None:
    with Leases(tmp_path) as other:
        assert other.claim("a")
    assert mine.taken() == {}
    assert mine.claim("a")
    assert len(list((tmp_path / "drivers").iterdir())) == 1


@pytest.mark.process
def test_a_killed_driver_loses_its_runs_at_once(mine: Leases, tmp_path: Path) -> None:
    command = [sys.executable, "-c", HOLDER, str(tmp_path)]
    process = subprocess.Popen(
        command, env=os.environ | {"PYTHONPATH": str(ROOT)}, stdout=subprocess.PIPE
    )
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == b"True\n"
        assert not mine.claim("a")
        (owner,) = mine.taken().values()
        assert str(owner).startswith(f"process {process.pid} on ")
    finally:
        os.kill(process.pid, signal.SIGKILL)
        process.communicate()
    assert mine.claim("a")


def test_a_driver_of_another_machine_lives_while_its_heart_beats(tmp_path: Path) -> None:
    clock = Clock()
    with Leases(tmp_path, silence_s=60.0, clock=clock) as mine:
        for beat in range(5):
            write_stranger(tmp_path, beat=beat, runs=["a"])
            assert not mine.claim("a")
            clock.now += 50.0
        assert not mine.claim("a")
        clock.now += 11.0
        assert mine.claim("a")


def test_a_driver_that_was_taken_for_dead_stops(tmp_path: Path) -> None:
    clock = Clock()
    with Leases(tmp_path, own_clock=clock) as mine:
        assert mine.claim("a")
        clock.now += 3600.0  # the machine sleeps, and another one does this after the silence
        (file,) = (tmp_path / "drivers").glob("*.json")
        file.unlink()
        for attempt in (mine.check, lambda: mine.claim("b"), mine.holding().__enter__):
            with pytest.raises(
                LeasesLostError, match=r"heard of .* over 120 s.*taken its runs over"
            ):
                attempt()
    assert list((tmp_path / "drivers").iterdir()) == []


def test_a_file_that_was_deleted_is_told_from_a_sleep(mine: Leases, tmp_path: Path) -> None:
    (file,) = (tmp_path / "drivers").glob("*.json")
    file.unlink()
    with pytest.raises(LeasesLostError, match="the file was deleted while this process used it; "):
        mine.check()


@pytest.mark.parametrize("folder", [".", "drivers"])
def test_a_folder_that_was_deleted_is_told_from_a_sleep(tmp_path: Path, folder: str) -> None:
    results = tmp_path / "results"
    results.mkdir()
    with Leases(results) as mine:
        shutil.rmtree(results / folder)
        for attempt in (lambda: mine.claim("a"), mine.holding().__enter__):
            with pytest.raises(LeasesLostError, match="drivers: the folder was deleted or moved"):
                attempt()


def test_nobody_is_taken_for_dead_while_he_writes(mine: Leases, tmp_path: Path) -> None:
    with Leases(tmp_path) as other, mine.holding():
        thread = threading.Thread(target=other.taken)
        thread.start()
        thread.join(0.05)
        assert thread.is_alive()
    thread.join()


@pytest.mark.parametrize("name", [".leases", ".lock"])
def test_a_lock_does_not_follow_a_link(tmp_path: Path, name: str) -> None:
    mine = tmp_path / "mine.txt"
    mine.write_text("precious")
    results = tmp_path / "results"
    results.mkdir()
    (results / name).symlink_to(mine)
    with (
        pytest.raises(StoreError, match=rf"/{name}: is a symbolic link, which is not followed"),
        sharing(results),
        Leases(results),
    ):
        pass
    assert mine.read_text() == "precious"


def test_neither_a_link_nor_a_folder_among_the_drivers_is_in_the_way(
    mine: Leases, tmp_path: Path
) -> None:
    stranger = write_stranger(tmp_path, beat=0, runs=["a"])
    stranger.rename(tmp_path / "elsewhere.json")
    stranger.symlink_to(tmp_path / "elsewhere.json")
    (tmp_path / "drivers" / "folder.json").mkdir()
    assert mine.claim("a")
    assert (tmp_path / "elsewhere.json").exists()


def test_the_heart_beats_while_the_driver_waits(tmp_path: Path) -> None:
    with Leases(tmp_path, beat_s=0.01):
        (file,) = (tmp_path / "drivers").glob("*.json")
        assert_soon(lambda: '"' in file.read_text() and json.loads(file.read_text())[3] > 2)


def test_a_torn_file_is_passed_over(mine: Leases, tmp_path: Path) -> None:
    path = write_stranger(tmp_path, beat=0, runs=["a"])
    path.write_text('["elsewhere", "its')
    assert mine.claim("a")
    assert not path.exists()
