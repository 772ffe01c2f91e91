"""Runs of one study that one process trains: which ones, how they end, and that nothing shows."""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import subprocess
import sys
import threading
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest
import stacked
from driver_place import GRID, RECALL, Place, Witness
from roots import ROOT
from waiting import assert_soon, is_alive

from harness.cli.plan_output import describe
from harness.engine.dispatch.attempt import Attempt
from harness.engine.dispatch.packing import Packing
from harness.engine.progress import Snapshot
from harness.engine.run_options import RunOptions
from harness.engine.run_study import Outcome
from harness.engine.study_state import RunIdentity, plan_of
from harness.errors import HarnessError, InputError, StoreError
from harness.executors.interface import PROFILE, ExecutorName, Job, in_one_process
from harness.executors.worker import run_attempt
from harness.executors.worker.packed_runs import execute_all
from harness.planning.forecast import make_forecast
from harness.records.early_stopping import StoppingThresholds
from harness.records.event_log import read_spool
from harness.records.events import Finished, Started
from harness.records.folders import spool_path
from harness.records.trial import Run
from harness.search.scheduler import ScheduledRun, Scheduler
from harness.study.limits import Limits
from harness.study.loading import load_study
from harness.study.variance import Variance
from harness.workload import Workload

STUDY = """
study: stack
question: Does company matter?
workload: stacked
search:
  rate: {grid: [0.1, 0.2, 0.3]}
  width: {grid: [1, 2]}
seeds: 2
"""
CURVES = "SELECT run_id, epoch, name, value FROM epoch ORDER BY ALL"
STATES = "SELECT run_id, state, failure FROM run ORDER BY ALL"
Start = tuple[int, int, int, int, int]
"""Process, attempt, how many together, width, seed."""


def starts(place: Place, results: Path | None = None) -> list[Start]:
    """Every attempt at every run."""
    return sorted(
        (
            each.pid,
            each.attempt,
            each.together,
            int(str(each.run.params["width"])),
            each.run.seed,
        )
        for path in (results or place.results).glob("runs/*/spool.jsonl")
        for each in read_spool(path)
        if isinstance(each, Started)
    )


def companies(place: Place) -> list[list[Start]]:
    """The attempts that shared a process, the largest company first."""
    found = defaultdict(list)
    for start in starts(place):
        found[start[0]].append(start)
    return sorted(found.values(), key=len, reverse=True)


def ends(place: Place) -> list[Finished]:
    return [
        each
        for path in sorted(place.results.glob("runs/*/spool.jsonl"))
        for each in read_spool(path)
        if isinstance(each, Finished)
    ]


def train(
    place: Place,
    text: str = STUDY,
    *overrides: str,
    executor: ExecutorName = "process",
    workers: int = 1,
    watcher: Witness | None = None,
) -> Outcome:
    return place.run(text, *overrides, executor=executor, workers=workers, watcher=watcher)


def is_as_alone(place: Place, text: str = STUDY, *overrides: str) -> bool:
    """Whether the tables are those of the same study without company."""
    alone = place.folder / "alone"
    given = (*overrides, "train_together=off")
    place.run(text, *given, executor="process", workers=2, results=alone)
    assert {start[2] for start in starts(place, alone)} == {1}
    tables = (RECALL, CURVES, STATES)
    return [place.ask(sql) for sql in tables] == [place.ask(sql, alone) for sql in tables]


@pytest.mark.process
@pytest.mark.parametrize("executor", ["process", "spawn"])
def test_runs_of_equal_keys_share_a_process_and_nothing_else_changes(
    place: Place, executor: ExecutorName
) -> None:
    witness = Witness()
    outcome = train(place, executor=executor, watcher=witness)
    assert (outcome.done, outcome.failed, outcome.trained) == (12, 0, 12)
    found = companies(place)
    assert [len(company) for company in found] == [4, 4, 2, 2]
    for company in found:
        assert {start[2] for start in company} == {len(company)}
        assert len({start[3] for start in company}) == 1  # one width, one key
    assert (len(witness.started_lines), len(witness.ended_lines)) == (12, 12)
    assert witness.said == []
    assert is_as_alone(place)


