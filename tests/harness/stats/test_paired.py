"""Paired statistics against slow formulas and against SciPy and statsmodels."""

from __future__ import annotations

from collections.abc import Callable
from itertools import product

import numpy as np
import pytest
import scipy.stats
from statsmodels.stats.multitest import multipletests

from harness.stats.paired import (
    MIN_SEEDS_FOR_TEST,
    holm,
    paired_difference,
    probability_of_improvement,
    sampling_error,
    sign_flip_p,
    spearman,
    t_interval,
    t_quantile,
)


def draws(n: int, seed: int = 0) -> list[float]:
    return [float(value) for value in np.random.default_rng(seed).normal(0.02, 0.05, n)]


def slow_sign_flip_p(differences: list[float]) -> float:
    observed = abs(sum(differences))
    sums = [
        abs(sum(sign * value for sign, value in zip(signs, differences, strict=True)))
        for signs in product([1, -1], repeat=len(differences))
    ]
    return sum(value >= observed - 1e-12 for value in sums) / len(sums)


@pytest.mark.parametrize("n", [2, 3, 5, 10, 50])
def test_the_interval_is_scipys(n: int) -> None:
    values = draws(n)
    interval = t_interval(values)
    reference = scipy.stats.ttest_1samp(values, 0.0).confidence_interval(0.95)
    assert interval.mean == pytest.approx(np.mean(values), rel=1e-12)
    assert interval.sd == pytest.approx(np.std(values, ddof=1), rel=1e-12)
    assert (interval.low, interval.high) == pytest.approx((reference.low, reference.high), rel=1e-9)


def test_one_value_has_no_interval() -> None:
    assert t_interval([0.5]) == (0.5, None, None, None)


def test_equal_values_have_an_interval_of_no_width() -> None:
    assert t_interval([0.5, 0.5, 0.5]) == (0.5, 0.0, 0.5, 0.5)


def test_the_quantile_is_scipys() -> None:
    for df in (1, 2, 9, 1000):
        assert t_quantile(df) == pytest.approx(scipy.stats.t.ppf(0.975, df), rel=1e-10)


@pytest.mark.parametrize("n", range(1, 13))
def test_sign_flips_equal_direct_enumeration(n: int) -> None:
    for seed in range(3):
        assert sign_flip_p(draws(n, seed)) == slow_sign_flip_p(draws(n, seed))


@pytest.mark.parametrize("n", [3, 6, 9])
def test_sign_flips_equal_scipys_permutation_test(n: int) -> None:
    reference = scipy.stats.permutation_test(
        (draws(n),), np.mean, permutation_type="samples", n_resamples=np.inf, vectorized=True
    )
    assert sign_flip_p(draws(n)) == pytest.approx(reference.pvalue, rel=1e-12)


def test_ties_by_rounding_count_as_ties() -> None:
    # 0.1 + 0.2 - 0.3 is 5.6e-17, and so is no larger than 0.
    assert sign_flip_p([0.1, 0.2, -0.3]) == slow_sign_flip_p([0.1, 0.2, -0.3]) == 1.0
    assert sign_flip_p([0.1, 0.1, 0.1, -0.1]) == slow_sign_flip_p([1, 1, 1, -1])


@pytest.mark.parametrize(("n", "smallest"), [(3, 0.25), (5, 0.0625), (6, 0.03125), (10, 2 / 1024)])
def test_all_seeds_won_gives_the_smallest_p_there_is(n: int, smallest: float) -> None:
    assert sign_flip_p([0.01 * (i + 1) for i in range(n)]) == smallest
    assert (smallest < 0.05) == (n >= MIN_SEEDS_FOR_TEST)


def test_no_difference_at_all_is_no_evidence() -> None:
    assert sign_flip_p([0.0, 0.0, 0.0, 0.0]) == 1.0
    assert sign_flip_p([0.3]) == 1.0


def test_twenty_pairs_are_still_exact() -> None:
    assert sign_flip_p([1.0] * 20) == 2 / 2**20


def test_more_pairs_are_sampled_and_never_too_sure() -> None:
    assert sign_flip_p([1.0] * 40) == 1 / (2**18 + 1)
    differences = draws(30)
    p = sign_flip_p(differences)
    assert p == sign_flip_p(differences)
    assert p == pytest.approx(scipy.stats.ttest_1samp(differences, 0.0).pvalue, abs=0.02)


def exact_p(differences: list[float]) -> float:
    """By all sign patterns at once: right, and too large beyond some 24 pairs."""
    sums = np.zeros(1)
    for size in np.abs(differences):
        sums = np.concatenate([sums + size, sums - size])
    return float(np.mean(np.abs(sums) >= abs(sum(differences)) - 1e-9))


def test_a_sampled_p_is_as_far_from_the_exact_one_as_its_error_says() -> None:
    deviations = []
    for seed in range(24):
        differences = draws(21, seed)
        p = sign_flip_p(differences)
        deviations.append((p - exact_p(differences)) / sampling_error(p, 21))
    assert max(map(abs, deviations)) < 4
    # They share their random signs, so that they are not 24 independent ones.
    assert 0.3 < np.std(deviations) < 2.0


