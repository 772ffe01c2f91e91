"""Races over paired seeds, and the paths that they decide."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from scipy.stats import ttest_rel

from harness.stats.designs import Design, cells, flippable, nodes, some_path, terms
from harness.stats.race import RaceRule, race_runs, run_race

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


def test_a_candidate_is_dropped_at_the_look_of_an_oracle() -> None:
    """Dropping and choosing, written down again with SciPy's test."""
    rng = np.random.default_rng(0)
    for _ in range(100):
        names = ["a", "b", "c", "d"]
        levels = rng.normal(0, 0.05, 4)
        table = {n: list(lv + rng.normal(0, 0.03, 6)) for n, lv in zip(names, levels, strict=True)}
        left, dropped = set(names), {}
        for seeds in (3, 4, 5):
            leader = max(left, key=lambda n: np.mean(table[n][:seeds]))
            for name in left - {leader}:
                one, other = table[leader][:seeds], table[name][:seeds]
                if ttest_rel(one, other, alternative="greater").pvalue <= 0.1 / (3 * 3):
                    dropped[name] = seeds
            left -= dropped.keys()
        race = run_race(table, RULE)
        best = max(left, key=lambda n: np.mean(table[n]))
        assert race.winner == best
        assert {n: k for n, k in race.dropped.items() if k < 6} == dropped


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
