"""The rules by which trials are given up, against Optuna's own pruners on the same histories."""

from __future__ import annotations

import importlib
import itertools
import json
import random
import warnings
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType

import numpy as np
import optuna
import pytest
from fake_workload import FakeWorkload, load_problems, plan_problems, write_study
from optuna.trial import TrialState
from roots import ROOT

from harness.executors.interface import Job
from harness.records.early_stopping import StoppingThresholds, first_violation, with_early_stopping
from harness.records.run_state import RunState
from harness.records.trial import Run
from harness.search.pruners import (
    FEWEST_EPOCHS,
    REDUCTION,
    STARTUP_RUNS,
    WARM_UP_EPOCHS,
    WILCOXON_LEVEL,
    Earlier,
    bracket_of,
    choose_rivals,
    hyperband_thresholds,
    is_worse,
    is_worse_than_rivals,
    median_thresholds,
)
from harness.stats.looks.sequential import first_crossing
from harness.study.loading import load_study
from harness.study.trials.plan import make_plan
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
        thresholds = StoppingThresholds(METRIC, median_thresholds(earlier), is_best_judged=True)
        cut = first_violation(curve, thresholds)
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
        cut = first_violation(curve, StoppingThresholds(METRIC, least, is_best_judged=False))
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


@pytest.mark.parametrize("seed", range(20))
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


