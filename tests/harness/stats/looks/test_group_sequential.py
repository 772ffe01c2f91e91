"""Group-sequential sign flips against a slow oracle that lists every pattern."""

from __future__ import annotations

import itertools
import math
import random
from collections.abc import Sequence

import pytest
from scipy.stats import norm

from harness.stats.looks import group_sequential
from harness.stats.looks.group_sequential import (
    Boundary,
    first_possible_look,
    is_above_zero,
    power_to_differ,
    power_to_equal,
    spent,
)

LOOKS = (4, 6, 7, 9)


def boundaries(
    differences: Sequence[float | None], looks: Sequence[int], level: float
) -> list[Boundary]:
    return list(group_sequential.boundaries(differences, looks, level))


def boundaries_by_listing(
    differences: list[float], looks: tuple[int, ...], level: float
) -> list[tuple[float, bool]]:
    """List every sign pattern, and end the most extreme ones at each look.

    Returns:
        For each look: the least absolute sum that ends the test, and whether it has ended.
    """
    patterns = list(itertools.product((1, -1), repeat=len(differences)))
    has_ended = dict.fromkeys(patterns, False)
    observed = tuple(-1 if each < 0 else 1 for each in differences)
    found = []
    for look in looks:
        if look > len(differences):
            break
        sums = {
            signs: abs(sum(s * abs(d) for s, d in zip(signs[:look], differences, strict=False)))
            for signs in patterns
        }
        share = 1.0 if look == looks[-1] else min(look / looks[-1], 0.7)
        most = (2 - 2 * norm.cdf(norm.isf(level / 2) / math.sqrt(share))) * 2 ** len(differences)
        least = math.inf
        while left := [signs for signs in patterns if not has_ended[signs]]:
            largest = max(sums[signs] for signs in left)
            group = [signs for signs in left if sums[signs] >= largest - 1e-9]
            if sum(has_ended.values()) + len(group) > most + 1e-9:
                break
            least = min(least, largest)
            has_ended |= dict.fromkeys(group, True)
        found.append((least, has_ended[observed]))
    return found


@pytest.mark.parametrize("level", [0.02, 0.1, 0.4])
@pytest.mark.parametrize("drift", [0.0, 0.7, -2.0])
def test_boundaries_are_those_of_a_list_of_all_patterns(level: float, drift: float) -> None:
    chance = random.Random(1)
    for kind in range(6):
        values = [chance.gauss(drift, 1) for _ in range(9)]
        if kind % 2:  # ties and zeros
            values = [float(round(each)) for each in values]
        found = boundaries(values, LOOKS, level)
        expected = boundaries_by_listing(values, LOOKS, level)
        assert [look.seeds for look in found] == list(LOOKS)
        for look, (least, is_ended) in zip(found, expected, strict=True):
            assert look.boundary * look.seeds == pytest.approx(least)
            assert look.is_crossed == is_ended
            assert look.statistic == pytest.approx(abs(sum(values[: look.seeds])) / look.seeds)


def test_no_more_than_the_level_of_all_patterns_ends_the_test() -> None:
    sizes = [1.0, 1.0, 2.5, 0.3, 0.0, 4.0, 1.7, 0.9, 1.1]
    ended = above = 0
    for signs in itertools.product((1, -1), repeat=9):
        values = [sign * size for sign, size in zip(signs, sizes, strict=True)]
        ended += boundaries(values, LOOKS, 0.2)[-1].is_crossed
        above += is_above_zero(values, LOOKS, 0.2)
    assert 0.15 * 512 < ended <= 0.2 * 512
    assert 0.07 * 512 < above <= 0.1 * 512


def test_what_cannot_end_a_test_is_not_enumerated() -> None:
    """A sum below one standard deviation is not significant at a small level."""
    chance = random.Random(7)
    for count in range(60):
        drift = count / 30
        values = [chance.gauss(drift, 1) ** (3 if count % 2 else 1) for _ in range(9)]
        slow = group_sequential._tested(
            values, (9,), lambda share: spent(0.09, share) / 2, both_tails=False
        )
        assert is_above_zero(values, (9,), 0.09) == next(slow).is_crossed


