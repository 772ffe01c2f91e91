"""What a study hands out: the same trials, seeds and verdicts in whatever order its runs end."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest
from fake_workload import FakeWorkload, plan_study

from harness.records.early_stopping import with_early_stopping
from harness.records.run_state import RunState
from harness.records.studies.study_record import Member
from harness.records.trial import Run, Trial
from harness.search.scheduler import ScheduledRun, Scheduler
from harness.study.trials.plan import Plan

EPOCHS = 9
STUDY = """\
trials: 25
parallel_trials: 4
search:
  method.momentum: {choice: [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9]}
  method.grouping: {choice: [size, random]}
"""


WIDE = "trials: 9\nparallel_trials: 4\nsearch: {method.momentum: {uniform: [0, 1]}}\n"


class Ending(NamedTuple):
    """What a study comes to."""

    trials: tuple[Trial, ...]
    members: list[Member]
    pruned: dict[str, str]
    trained: set[str]


def identify(trial: Trial, seed: int, fold: int = 0) -> Run:
    return Run("fake", trial.params, seed, trial.phase == "confirm", "c", "d")


def train(task: ScheduledRun) -> RunState:
    """A run whose curve rises to what its momentum says, more or less."""
    chance = random.Random(task.run_id)
    momentum = task.trial.varied.get("method.momentum", 0.45)
    assert isinstance(momentum, float)
    final = momentum + chance.uniform(-0.1, 0.1)
    curve = {epoch: final * (epoch + 1) / EPOCHS for epoch in range(EPOCHS)}
    done = RunState("done", curve=curve, results={"val/recall@1": final})
    return with_early_stopping(done, task.thresholds)


def train_in_vain(task: ScheduledRun) -> RunState:
    """A run that reaches what chance gives it, whatever its trial."""
    final = random.Random(task.run_id).gauss(0.5, 0.1)
    return RunState("done", results={"val/recall@1": final})


def run_study(
    plan: Plan,
    *,
    slots: int,
    order: random.Random | None,
    train: Callable[[ScheduledRun], RunState] = train,
) -> Ending:
    """Train a study with ``slots`` workers; its runs end in their order, or by chance."""
    schedule = Scheduler(plan, identify)
    finished: dict[str, RunState] = {}
    active: list[ScheduledRun] = []
    while True:
        while schedule.propose_more(finished):
            pass
        while len(active) < slots and (task := schedule.next_run(finished)) is not None:
            active.append(task)
        if not active:
            break
        ended = active.pop(order.randrange(len(active)) if order else 0)
        finished[ended.run_id] = train(ended)
    assert schedule.total == len(finished) + schedule.skipped
    return Ending(schedule.trials, sorted(schedule.members), dict(schedule.pruned), set(finished))


@pytest.fixture(autouse=True)
def _epochs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(FakeWorkload, "epochs", lambda self, params: EPOCHS, raising=False)


# A pruner decides which trials a sampler learns from, and only TPE learns from any.
@pytest.mark.parametrize(
    ("pruner", "sampler"),
    [
        ("none", "random"),
        ("none", "qmc"),
        ("none", "tpe"),
        ("median", "tpe"),
        ("hyperband", "tpe"),
        ("wilcoxon", "tpe"),
    ],
)
@pytest.mark.timeout(60)
def test_the_order_in_which_runs_end_changes_nothing(
    tmp_path: Path, pruner: str, sampler: str
) -> None:
    seeds = 6 if pruner == "wilcoxon" else 3
    given = (f"pruner={pruner}", f"sampler={sampler}", f"seeds={seeds}")
    plan = plan_study(tmp_path, STUDY + "confirm: {top: 2, seeds: 3}\nsampler: tpe\n", *given)
    first = run_study(plan, slots=1, order=None)
    assert bool(first.pruned) == (pruner != "none")
    assert len(first.members) > len({member.trial_id for member in first.members}) * 3
    assert any(member.seed >= 1_000_000 for member in first.members)  # some were proposed again
    for seed in range(1 if first.pruned else 2):
        assert run_study(plan, slots=4 - seed, order=random.Random(seed)) == first


def test_trials_that_are_as_good_as_the_best_are_rarely_given_up(tmp_path: Path) -> None:
    """A rule that asks after every seed, against the luckiest trial so far, gives up every other."""
    text = (
        WIDE.replace("trials: 9", "trials: 40") + "sampler: random\nseeds: 10\npruner: wilcoxon\n"
    )
    shares = []
    for number in range(4):
        plan = plan_study(tmp_path, text, f"study=s{number}")
        ending = run_study(plan, slots=1, order=None, train=train_in_vain)
        shares.append(len(ending.pruned) / 39)
    assert sum(shares) / 4 < 0.1


def test_a_trial_that_is_worse_is_given_up_with_the_name_of_what_is_better(tmp_path: Path) -> None:
    text = WIDE + "sampler: random\nseeds: 10\npruner: wilcoxon\n"
    ending = run_study(plan_study(tmp_path, text), slots=1, order=None)
    reasons = list(ending.pruned.values())
    assert len(reasons) >= 2
    assert all(reason.startswith("worse than ") for reason in reasons)
    assert any("on 5 seeds by a Wilcoxon signed-rank test" in reason for reason in reasons)


def test_spared_runs_are_members_that_were_never_trained(tmp_path: Path) -> None:
    plan = plan_study(tmp_path, STUDY + "sampler: random\nseeds: 3\n", "pruner=median")
    ending = run_study(plan, slots=1, order=None)
    stopped = {member.run_id for member in ending.members if member.is_pruned}
    untrained = {member.run_id for member in ending.members} - ending.trained
    assert untrained < stopped
    assert {m.trial_id for m in ending.members if m.is_pruned} == ending.pruned.keys()
    assert len(stopped - untrained) == len(ending.pruned)  # each was stopped in one run


def test_a_trial_is_judged_by_those_that_were_over_when_it_was_proposed(tmp_path: Path) -> None:
    """Trial n is pruned by trials up to n - parallel: the first ones have nobody to lose to."""
    text = STUDY.replace("parallel_trials: 4", "parallel_trials: 6") + "sampler: random\nseeds: 1\n"
    ending = run_study(plan_study(tmp_path, text, "pruner=median"), slots=6, order=random.Random(0))
    numbers = [trial.number for trial in ending.trials if trial.trial_id in ending.pruned]
    assert min(numbers) >= 4 + 6


def test_without_a_pruner_all_seeds_of_a_trial_may_start(tmp_path: Path) -> None:
    schedule = Scheduler(plan_study(tmp_path, WIDE + "sampler: tpe\nseeds: 3\n"), identify)
    while schedule.propose_more({}):
        pass
    first = [schedule.next_run({}) for _ in range(12)]
    counts = [sum(task.trial.number == n for task in first if task) for n in range(4)]
    assert counts == [3, 3, 3, 0]  # and three runs of the control
    assert schedule.planned == tuple(sorted(schedule.planned, key=lambda task: task.order))


def test_a_baseline_starts_with_all_its_seeds_and_a_trial_with_one(tmp_path: Path) -> None:
    text = WIDE + "sampler: tpe\nseeds: 3\npruner: median\n"
    schedule = Scheduler(plan_study(tmp_path, text), identify)
    while schedule.propose_more({}):
        pass
    taken = []
    while (task := schedule.next_run({})) is not None:
        taken.append((task.trial.role, task.trial.number, task.run.seed))
    controls = [each for each in taken if each[0] == "control"]
    assert len(controls) == 3
    assert taken[3:] == [
        *(("baseline", 0, seed) for seed in range(3)),
        *(("trial", number, 0) for number in (1, 2, 3)),
    ]
    assert len(schedule.planned) == 3 + 4 * 3