@pytest.fixture
def pruners(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The benchmark, which simulates searches."""
    monkeypatch.syspath_prepend(ROOT / "tests" / "benchmarks")
    return importlib.import_module("pruners")


@pytest.mark.parametrize("noise", ["normal", "skewed", "ties"])
@pytest.mark.parametrize(("seeds", "trials", "studies"), [(10, 2, 400), (10, 40, 20), (6, 40, 30)])
def test_few_trials_that_are_as_good_as_the_best_are_given_up(
    pruners: ModuleType, noise: str, seeds: int, trials: int, studies: int
) -> None:
    """In searches whose trials are all equally good; by the first rules it is one in five to half."""
    chance = np.random.default_rng(0)
    draw = pruners.NOISES[noise]
    shares = []  # of each search, since its trials have rivals in common
    for _ in range(studies):
        looks = pruners.looks_of_search(draw(chance, (trials, seeds)), 2)
        shares.append(np.mean([look is not None for look in looks]))
    assert np.mean(shares) < 0.05 + 2 * np.std(shares) / studies**0.5
    assert np.mean(shares) < 0.1


@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("looks", [5, 7, 10])
def test_the_error_over_all_looks_is_exact(looks: int, ties: bool) -> None:
    """Every pattern of signs is as likely as any other, so that all of them can be counted."""
    chance = random.Random(looks)
    sizes = [round(chance.random(), 1) + 0.1 if ties else chance.random() for _ in range(looks)]
    crossed = [
        first_crossing(
            [size * sign for size, sign in zip(sizes, signs, strict=True)],
            looks=looks,
            level=0.05,
        )
        for signs in itertools.product((-1, 1), repeat=looks)
    ]
    share = sum(look is not None for look in crossed) / 2**looks
    assert 0.03 < share <= 0.05
    assert min(look for look in crossed if look is not None) >= 5


def test_a_test_over_many_looks_draws_its_patterns_and_keeps_its_level() -> None:
    chance = np.random.default_rng(1)
    equal = [first_crossing(list(chance.normal(size=30)), looks=30, level=0.05) for _ in range(60)]
    assert np.mean([look is not None for look in equal]) < 0.05 + 2 * 0.028
    worse = [
        first_crossing(list(chance.normal(-1, size=30)), looks=30, level=0.05) for _ in range(10)
    ]
    assert all(look is not None and look < 30 for look in worse)
    assert first_crossing([-1.0] * 100, looks=99, level=0.05) is not None


@pytest.mark.parametrize("given", [[], [0.0] * 9, [-1.0] * 4, [1.0] * 9, [-1.0, 1.0] * 4])
def test_nothing_is_shown_by_few_or_equal_pairs(given: list[float]) -> None:
    assert first_crossing(given, looks=9, level=0.05) is None


def test_a_trial_whose_mean_is_as_high_is_never_given_up() -> None:
    pairs = [(-0.1, 0.0)] * 6
    assert is_worse_than_rivals(pairs, looks=9)
    assert not is_worse_than_rivals([*pairs, (1.0, 0.0)], looks=9)
    assert not is_worse_than_rivals([], looks=9)


def test_a_rival_is_chosen_by_seeds_that_it_is_not_compared_by() -> None:
    values = np.array([[9.0, 1.0, 2.0, 0.0], [0.0, 3.0, 1.0, 0.0], [0.0, 0.0, 0.0, 0.0]])
    assert choose_rivals(values, [[], [], []]) == [1, 0, 0]
    changed = values.copy()
    changed[2, 0] = 99.0  # lucky with the first seed: that chooses nobody
    assert choose_rivals(changed, [[], [], []]) == [1, 0, 0]
    assert choose_rivals(values, [[], [], [5.0, 5.0]]) == [2, 2, 2]


def test_a_table_of_thresholds_survives_the_way_to_a_worker(tmp_path: Path) -> None:
    thresholds = StoppingThresholds(METRIC, {1: 0.1, 12: 0.1 + 0.2}, is_best_judged=True)
    run = Run("w", {}, 0, test=False, code="c", data="d")
    for each in (thresholds, None):
        job = Job(run, run.run_id, tmp_path, 1, 1, each)
        assert Job.from_json(json.loads(json.dumps(job.to_json()))) == job


def test_the_best_so_far_counts_for_the_median_and_the_newest_for_hyperband() -> None:
    least = {3: 0.4}
    assert (
        first_violation([0.5, 0.3, 0.2], StoppingThresholds(METRIC, least, is_best_judged=True))
        is None
    )
    cut = first_violation([0.5, 0.3, 0.2], StoppingThresholds(METRIC, least, is_best_judged=False))
    assert cut == (3, "val/recall@1 0.2000 after 3 epochs, below 0.4000")


def test_a_run_is_judged_by_the_study_that_asks_and_not_by_the_one_that_trained_it() -> None:
    strict = StoppingThresholds(METRIC, {2: 0.5}, is_best_judged=True)
    mild = StoppingThresholds(METRIC, {2: 0.1}, is_best_judged=True)
    done = RunState("done", curve={0: 0.2, 1: 0.3, 2: 0.9}, results={METRIC: 0.9})
    seen = with_early_stopping(done, strict)
    assert (seen.state, seen.results, list(seen.curve)) == ("pruned", {}, [0, 1])
    assert with_early_stopping(done, mild) == with_early_stopping(done, None) == done
    pruned = RunState("pruned", curve={0: 0.2, 1: 0.3}, message="by another study")
    assert with_early_stopping(pruned, strict).state == "pruned"
    assert (
        with_early_stopping(pruned, mild).state
        == with_early_stopping(pruned, None).state
        == "running"
    )
    failed = RunState("failed", failure="diverged", curve={0: 0.2})
    assert with_early_stopping(failed, strict) == failed


SEARCH = "sampler: random\ntrials: 9\nsearch: {method.momentum: {uniform: [0, 1]}}\n"


def test_a_grid_is_not_pruned(tmp_path: Path) -> None:
    text = "search: {method.momentum: {grid: [0, 1]}}\npruner: median\n"
    assert load_problems(write_study(tmp_path, text)) == [
        "s.yaml:5:1: pruner: a grid compares all its trials, so none can be pruned; remove pruner, "
        "or set sampler to random, tpe or another search"
    ]


def test_a_test_over_seeds_needs_seeds_to_spare(tmp_path: Path) -> None:
    (problem,) = load_problems(write_study(tmp_path, SEARCH + "pruner: wilcoxon\nseeds: 4\n"))
    assert problem.startswith("s.yaml:7:1: pruner: wilcoxon needs at least 6 seeds")
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
        "s.yaml:7:1: pruner: hyperband needs the number of epochs of a run, which 'fake' does "
        "not give; set pruner to median"
    ]
