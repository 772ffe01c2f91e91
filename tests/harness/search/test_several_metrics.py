"""Searches with several metrics: proposals depend on all of them, and on nothing else."""

from __future__ import annotations

import statistics
from pathlib import Path

import pytest
from fake_workload import plan_study

from harness.search.history import Observation
from harness.search.sampler import Sampler
from harness.study.trials.plan import Plan

STUDY = """\
sampler: {sampler}
trials: 80
search:
  train.learning_rate: {{uniform: [0.0001, 0.1]}}
  train.epochs: {{int: [1, 90]}}
metric: [recall@1, {{minimise: train.epochs}}]
"""
SLOW_GP = pytest.param("gp", marks=pytest.mark.slow)


def make(folder: Path, sampler: str) -> Plan:
    return plan_study(folder, STUDY.format(sampler=sampler))


def search(plan: Plan, until: int, history: list[Observation], *, sign: int) -> list[Observation]:
    """Grow a history: more epochs are slightly better, and count as cost by ``sign``."""
    sampler = Sampler(plan)
    history = history or [Observation(0, dict(plan.fixed[0].varied), 0.3, others=(3.0 * sign,))]
    while len(history) < until:
        number = len(history)
        known = [
            told if told.number <= number - 2 else Observation(told.number, told.varied, None)
            for told in history
        ]
        varied = sampler.propose(number, known)
        assert varied is not None
        epochs = varied["train.epochs"]
        assert isinstance(epochs, int)
        told = Observation(number, varied, 0.5 + epochs / 1000, others=(float(sign * epochs),))
        if number % 7 == 3:
            told = Observation(number, varied, None)
        history = [*history, told]
    return history


@pytest.mark.parametrize("sampler", ["tpe", "nsga2", SLOW_GP])
def test_a_stopped_search_proposes_what_it_would_have_proposed_anyway(
    tmp_path: Path, sampler: str
) -> None:
    trials = 14 if sampler == "gp" else 36
    whole = search(make(tmp_path, sampler), trials, [], sign=-1)
    resumed = search(make(tmp_path, sampler), trials, whole[:11], sign=-1)
    assert resumed == whole


@pytest.mark.slow
@pytest.mark.parametrize("sampler", ["tpe", "nsga2"])
def test_what_is_minimised_steers_the_search(tmp_path: Path, sampler: str) -> None:
    trials = 60
    means = []
    for sign in (-1, 1):
        found = search(make(tmp_path, sampler), trials, [], sign=sign)
        late = [told.varied["train.epochs"] for told in found[trials // 2 :]]
        means.append(statistics.fmean(float(str(epochs)) for epochs in late))
    cheap, dear = means
    assert cheap < dear
