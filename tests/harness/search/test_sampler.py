"""Proposals: a pure function of the number and the history, within the study's rules."""

from __future__ import annotations

import math
import statistics
from collections import Counter
from pathlib import Path

import numpy as np
import optuna
import pytest
from fake_workload import plan_study

from harness.errors import InputError
from harness.search.history import Observation
from harness.search.rules import FIRST_RULES, NEWEST_RULES
from harness.search.sampler import MOST_TIMES, Sampler
from harness.search.space import is_in_range
from harness.study.axes import Axis
from harness.study.trials.plan import Plan
from harness.workload import JsonValue

SAMPLERS = ["random", "qmc", "tpe", "gp", "cmaes", "nsga2"]
SLOW_GP = pytest.param("gp", marks=pytest.mark.slow)
SPACE = """\
study: {name}
sampler: {sampler}
trials: 30
search:
  method.name: {{choice: [teacher, pixels]}}
  method.momentum: {{uniform: [0, 1], when: {{method.name: teacher}}}}
  method.groups: {{logint: [1, 64], when: {{method.name: teacher}}}}
  train.learning_rate: {{loguniform: [1e-4, 1e-1]}}
  train.epochs: {{int: [1, 9]}}
forbid: [{{method.name: pixels, train.epochs: [1, 2, 3, 4, 5]}}]
"""
SMALL = "trials: 40\nsearch: {{method.groups: {{choice: [1, 2, 3]}}, train.epochs: {{choice: [1, 2, 3, 4]}}}}\nsampler: {sampler}\n"


def plan_space(folder: Path, sampler: str, name: str = "s") -> Plan:
    text = SPACE.format(sampler=sampler, name=name).partition("\n")[2]
    return plan_study(folder, text, f"study={name}")


def score(told: Observation) -> float:
    epochs, rate = told.varied.get("train.epochs", 3), told.varied.get("train.learning_rate", 0.1)
    assert isinstance(epochs, int)
    assert isinstance(rate, float)
    return 0.1 * epochs - abs(math.log10(rate) + 2)


def continue_search(plan: Plan, history: list[Observation], until: int) -> list[Observation]:
    """Grow a history with a search of its own, as after a restart."""
    search = Sampler(plan)
    history = history or [Observation(0, dict(plan.fixed[0].varied), 0.5)]
    while len(history) < until:
        number = len(history)
        if (varied := search.propose(number, history)) is None:
            break
        told = Observation(number, varied, None)
        value = None if number % 7 == 3 else score(told)
        history = [*history, Observation(number, varied, value)]
    return history


@pytest.mark.parametrize("sampler", ["random", "qmc", "tpe", SLOW_GP, "cmaes", "nsga2"])
def test_a_stopped_search_proposes_what_it_would_have_proposed_anyway(
    tmp_path: Path, sampler: str
) -> None:
    plan = plan_space(tmp_path, sampler)
    trials = 14 if sampler == "gp" else 30  # its model takes half a second a proposal
    whole = continue_search(plan, [], trials)
    first = continue_search(plan, [], 12)
    resumed = continue_search(plan_space(tmp_path, sampler), first, trials)
    assert len(whole) == trials
    assert resumed == whole


def test_the_name_of_the_study_is_the_seed(tmp_path: Path) -> None:
    one = continue_search(plan_space(tmp_path, "random"), [], 5)
    other = continue_search(plan_space(tmp_path, "random", "t"), [], 5)
    assert one[1:] != other[1:]


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_proposals_obey_ranges_conditions_and_rules(tmp_path: Path, sampler: str) -> None:
    trials = 14 if sampler == "gp" else 30
    history = continue_search(plan_space(tmp_path, sampler), [], trials)
    names = set()
    for told in history[1:]:
        name, epochs = told.varied["method.name"], told.varied["train.epochs"]
        rate = told.varied["train.learning_rate"]
        assert isinstance(epochs, int)
        assert isinstance(rate, float)
        assert 1e-4 <= rate <= 1e-1
        assert 1 <= epochs <= 9
        assert ("method.momentum" in told.varied) == (name == "teacher")
        assert ("method.groups" in told.varied) == (name == "teacher")
        assert name == "teacher" or epochs > 5
        names.add(name)
    assert names == {"teacher", "pixels"}


