"""Decisions as seeds come in: what a look may know, what it decides, how often it is wrong."""

from __future__ import annotations

import dataclasses
import itertools
import math
import random
from collections.abc import Callable, Sequence

import pytest

from harness.stats.looks.e_process import evidence, fewest_seeds
from harness.stats.looks.stopping import (
    BETTER,
    FUTILE,
    GOES_ON,
    SAME,
    UNDECIDED,
    WORSE,
    StopRule,
    every_seed,
    first_look,
    interval,
    level_of,
    paired_values,
    rule_of,
    smallest_margin,
    take_looks,
    undecided,
)
from harness.stats.power import smallest_p

RULE = StopRule(every_seed(16), effect=1.0, margin=0.5)
Draw = Callable[[random.Random], float]


def draws(centre: float, seed: int = 0, sd: float = 1.0, count: int = 16) -> list[float]:
    chance = random.Random(seed)
    return [chance.gauss(centre, sd) for _ in range(count)]


def test_each_decision_is_made() -> None:
    rule = StopRule(every_seed(16), effect=1.0, margin=2.5)
    comparisons = {
        "up": draws(3, 1),
        "down": draws(-3, 2),
        "equal": draws(0, 3),
        "noisy": draws(0.0, 5, sd=4.0),
    }
    looks = take_looks(comparisons, rule)
    made = {name: found[-1].decision for name, found in looks.items()}
    assert made == {"up": BETTER, "down": WORSE, "equal": SAME, "noisy": FUTILE}
    assert all(each.decision == GOES_ON for found in looks.values() for each in found[:-1])
    assert undecided(looks) == []
    alone = take_looks({"noisy": comparisons["noisy"]}, dataclasses.replace(rule, effect=None))
    assert alone["noisy"][-1][::3] == (16, UNDECIDED)


def test_a_look_uses_no_later_seed() -> None:
    comparisons = {str(place): draws(place / 3, place) for place in range(5)}
    whole = take_looks(comparisons, RULE)
    for seeds in range(1, 17):
        first = {name: values[:seeds] for name, values in comparisons.items()}
        found = take_looks(first, RULE)
        for name, looks in whole.items():
            assert found[name] == [look for look in looks if look.seeds <= seeds]


def test_a_look_waits_for_every_undecided_comparison_and_for_no_other() -> None:
    comparisons = {"slow": draws(0.4, 1), "fast": draws(4, 2)}
    whole = take_looks(comparisons, RULE)
    decided = whole["fast"][-1].seeds
    behind = {"slow": comparisons["slow"], "fast": comparisons["fast"][:decided]}
    assert take_looks(behind, RULE) == whole
    behind["fast"] = comparisons["fast"][: decided - 1]
    assert len(take_looks(behind, RULE)["slow"]) < len(whole["slow"])


def test_a_found_difference_raises_the_level_of_the_rest() -> None:
    plain = dataclasses.replace(RULE, margin=None)
    assert level_of(plain, 4, differing=0) == pytest.approx(0.05 / 4)
    assert level_of(plain, 4, differing=3) == pytest.approx(0.05)
    # What an equivalence of the three could still claim falsely is kept back.
    assert level_of(RULE, 4, differing=3) == pytest.approx(0.05 - 3 * 0.05 / 8)
    looks = take_looks({"one": draws(5, 1), "other": draws(0.4, 2)}, plain)
    end = looks["one"][-1].seeds
    levels = {look.seeds: look.level for look in looks["other"]}
    assert levels[end] == 0.05
    assert all(level == 0.025 for seeds, level in levels.items() if seeds < end)


def test_a_failed_seed_counts_for_no_side() -> None:
    trial = {0: 1.0, 1: None, 2: 3.0, 4: 9.0}
    baseline = {0: 0.5, 1: 1.0, 2: 1.0, 3: 2.0, 4: 1.0}
    assert paired_values(trial, baseline) == [0.5, None, 2.0]  # seed 3 has not finished
    values: list[float | None] = [*draws(2, 1)]
    values[3] = None
    looks = take_looks({"a": values}, dataclasses.replace(RULE, margin=None))["a"]
    known = [each for each in values[: looks[-1].seeds] if each is not None]
    assert looks[-1].statistic == pytest.approx(abs(sum(known)) / len(known))
    assert looks[-1].decision == BETTER


@pytest.mark.parametrize("is_e_process", [False, True])
def test_the_first_look_that_can_show_anything(is_e_process: bool) -> None:
    rule = StopRule(every_seed(20), effect=1.0, is_e_process=is_e_process)
    looks = take_looks({str(name): [1.0] * 20 for name in range(7)}, rule)
    assert {found[-1].seeds for found in looks.values()} == {first_look(rule, 7)}
    assert is_e_process or first_look(rule, 7) == 12
    assert first_look(StopRule((4, 5), effect=1.0), 7) is None


def test_a_repeated_interval_agrees_with_the_decision() -> None:
    for is_e_process, centre in itertools.product((False, True), (0.0, 0.8, -2.0)):
        rule = StopRule((6, 9, 12), effect=1.0, is_e_process=is_e_process)
        values = draws(centre, 3, count=12)
        for look in take_looks({"a": values}, rule)["a"]:
            ends = interval(values, rule, look)
            mean = sum(values[: look.seeds]) / look.seeds
            assert ends.low < mean < ends.high
            assert (ends.low > 0 or ends.high < 0) == (look.decision in (BETTER, WORSE))


