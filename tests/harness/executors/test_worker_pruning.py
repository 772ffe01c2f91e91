"""One attempt at a run that may be stopped early: what ends it, and what is written of its end."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest
from roots import FIXTURES
from store_examples import reported, start

from harness.executors import make_executor
from harness.executors.interface import Ended, Job
from harness.executors.worker.run_attempt import execute
from harness.records.early_stopping import StoppingThresholds, with_early_stopping
from harness.records.event_log import append, read_spool
from harness.records.events import EpochReported, Finished
from harness.records.folders import spool_path
from harness.records.run_state import replay
from harness.records.trial import Run
from harness.workload import Params, Report, Workload

METRIC = "val/recall@1"
RUN = Run("toy", {}, 0, test=False, code="c", data="d")


def workload(values: Mapping[int, float], *, obeys: bool = True, breaks: bool = False) -> Workload:
    """One that reports ``values`` (epoch -> value), and at the end returns or breaks."""

    def run(
        params: Params, *, seed: int, workdir: Path, report: Report, test: bool
    ) -> Mapping[str, float]:
        for epoch, value in values.items():
            if not report(epoch, {METRIC: value}) and obeys:
                break
        if breaks:
            raise RuntimeError("nothing to return")
        return {METRIC: 0.9}

    return cast("Workload", SimpleNamespace(run=run))


def make_job(folder: Path, least: Mapping[int, float], *, attempt: int = 1) -> Job:
    thresholds = StoppingThresholds(METRIC, least, is_best_judged=True)
    return Job(RUN, RUN.run_id, folder / RUN.run_id, attempt, 1, thresholds)


def end_of(job: Job) -> Finished:
    last = read_spool(spool_path(job.directory))[-1]
    assert isinstance(last, Finished)
    return last


def epochs_of(job: Job) -> list[int]:
    events = read_spool(spool_path(job.directory))
    return [event.epoch for event in events if isinstance(event, EpochReported)]


@pytest.mark.parametrize(("obeys", "breaks"), [(True, False), (False, False), (True, True)])
def test_a_run_that_falls_short_is_pruned_whatever_it_does_then(
    tmp_path: Path, obeys: bool, breaks: bool
) -> None:
    job = make_job(tmp_path, {2: 0.5})
    execute(job, workload({0: 0.2, 1: 0.4, 2: 0.9}, obeys=obeys, breaks=breaks))
    end = end_of(job)
    assert (end.state, end.failure, end.results) == ("pruned", None, {})
    assert end.message == "val/recall@1 0.4000 after 2 epochs, below 0.5000"
    assert epochs_of(job) == ([0, 1] if obeys else [0, 1, 2])


def test_a_run_that_keeps_up_is_trained_to_its_end(tmp_path: Path) -> None:
    job = make_job(tmp_path, {2: 0.4})
    execute(job, workload({0: 0.2, 1: 0.4}))
    assert (end_of(job).state, end_of(job).results) == ("done", {METRIC: 0.9})


@pytest.mark.parametrize(("first", "state"), [(0.7, "done"), (0.3, "pruned")])
def test_a_second_attempt_is_judged_by_what_the_first_has_reported_too(
    tmp_path: Path, first: float, state: str
) -> None:
    job = make_job(tmp_path, {3: 0.5}, attempt=2)
    append(spool_path(job.directory), start(RUN))
    append(spool_path(job.directory), reported(0, **{METRIC: first}))
    append(spool_path(job.directory), reported(1, **{METRIC: 0.1}))
    execute(job, workload({1: 0.1, 2: 0.2}))  # the second epoch is said again, and counts once
    assert end_of(job).state == state


def test_a_run_that_was_killed_between_its_last_epoch_and_its_end_is_not_trained_on(
    tmp_path: Path,
) -> None:
    job = make_job(tmp_path, {1: 0.5}, attempt=2)
    append(spool_path(job.directory), start(RUN))
    append(spool_path(job.directory), reported(0, **{METRIC: 0.2}))
    execute(job, workload({0: 0.9}))
    assert end_of(job).state == "pruned"
    assert epochs_of(job) == [0]


def test_worker_and_driver_judge_alike(tmp_path: Path) -> None:
    job = make_job(tmp_path, {2: 0.5})
    execute(job, workload({0: 0.2, 1: 0.4}))
    state = replay(read_spool(spool_path(job.directory)), watched=METRIC)
    seen = with_early_stopping(state, job.thresholds)
    assert (seen.state, seen.message) == ("pruned", end_of(job).message)
    assert seen.curve == {0: 0.2, 1: 0.4}


@pytest.mark.process
def test_thresholds_reach_a_worker_of_its_own_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(FIXTURES))
    run = Run("toy_workload", {"quality": 0.2, "epochs": 6}, 0, test=False, code="c", data="d")
    thresholds = StoppingThresholds(METRIC, {4: 0.5}, is_best_judged=True)
    job = Job(run, run.run_id, tmp_path / run.run_id, 1, 1, thresholds)
    executor = make_executor("process", "toy_workload", slots=1, threads=1)
    executor.submit(job)
    ended: list[Ended] = []
    while not ended:
        ended = executor.poll(1.0)
    executor.close()
    assert (end_of(job).state, epochs_of(job)) == ("pruned", [0, 1, 2, 3])