@pytest.mark.parametrize("sampler", ["random", "qmc", "tpe", "gp"])
def test_a_search_ends_when_every_setting_is_known(tmp_path: Path, sampler: str) -> None:
    text = SMALL.format(sampler=sampler)
    if sampler == "gp":  # its model is slow to see that nothing is left
        text = text.replace("[1, 2, 3]", "[1, 2]").replace("[1, 2, 3, 4]", "[1, 2]")
    plan = plan_study(tmp_path, text)
    history = continue_search(plan, [], 40)
    seen = Counter((t.varied["method.groups"], t.varied["train.epochs"]) for t in history[1:])
    assert len(seen) == (4 if sampler == "gp" else 12)
    assert 1 <= max(seen.values()) <= MOST_TIMES
    assert len(history) < 40
    assert Sampler(plan).propose(len(history), history) is None
    assert history[-1].varied not in [told.varied for told in history[:-1]]


def test_a_model_may_ask_for_what_is_known_a_few_times_and_no_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = plan_study(tmp_path, SMALL.format(sampler="tpe"))
    suggest = Sampler._suggest
    favourite = {"method.groups": 2, "train.epochs": 3}

    def insist(self: Sampler, trial: optuna.Trial) -> dict[str, object]:
        varied = suggest(self, trial)
        is_model = not isinstance(trial.study.sampler, optuna.samplers.RandomSampler)
        return dict(favourite) if is_model else dict(varied)

    monkeypatch.setattr(Sampler, "_suggest", insist)
    history = continue_search(plan, [], 6)
    assert [told.varied == favourite for told in history] == [False, *[True] * 3, False, False]


@pytest.mark.parametrize("sampler", ["random", "qmc", "tpe"])
def test_what_was_pruned_is_not_proposed_again(tmp_path: Path, sampler: str) -> None:
    plan = plan_study(tmp_path, SMALL.format(sampler=sampler))
    search, history = Sampler(plan), [Observation(0, {}, 0.5)]
    while (varied := search.propose(len(history), history)) is not None:
        history.append(Observation(len(history), varied, None, until_pruned=(0.1, 0.2)))
    assert len(history) == 13
    assert len({str(told.varied) for told in history}) == 13


def test_other_words_for_what_is_known_are_known(tmp_path: Path) -> None:
    axes = "method.groups: {choice: [4, 5]}, method.name: {choice: [teacher, pixels]}"
    plan = plan_study(
        tmp_path,
        f"sampler: tpe\ntrials: 9\nsearch: {{{axes.replace('5]}', '5], when: {method.name: teacher}}')}}}",
    )
    history = continue_search(plan, [], 9)
    # The baseline has four groups too, and 'pixels' is a control that every study has.
    found = {str(told.varied) for told in history[1:]}
    assert "{'method.groups': 5, 'method.name': 'teacher'}" in found
    assert not [told for told in history if told.varied.get("method.name") == "pixels"]
    assert len(history) < 9


def test_a_forbidden_combination_is_skipped(tmp_path: Path) -> None:
    text = SMALL.format(sampler="random") + "forbid: [{train.epochs: [2, 3]}]\n"
    history = continue_search(plan_study(tmp_path, text), [], 40)
    assert len({str(told.varied) for told in history[1:]}) == 3 * 2
    assert {told.varied["train.epochs"] for told in history[1:]} == {1, 4}


def test_a_combination_that_the_workload_refuses_is_skipped(tmp_path: Path) -> None:
    axes = "method.groups: {int: [1, 3]}, method.clusters: {choice: [2, 9]}"
    plan = plan_study(
        tmp_path,
        f"sampler: tpe\ntrials: 40\nbase: {{method: {{groups: 1, clusters: 9}}}}\nsearch: {{{axes}}}",
    )
    pairs = {tuple(told.varied.values()) for told in continue_search(plan, [], 40)[1:]}
    assert pairs == {(1, 2), (2, 2), (1, 9), (2, 9), (3, 9)}


