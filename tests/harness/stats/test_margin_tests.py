"""Tests at a margin against the slow formula, their edges, and the error of a family of claims."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from claim_errors import rates
from scipy.stats import ttest_1samp

from harness.stats.margin_tests import (
    MarginTest,
    decide,
    margin_test,
    one_sided_p,
    pairs_for_verdict,
)

DIFFERENCES = [0.021, 0.013, -0.004, 0.017, 0.030, 0.008, 0.011, 0.019]


def draws(n: int, mean: float, seed: int = 0) -> list[float]:
    return [float(value) for value in np.random.default_rng(seed).normal(mean, 0.05, n)]


def slow_one_sided_p(differences: list[float], margin: float, upper: bool) -> float:
    """Share of all sign patterns of d - margin whose sum is at least as extreme, one by one."""
    moved = [(d - margin) * (1 if upper else -1) for d in differences]
    sums = [
        sum(sign * value for sign, value in zip(signs, moved, strict=True))
        for signs in product([1, -1], repeat=len(moved))
    ]
    return sum(value >= sum(moved) - 1e-12 for value in sums) / len(sums)


@pytest.mark.parametrize("upper", [True, False])
@pytest.mark.parametrize("margin", [0.0, 0.01, -0.02, 0.1])
@pytest.mark.parametrize("n", [1, 2, 5, 11])
def test_a_one_sided_p_is_the_slow_one(n: int, margin: float, upper: bool) -> None:
    differences = draws(n, 0.02)
    expected = slow_one_sided_p(differences, margin, upper)
    assert one_sided_p(differences, margin, upper=upper) == pytest.approx(expected, rel=1e-12)


def test_a_sampled_p_is_near_that_of_the_t_test() -> None:
    differences = draws(40, 0.02)
    expected = ttest_1samp(differences, 0.005, alternative="greater").pvalue
    assert one_sided_p(differences, 0.005) == pytest.approx(expected, abs=0.01)


def test_the_two_sides_of_a_test_share_the_observed_pattern() -> None:
    for margin in (0.0, 0.01, 0.02):
        both = one_sided_p(DIFFERENCES, margin) + one_sided_p(DIFFERENCES, margin, upper=False)
        assert both >= 1.0


def test_differences_equal_to_the_margin_show_nothing_whatever_their_rounding() -> None:
    differences = [0.7 + 0.1 * k - (0.6 + 0.1 * k) for k in range(8)]  # 0.1, give or take 1e-16
    assert one_sided_p(differences, 0.1) == 1.0
    assert one_sided_p(differences, 0.1, upper=False) == 1.0


def test_each_question_asks_about_its_own_bounds() -> None:
    above = margin_test(DIFFERENCES, "above", 0.005)
    assert above.p == one_sided_p(DIFFERENCES, 0.005)
    assert above.p_against == one_sided_p(DIFFERENCES, 0.005, upper=False)
    not_below = margin_test(DIFFERENCES, "not below", 0.005)
    assert not_below.p == one_sided_p(DIFFERENCES, -0.005)
    assert not_below.p_against == one_sided_p(DIFFERENCES, -0.005, upper=False)
    within = margin_test(DIFFERENCES, "within", 0.03)
    assert within.p == max(
        one_sided_p(DIFFERENCES, -0.03), one_sided_p(DIFFERENCES, 0.03, upper=False)
    )
    outside = margin_test(DIFFERENCES, "within", 0.001)
    assert outside.p_against == 2 * one_sided_p(DIFFERENCES, 0.001)
    assert above.n == 8
    assert above.difference == pytest.approx(np.mean(DIFFERENCES))
    assert above.low is not None
    assert above.low < above.difference


def test_verdicts_follow_the_adjusted_p_of_either_side() -> None:
    held = MarginTest(10, 0.02, 0.0, 0.04, p=0.001, p_against=1.0)
    refuted = MarginTest(10, -0.02, -0.04, 0.0, p=1.0, p_against=0.001)
    open_ = MarginTest(10, 0.0, -0.1, 0.1, p=0.03, p_against=0.98)
    found = decide([held, refuted, open_])
    assert [each.verdict for each in found] == ["held", "refuted", "undecided"]
    assert found[2].p_holm == pytest.approx(0.06)  # two are left after the smallest
    assert [each.verdict for each in decide([open_])] == ["held"]


def test_too_few_pairs_decide_nothing() -> None:
    test = margin_test([0.1] * 5, "above", 0.0)
    assert test.p == 1 / 32
    assert decide([test])[0].verdict == "undecided"
    assert decide([margin_test([0.1] * 6, "above", 0.0)])[0].verdict == "held"


@pytest.mark.parametrize(("claims", "pairs"), [(1, 6), (3, 6), (4, 7), (7, 8)])
def test_the_fewest_pairs_that_can_decide(claims: int, pairs: int) -> None:
    assert pairs_for_verdict(claims) == pairs
    unanimous = margin_test([0.1] * pairs, "above", 0.0)
    assert all(each.verdict == "held" for each in decide([unanimous] * claims))
    if pairs > 6:
        fewer = margin_test([0.1] * (pairs - 1), "above", 0.0)
        assert all(each.verdict == "undecided" for each in decide([fewer] * claims))


def test_at_most_five_percent_of_studies_decide_a_claim_at_its_boundary() -> None:
    found = rates(studies=600, seeds=10, shift=0.0, key=1)
    limit = 0.05 + 2.5 * (0.05 * 0.95 / 600) ** 0.5
    assert 0.01 < found["any held"] <= limit
    assert 0.01 < found["any refuted"] <= limit


def test_claims_that_are_true_or_false_by_a_distance_are_usually_decided() -> None:
    assert rates(studies=50, seeds=12, shift=2.0, key=2)["held"] >= 0.9
    assert rates(studies=50, seeds=12, shift=-2.0, key=2)["refuted"] >= 0.9
