"""The interval over seeds and classes: against slow sums, at its edges, and in simulated studies."""

from __future__ import annotations

import numpy as np
import pytest
from crossed_studies import MIXES, coverage
from scipy import stats

from harness.stats.paired import t_interval
from harness.stats.variance.crossed import crossed_interval


def table_of(seeds: int, classes: int, key: int = 0) -> np.ndarray:
    draw = np.random.default_rng(key)
    by_class, by_seed = draw.normal(size=classes), 0.5 * draw.normal(size=(seeds, 1))
    table: np.ndarray = 0.1 + by_class + by_seed + draw.normal(size=(seeds, classes))
    return table


def slowly(table: np.ndarray, weights: np.ndarray) -> tuple[float, float]:
    """The interval by loops over seeds and classes."""
    seeds, classes = table.shape
    share = [w / sum(weights) for w in weights]
    mean = sum(share[k] * table[s][k] for s in range(seeds) for k in range(classes)) / seeds
    z = [[classes * share[k] * (table[s][k] - mean) for k in range(classes)] for s in range(seeds)]
    by_seed = [sum(row) / classes for row in z]
    by_class = [sum(row[k] for row in z) / seeds for k in range(classes)]
    ms_seeds = classes * sum(a * a for a in by_seed) / (seeds - 1)
    ms_classes = seeds * sum(b * b for b in by_class) / (classes - 1)
    rest = [(z[s][k] - by_seed[s] - by_class[k]) ** 2 for s in range(seeds) for k in range(classes)]
    ms_rest = sum(rest) / ((seeds - 1) * (classes - 1))
    variance = ms_seeds + ms_classes - ms_rest
    parts = [(ms_seeds, seeds - 1), (ms_classes, classes - 1)]
    parts.append((ms_rest, (seeds - 1) * (classes - 1)))
    freedom = variance**2 / sum(ms**2 / df for ms, df in parts)
    half = stats.t.ppf(0.975, freedom) * (variance / (seeds * classes)) ** 0.5
    return mean - half, mean + half


@pytest.mark.parametrize("weights", [np.ones(7), np.arange(1.0, 8.0)])
def test_the_interval_is_that_of_the_slow_sums(weights: np.ndarray) -> None:
    table = table_of(5, 7)
    found = crossed_interval(table, weights)
    assert found is not None
    assert (found.low, found.high) == pytest.approx(slowly(table, weights), rel=1e-9)
    assert found.classes == 7


def test_without_differences_between_classes_it_is_the_interval_over_seeds() -> None:
    by_seed = np.array([0.01, 0.03, 0.02, 0.05])
    found = crossed_interval(np.repeat(by_seed[:, None], 9, axis=1), np.arange(1.0, 10.0))
    plain = t_interval(by_seed.tolist())
    assert found is not None
    assert (found.low, found.high) == pytest.approx((plain.low, plain.high))
    assert found.share == pytest.approx(0.0)


def test_with_equal_seeds_it_is_the_interval_over_classes() -> None:
    by_class = np.array([0.1, -0.1, 0.2, 0.0, 0.3])
    found = crossed_interval(np.repeat(by_class[None], 4, axis=0), np.ones(5))
    plain = t_interval(by_class.tolist())
    assert found is not None
    assert (found.low, found.high) == pytest.approx((plain.low, plain.high))
    assert found.share == pytest.approx(1.0)


def test_one_seed_or_one_class_has_no_interval_and_equal_values_have_no_width() -> None:
    assert crossed_interval(table_of(1, 5), np.ones(5)) is None
    assert crossed_interval(table_of(5, 1), np.ones(1)) is None
    found = crossed_interval(np.full((3, 4), 0.25), np.ones(4))
    assert found == (0.25, 0.25, 4, 0.0)


@pytest.mark.parametrize("key", range(20))
def test_it_is_never_based_on_less_variance_than_that_of_the_seeds(key: int) -> None:
    table = np.random.default_rng(key).normal(size=(6, 4))
    found = crossed_interval(table, np.ones(4))
    assert found is not None
    assert 0 <= found.share < 1


@pytest.mark.slow
@pytest.mark.parametrize("name", ["classes", "seeds"])
def test_it_covers_the_difference_on_other_seeds_and_classes(name: str) -> None:
    found = coverage(MIXES[name], seeds=10, classes=20, studies=1000, key=1)
    assert 0.93 <= found.over_both <= 0.975
    if name == "classes":
        assert found.over_seeds < 0.8  # it holds the classes fixed