@pytest.mark.parametrize(("n", "error"), [(1, 0.0), (20, 0.0), (21, 0.05**0.5 * 0.95**0.5 / 512)])
def test_only_a_sampled_p_has_an_error(n: int, error: float) -> None:
    assert sampling_error(0.05, n) == pytest.approx(error, rel=1e-12)


def test_the_signs_that_are_sampled_are_fair_and_independent() -> None:
    # One size that outweighs all others decides alone, and two of a kind cancel in half of all.
    assert sign_flip_p([100.0] + [1.0] * 20) == pytest.approx(2 / 2**21, abs=2e-5)
    assert sign_flip_p([-1.0] * 20 + [20.0]) == 1.0
    assert sign_flip_p([50.0, 50.0] + [0.001] * 38) == pytest.approx(0.5 / 2**37, abs=1e-5)
    for place in (0, 15, 16, 39):  # on both sides of where one random number ends
        differences = [0.0] * 40
        differences[place], differences[39 - place] = 3.0, -1.0
        assert sign_flip_p(differences) == 1.0
        differences[39 - place] = 1.0
        assert sign_flip_p(differences) == pytest.approx(0.5, abs=0.005)


@pytest.mark.parametrize("n", [2, 6, 30])
def test_a_paired_difference_is_scipys_paired_t_test(n: int) -> None:
    trial, baseline = draws(n, 1), draws(n, 2)
    found = paired_difference(dict(enumerate(trial)), dict(enumerate(baseline)))
    reference = scipy.stats.ttest_rel(trial, baseline).confidence_interval(0.95)
    assert found is not None
    assert (found.low, found.high) == pytest.approx((reference.low, reference.high), rel=1e-9)
    wins = sum(one > other for one, other in zip(trial, baseline, strict=True))
    assert found.prob_improvement == pytest.approx(wins / n)
    assert found.is_exploratory == (n < 6)
    assert found.p_error == sampling_error(found.p, n)


def test_holm_by_its_definition() -> None:
    # Reject in order of p while p <= alpha / (tests left): adjusted p <= alpha says the same.
    values = [0.04, 0.001, 0.03, 0.2, 0.001, 0.012]
    adjusted = holm(values)
    for alpha in np.linspace(0.0005, 1.0, 500):
        rejected, left = set(), len(values)
        for index in sorted(range(len(values)), key=lambda i: values[i]):
            if values[index] > alpha / left:
                break
            rejected.add(index)
            left -= 1
        assert {i for i, p in enumerate(adjusted) if p <= alpha} == rejected


@pytest.mark.parametrize(
    "values",
    [[], [0.03], [0.01, 0.04, 0.03], [0.5, 0.5, 0.001], [0.9, 0.8], [0.02, 0.02, 0.02, 0.3]],
)
def test_holm_equals_statsmodels(values: list[float]) -> None:
    reference = list(multipletests(values, method="holm")[1]) if values else []
    assert holm(values) == pytest.approx(reference, rel=1e-12)


def test_a_tie_is_half_an_improvement() -> None:
    assert probability_of_improvement([0.1, -0.1, 0.0, 0.2]) == 0.625


def test_only_common_seeds_are_compared() -> None:
    found = paired_difference({1: 0.5, 2: 0.7, 9: 0.0}, {2: 0.4, 1: 0.4, 3: 1.0})
    assert found is not None
    reference = scipy.stats.ttest_rel([0.5, 0.7], [0.4, 0.4]).confidence_interval(0.95)
    assert (found.n, found.difference) == (2, pytest.approx(0.2))
    assert (found.low, found.high) == pytest.approx((reference.low, reference.high))
    assert (found.p, found.prob_improvement, found.is_exploratory) == (0.5, 1.0, True)


def test_no_common_seed_is_no_comparison() -> None:
    assert paired_difference({1: 0.5}, {2: 0.5}) is None


def test_a_constant_gain_is_a_point_with_its_exact_p() -> None:
    found = paired_difference(dict.fromkeys(range(6), 0.75), dict.fromkeys(range(6), 0.5))
    assert found == (6, 0.25, 0.25, 0.25, 0.03125, 0.0, 1.0, False)


@pytest.mark.parametrize("function", [t_interval, sign_flip_p, probability_of_improvement])
def test_nothing_has_no_statistics(function: Callable[[list[float]], object]) -> None:
    with pytest.raises(ValueError, match="at least one"):
        function([])


@pytest.mark.parametrize("ties", [False, True])
def test_the_rank_correlation_is_scipys(ties: bool) -> None:
    draw = np.random.default_rng(4)
    xs = draw.integers(0, 4, 30).tolist() if ties else draw.normal(size=30).tolist()
    ys = (np.asarray(xs) + draw.normal(size=30)).round(0 if ties else 9).tolist()
    expected = scipy.stats.spearmanr(xs, ys).statistic
    assert spearman(xs, ys) == pytest.approx(expected)


def test_too_few_or_constant_values_have_no_rank_correlation() -> None:
    assert spearman([1, 2], [1, 2]) is None
    assert spearman([1, 1, 1], [1, 2, 3]) is None
