"""What a design can show: against arithmetic, against SciPy, and against simulated studies."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from scipy import stats as scipy_stats
from scipy.optimize import brentq

from harness.stats.paired import holm, sign_flip_p
from harness.stats.power import (
    can_be_significant,
    detectable_effect,
    seeds_needed,
    seeds_to_settle,
    smallest_p,
    t_power,
)


@pytest.mark.parametrize("seeds", [1, 3, 5, 10, 25])
def test_the_smallest_p_is_that_of_differences_of_one_sign(seeds: int) -> None:
    assert smallest_p(seeds) == pytest.approx(sign_flip_p([1.0] * seeds), rel=0.6 * (seeds > 20))


@pytest.mark.parametrize(("comparisons", "needed"), [(1, 6), (3, 7), (10, 9), (40, 11)])
def test_so_many_seeds_are_needed_and_one_less_is_too_few(comparisons: int, needed: int) -> None:
    def best(seeds: int) -> float:
        return min(holm([sign_flip_p([1.0] * seeds), *[1.0] * (comparisons - 1)]))

    assert seeds_needed(comparisons) == needed
    assert best(needed) < 0.05 <= best(needed - 1)
    assert can_be_significant(needed, comparisons)
    assert not can_be_significant(needed - 1, comparisons)
    assert detectable_effect(needed - 1, comparisons) is None


def test_no_number_of_seeds_serves_immense_families() -> None:
    assert seeds_needed(10**6) is None


@pytest.mark.parametrize(("seeds", "effect", "level"), [(10, 1.0, 0.05), (30, 0.4, 0.005)])
def test_t_power_is_that_of_simulated_tests(seeds: int, effect: float, level: float) -> None:
    noise = np.random.default_rng(1).standard_normal((40_000, seeds))
    found = scipy_stats.ttest_1samp(noise + effect, 0.0, axis=1).pvalue < level
    assert t_power(effect, seeds, level) == pytest.approx(found.mean(), abs=0.01)


@pytest.mark.parametrize(("seeds", "comparisons"), [(13, 1), (20, 5), (30, 3)])
def test_with_many_seeds_the_effect_is_that_of_the_noncentral_t(
    seeds: int, comparisons: int
) -> None:
    critical = scipy_stats.t.isf(0.05 / comparisons / 2, seeds - 1)

    def missing(effect: float) -> float:
        power = scipy_stats.nct(seeds - 1, effect * seeds**0.5)
        return float(power.sf(critical) - 0.8)

    assert detectable_effect(seeds, comparisons) == pytest.approx(
        brentq(missing, 0.2, 2.0), rel=1e-4
    )


def test_with_six_seeds_all_differences_must_have_one_sign() -> None:
    # P(all six positive) = Phi(effect)**6 = 0.8; all six negative is next to impossible.
    exact = scipy_stats.norm.ppf(0.8 ** (1 / 6))
    assert detectable_effect(6, 1) == pytest.approx(exact, rel=0.05)


@pytest.mark.parametrize(("seeds", "comparisons"), [(8, 1), (10, 2)])
def test_the_effect_is_found_in_four_of_five_studies(seeds: int, comparisons: int) -> None:
    effect = detectable_effect(seeds, comparisons)
    assert effect is not None
    noise = np.random.default_rng(7).standard_normal((1000, seeds))
    found = [comparisons * sign_flip_p(list(row + effect)) < 0.05 for row in noise]
    assert np.mean(found) == pytest.approx(0.8, abs=0.05)


def test_more_seeds_detect_less_and_more_comparisons_cost_power() -> None:
    by_seeds = [detectable_effect(seeds, 3) or 99.0 for seeds in range(7, 40)]
    assert all(later < earlier * 1.02 for earlier, later in itertools.pairwise(by_seeds))
    by_family = [detectable_effect(10, family) or 99.0 for family in (1, 2, 5, 20)]
    assert by_family == sorted(by_family)


def test_the_seeds_that_settle_an_effect_find_it_in_four_of_five_studies() -> None:
    seeds = seeds_to_settle(1.0, 3)
    assert seeds is not None
    assert t_power(1.0, seeds, 0.05 / 3) >= 0.8 > t_power(1.0, seeds - 1, 0.05 / 3)
    studies = np.random.default_rng(1).normal(1.0, 1.0, (400, seeds))
    found = np.mean([sign_flip_p(study.tolist()) < 0.05 / 3 for study in studies])
    assert found == pytest.approx(0.8, abs=0.06)  # three standard errors of 400 studies


def test_a_large_effect_needs_the_seeds_of_the_test_and_a_tiny_one_too_many() -> None:
    assert seeds_to_settle(50.0, 1) == 6
    assert seeds_to_settle(-50.0, 3) == 7
    assert seeds_to_settle(0.0, 1) is None
    assert seeds_to_settle(0.01, 1) is None


def test_a_larger_difference_never_needs_more_seeds() -> None:
    needed = [seeds_to_settle(effect, 1) for effect in np.arange(0.5, 60.0, 0.1)]
    assert None not in needed
    assert needed == sorted(needed, reverse=True)
    assert needed[-1] == 6
