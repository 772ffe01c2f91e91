"""The rules by which trials are given up, against Optuna's own pruners on the same histories."""

from __future__ import annotations

import json
import random
import warnings
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import optuna
import pytest
from fake_workload import FakeWorkload, load_problems, plan_problems, write_study
from optuna.trial import TrialState

from harness.executors import Job
from harness.plan import make_plan
from harness.pruning import (
    FEWEST_EPOCHS,
    REDUCTION,
    STARTUP_RUNS,
    WARM_UP_EPOCHS,
    WILCOXON_LEVEL,
    Earlier,
    Thresholds,
    bracket_of,
    first_cut,
    hyperband_thresholds,
    is_worse,
    judged,
    median_thresholds,
)
from harness.spec import load_study
from harness.spool import RunState
from harness.trial import Run
from harness.workload import Params

EPOCHS = 9
METRIC = "val/recall@1"


def draw_curve(chance: random.Random) -> list[float]:
    """Values that mostly rise; rounded, so that there are ties."""
    level = chance.random()
    return [round(level * epoch + chance.uniform(-0.3, 0.3), 1) for epoch in range(1, EPOCHS + 1)]


def epochs_until_pruned(
    pruner: optuna.pruners.BasePruner, study: optuna.Study, curve: Sequence[float]
) -> int | None:
    """After how many epochs Optuna stops a new trial of ``study``; None if it does not."""
    trial = study.ask()
    for epochs, value in enumerate(curve, start=1):
        trial.report(value, epochs)
        if pruner.prune(study, study._storage.get_trial(trial._trial_id)):
            study.tell(trial, state=TrialState.PRUNED)
            return epochs
    study.tell(trial, curve[-1])
    return None


@pytest.mark.parametrize("seed", range(20))
def test_the_median_stops_where_optuna_does(seed: int) -> None:
    chance = random.Random(seed)
    pruner = optuna.pruners.MedianPruner(STARTUP_RUNS, WARM_UP_EPOCHS + 1)
    study = optuna.create_study(direction="maximize", pruner=pruner)
    earlier: list[Earlier] = []
    stopped = 0
    for number in range(25):
        curve = draw_curve(chance)
        thresholds = Thresholds(METRIC, median_thresholds(earlier), is_best_judged=True)
        cut = first_cut(curve, thresholds)
        assert (cut.epochs if cut else None) == epochs_until_pruned(pruner, study, curve)
        earlier.append(Earlier(number, cut is None, curve[: cut.epochs] if cut else curve))
        stopped += cut is not None
    assert 3 < stopped < 20


@pytest.mark.parametrize("seed", range(20))
def test_hyperband_stops_where_optuna_does(seed: int) -> None:
    chance = random.Random(seed)
    pruner = optuna.pruners.HyperbandPruner(FEWEST_EPOCHS, EPOCHS, REDUCTION)
    study = optuna.create_study(direction="maximize", pruner=pruner, study_name="s")
    earlier: list[Earlier] = []
    stopped = set()
    for number in range(40):
        curve = draw_curve(chance)
        least = hyperband_thresholds(earlier, study="s", number=number, most_epochs=EPOCHS)
        cut = first_cut(curve, Thresholds(METRIC, least, is_best_judged=False))
        assert (cut.epochs if cut else None) == epochs_until_pruned(pruner, study, curve)
        earlier.append(Earlier(number, cut is None, curve[: cut.epochs] if cut else curve))
        stopped |= {cut.epochs} if cut else set()
    assert stopped == {1, 3, 9}


@pytest.mark.parametrize(("most", "brackets"), [(1, 1), (2, 1), (3, 2), (9, 3), (243, 6)])
def test_every_bracket_gets_trials_and_the_one_with_most_rungs_the_most(
    most: int, brackets: int
) -> None:
    found = [bracket_of("s", number, most) for number in range(3000)]
    counts = [found.count(bracket) for bracket in range(brackets)]
    assert sum(counts) == 3000
    assert counts == sorted(counts, reverse=True)
    assert min(counts) > 0