@pytest.mark.process
@pytest.mark.parametrize(
    ("setting", "sizes"),
    [("2", [2] * 6), ("6", [6, 6]), ("100", [6, 6]), ("off", [1] * 12), ("auto", [4, 4, 2, 2])],
)
def test_the_study_says_how_many_share_a_process(
    place: Place, setting: str, sizes: list[int]
) -> None:
    assert train(place, STUDY, f"train_together={setting}").done == 12
    assert [len(company) for company in companies(place)] == sizes


@pytest.mark.process
def test_runs_are_divided_so_that_no_worker_stands_idle(place: Place) -> None:
    text = STUDY.replace("  width: {grid: [1, 2]}\n", "")
    assert train(place, text, "train_together=100", workers=2).done == 6
    assert [len(company) for company in companies(place)] == [3, 3]


@pytest.mark.process
def test_what_is_not_worth_it_is_trained_alone(place: Place) -> None:
    assert train(place, STUDY, "worth=1").done == 12
    assert [len(company) for company in companies(place)] == [1] * 12


@pytest.mark.process
def test_a_workload_without_the_functions_trains_alone(place: Place) -> None:
    assert train(place, GRID, "train_together=8").done == 8
    started = [
        event
        for path in place.results.glob("runs/*/spool.jsonl")
        for event in read_spool(path)
        if isinstance(event, Started)
    ]
    assert [event.together for event in started] == [1] * 8
    assert len({event.pid for event in started}) == 8


def test_an_executor_without_processes_trains_alone(place: Place) -> None:
    assert train(place, executor="local").done == 12
    assert {start[2] for start in starts(place)} == {1}


@pytest.mark.process
def test_a_budget_of_runs_trains_the_same_runs(place: Place) -> None:
    assert train(place, STUDY, "budget={runs: 5}").trained == 5
    assert [len(company) for company in companies(place)] == [3, 2]
    assert is_as_alone(place, STUDY, "budget={runs: 5}")


@pytest.mark.process
def test_a_search_proposes_the_same_trials(place: Place) -> None:
    text = STUDY.replace("rate: {grid: [0.1, 0.2, 0.3]}", "rate: {uniform: [0.0, 0.5]}")
    text = text.replace("width: {grid", "width: {choice")
    given = ("sampler=tpe", "trials=8", "parallel_trials=3", "confirm={top: 1, seeds: 2}")
    assert train(place, text, *given).failed == 0
    assert max(len(company) for company in companies(place)) > 1
    assert is_as_alone(place, text, *given)


def test_a_run_that_may_be_stopped_early_has_no_company(place: Place) -> None:
    plan = plan_of(load_study(place.write(STUDY)))
    task = next(iter(Scheduler(plan, RunIdentity(plan)).tasks.values()))
    packing = Packing(plan, is_possible=True)
    assert packing.capacity(task) == 4
    with_early_stopping = dataclasses.replace(
        task, thresholds=StoppingThresholds("val/recall@1", {1: 0.1}, True)
    )
    assert packing.capacity(with_early_stopping) == 1
    assert not packing.are_compatible(task, with_early_stopping)


def test_a_study_of_variance_trains_every_run_alone(place: Place) -> None:
    plan = plan_of(load_study(place.write(STUDY)))
    task = next(iter(Scheduler(plan, RunIdentity(plan)).tasks.values()))
    variance = Variance(sources=["weights"])
    spec = plan.spec.model_copy(update={"variance": variance})
    plan = dataclasses.replace(plan, loaded=plan.loaded._replace(spec=spec))
    assert Packing(plan, is_possible=True).capacity(task) == 1


@pytest.mark.process
def test_a_search_that_gives_trials_up_ends_the_same(place: Place) -> None:
    text = STUDY.replace("rate: {grid: [0.1, 0.2, 0.3]}", "rate: {uniform: [0.0, 0.5]}")
    text = text.replace("width: {grid", "width: {choice")
    given = ("sampler=random", "trials=10", "pruner=median", "parallel_trials=4", "seeds=1")
    assert train(place, text, *given).failed == 0
    assert is_as_alone(place, text, *given)


