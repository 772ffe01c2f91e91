"""Studies that stop by themselves: the same seeds in whatever order their runs end."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
import scheduling
from fake_workload import plan_study
from scheduling import Train, identify

from harness.records.run_state import RunState
from harness.records.studies.study_record import Member
from harness.search.scheduler import ScheduledRun, Scheduler
from harness.stats.looks.stopping import every_seed
from harness.study.trials.plan import Plan

STUDY = """\
search: {method.momentum: {grid: [0.0, 0.02, 0.5, 0.9]}}
baseline: {method.momentum: 0.0}
stop: {effect: 0.1, margin: 0.05, most_seeds: 14}
"""


def train(task: ScheduledRun) -> RunState:
    """A run that reaches its momentum, more or less; all have the same validation score."""
    momentum = task.trial.varied.get("method.momentum", 0.3)
    assert isinstance(momentum, float)
    found = momentum + random.Random(task.run_id).gauss(0, 0.05)
    return RunState("done", results={"test/recall@1": found, "val/recall@1": 0.5})


def train_all(
    plan: Plan, *, slots: int = 1, order: random.Random | None = None, train: Train = train
) -> Scheduler:
    schedule, totals = scheduling.train_all(plan, train, slots=slots, order=order)
    assert totals[0] == len(schedule.trials) * 14
    return schedule


def seeds_of(schedule: Scheduler) -> dict[str, int]:
    """Label -> number of seeds; they are 0, 1, ... of each trial."""
    found: dict[str, list[int]] = {}
    labels = {trial.trial_id: trial.label for trial in schedule.trials}
    for member in schedule.members:
        found.setdefault(labels[member.trial_id], []).append(member.seed)
    assert all(sorted(seeds) == list(range(len(seeds))) for seeds in found.values())
    return {label: len(seeds) for label, seeds in found.items()}


def test_seeds_go_to_what_is_undecided(tmp_path: Path) -> None:
    seeds = seeds_of(train_all(plan_study(tmp_path, STUDY)))
    assert 6 < seeds["momentum=0.9"] < 14
    assert seeds["momentum=0.9"] == seeds["momentum=0.5"] < seeds["momentum=0.02"]
    # The baseline and the control are needed at each look.
    assert seeds["momentum=0"] == seeds["raw pixels"] == max(seeds.values())


@pytest.mark.parametrize("method", ["group_sequential", "e-process"])
@pytest.mark.parametrize("looks", ["every", "[5, 9, 12, 14]"])
def test_the_order_in_which_runs_end_changes_nothing(
    tmp_path: Path, method: str, looks: str
) -> None:
    plan = plan_study(tmp_path, STUDY, f"stop.looks={looks}", f"stop.method={method}")
    first = train_all(plan)
    taken = set(seeds_of(first).values())
    assert taken <= set(every_seed(14) if looks == "every" else (5, 9, 12, 14))
    members: list[Member] = sorted(first.members)
    for seed in range(2):
        again = train_all(plan, slots=5 - seed, order=random.Random(seed))
        assert sorted(again.members) == members


def test_a_look_waits_for_all_runs_of_its_seeds(tmp_path: Path) -> None:
    schedule = Scheduler(plan_study(tmp_path, STUDY), identify)
    finished: dict[str, RunState] = {}
    tasks = []
    while (task := schedule.next_run(finished)) is not None:
        tasks.append(task)
    assert len(tasks) == 5 * 6
    for task in tasks:
        assert not schedule.propose_more(finished)
        finished[task.run_id] = train(task)
    assert schedule.propose_more(finished)
    assert {task.run.seed for task in schedule.tasks.values()} == set(range(7))


def test_a_failed_seed_is_left_out_and_holds_nothing_up(tmp_path: Path) -> None:
    def fail_once(task: ScheduledRun) -> RunState:
        is_hit = task.run.seed == 3 and task.trial.label == "momentum=0.9"
        return RunState("failed", failure="crash") if is_hit else train(task)

    plan = plan_study(tmp_path, STUDY)
    whole, broken = seeds_of(train_all(plan)), seeds_of(train_all(plan, train=fail_once))
    assert broken["momentum=0.9"] >= whole["momentum=0.9"]
    assert broken["momentum=0.02"] == whole["momentum=0.02"]


def test_without_a_difference_seeds_end_early(tmp_path: Path) -> None:
    def train_in_vain(task: ScheduledRun) -> RunState:
        return RunState("done", results={"val/recall@1": random.Random(task.run_id).gauss(0, 0.1)})

    seeds = seeds_of(train_all(plan_study(tmp_path, STUDY), train=train_in_vain))
    assert max(seeds.values()) < 14
