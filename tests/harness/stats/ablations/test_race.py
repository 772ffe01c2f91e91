"""Races over paired seeds, and the paths that they decide."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from scipy.stats import t as student
from scipy.stats import ttest_rel

from harness.stats.ablations.designs import Design, cells, flippable, nodes, some_path, terms
from harness.stats.ablations.race import RaceRule, race_runs, run_race

RULE = RaceRule(seeds=6, alpha=0.1)
NEEDS = Design("path", ("a", "b", "c"), {"c": ("b",)})


def test_a_race_waits_for_every_candidate_that_is_left() -> None:
    values = {"a": [0.1, 0.2, 0.1], "b": [0.1, 0.2], "c": [0.0, 0.1, 0.0]}
    race = run_race(values, RULE)
    assert (race.left, race.due, race.winner) == (("a", "b", "c"), 3, None)


def test_seeds_beyond_the_look_that_is_due_are_not_used() -> None:
    early = {"a": [0.5, 0.51, 0.52], "b": [0.1, 0.14, 0.11], "c": [0.49, 0.52, 0.5]}
    late = {**early, "a": [*early["a"], 0.0, 0.0]}
    assert run_race(early, RULE) == run_race(late, RULE)
    assert run_race(early, RULE).dropped == {"b": 3}
    assert run_race(early, RULE).due == 4


def oracle_p(table: list[list[float]], leader: int, other: int) -> float:
    """The contrast of two rows in a two-way layout, written out as sums over cells."""
    rows, seeds = len(table), len(table[0])
    row = [sum(values) / seeds for values in table]
    column = [sum(values[s] for values in table) / rows for s in range(seeds)]
    grand = sum(row) / rows
    squares = sum(
        (table[r][s] - row[r] - column[s] + grand) ** 2 for r in range(rows) for s in range(seeds)
    )
    df = (rows - 1) * (seeds - 1)
    spread = (2 * squares / df / seeds) ** 0.5
    return float(student.sf((row[leader] - row[other]) / spread, df))


def test_two_candidates_are_compared_by_a_paired_t_test() -> None:
    rng = np.random.default_rng(2)
    one, other = (rng.normal(0, 1, 5).tolist() for _ in range(2))
    expected = ttest_rel(one, other, alternative="greater").pvalue
    assert oracle_p([one, other], 0, 1) == pytest.approx(expected)


def test_a_candidate_is_dropped_at_the_look_of_an_oracle() -> None:
    rng = np.random.default_rng(0)
    early = 0
    for _ in range(100):
        worth = rng.normal(0, 0.05, 4)
        table = {
            n: (w + rng.normal(0, 0.03, 6)).tolist() for n, w in zip("abcd", worth, strict=True)
        }
        left, dropped = list(table), {}
        for seeds in (3, 4, 5):
            rows = [table[name][:seeds] for name in left]
            leader = max(range(len(left)), key=lambda r: sum(rows[r]))
            worse = [
                name
                for r, name in enumerate(left)
                if r != leader and oracle_p(rows, leader, r) <= 0.1 / (3 * 3)
            ]
            dropped |= dict.fromkeys(worse, seeds)
            left = [name for name in left if name not in worse]
            if len(left) == 1:
                break
        race = run_race(table, RULE)
        assert race.winner == max(left, key=lambda n: np.mean(table[n]))
        assert {n: k for n, k in race.dropped.items() if k < 6} == dropped
        early += len(dropped)
    assert early > 100


def test_the_best_is_dropped_no_more_often_than_the_rule_allows() -> None:
    """Four equal candidates: any one is dropped before the end in at most ``alpha`` of races."""
    rng = np.random.default_rng(1)
    lost = 0
    for _ in range(600):
        table = {n: list(rng.normal(0, 1, 6)) for n in "abcd"}
        lost += run_race(table, RULE).dropped.get("a", 6) < 6
    assert lost / 600 <= 0.1


def test_a_failed_seed_is_left_out_of_its_pairs() -> None:
    whole = {"a": [0.5, 0.51, 0.52, 0.5], "b": [0.1, 0.12, 0.3, 0.1]}
    broken = {**whole, "b": [0.1, None, 0.3, 0.1]}
    assert run_race(whole, RULE).dropped == {"b": 3}
    race = run_race({n: values[:3] for n, values in broken.items()}, RULE)
    assert race.due == 4  # two pairs are too few
    assert run_race(broken, RULE).dropped == {"b": 4}


def test_without_any_value_a_candidate_never_wins() -> None:
    race = run_race({"a": [None] * 6, "b": [0.0] * 6}, RULE)
    assert race.winner == "b"


def test_equal_candidates_are_decided_by_their_order() -> None:
    assert run_race({"b": [0.1] * 6, "a": [0.1] * 6}, RULE).winner == "b"


def test_two_seeds_choose_without_a_test() -> None:
    assert run_race({"a": [0.1, 0.1], "b": [0.2, 0.2]}, RaceRule(2, 0.1)).winner == "b"


@pytest.mark.parametrize("from_bare", [False, True])
def test_each_step_flips_one_component_that_can_be_flipped(from_bare: bool) -> None:
    design = Design("path", ("a", "b", "c"), {"c": ("b",)}, from_bare=from_bare)
    assert flippable(design, nodes(design)[0]) == (("a", "b") if from_bare else ("a", "c"))
    whole = some_path(design)
    assert len(whole.flips) == 3
    for one, other in itertools.pairwise(cells(whole)):
        assert len(one ^ other) == 1
        assert (one < other) == from_bare
    for term in terms(whole):
        assert term.kind == "path"
        more = next(cell for cell, weight in term.weights.items() if weight == 1)
        less = next(cell for cell, weight in term.weights.items() if weight == -1)
        assert more - less == set(term.components)


def test_a_path_whose_end_is_not_known_has_the_steps_so_far() -> None:
    design = Design("path", ("a", "b", "c"), flips=("b",))
    assert [term.text for term in terms(design)] == ["b"]
    assert terms(Design("path", ("a", "b", "c"))) == []


def test_the_cost_of_races_is_bounded_by_every_path() -> None:
    sizes = []

    def go(node: frozenset[str], size: int) -> None:
        names = flippable(NEEDS, node)
        if not names:
            sizes.append(size)
        for name in names:
            go(node ^ {name}, size + (len(names) if len(names) > 1 else 0))

    go(frozenset("abc"), 0)
    assert race_runs(NEEDS, RULE) == (3 * min(sizes), 6 * max(sizes)) == (6, 24)
    free = Design("path", ("a", "b", "c", "d"))
    assert race_runs(free, RULE) == (3 * 9, 6 * 9)
    assert race_runs(free, RaceRule(2, 0.1)) == (18, 18)
