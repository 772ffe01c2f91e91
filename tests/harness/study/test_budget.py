"""What a budget has room for, and that it makes the same study however it is interrupted."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import toy_workload
from driver_place import GRID, RECALL, SEARCH, Place, Witness, interrupt
from fake_workload import load_problems, plan_problems, write_study

from harness.engine import run_study
from harness.engine.budget import TimeBudget
from harness.engine.dispatch.attempt import check_limits
from harness.engine.preview import preview
from harness.records.studies.study_record import StudyRecord, read_study_records
from harness.search.history import FinishedRuns
from harness.search.scheduler import Scheduler
from harness.study.limits import Limits
from harness.study.loading import load_study
from harness.study.spec import StudySpec
from harness.study.trials.budget import confirm_runs, search_trials

pytestmark = pytest.mark.timeout(60)  # whole searches
CONFIRMED = SEARCH + "confirm: {top: 2, seeds: 3}\n"
OPEN = CONFIRMED.replace("trials: 14\n", "")


class Clock:
    """An hour has as many ends of runs as the test says."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now

    def forward(self, seconds: float) -> Callable[[int], None]:
        def at_end(count: int) -> None:
            self.now += seconds

        return at_end


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(run_study, "TimeBudget", partial(TimeBudget, clock=made))
    return made


def spec_of(text: str, folder: Path) -> StudySpec:
    return load_study(write_study(folder, text, head="")).spec


def record(results: Path) -> StudyRecord:
    (found,) = read_study_records(results)
    return found


@pytest.mark.parametrize("text", [SEARCH, CONFIRMED, OPEN])
def test_a_search_gets_what_its_confirmation_leaves(tmp_path: Path, text: str) -> None:
    given = spec_of(f"{text}budget: {{runs: 60}}\n", tmp_path).model_dump()

    def cost(trials: int) -> int:
        apart = 0 if spec.confirm else 2 * 2
        return 2 * trials + apart + confirm_runs(spec, trials=trials, controls=2)

    for runs in range(20, 60):
        spec = StudySpec.model_validate(given | {"budget": {"runs": runs}})
        trials = search_trials(spec, controls=2)
        assert trials is not None, runs
        assert cost(trials) <= runs
        assert trials == spec.trials or cost(trials + 1) > runs


def test_without_a_budget_nothing_is_cut(tmp_path: Path) -> None:
    assert search_trials(spec_of(SEARCH, tmp_path), controls=2) == 14
    assert search_trials(spec_of(OPEN + "budget: {hours: 1}\n", tmp_path), controls=2) is None


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("limits: {run_minutes: 0}", "s.yaml:4:10: limits.run_minutes: input should be greater than 0, got 0"),
        ("limits: {run_minuts: 1}", "s.yaml:4:10: limits.run_minuts: unknown key; did you mean 'run_minutes'? known: run_minutes, stall_minutes"),
        ("budget: {hour: 1}", "s.yaml:4:10: budget.hour: unknown key; did you mean 'hours'? known: hours, runs"),
        ("budget: {runs: 1.5}", "s.yaml:4:10: budget.runs: input should be a valid integer, got 1.5"),
    ],
)  # fmt: skip
def test_a_wrong_field_is_told_at_its_place(tmp_path: Path, text: str, message: str) -> None:
    assert load_problems(write_study(tmp_path, f"{text}\n")) == [message]


def test_a_budget_that_no_search_fits_into_is_refused(tmp_path: Path) -> None:
    text = (
        "search: {method.momentum: {uniform: [0.0, 0.9]}}\nsampler: tpe\nseeds: 2\n"
        "confirm: {top: 1, seeds: 10}\nbudget: {runs: 33}\n"
    )
    assert plan_problems(tmp_path, text) == [
        "s.yaml:8:10: budget.runs: the smallest search of this study, with its controls and its "
        "confirmation, needs 34 runs, got 33"
    ]


def test_time_counts_between_start_and_stop_and_on_top_of_earlier_calls(tmp_path: Path) -> None:
    clock = Clock()
    spec = spec_of(GRID + "budget: {hours: 1}\n", tmp_path)
    spending = TimeBudget(spec, 600.0, clock=clock)
    clock.now += 5000.0
    assert (spending.seconds, spending.left_s) == (600.0, 3000.0)
    spending.start()
    clock.now += 2999.0
    assert not spending.is_over(is_confirming=False)
    clock.now += 1.0
    spending.start()
    assert spending.is_over(is_confirming=False)
    assert not spending.is_over(is_confirming=True)
    clock.now += 400.0
    assert spending.is_over(is_confirming=True)
    spending.stop()
    clock.now += 400.0
    assert spending.seconds == 4000.0
    endless = TimeBudget(spec_of(GRID, tmp_path), math.inf)
    assert (endless.left_s, endless.is_over(is_confirming=False)) == (None, False)


def test_limits_are_broken_only_beyond_them() -> None:
    limits = Limits(run_minutes=2, stall_minutes=1)
    assert check_limits(Limits(), running_s=1e9, silent_s=1e9) is None
    assert check_limits(limits, running_s=120, silent_s=60) is None
    assert [
        found.failure
        for found in (
            check_limits(limits, running_s=121, silent_s=0),
            check_limits(limits, running_s=0, silent_s=61),
        )
        if found
    ] == ["timeout", "stalled"]


