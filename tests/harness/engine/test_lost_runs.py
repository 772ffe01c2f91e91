"""Runs that are lost with what they ran on: they start again, and leave no trace in the results."""

from __future__ import annotations

import os
import signal
from collections.abc import Mapping
from pathlib import Path

import pytest
import toy_workload
from driver_place import GRID, RECALL, Place, Witness
from store_examples import TIME
from waiting import assert_soon, is_alive

from harness.engine import run_study
from harness.engine.progress import Snapshot
from harness.executors.interface import Ended, Job
from harness.executors.local import LocalExecutor
from harness.executors.worker.run_attempt import STATUS_OUTRUN, OutrunError, _EpochWriter
from harness.records.event_log import append, read_spool
from harness.records.events import Finished, Started
from harness.records.folders import run_dir, spool_path

SLOW = GRID.replace("epochs: 1", "epochs: 3, checkpoints: true, wait_for: go, only_seeds: [0]")


class ServerKiller(Witness):
    """Kills the fork server once two of its runs wait, which may then go on."""

    def __init__(self, place: Place) -> None:
        super().__init__()
        self.place = place

    def tick(self, snapshot: Snapshot) -> None:
        waiting = [line for line in snapshot.running if line.state.epochs == 1]
        if len(waiting) < 2 or (self.place.folder / "go").exists():
            return
        paths = [spool_path(run_dir(self.place.results, line.run_id)) for line in waiting]
        pids = [
            each.pid for path in paths for each in read_spool(path) if isinstance(each, Started)
        ]
        parent = Path(f"/proc/{pids[0]}/stat").read_text().rpartition(")")[2].split()[1]
        os.kill(int(parent), signal.SIGKILL)
        assert_soon(lambda: not any(map(is_alive, pids)))  # or one might end before it dies
        (self.place.folder / "go").touch()


@pytest.mark.process
def test_a_study_outlives_its_fork_server_and_ends_in_the_same_table(place: Place) -> None:
    killer = ServerKiller(place)
    outcome = place.run(SLOW, executor="process", workers=2, watcher=killer)
    assert (outcome.done, outcome.failed, outcome.trained) == (8, 0, 8)
    assert len([text for text in killer.said if "it restarts" in text]) == 2
    assert place.ask("SELECT attempts, count(*) FROM run GROUP BY ALL ORDER BY ALL") == [
        (1, 6),
        (2, 2),
    ]
    alone = place.folder / "alone"
    place.run(SLOW, results=alone)
    assert place.ask(RECALL) == place.ask(RECALL, alone)


class Loser:
    """An executor that loses every run."""

    slots = 1

    def __init__(self) -> None:
        self.jobs: list[Job] = []

    def submit(self, job: Job) -> None:
        self.jobs.append(job)

    def poll(self, timeout_s: float) -> list[Ended]:
        return [Ended(self.jobs[-1].run_id, None, None, is_lost=True)]

    def stop(self) -> None: ...

    def close(self) -> None: ...


class Outrun(LocalExecutor):
    """Whose first run turns out to be trained elsewhere, under the same number of attempt."""

    def __init__(self, started: list[str]) -> None:
        super().__init__(toy_workload)
        self.started = started

    def poll(self, timeout_s: float) -> list[Ended]:
        if not self._waiting or self.started:
            return super().poll(timeout_s)
        job = self._waiting[0]
        self.started.append(job.run_id)
        append(
            spool_path(job.directory),
            Started(job.attempt, TIME, job.run, "elsewhere", 1, 1, None, None, {}),
        )
        with pytest.raises(OutrunError):
            super().poll(timeout_s)
        return [Ended(job.run_id, STATUS_OUTRUN, None)]


def test_of_two_equal_attempts_the_one_that_began_first_counts(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    first: list[str] = []
    monkeypatch.setattr(run_study, "make_executor", lambda *_, **__: Outrun(first))
    assert place.run().done == 8
    events = read_spool(spool_path(run_dir(place.results, first[0])))
    assert [event.attempt for event in events] == [1, 1, 2, 2]  # a control, which reports no epoch
    assert place.calls() == 8


def test_a_worker_ends_once_its_run_is_trained_elsewhere(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As the worker of a driver that slept: what it reports then is not written."""
    report, spools = _EpochWriter.__call__, []

    def take_over(writer: _EpochWriter, step: int, metrics: Mapping[str, float]) -> bool:
        path = spool_path(writer.job.directory)
        if step == 1:
            append(path, Started(2, TIME, writer.job.run, "elsewhere", 1, 1, None, None, {}))
            spools.append(path)
        return report(writer, step, metrics)

    monkeypatch.setattr(_EpochWriter, "__call__", take_over)
    with pytest.raises(OutrunError, match=r"another driver now trains it"):
        place.run(GRID.replace("epochs: 1", "epochs: 3"))
    kinds = [type(event).__name__ for event in read_spool(spools[0])]
    assert kinds == ["Started", "EpochReported", "Started"]


def test_a_run_that_is_lost_time_and_again_has_failed(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    loser = Loser()
    monkeypatch.setattr(run_study, "make_executor", lambda *_, **__: loser)
    outcome = place.run(GRID, "seeds=1")
    assert (outcome.done, outcome.failed) == (0, 4)
    assert len(loser.jobs) == 4 * (4 + 2)  # four losses are a crash, which is retried twice
    *_, end = read_spool(spool_path(loser.jobs[0].directory))
    assert isinstance(end, Finished)
    assert end.failure == "crash"
    assert "lost repeatedly" in str(end.message)