def test_tied_axes_are_proposed_together_and_variants_are_searched(tmp_path: Path) -> None:
    text = """\
    sampler: tpe
    trials: 40
    variants: {full: {}, brief: {train.learning_rate: 1}}
    search: {method.groups: {choice: [1, 2, 3]}, method.clusters: {choice: [10, 20, 30]}}
    zip: [[method.groups, method.clusters]]
    """
    history = continue_search(plan_study(tmp_path, text), [], 40)
    found = {tuple(told.varied.values()) for told in history[1:]}
    assert list(history[1].varied) == ["variant", "method.groups", "method.clusters"]
    assert found == {(v, n, 10 * n) for v in ("full", "brief") for n in (1, 2, 3)}


@pytest.mark.parametrize("value", [None, math.nan, math.inf, -math.inf])
def test_only_finite_values_reach_optuna(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, value: float | None
) -> None:
    plan = plan_space(tmp_path, "tpe")
    history = continue_search(plan, [], 12)
    history[5] = Observation(5, history[5].varied, value)
    added: list[optuna.trial.FrozenTrial] = []
    add = optuna.Study.add_trial

    def spy(study: optuna.Study, trial: optuna.trial.FrozenTrial) -> None:
        added.append(trial)
        add(study, trial)

    monkeypatch.setattr(optuna.Study, "add_trial", spy)
    assert Sampler(plan).propose(12, history) is not None
    assert added[5].state == optuna.trial.TrialState.FAIL
    assert added[5].value is None
    assert [trial.state for trial in added].count(optuna.trial.TrialState.PRUNED) == 0
    finished = [trial.value for trial in added if trial.value is not None]
    assert len(finished) >= 8
    assert all(math.isfinite(each) for each in finished)


@pytest.mark.parametrize("sampler", ["tpe", "gp", "cmaes"])
def test_optuna_is_told_what_was_pruned_and_what_it_reached(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sampler: str
) -> None:
    plan = plan_space(tmp_path, sampler)
    history = continue_search(plan, [], 12)
    history[5] = Observation(5, history[5].varied, None, until_pruned=(0.1, 0.3))
    studies: list[optuna.Study] = []
    create = optuna.create_study

    def spy(**given: object) -> optuna.Study:
        studies.append(create(**given))  # type: ignore[arg-type]
        return studies[-1]

    monkeypatch.setattr(optuna, "create_study", spy)
    assert Sampler(plan).propose(12, history) is not None
    pruned = studies[0].get_trials(states=(optuna.trial.TrialState.PRUNED,))
    assert [trial.intermediate_values for trial in pruned] == [{0: 0.1, 1: 0.3}]
    assert pruned[0].params


def test_a_baseline_outside_the_space_or_of_one_tied_axis_is_no_obstacle(tmp_path: Path) -> None:
    text = """\
    sampler: tpe
    trials: 40
    search:
      method.groups: {choice: [1, 2]}
      method.clusters: {choice: [10, 20]}
      method.momentum: {uniform: [0.5, 1]}
      method.grouping: {choice: [size, random]}
    zip: [[method.groups, method.clusters]]
    baseline: {method.groups: 1, method.momentum: 0, method.grouping: off}
    """
    history = continue_search(plan_study(tmp_path, text), [], 15)
    assert len(history) == 15
    assert all(told.varied["method.grouping"] != "off" for told in history[1:])


AXES = """\
trials: 40
search:
  method.momentum: {uniform: [0.5, 1]}
  train.learning_rate: {loguniform: [1e-3, 1]}
  train.epochs: {int: [1, 9]}
  method.grouping: {choice: [size, random]}
  method.clusters: {choice: [100, 200], when: {method.grouping: size}}
  extra: {choice: [{}, {a: 1}]}
"""


def told_to_optuna(
    plan: Plan, monkeypatch: pytest.MonkeyPatch, rules: int = NEWEST_RULES
) -> list[optuna.trial.FrozenTrial]:
    """The trials that a sampler sees of a search that has its baseline and one more."""
    added: list[optuna.trial.FrozenTrial] = []
    monkeypatch.setattr(optuna.Study, "add_trial", lambda study, trial: added.append(trial))
    history = [
        Observation(0, dict(plan.fixed[0].varied), 0.5),
        Observation(1, {"method.momentum": 0.7}, 0.6),
    ]
    Sampler(plan, rules).propose(3, history)
    return added


