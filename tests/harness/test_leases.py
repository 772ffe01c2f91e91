"""Several drivers on one results folder: who trains which run, and what a dead one leaves."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from waiting import wait_until

from harness.errors import HarnessError
from harness.leases import Leases

ROOT = Path(__file__).resolve().parent.parent.parent
HOLDER = """
import sys, time
from pathlib import Path
from harness.leases import Leases
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


def test_a_driver_that_was_taken_for_dead_stops(mine: Leases) -> None:
    assert mine.claim("a")
    (file,) = mine._folder.glob("*.json")  # as another machine does after the silence
    file.unlink()
    with pytest.raises(HarnessError, match="another one has taken its runs over; run the same"):
        mine.claim("b")
    with pytest.raises(HarnessError):
        mine.check()


def test_the_heart_beats_while_the_driver_waits(tmp_path: Path) -> None:
    with Leases(tmp_path, beat_s=0.01):
        (file,) = (tmp_path / "drivers").glob("*.json")
        wait_until(lambda: '"' in file.read_text() and json.loads(file.read_text())[3] > 2)


def test_a_torn_file_is_passed_over(mine: Leases, tmp_path: Path) -> None:
    path = write_stranger(tmp_path, beat=0, runs=["a"])
    path.write_text('["elsewhere", "its')
    assert mine.claim("a")
    assert not path.exists()
