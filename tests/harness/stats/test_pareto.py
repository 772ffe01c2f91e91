"""The Pareto front, against its definition."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from harness.stats.pareto import on_front, spread_out


def beats(one: tuple[float, ...], other: tuple[float, ...]) -> bool:
    """Whether a point is as good in all objectives and better in one: the definition, in words."""
    pairs = list(zip(one, other, strict=True))
    return all(a >= b for a, b in pairs) and any(a > b for a, b in pairs)


@pytest.mark.parametrize("objectives", [1, 2, 3, 4])
@pytest.mark.parametrize("levels", [3, 1000])
def test_the_front_is_what_no_point_beats(objectives: int, levels: int) -> None:
    rng = np.random.default_rng(objectives)
    points = [tuple(map(float, row)) for row in rng.integers(levels, size=(60, objectives))]
    slow = [not any(beats(other, point) for other in points) for point in points]
    assert on_front(points) == slow
    assert any(slow)


def test_equal_points_are_on_the_front_together() -> None:
    assert on_front([(1, 2), (1, 2), (2, 1), (1, 1)]) == [True, True, True, False]
    assert on_front([]) == []


def test_a_small_front_is_kept_whole() -> None:
    assert spread_out([(1, 2), (2, 1)], 3) == [0, 1]
    assert spread_out([], 3) == []


def test_the_ends_of_the_front_are_chosen_first_and_then_the_loneliest() -> None:
    front = [(0.0, 10.0), (1.0, 9.0), (1.5, 8.5), (6.0, 4.0), (10.0, 0.0)]
    assert spread_out(front, 2) == [0, 4]
    assert spread_out(front, 3) == [0, 3, 4]


def test_crowding_is_that_of_the_definition() -> None:
    rng = np.random.default_rng(5)
    xs = sorted(map(float, rng.random(9)))
    front = [(x, 1 - x) for x in xs]
    gaps = {place: 2 * (xs[place + 1] - xs[place - 1]) / (xs[-1] - xs[0]) for place in range(1, 8)}
    best = sorted(gaps, key=lambda place: -gaps[place])
    for most in range(3, 9):
        assert spread_out(front, most) == sorted([0, 8, *best[: most - 2]])


def test_order_does_not_matter() -> None:
    points = [(0.0, 3.0), (1.0, 2.0), (2.0, 2.5), (3.0, 0.0)]
    for order in itertools.permutations(range(4)):
        front = on_front([points[place] for place in order])
        assert {order[place] for place in range(4) if front[place]} == {0, 2, 3}