@pytest.mark.parametrize("seed", range(40))
def test_the_test_over_seeds_is_optunas(seed: int) -> None:
    chance = random.Random(seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        pruner = optuna.pruners.WilcoxonPruner(p_threshold=WILCOXON_LEVEL)
    best = [round(chance.uniform(0.4, 0.6), 2) for _ in range(10)]
    other = [round(value - 0.03 + chance.uniform(-0.06, 0.06), 2) for value in best]
    study = optuna.create_study(direction="maximize")
    reached = {
        "intermediate_values": dict(enumerate(best)),
        "value": sum(best) / len(best),
    }
    study.add_trial(optuna.create_trial(state=TrialState.COMPLETE, **reached))  # type: ignore[arg-type]
    mine = next(
        (
            seeds
            for seeds in range(1, 11)
            if is_worse(dict(enumerate(other[:seeds])), dict(enumerate(best)))
        ),
        None,
    )
    trial = study.ask()
    theirs = None
    for position, value in enumerate(other):
        trial.report(value, position)
        if pruner.prune(study, study._storage.get_trial(trial._trial_id)):
            theirs = position + 1
            break
    assert mine == theirs
    assert mine is None or mine >= 4


def test_a_table_of_thresholds_survives_the_way_to_a_worker(tmp_path: Path) -> None:
    thresholds = Thresholds(METRIC, {1: 0.1, 12: 0.1 + 0.2}, is_best_judged=True)
    run = Run("w", {}, 0, test=False, code="c", data="d")
    for each in (thresholds, None):
        job = Job(run, run.run_id, tmp_path, 1, 1, each)
        assert Job.from_json(json.loads(json.dumps(job.to_json()))) == job
    assert Thresholds.from_json(json.loads(json.dumps(asdict(thresholds)))) == thresholds


def test_the_best_so_far_counts_for_the_median_and_the_newest_for_hyperband() -> None:
    least = {3: 0.4}
    assert first_cut([0.5, 0.3, 0.2], Thresholds(METRIC, least, is_best_judged=True)) is None
    cut = first_cut([0.5, 0.3, 0.2], Thresholds(METRIC, least, is_best_judged=False))
    assert cut == (3, "val/recall@1 0.2000 after 3 epochs, below 0.4000")


def test_a_run_is_judged_by_the_study_that_asks_and_not_by_the_one_that_trained_it() -> None:
    strict = Thresholds(METRIC, {2: 0.5}, is_best_judged=True)
    mild = Thresholds(METRIC, {2: 0.1}, is_best_judged=True)
    done = RunState("done", curve={0: 0.2, 1: 0.3, 2: 0.9}, results={METRIC: 0.9})
    seen = judged(done, strict)
    assert (seen.state, seen.results, list(seen.curve)) == ("pruned", {}, [0, 1])
    assert judged(done, mild) == judged(done, None) == done
    pruned = RunState("pruned", curve={0: 0.2, 1: 0.3}, message="by another study")
    assert judged(pruned, strict).state == "pruned"
    assert judged(pruned, mild).state == judged(pruned, None).state == "running"
    failed = RunState("failed", failure="diverged", curve={0: 0.2})
    assert judged(failed, strict) == failed


SEARCH = "sampler: random\ntrials: 9\nsearch: {method.momentum: {uniform: [0, 1]}}\n"


def test_a_grid_is_not_pruned(tmp_path: Path) -> None:
    text = "search: {method.momentum: {grid: [0, 1]}}\npruner: median\n"
    assert load_problems(write_study(tmp_path, text)) == [
        "s.yaml:5:1: pruner: a grid compares all its trials, so none is given up; remove pruner, "
        "or set sampler to random, tpe or another search"
    ]


def test_a_test_over_seeds_needs_seeds_to_spare(tmp_path: Path) -> None:
    (problem,) = load_problems(write_study(tmp_path, SEARCH + "pruner: wilcoxon\nseeds: 4\n"))
    assert problem.startswith("s.yaml:7:1: pruner: wilcoxon needs 5 seeds or more")
    assert load_study(write_study(tmp_path, SEARCH + "pruner: wilcoxon\nseeds: 5\n"))


class Counting(FakeWorkload):
    def epochs(self, params: Params) -> int | None:
        train = params["train"]
        assert isinstance(train, dict)
        return int(str(train["epochs"]))


def test_hyperband_goes_by_the_longest_run(tmp_path: Path) -> None:
    text = SEARCH.replace("}}", "}, train.epochs: {int: [2, 27]}}") + "pruner: hyperband\n"
    path = write_study(tmp_path, text)
    assert make_plan(load_study(path), Counting()).most_epochs == 27


def test_hyperband_without_a_number_of_epochs_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(FakeWorkload, "epochs", lambda self, params: None, raising=False)
    assert plan_problems(tmp_path, SEARCH + "pruner: hyperband\n") == [
        "s.yaml:7:1: pruner: hyperband needs to know how many epochs a run has, and 'fake' does "
        "not say; set pruner to median"
    ]
