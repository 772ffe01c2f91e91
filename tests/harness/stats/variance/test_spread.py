"""The spread to plan with: shrunk where few seeds measured it."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.optimize import brentq
from scipy.special import polygamma
from scipy.stats import chi2

from harness.stats.variance.spread import (
    Deviation,
    fit_prior,
    planned_spread,
    pool,
    upper_bound,
)


def differences(
    rng: np.random.Generator, trials: int, seeds: int, sd: float = 1.0
) -> list[Deviation]:
    """Deviations of trials that share a baseline; the paired differences have ``sd``."""
    runs = rng.normal(size=(trials + 1, seeds)) * sd / 2**0.5
    return [Deviation(float((row - runs[0]).std(ddof=1)), seeds) for row in runs[1:]]


def test_more_than_three_seeds_are_believed() -> None:
    own = [Deviation(0.01, 4), Deviation(0.02, 4), Deviation(0.09, 4)]
    found = planned_spread(own, [Deviation(1.0, 9)] * 5)
    assert found == (0.02, 0.02, False)


@pytest.mark.parametrize(("trials", "seeds"), [(1, 2), (1, 3), (4, 3), (8, 2), (8, 3)])
def test_the_bound_of_few_seeds_is_large_enough_in_four_of_five_studies_or_more(
    trials: int, seeds: int
) -> None:
    rng = np.random.default_rng(0)
    studies = 1000
    enough = sum(planned_spread(differences(rng, trials, seeds)).sd >= 1.0 for _ in range(studies))
    believed = sum(
        planned_spread(differences(rng, trials, seeds)).measured >= 1.0 for _ in range(studies)
    )
    assert 0.77 <= enough / studies <= 0.91
    assert believed / studies < 0.5


def test_the_degrees_of_freedom_are_those_of_the_simulated_mean_variance() -> None:
    rng = np.random.default_rng(1)
    means = [pool(differences(rng, 6, 3))[0] for _ in range(4000)]
    freedom = pool([Deviation(1.0, 3)] * 6)[1]
    assert 2 * np.mean(means) ** 2 / np.var(means) == pytest.approx(freedom, rel=0.1)


def test_the_bound_is_that_of_chi_square() -> None:
    assert upper_bound(4.0, 5.0) == pytest.approx(4.0 * 5 / chi2.ppf(0.2, 5), rel=1e-12)
    assert upper_bound(4.0, math.inf) == 4.0


def test_the_prior_solves_the_equations_of_smyth() -> None:
    rng = np.random.default_rng(2)
    trials = [
        Deviation(float(sd), seeds)
        for seeds in (3, 5, 9)
        for sd in np.sqrt(0.04 * 6 / rng.chisquare(6, 10) * rng.chisquare(seeds - 1, 10))
    ]
    found = fit_prior(trials)
    assert found is not None
    freedoms = [each.seeds - 1 for each in trials]
    logs = [
        math.log(each.sd**2) - float(polygamma(0, d / 2)) + math.log(d / 2)
        for each, d in zip(trials, freedoms, strict=True)
    ]
    mean = sum(logs) / len(logs)
    excess = sum((e - mean) ** 2 for e in logs) / (len(logs) - 1)
    excess -= sum(float(polygamma(1, d / 2)) for d in freedoms) / len(freedoms)
    half = brentq(lambda x: float(polygamma(1, x)) - excess, 1e-3, 1e4, xtol=1e-13)
    assert found.freedom == pytest.approx(2 * half, rel=1e-6)
    assert found.variance == pytest.approx(
        math.exp(mean + float(polygamma(0, half)) - math.log(half)), rel=1e-6
    )


def test_the_prior_finds_what_the_variances_were_drawn_from() -> None:
    rng = np.random.default_rng(3)
    variances = 0.04 * 6 / rng.chisquare(6, 20_000)
    trials = [Deviation(float(v**0.5), 5) for v in variances * rng.chisquare(4, 20_000) / 4]
    found = fit_prior(trials)
    assert found is not None
    assert found.variance == pytest.approx(0.04, rel=0.05)
    assert found.freedom == pytest.approx(6, rel=0.1)


def test_a_lucky_spread_is_drawn_towards_that_of_other_studies() -> None:
    lucky = [Deviation(0.001, 3)]
    alone = planned_spread(lucky)
    others = [Deviation(0.02 + 0.0001 * place, 10) for place in range(6)]
    shrunk = planned_spread(lucky, others)
    assert alone.sd < 0.003
    assert shrunk.sd == pytest.approx(0.02, rel=0.1)
    assert (shrunk.measured, shrunk.is_bound) == (0.001, True)


def test_equal_variances_are_a_prior_without_end() -> None:
    found = fit_prior([Deviation(0.02, 10)] * 4)
    assert found is not None
    assert math.isinf(found.freedom)


@pytest.mark.parametrize("trials", [[], [Deviation(0.1, 5)] * 2, [Deviation(0.0, 5)] * 9])
def test_too_few_trials_are_no_prior(trials: list[Deviation]) -> None:
    assert fit_prior(trials) is None