def test_an_interval_is_open_where_nothing_can_be_excluded() -> None:
    rule = StopRule((4, 12), effect=1.0)
    look = take_looks({"a": draws(0.5, 1)}, rule)["a"][0]
    assert look.boundary == math.inf
    assert interval(draws(0.5, 1), rule, look) == (-math.inf, math.inf)


def test_an_interval_is_no_wider_where_nothing_is_spent() -> None:
    rule = StopRule(every_seed(12), effect=0.01)
    values = [(-1) ** place * (1 + place / 10) for place in range(12)]
    looks = take_looks({"a": values}, dataclasses.replace(rule, effect=None))["a"]
    widths = [ends.high - ends.low for ends in (interval(values, rule, each) for each in looks)]
    assert all(late <= early * 1.001 for early, late in itertools.pairwise(widths))
    assert math.isfinite(widths[-2])


def test_the_smallest_margin_is_the_half_width_at_the_last_look() -> None:
    rule = StopRule((10, 20), effect=1.0, margin=1.0)
    values = draws(0, 7, count=20)
    mean = sum(values) / 20
    values = [each - mean for each in values]
    sd = (sum(each * each for each in values) / 19) ** 0.5
    least = smallest_margin(rule, 3, sd)
    for margin, is_shown in ((least * 1.1, True), (least * 0.85, False)):
        given = dataclasses.replace(rule, effect=None, margin=margin)
        made = take_looks(dict.fromkeys("abc", values), given)["a"][-1].decision
        assert (made == SAME) == is_shown


def test_the_rule_of_a_study_is_read_as_its_record_holds_it() -> None:
    stop = {"alpha": 0.1, "looks": "every", "effect": 0.2, "margin": None, "most_seeds": 8}
    assert rule_of({**stop, "method": "e-process"}) == StopRule(
        (6, 7, 8), alpha=0.1, effect=0.2, is_e_process=True
    )
    assert rule_of({**stop, "looks": [3, 8], "method": "group_sequential"}).looks == (3, 8)


def evidence_by_products(values: Sequence[float]) -> float:
    """Multiply out every bet of the e-process, as written in the paper."""
    bets = []
    for strength in (0.25, 0.5, 1.0, 2.0, -0.25, -0.5, -1.0, -2.0):
        product = 1.0
        for place, value in enumerate(values):
            before = values[:place]
            scale = math.sqrt(sum(b * b for b in before) / place) if place else abs(value)
            product *= math.exp(strength * value / scale) / math.cosh(strength * value / scale)
        bets.append(product)
    return sum(bets) / len(bets)


def test_the_evidence_is_the_mean_of_the_bets() -> None:
    values = draws(0.7, 4, count=12)
    each = [evidence_by_products(values[:count]) for count in range(1, 13)]
    assert evidence(values) == pytest.approx([max(1.0, *each[:n]) for n in range(1, 13)])


def test_the_evidence_of_all_sign_patterns_has_mean_one() -> None:
    sizes = [0.3, 1.2, 0.0, 2.0, 0.7, 1.1]
    found = [
        evidence_by_products([s * d for s, d in zip(signs, sizes, strict=True)])
        for signs in itertools.product((1, -1), repeat=6)
    ]
    assert sum(found) / len(found) == pytest.approx(1)


def test_evidence_reaches_its_bound_after_the_fewest_seeds() -> None:
    seeds = fewest_seeds(0.05 / 7)
    assert evidence([2.0] * seeds)[-1] >= 140 > evidence([2.0] * (seeds - 1))[-1]
    assert smallest_p(seeds) < 0.05 / 7


@pytest.mark.parametrize(
    ("is_e_process", "margin", "runs"), [(False, 0.6, 0.8), (False, 1.2, 0.9), (True, 1.2, 0.95)]
)
def test_false_claims_keep_their_level(is_e_process: bool, margin: float, runs: float) -> None:
    """Two of three have no effect; one claim in ten may be false, and runs are saved."""
    rule = StopRule(every_seed(12), 0.1, effect=1.5, margin=margin, is_e_process=is_e_process)
    chance = random.Random(6)
    wrong = found = used = 0
    for _ in range(120):
        shared = [chance.gauss(0, 0.7) for _ in range(12)]
        effects = {"a": 0.0, "b": 0.0, "c": 2.0}
        comparisons = {
            name: [effect + chance.gauss(0, 0.7) - each for each in shared]
            for name, effect in effects.items()
        }
        looks = take_looks(comparisons, rule)
        made = {name: each[-1].decision for name, each in looks.items()}
        wrong += made["a"] in (BETTER, WORSE) or made["b"] in (BETTER, WORSE)
        wrong += made["c"] in (SAME, WORSE)
        found += made["c"] == BETTER
        seeds = [each[-1].seeds for each in looks.values()]
        used += sum(seeds) + max(seeds)
    assert wrong / 120 <= 0.1
    assert found / 120 >= 0.85
    assert used / (120 * 4 * 12) <= runs