@pytest.mark.process
@pytest.mark.parametrize(
    ("fail", "failure", "attempts"), [("raise", "crash", 3), ("diverge", "diverged", 1)]
)
def test_a_run_that_fails_does_not_touch_the_others(
    place: Place, fail: str, failure: str, attempts: int
) -> None:
    given = ("train_together=6", f"fail={fail}")
    outcome = train(place, STUDY, *given)
    assert (outcome.done, outcome.failed) == (6, 6)
    assert place.ask("SELECT DISTINCT failure, attempts FROM failures") == [(failure, attempts)]
    assert [len(company) for company in companies(place)][:2] == [6, 6]
    assert {start[1] for start in starts(place) if start[4] == 1} == {1}
    alone = [start for start in starts(place) if start[1] > 1]
    assert {start[2] for start in alone} <= {1}  # retries
    assert is_as_alone(place, STUDY, *given)
    told = next(end for end in ends(place) if end.state == "failed")
    assert "seed 0 says this" in str(told.stderr)
    train(place, STUDY, *given)  # where there is something to try again, it is so alone
    again = [start for start in starts(place) if start[1] > 1]
    assert len(again) == 2 * len(alone) + (6 if alone else 0)
    assert {start[2] for start in again} <= {1}


@pytest.mark.process
@pytest.mark.parametrize("seeds", ["[0, 1]", "[1, 2]"])
def test_what_has_failed_in_an_earlier_call_is_trained_alone(place: Place, seeds: str) -> None:
    given = ("train_together=6", "fail=raise", "fails=[1]")
    assert train(place, STUDY, *given, "seeds=[1]").failed == 6
    place.run(STUDY, *given, f"seeds={seeds}", executor="process", workers=1, extend=True)
    first = {(start[2], start[4]) for start in starts(place) if start[1] == 1}
    assert first == {(3, seed) for seed in json.loads(seeds)}
    assert {start[2] for start in starts(place) if start[1] > 1} == {1}


@pytest.mark.process
def test_a_run_that_returns_early_does_not_touch_the_others(place: Place) -> None:
    assert train(place, STUDY, "fail=early").done == 12
    assert {start[1] for start in starts(place)} == {1}
    assert is_as_alone(place, STUDY, "fail=early")


@pytest.mark.process
@pytest.mark.parametrize(
    ("executor", "fail"), [("process", "exit"), ("process", "kill"), ("spawn", "exit")]
)
def test_a_process_that_dies_costs_no_run_an_attempt(
    place: Place, executor: ExecutorName, fail: str
) -> None:
    witness = Witness()
    text = STUDY.replace("[0.1, 0.2, 0.3]", "[0.1, 0.2]")
    outcome = train(place, text, f"fail={fail}", executor=executor, watcher=witness)
    assert (outcome.done, outcome.failed) == (8, 0)
    assert all(end.state == "done" for end in ends(place))
    alone = [start for start in starts(place) if start[2] == 1]
    assert len(witness.said) == len(alone) >= 4  # those that are told to kill it, at the least
    assert all("3 others has ended; it restarts alone" in text for text in witness.said)
    assert max(start[1] for start in starts(place)) == 2
    assert is_as_alone(place, text, f"fail={fail}")


@pytest.mark.process
def test_memory_that_runs_out_in_company_is_no_failure_and_takes_no_worker(place: Place) -> None:
    given = ("fail=memory", "fails=[0, 1]")
    witness = Witness()
    outcome = train(place, STUDY, *given, "train_together=3", workers=2, watcher=witness)
    assert outcome.done == 12
    assert all("it restarts alone" in text for text in witness.said)  # and nothing else
    assert {start[2] for start in starts(place) if start[1] > 1} == {1}
    assert max(start[1] for start in starts(place)) == 2
    assert is_as_alone(place, STUDY, *given)


@pytest.mark.process
@pytest.mark.parametrize("fail", ["memory", "kill"])
def test_after_memory_ran_out_half_as_many_share_a_process(place: Place, fail: str) -> None:
    text = STUDY.replace("[1, 2]", "[1]").replace("seeds: 2", "seeds: 5")
    seeds = "fails=[0, 1, 2, 3, 4]"
    assert train(place, text, "train_together=8", f"fail={fail}", seeds).done == 15
    assert {start[2] for start in starts(place)} == {8, 4, 2, 1}
    assert max(start[1] for start in starts(place)) == 2


