"""Shares of a variance against slow formulas, and against known components in simulations."""

from __future__ import annotations

import statistics

import numpy as np
import pytest
from known_variances import MIXES, SOURCES, coverage

from harness.stats.paired import t_quantile
from harness.stats.variance.variance_share import additivity, factor_of_interval, variance_share

ALONE = [0.51, 0.48, 0.55, 0.50, 0.47, 0.53]
TOGETHER = [0.58, 0.41, 0.60, 0.52, 0.44, 0.49]


def test_the_share_is_the_ratio_of_the_variances() -> None:
    found = variance_share(ALONE, TOGETHER)
    assert found is not None
    expected = statistics.variance(ALONE) / statistics.variance(TOGETHER)
    assert found.share == pytest.approx(expected)
    assert found.low < found.share < found.high


def test_at_either_end_scaled_sum_and_difference_just_correlate() -> None:
    # Pitman: if one variance is k times the other, x + y sqrt(k) and x - y sqrt(k) do not correlate.
    found = variance_share(ALONE, TOGETHER)
    assert found is not None
    x, y = np.array(ALONE), np.array(TOGETHER)
    for end in (found.low, found.high):
        r = np.corrcoef(x + y * end**0.5, x - y * end**0.5)[0, 1]
        t = abs(r) * ((len(x) - 2) / (1 - r**2)) ** 0.5
        assert t == pytest.approx(t_quantile(len(x) - 2))


def test_a_source_that_changes_nothing_has_no_share() -> None:
    assert variance_share([0.1] * 6, TOGETHER) == (0.0, 0.0, 0.0)


@pytest.mark.parametrize(("alone", "together"), [([1, 2], [2, 1]), ([1, 2, 3], [0.3, 0.3, 0.3])])
def test_there_is_no_share_of_what_does_not_vary_or_with_two_pairs(
    alone: list[float], together: list[float]
) -> None:
    assert variance_share(alone, together) is None


def test_a_source_that_gives_everything_has_a_share_of_one_without_doubt() -> None:
    assert variance_share(TOGETHER, TOGETHER) == pytest.approx((1.0, 1.0, 1.0), abs=1e-6)


def test_the_factor_is_that_of_the_widest_interval() -> None:
    chance = np.random.default_rng(0)
    found = variance_share(x := chance.normal(size=8), y := chance.normal(size=8))
    assert found is not None
    left = 1 - np.corrcoef(x, y)[0, 1] ** 2
    assert found.high / found.share == pytest.approx(factor_of_interval(8, unexplained=left))
    assert found.high / found.share < factor_of_interval(8)


def test_sources_that_add_their_own_parts_add_up_seed_by_seed() -> None:
    parts = np.random.default_rng(0).normal(size=(3, 8))
    found = additivity(parts + 0.5, parts.sum(axis=0))
    assert found == pytest.approx((1.0, 1.0, 1.0))


def test_additivity_is_the_correlation_of_the_sum_with_fishers_interval() -> None:
    found = additivity([ALONE, ALONE[::-1]], TOGETHER)
    assert found is not None
    summed = [one + other for one, other in zip(ALONE, ALONE[::-1], strict=True)]
    r = statistics.correlation(summed, TOGETHER)
    half = statistics.NormalDist().inv_cdf(0.975) / 3**0.5
    assert found.correlation == pytest.approx(r)
    assert found[1:] == pytest.approx(np.tanh([np.arctanh(r) - half, np.arctanh(r) + half]))
    assert additivity([ALONE], [0.5] * 6) is None
    assert additivity([ALONE[:3]], TOGETHER[:3]) is None


@pytest.mark.parametrize("name", MIXES)
def test_intervals_hold_the_known_shares_in_95_percent_of_studies(name: str) -> None:
    found = coverage(MIXES[name], studies=1500, levels=10, key=1)
    assert found.keys() == set(SOURCES)
    # Three standard errors of a share of 0.95 in 1,500 studies are 0.017.
    assert all(0.933 <= share <= 0.967 for share in found.values()), found