@pytest.mark.parametrize("sampler", ["tpe", "gp"])
def test_a_model_is_told_the_baseline_with_all_its_axes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sampler: str
) -> None:
    plan = plan_study(tmp_path, AXES, f"sampler={sampler}")
    baseline, _ = told_to_optuna(plan, monkeypatch)
    assert baseline.value == 0.5
    assert baseline.params == {
        "method.momentum": 0.9,
        "train.learning_rate": 0.1,
        "train.epochs": 3,
        "method.grouping": 0,
        "method.clusters": 0,
        "extra": 0,
    }
    old, _ = told_to_optuna(plan, monkeypatch, FIRST_RULES)
    assert old.params == {}


def test_a_baseline_lacks_the_axes_that_do_not_exist_for_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = plan_study(tmp_path, AXES, "sampler=tpe", "baseline={method.grouping: random}")
    baseline, _ = told_to_optuna(plan, monkeypatch)
    assert "method.clusters" not in baseline.params
    assert len(baseline.params) == 5


@pytest.mark.parametrize(
    "outside",
    [
        "{method.momentum: 0.3}",  # beyond the bounds
        "{train.epochs: 10}",
        "{method.grouping: 'off'}",  # none of the choices
        "{method.clusters: 150}",
        "{extra: {b: 1}}",
    ],
)
def test_a_baseline_outside_the_space_is_kept_from_the_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, outside: str
) -> None:
    plan = plan_study(tmp_path, AXES, "sampler=tpe", f"baseline={outside}")
    (other,) = told_to_optuna(plan, monkeypatch)
    assert other.value == 0.6


@pytest.mark.parametrize("value", [True, "0.9", None, 2.5, math.inf])
def test_only_numbers_of_its_kind_lie_in_a_range(value: JsonValue) -> None:
    assert not is_in_range(value, Axis(int=(0, 3)))
    assert is_in_range(3.0, Axis(int=(0, 3)))
    assert is_in_range(2, Axis(uniform=(0, 3)))


