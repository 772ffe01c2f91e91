"""Paths of ablations: the same races and nodes in whatever order their runs end."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
import scheduling
from fake_workload import plan_study
from scheduling import Train

from harness.records.run_state import RunState
from harness.search.scheduler import ScheduledRun, Scheduler
from harness.study.trials.plan import Plan

STUDY = """\
ablate:
  design: path
  race: {seeds: 6, alpha: 0.1}
  components:
    momentum: {method.momentum: 0}
    groups: {method.groups: 1}
    grouping: {without: {method.grouping: off}, needs: [groups]}
    temperature: {method.temperature: 1}
seeds: 3
"""
WORTH = {"momentum": 0.05, "groups": 0.3, "grouping": 0.02, "temperature": 0.15}


def train(task: ScheduledRun) -> RunState:
    """A run that reaches the sum of what its components are worth, more or less."""
    level = sum(worth for name, worth in WORTH.items() if task.trial.varied.get(name))
    found = 0.2 + level + random.Random(task.run_id).gauss(0, 0.005)
    if task.run.test:
        return RunState("done", results={"test/recall@1": 0.5, "val/recall@1": found})
    return RunState("done", results={"val/recall@1": found})


def train_all(
    plan: Plan, *, slots: int = 1, order: random.Random | None = None, train: Train = train
) -> Scheduler:
    tests: list[bool] = []

    def noted(task: ScheduledRun) -> RunState:
        tests.append(task.run.test)
        return train(task)

    schedule, totals = scheduling.train_all(plan, noted, slots=slots, order=order)
    assert totals[0] <= plan.most_chosen_by + plan.most_confirmed
    assert tests == sorted(tests)  # no test class is opened before the last race has ended
    return schedule


def nodes_of(schedule: Scheduler) -> list[str]:
    return [t.label for t in schedule.trials if t.phase == "confirm" and t.role != "control"]


def seeds_of(schedule: Scheduler, phase: str) -> dict[str, int]:
    labels = {t.trial_id: t.label for t in schedule.trials if t.phase == phase}
    found = dict.fromkeys(labels.values(), 0)
    for member in schedule.members:
        if member.trial_id in labels:
            found[labels[member.trial_id]] += 1
    return found


def test_the_component_that_matters_most_is_flipped_first(tmp_path: Path) -> None:
    schedule = train_all(plan_study(tmp_path, STUDY))
    # Groups matter most, but grouping needs them, so it is switched off before them.
    assert nodes_of(schedule) == [
        "full",
        "no temperature",
        "no momentum, no temperature",
        "only groups",
        "bare",
    ]
    assert [t.number for t in schedule.trials] == [*range(3), *range(3, 5), *range(9, 15)]
    assert set(seeds_of(schedule, "confirm").values()) == {3}


def test_the_way_from_bare_switches_on_what_is_needed_first(tmp_path: Path) -> None:
    schedule = train_all(plan_study(tmp_path, STUDY, "ablate.start=bare"))
    assert nodes_of(schedule) == [
        "bare",
        "only groups",
        "no momentum, no grouping",
        "no grouping",
        "full",
    ]
    (baseline,) = [t.label for t in schedule.trials if t.role == "baseline"]
    assert baseline == "bare"


def test_what_clearly_matters_less_gets_fewer_seeds(tmp_path: Path) -> None:
    seeds = seeds_of(train_all(plan_study(tmp_path, STUDY)), "search")
    assert seeds["no temperature"] == max(seeds["no momentum"], seeds["no grouping"]) < 6
    assert min(seeds.values()) == 3


@pytest.mark.parametrize("start", ["full", "bare"])
def test_the_order_in_which_runs_end_changes_nothing(tmp_path: Path, start: str) -> None:
    plan = plan_study(tmp_path, STUDY, f"ablate.start={start}")
    first = train_all(plan)
    for seed in range(3):
        again = train_all(plan, slots=5 - seed, order=random.Random(seed))
        assert sorted(again.members) == sorted(first.members)
        assert again.trials == first.trials


def test_more_seeds_for_the_nodes_leave_the_races_alone(tmp_path: Path) -> None:
    few = train_all(plan_study(tmp_path, STUDY))
    many = train_all(plan_study(tmp_path, STUDY, "seeds=5"))
    assert set(few.members) < set(many.members)


def test_a_candidate_whose_runs_all_fail_is_flipped_last(tmp_path: Path) -> None:
    def fail(task: ScheduledRun) -> RunState:
        is_hit = not task.run.test and task.trial.varied.get("temperature") is False
        return RunState("failed", failure="crash") if is_hit else train(task)

    schedule = train_all(plan_study(tmp_path, STUDY), train=fail)
    assert nodes_of(schedule)[-2] == "only temperature"


def test_a_control_can_stand_for_either_end(tmp_path: Path) -> None:
    last = train_all(plan_study(tmp_path, STUDY, "ablate.bare=raw pixels"))
    assert nodes_of(last) == [
        "full",
        "no temperature",
        "no momentum, no temperature",
        "only groups",
    ]
    first = train_all(plan_study(tmp_path, STUDY, "ablate.bare=raw pixels", "ablate.start=bare"))
    assert nodes_of(first)[0] == "raw pixels"
    assert len(nodes_of(first)) == 5
