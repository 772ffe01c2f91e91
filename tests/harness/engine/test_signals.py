"""Ctrl-C once finishes the running epochs and saves, twice stops at once; nothing is lost."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import toy_workload
from driver_place import GRID, RECALL, Place, Witness, interrupt
from roots import PYTHONPATH
from waiting import DEADLINE_S, assert_soon, is_alive

from harness.engine import controller
from harness.engine.signals import SignalGuard
from harness.executors.interface import ExecutorName, Job
from harness.executors.worker import stop_request
from harness.executors.worker.run_attempt import STATUS_INTERRUPTED, finished_by_death
from harness.records.event_log import read_spool
from harness.records.events import EpochReported, Finished
from harness.records.trial import Run

pytestmark = pytest.mark.timeout(60)  # many processes, one after the other
SLOW = GRID.replace("epochs: 1", "epochs: 3, checkpoints: true, wait_for: go")
FINISHING = "finishing the running epochs; Ctrl-C again stops at once"


def start(folder: Path, *arguments: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "harness", "run", "study.yaml", "--workers", "2"]
    path = PYTHONPATH
    return subprocess.Popen(
        [*command, *arguments],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": path, toy_workload.FOLDER: str(folder)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def epochs(results: Path) -> list[tuple[int, int]]:
    """(attempt, epoch) of all that was reported."""
    return sorted(
        (event.attempt, event.epoch)
        for path in results.glob("runs/*/spool.jsonl")
        for event in read_spool(path)
        if isinstance(event, EpochReported)
    )


def wait_for_line(process: subprocess.Popen[str], words: str) -> None:
    assert process.stdout is not None
    while words not in (line := process.stdout.readline()):
        assert line, "the call has ended"


@pytest.mark.process
@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_first_signal_finishes_the_epochs_and_saves_them(
    place: Place, number: signal.Signals, status: int
) -> None:
    place.write(SLOW)
    process = start(place.folder)
    # Two runs have reported their first epoch and are in their second.
    assert_soon(lambda: len(epochs(place.results)) == 2)
    process.send_signal(number)
    wait_for_line(process, FINISHING)
    (place.folder / "go").touch()
    _, err = process.communicate(timeout=DEADLINE_S)
    assert (process.returncode, err) == (
        status,
        "interrupted; run the same command again to continue\n",
    )
    assert epochs(place.results) == [(1, 0), (1, 0), (1, 1), (1, 1)]
    assert not any(is_alive(int(str(call["pid"]))) for call in toy_workload.calls(place.folder))
    ends = [
        event
        for path in place.results.glob("runs/*/spool.jsonl")
        for event in read_spool(path)
        if isinstance(event, Finished)
    ]
    assert len(ends) == 4  # the controls, which do not report
    assert place.run(SLOW, executor="process").exit_status == 0
    assert [each for each in epochs(place.results) if each[0] == 2] == [(2, 2), (2, 2)]
    whole = place.folder / "whole"
    place.run(SLOW, results=whole)
    assert place.ask(RECALL) == place.ask(RECALL, whole)


@pytest.mark.process
def test_sigterm_waits_only_so_long_for_the_epochs(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(controller, "_TERMINATED_GRACE_S", 0.2)
    witness = Witness()

    def terminate(snapshot: object) -> None:
        if epochs(place.results) and not witness.said:  # it never ends
            os.kill(os.getpid(), signal.SIGTERM)

    witness.tick = terminate  # type: ignore[method-assign]
    outcome = place.run(SLOW, executor="process", workers=1, watcher=witness)
    assert (outcome.exit_status, witness.said) == (143, [FINISHING])
    assert not any(is_alive(int(str(call["pid"]))) for call in toy_workload.calls(place.folder))


@pytest.mark.process
def test_what_has_not_begun_is_not_waited_for(place: Place) -> None:
    witness = Witness()

    def interrupt_at_once(text: object, snapshot: object) -> None:
        os.kill(os.getpid(), signal.SIGINT)

    witness.started = interrupt_at_once  # type: ignore[method-assign]
    outcome = place.run(SLOW, executor="process", workers=1, watcher=witness)
    assert (outcome.exit_status, outcome.trained, witness.said) == (130, 0, [])


def test_the_local_executor_finishes_the_epoch_as_well(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def ask_in_the_second_epoch(name: str) -> None:
        if not asked:
            asked.append(name)
            os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr(toy_workload, "_wait_until_there", ask_in_the_second_epoch)
    assert place.run(SLOW).exit_status == 130
    assert not stop_request.is_set()  # the next run of this process was not asked
    assert epochs(place.results) == [(1, 0), (1, 1)]
    rest = place.run(SLOW)
    assert (rest.exit_status, rest.done) == (0, 8)
    assert epochs(place.results)[-1] == (2, 2)


def test_a_second_signal_ends_a_run_in_this_process_at_once(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(name: str) -> None:
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)
        raise AssertionError("the second signal must raise")

    monkeypatch.setattr(toy_workload, "_wait_until_there", never)
    assert place.run(SLOW).exit_status == 130
    assert epochs(place.results) == [(1, 0)]


@pytest.mark.parametrize("executor", ["local", pytest.param("process", marks=pytest.mark.process)])
def test_a_failure_during_the_last_epochs_is_left_to_the_next_call(
    place: Place, executor: ExecutorName
) -> None:
    text = GRID.replace("epochs: 1", "epochs: 1, fail: crash")
    outcome = place.run(text, executor=executor, workers=1, watcher=Witness(interrupt(1)))
    assert (outcome.exit_status, outcome.failed) == (130, 1)
    assert place.run(text, executor=executor, workers=1).failed == 8


def test_the_first_signal_is_kept_and_the_second_raises() -> None:
    noted: list[str] = []
    with SignalGuard(lambda: noted.append("first")) as interruption:
        os.kill(os.getpid(), signal.SIGTERM)
        assert (interruption.signal, noted) == (signal.SIGTERM, ["first"])
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
        assert interruption.signal == signal.SIGTERM


def test_a_worker_that_somebody_else_ends_has_crashed(tmp_path: Path) -> None:
    from harness.executors.interface import Ended

    job = Job(Run("w", {}, 0, True, "", ""), "a", tmp_path, 1, threads=1)
    event = finished_by_death(job, Ended("a", STATUS_INTERRUPTED, None), seconds=1.0, log_start=0)
    assert (event.failure, "SIGTERM" in str(event.message)) == ("crash", True)