def test_a_choice_that_the_workload_completes_is_the_baselines(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    methods = "{choice: [{name: pixels}, {momentum: 0.9}, {momentum: 0.5}]}"
    text = f"sampler: tpe\ntrials: 9\nsearch: {{method: {methods}, train.epochs: {{int: [1, 9]}}}}"
    baseline, _ = told_to_optuna(plan_study(tmp_path, text), monkeypatch)
    assert baseline.params == {"method": 1, "train.epochs": 3}


@pytest.mark.parametrize(
    ("sampler", "rules", "state"),
    [("gp", NEWEST_RULES, "RUNNING"), ("gp", FIRST_RULES, "FAIL"), ("tpe", NEWEST_RULES, "FAIL")],
)
def test_gp_is_told_what_was_refused_so_that_it_does_not_insist(
    tmp_path: Path, sampler: str, rules: int, state: str
) -> None:
    search = Sampler(plan_study(tmp_path, AXES, f"sampler={sampler}"), rules)
    history = [Observation(0, {}, 0.3), Observation(1, {"train.epochs": 2}, None)]
    _, failed, refused = search._study(2, 1, history, [{"train.epochs": 9}]).trials
    assert failed.state.name == "FAIL"
    assert refused.state.name == state
    assert refused.params == {"train.epochs": 9}


def test_cmaes_goes_on_when_an_axis_comes_and_goes(tmp_path: Path) -> None:
    """Seven in eight trials have the axis, so the first generations do as a rule."""
    text = """\
    sampler: cmaes
    trials: 50
    parallel_trials: 1
    search:
      method.momentum: {uniform: [0, 1]}
      train.learning_rate: {loguniform: [1e-4, 1e-1]}
      method.clusters: {choice: [30, 40, 50, 60, 70, 80, 90, 99]}
      method.temperature: {uniform: [0.1, 1], when: {method.clusters: [30, 40, 50, 60, 70, 80, 90]}}
    baseline: {method.clusters: 10}
    """
    plan = plan_study(tmp_path, text)
    search, history = Sampler(plan), [Observation(0, {"method.clusters": 10}, 0.0)]
    for number in range(1, 50):
        varied = search.propose(number, history)
        assert varied is not None
        momentum, rate = varied["method.momentum"], varied["train.learning_rate"]
        assert isinstance(momentum, float)
        assert isinstance(rate, float)
        history.append(
            Observation(number, varied, -abs(momentum - 0.3) - abs(math.log10(rate) + 2) / 3)
        )
    distances = [-told.value for told in history[1:] if told.value is not None]
    assert any("method.temperature" not in told.varied for told in history[1:])
    assert statistics.median(distances[-10:]) < 0.3 * statistics.fmean(distances[:10])


def test_a_choice_can_be_a_mapping_and_keeps_its_type(tmp_path: Path) -> None:
    text = "sampler: tpe\ntrials: 9\nsearch: {extra: {choice: [{a: 1}, {a: 2}]}}"
    history = continue_search(plan_study(tmp_path, text), [Observation(0, {}, 0.5)], 9)
    assert {str(told.varied["extra"]) for told in history[1:]} == {"{'a': 1}", "{'a': 2}"}


@pytest.mark.parametrize("sampler", ["tpe", SLOW_GP, "cmaes"])
def test_a_model_comes_closer_to_the_best_than_its_start(tmp_path: Path, sampler: str) -> None:
    axes = "{method.momentum: {uniform: [0, 1]}, train.learning_rate: {loguniform: [1e-4, 1e-1]}}"
    trials = 18 if sampler == "gp" else 60
    plan = plan_study(tmp_path, f"sampler: {sampler}\ntrials: {trials}\nsearch: {axes}")
    search, history = Sampler(plan), [Observation(0, {}, None)]
    for number in range(1, trials):
        varied = search.propose(number, history)
        assert varied is not None
        momentum, rate = varied["method.momentum"], varied["train.learning_rate"]
        assert isinstance(momentum, float)
        assert isinstance(rate, float)
        history.append(
            Observation(number, varied, -abs(momentum - 0.3) - abs(math.log10(rate) + 2) / 3)
        )
    distances = [-told.value for told in history if told.value is not None]
    assert statistics.median(distances[10:]) < 0.5 * statistics.fmean(distances[:10])


def test_a_sequence_covers_every_axis_evenly(tmp_path: Path) -> None:
    axes = """\
    method.momentum: {uniform: [0, 1]}
    train.learning_rate: {loguniform: [1e-4, 1e-1]}
    train.epochs: {int: [1, 4]}
    method.grouping: {choice: [size, random]}
    """
    plan = plan_study(tmp_path, f"sampler: qmc\ntrials: 65\nsearch:\n{axes}")
    found = [told.varied for told in continue_search(plan, [], 65)[1:]]
    assert len(found) == 64
    momenta = np.array([varied["method.momentum"] for varied in found])
    rates = np.log10([varied["train.learning_rate"] for varied in found])
    for shares in (momenta, (rates + 4) / 3):  # each sixty-fourth of the range once
        assert sorted(np.floor(64 * shares).astype(int).tolist()) == list(range(64))
    assert Counter(varied["train.epochs"] for varied in found) == dict.fromkeys(range(1, 5), 16)
    assert Counter(varied["method.grouping"] for varied in found) == {"size": 32, "random": 32}


def test_cmaes_sees_a_value_when_the_study_knows_it_and_not_before(tmp_path: Path) -> None:
    axes = "{method.momentum: {uniform: [0, 1]}, train.learning_rate: {uniform: [0.1, 1]}}"
    plan = plan_study(tmp_path, f"sampler: cmaes\ntrials: 60\nparallel_trials: 6\nsearch: {axes}")

    def grown(value_of_last: float) -> list[Observation]:
        search, history = Sampler(plan), [Observation(0, {}, None)]
        for number in range(1, 30):
            varied = search.propose(number, history)
            assert varied is not None
            value = value_of_last if number == 12 else -float(number % 5)
            history.append(Observation(number, varied, value))
        return history

    one, other = grown(100.0), grown(-100.0)
    assert [told.varied for told in one[:18]] == [told.varied for told in other[:18]]
    assert [told.varied for told in one[18:]] != [told.varied for told in other[18:]]


def test_cmaes_without_its_package_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    plan = plan_space(tmp_path, "cmaes")
    with pytest.raises(InputError, match=r"install gcudml-harness\[cmaes\]"):
        Sampler(plan).propose(1, [Observation(0, {}, None)])