@pytest.mark.parametrize("after", [2, 4])
def test_a_grid_takes_the_runs_that_there_are_in_its_order(place: Place, after: int) -> None:
    text = GRID + "budget: {runs: 6}\n"
    witness = Witness()
    outcome = place.run(text, watcher=witness)
    assert (outcome.exit_status, outcome.trained, outcome.total) == (0, 6, 8)
    assert outcome.budget_message == (
        "the budget of 6 runs is spent: 0 of 2 trials; raise budget.runs and run the same command "
        "to go on"
    )
    assert [line.seed for line in witness.ended_lines] == [0, 0, 1, 1, 0, 0]
    assert len(preview(place.write(text), (), place.folder / "nowhere").runs) == 6
    broken = place.folder / "broken"
    place.run(text, watcher=Witness(interrupt(after)), results=broken)
    assert place.run(text, results=broken).trained == 6 - after
    assert place.ask(RECALL, broken) == place.ask(RECALL)
    assert place.run(text, "budget={runs: 8}", results=broken).budget_message is None


@pytest.mark.parametrize("text", [CONFIRMED, OPEN])
def test_a_budget_of_runs_leaves_room_for_the_confirmation(place: Place, text: str) -> None:
    text += "budget: {runs: 27}\n"
    outcome = place.run(text)
    assert (outcome.total, outcome.trained) == (27, 27)  # 6 trials x 2, then 5 x 3
    of = " of 14" if text.startswith(CONFIRMED) else ""
    assert outcome.budget_message == (
        f"the budget of 27 runs is spent: 6{of} trials; raise budget.runs and run the same "
        "command to go on"
    )
    broken = place.folder / "broken"
    place.run(text, watcher=Witness(interrupt(7)), results=broken)
    assert place.run(text, results=broken).done == 27
    assert place.ask(RECALL, broken) == place.ask(RECALL)
    assert place.run(text, "budget={runs: 29}").total == 29  # one more trial


def test_a_grid_stops_when_its_time_is_spent_and_goes_on_with_more(
    place: Place, clock: Clock
) -> None:
    text = GRID + "budget: {hours: 1}\n"
    outcome = place.run(text, watcher=Witness(clock.forward(1300.0)))
    assert (outcome.exit_status, outcome.trained) == (0, 3)
    assert outcome.budget_message == (
        "the budget of 1 h is spent: 0 of 2 trials; raise budget.hours and run the same command "
        "to go on"
    )
    assert record(place.results).spent_seconds == 3900.0
    assert place.run(text).trained == 0
    outcome = place.run(text, "budget={hours: 2}", watcher=Witness(clock.forward(1300.0)))
    assert (outcome.trained, record(place.results).spent_seconds) == (3, 7800.0)
    rest = place.run(text, "budget={}")
    assert (rest.trained, rest.done, rest.budget_message) == (2, 8, None)


@pytest.mark.process
def test_runs_that_are_under_way_save_their_epoch_when_time_is_spent(
    place: Place, clock: Clock
) -> None:
    text = GRID.replace("epochs: 1", "epochs: 40, sleep_s: 0.05, checkpoints: true")
    witness = Witness(clock.forward(901.0))
    outcome = place.run(
        text + "budget: {hours: 1}\n", executor="process", workers=2, watcher=witness
    )
    assert (outcome.exit_status, outcome.trained) == (0, 4)
    checkpoints = [path.read_text() for path in place.results.glob("runs/*/work/checkpoint")]
    assert all(0 < int(text) < 40 for text in checkpoints)


@pytest.mark.slow
@pytest.mark.parametrize(("text", "sampler"), [(CONFIRMED, "tpe"), (OPEN, "random")])
def test_a_search_ends_while_there_is_time_for_its_confirmation(
    place: Place, clock: Clock, monkeypatch: pytest.MonkeyPatch, text: str, sampler: str
) -> None:
    monkeypatch.setattr("harness.executors.worker.run_attempt.time.monotonic", clock)
    train = toy_workload.run

    def run(*given: Any, **named: Any) -> Any:
        clock.now += 60.0
        return train(*given, **named)

    monkeypatch.setattr(toy_workload, "run", run)
    text = text.replace("tpe", sampler) + "budget: {hours: 0.4}\n"  # of 24 such runs
    outcome = place.run(text)
    kept = record(place.results)
    search = [trial for trial in kept.trials if trial.phase == "search"]
    assert len(search) == kept.search_end
    assert outcome.exit_status == 0
    assert outcome.total == outcome.done == 2 * len(search) + 5 * 3
    assert kept.spent_seconds == 60.0 * outcome.done <= 1.1 * 0.4 * 3600
    assert f"the budget of 0.4 h is spent: {len(search)}" in str(outcome.budget_message)
    again = place.run(text)
    assert (again.trained, again.done) == (0, outcome.done)
    assert record(place.results).search_end == kept.search_end
    path = place.write(text)
    assert not preview(path, (), place.results).is_open
    more = preview(path, ("budget={hours: 1}",), place.results)
    assert more.is_open or more.proposed_later


@pytest.mark.parametrize("after", [12, 20])
def test_a_search_that_time_has_ended_is_confirmed_alike_by_the_next_call(
    place: Place, clock: Clock, monkeypatch: pytest.MonkeyPatch, after: int
) -> None:
    original = Scheduler.propose_more

    def propose_more(
        self: Scheduler, finished: FinishedRuns
    ) -> bool:  # as if time were short by then
        if self.is_searching and len(finished) >= 8:
            self.end_search()
        return original(self, finished)

    text = OPEN + "budget: {hours: 1}\n"
    with monkeypatch.context() as patch:
        patch.setattr(Scheduler, "propose_more", propose_more)
        place.run(text, watcher=Witness(interrupt(after)))
        whole = place.folder / "whole"
        place.run(text, results=whole)
    assert place.run(text).exit_status == 0  # with all the time that there is
    assert place.ask(RECALL) == place.ask(RECALL, whole)
    assert [trial.trial_id for trial in record(place.results).trials] == [
        trial.trial_id for trial in record(whole).trials
    ]