@pytest.mark.process
def test_a_run_over_its_limit_ends_the_process_and_all_start_again_alone(place: Place) -> None:
    text = STUDY.replace("[0.1, 0.2, 0.3]", "[0.1]").replace("[1, 2]", "[1]")
    witness, given = Witness(), ("fail=stall", "fails=[1]")
    outcome = train(place, text, *given, "limits.stall_minutes=0.05", watcher=witness)
    assert (outcome.done, outcome.failed) == (2, 0)
    assert sorted(start[1:3] for start in starts(place)) == [(1, 2), (1, 2), (2, 1), (2, 1)]
    assert len(witness.said) == 2
    assert any("reported nothing for 0.05 minutes" in each for each in witness.said)
    assert all(end.state == "done" for end in ends(place))
    assert is_as_alone(place, text, *given)


@pytest.mark.parametrize(("together", "is_over"), [(1, True), (4, False)])
def test_limits_are_for_a_runs_share_of_its_process(together: int, is_over: bool) -> None:
    job = cast("Job", SimpleNamespace(together=together, attempt=1))
    active = Attempt(cast("ScheduledRun", None), job, 0.0, 0, 0, 0.0)
    active.note_progress(1, attempts=1, now=0.0)
    assert active.exceeds_limit(Limits(run_minutes=1.0), 200.0) == is_over
    assert not active.exceeds_limit(Limits(run_minutes=1.0), 200.0)
    assert active.exceeds_limit(Limits(run_minutes=1.0), 241.0) == (not is_over)


@pytest.mark.process
def test_a_disk_that_is_full_ends_the_call_and_not_the_runs(place: Place) -> None:
    with pytest.raises(StoreError, match="a worker cannot write its results there; free some"):
        train(place, STUDY, "fail=disk", "fails=[1]")
    assert {state for _, state, _ in place.ask(STATES)} <= {"done", "running"}
    assert [end.failure for end in ends(place)] == [None] * len(ends(place))


@pytest.mark.process
def test_two_drivers_share_runs_that_have_company(place: Place) -> None:
    text = STUDY + "base: {epoch_seconds: 0.3, epochs: 2}\n"
    place.write(text)
    command = [sys.executable, "-m", "harness", "run", "study.yaml", "--results", "results"]
    paths = os.pathsep.join(str(ROOT / part) for part in ("", "tests/fixtures/workloads"))
    both = [
        subprocess.Popen(
            [*command, "--workers", "1", "--threads", "1"],
            cwd=place.folder,
            env=os.environ | {"PYTHONPATH": paths},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for _ in range(2)
    ]
    printed = [process.communicate()[0] for process in both]
    assert [process.returncode for process in both] == [0, 0], printed
    assert len(starts(place)) == 12
    assert max(len(company) for company in companies(place)) > 1
    assert is_as_alone(place, text)


class Striker(Witness):
    """Does something once, when all runs of the first company have reported an epoch and wait."""

    def __init__(self, place: Place, strike: Callable[[], None]) -> None:
        super().__init__()
        self.hold, self.strike = place.folder / "hold", strike
        self.hold.touch()

    def tick(self, snapshot: Snapshot) -> None:
        is_whole = len(snapshot.running) == 4
        if self.hold.exists() and is_whole and all(r.state.epochs == 1 for r in snapshot.running):
            self.hold.unlink()
            self.strike()


@pytest.fixture
def held(place: Place, monkeypatch: pytest.MonkeyPatch) -> Place:
    """Where the runs that begin wait after an epoch, until a ``Striker`` has struck."""
    monkeypatch.setenv(stacked.HOLD, str(place.folder / "hold"))
    return place


def interrupt() -> None:
    os.kill(os.getpid(), signal.SIGINT)


@pytest.mark.process
@pytest.mark.parametrize("executor", ["process", "spawn"])
def test_an_interrupted_study_goes_on_to_the_same_tables(
    held: Place, executor: ExecutorName
) -> None:
    first = train(held, executor=executor, watcher=Striker(held, interrupt))
    assert (first.signal, first.trained) == (signal.SIGINT, 0)
    assert [start[1:3] for start in starts(held)] == [(1, 4)] * 4
    assert [path.read_text() for path in held.results.glob("runs/*/work/checkpoint")] == ["2"] * 4
    again = train(held, STUDY, "train_together=2", executor=executor)  # it may change at any time
    assert (again.done, again.failed, again.trained) == (12, 0, 12)
    assert [len(company) for company in companies(held)] == [4] + [2] * 6
    assert is_as_alone(held)


@pytest.mark.process
def test_a_second_interruption_stops_all_at_once(held: Place) -> None:
    watcher = Striker(held, interrupt)
    watcher.at_say = lambda _: interrupt()
    assert train(held, STUDY, watcher=watcher).signal == signal.SIGINT
    assert train(held).done == 12
    assert is_as_alone(held)


@pytest.mark.process
def test_runs_that_are_lost_with_the_fork_server_start_again_alone(held: Place) -> None:
    def kill_server() -> None:
        (pid,) = {start[0] for start in starts(held)}
        parent = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1]
        os.kill(int(parent), signal.SIGKILL)
        assert_soon(lambda: not is_alive(pid))

    witness = Striker(held, kill_server)
    assert train(held, watcher=witness).done == 12
    assert sorted(start[1:3] for start in starts(held) if start[1] > 1) == [(2, 1)] * 4
    assert len(witness.said) == 4
    assert is_as_alone(held)


