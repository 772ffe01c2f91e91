from __future__ import annotations

import dataclasses
import random

import pytest

from harness.search.importance import (
    FEWEST_TRIALS,
    MOST_FOR_A_FOREST,
    Dimension,
    importances,
    usable,
)

X, Y = Dimension("x", -1, 1), Dimension("y", -1, 1)
RATE = Dimension("rate", 1e-4, 1.0, is_log=True)
LOSS = Dimension("loss", choices=3)
SPACE = [X, Y, RATE, LOSS]


def draw(count: int, seed: int = 0) -> list[dict[str, float]]:
    pick = random.Random(seed)
    return [
        {
            "x": pick.uniform(-1, 1),
            "y": pick.uniform(-1, 1),
            "rate": 10 ** pick.uniform(-4, 0),
            "loss": float(pick.randrange(3)),
        }
        for _ in range(count)
    ]


def hill(points: list[dict[str, float]]) -> list[float]:
    """x makes nine tenths of the variance and y the rest."""
    return [3 * point["x"] + point["y"] for point in points]


@pytest.mark.parametrize("count", [20, MOST_FOR_A_FOREST + 20])
def test_what_matters_comes_first_and_the_shares_add_up_to_one(count: int) -> None:
    points = draw(count)
    found = importances(SPACE, points, hill(points))
    assert found is not None
    assert found.trials == count
    assert next(iter(found.shares)) == "x"
    assert found.shares["x"] > 0.6
    assert sum(found.shares.values()) == pytest.approx(1)
    assert list(found.shares.values()) == sorted(found.shares.values(), reverse=True)


def test_many_trials_are_judged_by_densities_and_few_by_a_forest() -> None:
    methods = []
    for count in (MOST_FOR_A_FOREST, MOST_FOR_A_FOREST + 1):
        points = draw(count)
        found = importances([X, LOSS], points, hill(points))
        assert found is not None
        methods.append(found.method)
    assert methods == ["fANOVA", "PED-ANOVA"]


@pytest.mark.parametrize("count", [12, MOST_FOR_A_FOREST + 1])
def test_the_same_trials_give_the_same_numbers(count: int) -> None:
    points = draw(count)
    assert importances(SPACE, points, hill(points)) == importances(SPACE, points, hill(points))


def test_a_log_axis_counts_by_its_decades() -> None:
    points = draw(60)
    values = [float(point["rate"] > 1e-2) + 0.5 * float(point["x"] > 0) for point in points]
    found = importances([X, RATE], points, values)
    assert found is not None
    # On an even axis 1e-2 would be its first hundredth, and the rate would seem to do nothing.
    assert found.shares["rate"] == pytest.approx(0.8, abs=0.08)


def test_a_conditional_parameter_counts_by_the_trials_that_have_it() -> None:
    temperature = Dimension("temperature", 0, 1, is_conditional=True)
    points = draw(60)
    pick = random.Random(1)
    values = []
    for point in points:
        value = 0.2 * point["x"]
        if point["loss"] == 0:
            point["temperature"] = pick.uniform(0, 1)
            value += 4 * point["temperature"]
        values.append(value)
    found = importances([X, Y, LOSS, temperature], points, values)
    assert found is not None
    assert found.method == "fANOVA"
    assert found.trials == 60
    assert found.shares["temperature"] > 0.25 > found.shares["x"]
    assert found.shares["y"] < 0.1 < found.shares["loss"]


def test_what_a_conditional_parameter_explains_is_a_part_of_the_whole() -> None:
    temperature = Dimension("temperature", 0, 1, is_conditional=True)
    points = draw(60)
    pick = random.Random(2)
    values = []
    for point in points:
        if point["loss"] == 0:  # among these it explains everything
            point["temperature"] = pick.uniform(0, 1)
        values.append(5 * point["loss"] + point.get("temperature", 0.0))
    found = importances([LOSS, temperature], points, values)
    assert found is not None
    assert 0 < found.shares["temperature"] < 0.05


def test_a_parameter_that_hardly_a_trial_has_is_left_out() -> None:
    points = draw(30)
    rare = Dimension("rare", 0, 1, is_conditional=True)
    for point in points[: FEWEST_TRIALS - 1]:
        point["rare"] = 0.5
    found = importances([X, Y, rare], points, hill(points))
    assert found is not None
    assert set(found.shares) == {"x", "y"}


def test_too_few_trials_say_nothing() -> None:
    points = draw(FEWEST_TRIALS)
    assert importances(SPACE, points, hill(points)) is not None
    assert importances(SPACE, points[1:], hill(points[1:])) is None


def test_equal_values_and_a_single_parameter_say_nothing() -> None:
    points = draw(20)
    assert importances(SPACE, points, [0.5] * 20) is None
    assert importances([X], points, hill(points)) is None
    assert importances([X, Dimension("one", choices=1)], points, hill(points)) is None


def test_points_outside_the_space_are_left_out() -> None:
    inside = draw(10)
    outside = [{}, {**inside[0], "x": 1.5}, {**inside[0], "loss": 3.0}, {"x": 0.0, "y": 0.0}]
    assert usable(SPACE, [*outside, *inside]) == inside
    values = hill(inside)
    found = importances(SPACE, [*outside, *inside], [100.0] * 4 + values)
    assert found == importances(SPACE, inside, values)


def test_a_conditional_parameter_may_be_missing_but_not_outside() -> None:
    maybe = dataclasses.replace(Y, is_conditional=True)
    assert usable([X, maybe], [{"x": 0.0}, {"x": 0.0, "y": 2.0}]) == [{"x": 0.0}]
