"""The luck of the best of equal trials: against known values and simulated studies."""

from __future__ import annotations

import numpy as np
import pytest

from harness.stats.selection import expected_maximum, luck_of_the_best


@pytest.mark.parametrize(
    ("count", "expected"),
    [
        (1, 0.0),
        (2, np.pi**-0.5),
        (3, 1.5 * np.pi**-0.5),
        (10, 1.538752730835),  # Teichroew 1956
        (100, 2.507593639177),
    ],
)
def test_the_expected_maximum_of_normals_is_the_tabulated_one(count: int, expected: float) -> None:
    assert expected_maximum(count) == pytest.approx(expected, abs=1e-8)


@pytest.mark.parametrize("correlation", [0.0, 0.8])
def test_the_estimate_is_the_excess_of_the_best_of_equal_correlated_trials(
    correlation: float,
) -> None:
    """Six trials with one true mean share the luck of their seeds: 2,000 studies of 8 seeds."""
    generator = np.random.default_rng(0)
    excess, estimates = [], []
    for _ in range(2000):
        shared = generator.normal(0, correlation**0.5, (1, 8))
        values = shared + generator.normal(0, (1 - correlation) ** 0.5, (6, 8))
        excess.append(values.mean(axis=1).max() - values.mean())
        estimates.append(luck_of_the_best(values.tolist(), 6))
    assert np.mean(estimates) == pytest.approx(np.mean(excess), rel=0.03)


def test_more_trials_mean_more_luck_with_the_same_spread() -> None:
    values = np.random.default_rng(0).normal(size=(4, 5)).tolist()
    four, forty = luck_of_the_best(values, 4), luck_of_the_best(values, 40)
    assert four is not None
    assert forty is not None
    assert forty / four == pytest.approx(expected_maximum(40) / expected_maximum(4))


def test_differences_between_trials_and_between_seeds_are_no_luck() -> None:
    trials, seeds = np.array([[0.1], [0.5], [0.3]]), np.array([[0.0, 0.2, 0.1, 0.4]])
    assert luck_of_the_best((trials + seeds).tolist(), 3) == pytest.approx(0.0, abs=1e-12)


@pytest.mark.parametrize("values", [[], [[0.1, 0.2]], [[0.1], [0.2]]])
def test_one_trial_or_one_seed_tells_nothing(values: list[list[float]]) -> None:
    assert luck_of_the_best(values, 3) is None