def test_the_setting_is_no_content_of_the_study(tmp_path: Path) -> None:
    path = tmp_path / "study.yaml"
    path.write_text(STUDY)
    settings = ("train_together=auto", "train_together=3", "train_together=off")
    assert len({load_study(path, (each,)).spec.fingerprint for each in settings}) == 1


@pytest.mark.parametrize("value", ["1", "0", "1001", "yes", "true", "2.5", "[2]", "{most: 2}"])
def test_a_setting_that_cannot_be_is_refused_in_one_line(tmp_path: Path, value: str) -> None:
    path = tmp_path / "study.yaml"
    path.write_text(f"{STUDY}train_together: {value}\n")
    with pytest.raises(InputError) as caught:
        load_study(path)
    (line,) = str(caught.value).splitlines()
    assert line.startswith(
        f"{path}:9:1: train_together: give auto, off, or a maximum number of runs"
    )


@pytest.mark.process
@pytest.mark.parametrize(
    ("executor", "told"), [("process", "; up to 4 runs share one"), ("local", "")]
)
def test_a_plan_says_how_many_runs_share_a_worker(
    place: Place, executor: ExecutorName, told: str
) -> None:
    options = RunOptions(place.results, executor, workers=1, threads=1)
    found = describe(make_forecast(place.write(STUDY), (), options, may_probe=True))
    (time,) = (line for line in found if line.startswith("time: "))
    assert time.endswith(f"(from a probe){told}")


@pytest.mark.process
def test_an_answer_of_the_workload_that_cannot_be_used_ends_the_call(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stacked, "together", lambda params: "many")
    with pytest.raises(HarnessError, match="workload 'stacked': together: a key and a number"):
        train(place)
    assert starts(place) == []


def test_a_job_with_company_comes_through_json_as_it_was(tmp_path: Path) -> None:
    jobs = in_one_process(
        [
            Job(Run("stacked", {}, seed, True, "", ""), str(seed), tmp_path / str(seed), 1, 1)
            for seed in range(3)
        ]
    )
    assert [job.together for job in jobs] == [3] * 3
    assert {job.process for job in jobs} == {tmp_path / "0"}
    assert Job.from_json(jobs[0].to_json()) == jobs[0]
    assert not spool_path(jobs[0].directory).exists()


def test_each_run_of_a_process_gets_its_share_of_time_and_all_the_circumstances(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock, profiles = [0.0], []
    everybody = threading.Barrier(3, action=lambda: clock.__setitem__(0, clock[0] + 3.0))
    monkeypatch.setattr(run_attempt, "time", SimpleNamespace(monotonic=lambda: clock[0]))
    monkeypatch.delenv(PROFILE, raising=False)

    def run(*_: object, **__: object) -> dict[str, float]:
        everybody.wait(10)
        profiles.append(os.environ.get(PROFILE))
        everybody.wait(10)
        return {}

    jobs = in_one_process(
        [
            Job(Run("stacked", {}, seed, True, "", ""), str(seed), tmp_path / str(seed), 1, 1)
            for seed in range(3)
        ]
    )
    workload = SimpleNamespace(run=run, run_together=stacked.run_together)
    first = dataclasses.replace(jobs[0], device="GPU-7", profile=True)
    assert execute_all(first, cast("Workload", workload)) == 0
    assert profiles == ["1"] * 3
    assert PROFILE not in os.environ
    for job in jobs:
        started, finished = read_spool(spool_path(job.directory))
        assert isinstance(started, Started)
        assert (started.device, started.together) == ("GPU-7", 3)
        assert isinstance(finished, Finished)
        assert finished.seconds == 2.0
