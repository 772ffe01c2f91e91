"""Shares of the variance: known functions, slow sums, and what the intervals hold."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from sklearn.tree import DecisionTreeRegressor

from harness.stats.variance.importance import crossed_shares, forest_shares, is_crossed, tree_shares

LEVELS = np.array(list(itertools.product(range(3), range(2), range(2))))


def effects(levels: np.ndarray) -> np.ndarray:
    a, b, c = levels.T
    score: np.ndarray = 0.3 * a + 0.5 * b + 0.4 * a * b + 0.0 * c
    return score


def by_hand(levels: np.ndarray, values: np.ndarray) -> dict[tuple[int, ...], float]:
    """Main effects and interactions from the model's own terms: means of cells, by loops."""
    mean = values.mean()
    main: dict[int, dict[int, float]] = {}
    for p in range(levels.shape[1]):
        main[p] = {v: values[levels[:, p] == v].mean() - mean for v in set(levels[:, p])}
    total = ((values - mean) ** 2).mean()
    found: dict[tuple[int, ...], float] = {}
    for p in main:
        found[p,] = np.mean([main[p][v] ** 2 for v in levels[:, p]]) / total
    for p, q in itertools.combinations(main, 2):
        squares = []
        for v, w in levels[:, (p, q)]:
            cell = values[(levels[:, p] == v) & (levels[:, q] == w)].mean()
            squares.append((cell - mean - main[p][v] - main[q][w]) ** 2)
        found[p, q] = np.mean(squares) / total
    return found


def test_a_crossed_design_is_the_analysis_of_variance() -> None:
    values = effects(LEVELS) + 0.1 * np.random.default_rng(0).normal(size=(4, len(LEVELS)))
    found = crossed_shares(LEVELS, values)
    assert found is not None
    expected = by_hand(LEVELS, values.mean(axis=0))
    assert {term: one.share for term, one in found.items()} == pytest.approx(expected, abs=1e-12)
    for one in found.values():
        assert one.low is not None
        assert one.high is not None
        assert 0 <= one.low <= one.share <= one.high <= 1


def test_a_parameter_without_effect_explains_nothing_and_one_seed_has_no_interval() -> None:
    found = crossed_shares(LEVELS, effects(LEVELS)[None])
    assert found is not None
    assert found[2,] == pytest.approx((0.0, None, None), abs=1e-12)
    assert found[0, 1].share > 0.01
    assert found[0, 2].share == pytest.approx(0.0, abs=1e-12)
    assert sum(one.share for one in found.values()) == pytest.approx(1.0)
    assert crossed_shares(LEVELS, np.ones((3, len(LEVELS)))) is None


def test_a_design_is_crossed_if_every_combination_is_there_once() -> None:
    assert is_crossed(LEVELS)
    assert not is_crossed(LEVELS[:-1])
    assert not is_crossed(np.vstack([LEVELS, LEVELS[:1]]))


def test_a_tree_is_explained_as_by_summing_over_a_fine_grid() -> None:
    draw = np.random.default_rng(1)
    points = draw.integers(0, 8, size=(60, 3)) / 8 + 1 / 16  # splits lie on the grid's edges
    values = points[:, 0] + 2 * points[:, 1] * points[:, 2] + 0.1 * draw.normal(size=60)
    tree = DecisionTreeRegressor(random_state=0).fit(points, values)
    steps = (np.arange(16) + 0.5) / 16
    cube = np.array(list(itertools.product(steps, steps, steps)))
    levels = (cube * 16).astype(int)
    expected = by_hand(levels, tree.predict(cube))
    found = tree_shares(tree.tree_, 3)
    assert found == pytest.approx(expected, abs=1e-9)


@pytest.mark.slow
def test_a_forest_finds_the_shares_of_a_known_function() -> None:
    draw = np.random.default_rng(2)
    points = draw.random((250, 3))
    values = 2 * points[:, 0] + points[:, 1] + 0.05 * draw.normal(size=250)
    found = forest_shares(points, values)
    assert found is not None
    assert found[0,].share == pytest.approx(0.8, abs=0.06)
    assert found[1,].share == pytest.approx(0.2, abs=0.06)
    assert found[2,].share < 0.02
    low, high = found[0,].low, found[0,].high
    assert low is not None
    assert high is not None
    assert low < 0.8 < high
    assert high - low < 0.3


@pytest.mark.slow
def test_a_forest_sees_an_interaction_and_is_the_same_again() -> None:
    points = np.random.default_rng(3).random((100, 2))
    values = ((points[:, 0] > 0.5) == (points[:, 1] > 0.5)).astype(float)
    found = forest_shares(points, values)
    assert found is not None
    assert found[0, 1].share > 0.6
    assert found[0,].share < 0.2
    assert forest_shares(points, values) == found
    assert forest_shares(points, np.ones(100)) is None