def test_a_look_knows_nothing_of_later_seeds() -> None:
    chance = random.Random(2)
    values = [chance.gauss(0.5, 1) for _ in range(9)]
    whole = boundaries(values, LOOKS, 0.1)
    for count, look in enumerate(LOOKS, 1):
        assert boundaries(values[:look], LOOKS, 0.1) == whole[:count]


def test_a_missing_seed_is_no_evidence() -> None:
    chance = random.Random(3)
    values = [chance.gauss(1, 1) for _ in range(9)]
    given = [None if place == 2 else each for place, each in enumerate(values)]
    last = boundaries(given, LOOKS, 0.1)[-1]
    known = [each for each in given if each is not None]
    assert last.statistic == pytest.approx(sum(known) / 8)
    zero = [0.0 if each is None else each for each in given]
    assert boundaries(zero, LOOKS, 0.1)[-1].is_crossed == last.is_crossed


def test_sampled_patterns_give_nearly_the_same_boundaries(monkeypatch: pytest.MonkeyPatch) -> None:
    chance = random.Random(4)
    values = [chance.gauss(0, 1) for _ in range(16)]
    exact = boundaries(values, (10, 13, 16), 0.1)
    monkeypatch.setattr(group_sequential, "MOST_ENUMERATED", 15)
    sampled = boundaries(values, (10, 13, 16), 0.1)
    assert sampled != exact
    for one, other in zip(exact, sampled, strict=True):
        assert other.boundary == pytest.approx(one.boundary, rel=0.05)


def test_o_brien_and_fleming_spend_late() -> None:
    assert spent(0.05, 1) == 0.05
    # 2 - 2 Phi(1.96 / sqrt(share))
    assert spent(0.05, 0.5) == pytest.approx(0.00557, abs=1e-5)
    assert spent(0.05, 0.3) == pytest.approx(0.00035, abs=1e-5)
    assert spent(0.05, 0.7) == spent(0.05, 0.99) < 0.02


def test_seven_comparisons_can_show_something_after_twelve_of_twenty_seeds() -> None:
    assert first_possible_look(range(6, 21), 0.05 / 7) == 12
    assert first_possible_look((6, 10, 15, 20), 0.05 / 7) == 15
    assert first_possible_look((4, 5), 0.01) is None
    all_alike = boundaries([1.0] * 20, range(6, 21), 0.05 / 7)
    assert next(look.seeds for look in all_alike if look.is_crossed) == 12


def test_power_grows_with_what_was_seen_and_planned() -> None:
    def power(mean: float, effect: float) -> float:
        return power_to_differ(mean, 0.25, seeds=6, most=20, level=0.05, effect=effect)

    assert power(0.0, 0.05) < 0.3
    assert power(0.0, 0.3) > 0.9
    assert power(0.3, 0.05) > power(0.0, 0.05)
    assert power(-0.3, 0.2) == power(0.3, 0.2)


@pytest.mark.parametrize("mean", [-0.2, 0.1, 0.4])
def test_power_is_the_share_of_simulated_ends(mean: float) -> None:
    chance = random.Random(5)
    sd, half = 0.9, norm.isf(0.05) * 0.9 / 16**0.5
    given = {"seeds": 10, "most": 16, "level": 0.1}
    differ = equal = 0
    for _ in range(4000):
        noise = sum(chance.gauss(0, sd) for _ in range(6))
        differ += (10 * abs(mean) + 6 * 0.6 + noise) / 16 > half
        equal += abs((10 * mean + noise) / 16) < 0.6 - half
    expected = power_to_differ(mean, sd, **given, effect=0.6)
    assert differ / 4000 == pytest.approx(expected, abs=0.025)
    expected = power_to_equal(mean, sd, **given, margin=0.6)
    assert equal / 4000 == pytest.approx(expected, abs=0.025)
    assert power_to_equal(mean, sd, **given, margin=half) == 0
