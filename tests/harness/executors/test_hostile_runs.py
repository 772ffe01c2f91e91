"""Runs that do what no run should do end as one class of failure, and leave no process behind."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import hostile_workload
import pytest
from driver_place import Place
from waiting import DEADLINE_S, assert_soon, is_alive

from harness.executors import make_executor, process
from harness.executors.interface import Ended, ExecutorName, Job
from harness.executors.process import ProcessExecutor
from harness.records.event_log import read_spool
from harness.records.folders import spool_path
from harness.records.trial import Run

pytestmark = [pytest.mark.process, pytest.mark.timeout(60)]  # one process after the other
STUDY = """
study: hostile
question: What ends a run?
workload: hostile_workload
seeds: 1
"""


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv(hostile_workload.FOLDER, str(tmp_path))
    monkeypatch.setattr(process, "GRACE_S", 0.5)
    return tmp_path


def run(place: Place, how: str, executor: ExecutorName = "process", limits: str = "") -> list[str]:
    """Class, message and last output of the one run that fails."""
    text = f"{STUDY}base: {{how: {how}}}\nlimits: {{{limits}}}\n"
    outcome = place.run(text, executor=executor, workers=1)
    assert (outcome.done, outcome.failed, outcome.exit_status) == (0, 1, 1)
    (row,) = place.ask("SELECT failure, message, stderr FROM failures")
    return [str(value) for value in row]


@pytest.mark.parametrize("executor", ["local", "process"])
@pytest.mark.parametrize(
    ("how", "failure", "message"),
    [
        ("returns nothing", "crash", "TypeError: run: a mapping of names to numbers is needed, got None"),
        ("returns text", "crash", "TypeError: run: a mapping of names to numbers is needed, got str '0.5'"),
        ("returns a text value", "crash", "TypeError: run: 'val/recall@1': a number is needed, got str '0.5'"),
        ("reports text", "crash", "TypeError: report of epoch 0: 'loss': a number is needed, got str 'low'"),
        ("returns nan", "diverged", "val/nmi is nan in the result"),
        ("collapses", "collapsed", "the workload reports it (collapsed is above 0) in epoch 1"),
        ("collapsed in the end", "collapsed", "the workload reports it (collapsed is above 0) in the result"),
        ("unpicklable", "crash", "Unpicklable: holds what cannot be sent"),
        ("unprintable", "crash", "Unprintable: its text cannot be shown"),
    ],
)  # fmt: skip
def test_a_run_that_breaks_the_border_is_told_in_one_line(
    place: Place, executor: ExecutorName, how: str, failure: str, message: str
) -> None:
    assert run(place, how, executor)[:2] == [failure, message]


def test_a_run_that_never_stops_talking_keeps_its_last_lines(place: Place) -> None:
    failure, _, output = run(place, "chatters")
    assert failure == "crash"
    lines = output.splitlines()
    assert lines[-1] == "RuntimeError: after 100 MB"
    assert "line 99" in lines


@pytest.mark.parametrize("how", ["sleeps", "ignores", "daemon"])
@pytest.mark.parametrize(
    ("limits", "failure"),
    [("run_minutes: 0.01", "timeout"), ("stall_minutes: 0.02", "stalled")],
)
def test_a_run_over_its_limit_is_killed_with_all_that_it_started(
    place: Place, how: str, limits: str, failure: str
) -> None:
    found, message, _ = run(place, how, limits=limits)
    assert found == failure
    assert f"limits.{limits.partition(':')[0]}" in message
    assert place.ask("SELECT attempts FROM run") == [(2,)]
    started = hostile_workload.processes(place.folder)
    assert len(started) == (2 if how == "sleeps" else 4)
    assert not any(map(is_alive, started))


def test_a_run_that_reports_in_time_is_not_stalled(place: Place) -> None:
    text = (
        "study: slow\nquestion: x\nworkload: toy_workload\nseeds: 1\n"
        "base: {epochs: 8, sleep_s: 0.3}\nlimits: {stall_minutes: 0.03}\n"
    )
    assert place.run(text, executor="process", workers=3).exit_status == 0  # 2.4 s of 0.3 each


def test_processes_that_a_run_forks_still_end_at_sigterm(place: Place) -> None:
    text = f"{STUDY}base: {{how: terminates its own}}\nlimits: {{run_minutes: 0.2}}\n"
    assert place.run(text, executor="process", workers=1).exit_status == 0


@pytest.fixture
def executor() -> Iterator[ProcessExecutor]:
    made = make_executor("process", "hostile_workload", slots=2, threads=1)
    assert isinstance(made, ProcessExecutor)
    yield made
    made.close()


def submit(executor: ProcessExecutor, folder: Path, how: str) -> Job:
    run = Run("hostile_workload", {"how": how}, 0, True, "code", "data")
    job = Job(run, run.run_id, folder / run.run_id, 1, threads=1)
    executor.submit(job)
    return job


def next_end(executor: ProcessExecutor) -> Ended:
    ended: list[Ended] = []
    deadline = time.monotonic() + DEADLINE_S
    while not ended and time.monotonic() < deadline:
        ended = executor.poll(0.2)
    (end,) = ended
    return end


@pytest.mark.parametrize("how", ["ignores", "daemon"])
@pytest.mark.parametrize("way", ["stop", "close"])
def test_no_process_outlives_the_executor(
    executor: ProcessExecutor, folder: Path, how: str, way: str
) -> None:
    submit(executor, folder, how)
    assert_soon(lambda: len(hostile_workload.processes(folder)) == 2)
    getattr(executor, way)()
    assert_soon(lambda: not any(map(is_alive, hostile_workload.processes(folder))))


def test_a_cancelled_run_does_not_hold_the_others_up(
    executor: ProcessExecutor, folder: Path
) -> None:
    stubborn = submit(executor, folder, "ignores")
    assert_soon(lambda: len(hostile_workload.processes(folder)) == 2)
    executor.cancel(stubborn.run_id, grace_s=10_000.0)
    executor.cancel("no such run")
    fine = submit(executor, folder, "well")
    ended = next_end(executor)
    assert (ended.run_id, ended.exit_code) == (fine.run_id, 0)
    executor.cancel(stubborn.run_id, grace_s=0.0)
    ended = next_end(executor)
    assert (ended.run_id, ended.signal) == (stubborn.run_id, 9)
    assert len(read_spool(spool_path(stubborn.directory))) == 2


def test_a_run_that_is_cancelled_before_it_began_ends_with_its_first_epoch(
    executor: ProcessExecutor, folder: Path
) -> None:
    job = submit(executor, folder, "collapses")
    executor.cancel(job.run_id, grace_s=None)  # reaches the server while it imports the workload
    ended = next_end(executor)
    assert (ended.run_id, ended.signal) == (job.run_id, None)
