"""Effects of components against slow formulas, and against known effects in simulations."""

from __future__ import annotations

import itertools
import statistics
from collections.abc import Mapping, Sequence

import numpy as np
import pytest
from known_effects import DESIGN, coverage, truth, value

from harness.stats.ablations.designs import (
    Cell,
    Design,
    aliases,
    cells,
    defining_words,
    fraction_cells,
    orders,
    terms,
    trainable,
)
from harness.stats.ablations.lattice import Effect, effects
from harness.stats.paired import holm, sign_flip_p, t_interval

ABC = ("a", "b", "c")
GCUDML = Design(
    "lattice",
    ("metric", "groups", "collaboration", "distillation"),
    {"collaboration": ("groups",)},
)


def every_cell(components: Sequence[str]) -> list[Cell]:
    return [
        frozenset(each)
        for size in range(len(components) + 1)
        for each in itertools.combinations(components, size)
    ]


def random_values(design: Design, seeds: int = 4) -> dict[Cell, dict[int, float]]:
    chance = np.random.default_rng(7)
    return {cell: {seed: float(chance.normal()) for seed in range(seeds)} for cell in cells(design)}


def slow_shapley(components: Sequence[str], value: Mapping[Cell, float], name: str) -> float:
    """Average what a component adds over all orders in which components can be added."""
    gains = []
    for order in itertools.permutations(components):
        before = frozenset(order[: order.index(name)])
        gains.append(value[before | {name}] - value[before])
    return statistics.mean(gains)


def slow_main(components: Sequence[str], value: Mapping[Cell, float], name: str) -> float:
    """Mean of the cells with the component, minus the mean of those without."""
    found = every_cell(components)
    return statistics.mean(value[cell] for cell in found if name in cell) - statistics.mean(
        value[cell] for cell in found if name not in cell
    )


def slow_interaction(
    components: Sequence[str], value: Mapping[Cell, float], one: str, other: str
) -> float:
    """Mean over the other components of how much more both add together than apart."""
    rest = [cell for cell in every_cell(components) if one not in cell and other not in cell]
    return statistics.mean(
        value[cell | {one, other}] - value[cell | {one}] - value[cell | {other}] + value[cell]
        for cell in rest
    )


def estimates(found: Sequence[Effect]) -> dict[tuple[str, str], float]:
    return {(effect.kind, effect.term): effect.estimate for effect in found}


@pytest.mark.parametrize("components", [("a",), ABC, ("a", "b", "c", "d", "e")])
def test_the_effects_of_a_lattice_are_the_slow_averages(components: tuple[str, ...]) -> None:
    design = Design("lattice", components)
    values = random_values(design, seeds=1)
    at = {cell: found[0] for cell, found in values.items()}
    found = estimates(effects(design, values))
    expected: dict[tuple[str, str], float] = {}
    for name in components:
        expected["shapley", name] = slow_shapley(components, at, name)
        expected["main", name] = slow_main(components, at, name)
    for one, other in itertools.combinations(components, 2):
        expected["interaction", f"{one} x {other}"] = slow_interaction(components, at, one, other)
    assert found == pytest.approx(expected, rel=1e-12)


def test_shapley_values_add_up_to_what_all_components_are_worth() -> None:
    values = random_values(GCUDML)
    found = [e.estimate for e in effects(GCUDML, values) if e.kind == "shapley"]
    full, bare = values[frozenset(GCUDML.components)], values[frozenset()]
    total = statistics.mean(full[seed] - bare[seed] for seed in full)
    assert sum(found) == pytest.approx(total, rel=1e-12)


def test_a_cell_without_what_it_needs_takes_the_value_of_the_cell_without_both() -> None:
    values = random_values(GCUDML, seeds=1)
    at = {cell: values[trainable(GCUDML, cell)][0] for cell in every_cell(GCUDML.components)}
    found = estimates(effects(GCUDML, values))
    for name in GCUDML.components:
        assert found["shapley", name] == pytest.approx(slow_shapley(GCUDML.components, at, name))
        assert found["main", name] == pytest.approx(slow_main(GCUDML.components, at, name))
    pair = ("collaboration", "distillation")
    assert found["interaction", " x ".join(pair)] == pytest.approx(
        slow_interaction(GCUDML.components, at, *pair)
    )


def test_eleven_of_sixteen_cells_are_trained_and_the_empty_one() -> None:
    trained = cells(GCUDML)
    assert len(trained) == 12
    assert frozenset() in trained
    assert all("groups" in cell for cell in trained if "collaboration" in cell)


def test_needs_are_followed_through_other_components() -> None:
    design = Design("lattice", ABC, {"c": ("b",), "b": ("a",)})
    assert trainable(design, {"b", "c"}) == frozenset()
    assert set(cells(design)) == {frozenset("abc"[:size]) for size in range(4)}
    assert [term.components for term in terms(design) if term.kind == "interaction"] == []


def test_a_component_that_needs_another_one_is_not_added_alone() -> None:
    design = Design("add_one_in", ABC, {"c": ("b",)})
    assert cells(design) == (frozenset(), frozenset("a"), frozenset("b"))
    assert [term.text for term in terms(design)] == ["a", "b"]


def test_leaving_one_out_takes_along_what_needs_it() -> None:
    design = Design("leave_one_out", ABC, {"c": ("b",)})
    assert cells(design) == (frozenset(ABC), frozenset("bc"), frozenset("ab"), frozenset("a"))
    values = {cell: {0: float(len(cell)), 1: 2.0 * len(cell)} for cell in cells(design)}
    assert estimates(effects(design, values)) == {
        ("removal", "a"): 1.5,
        ("removal", "b"): 3.0,
        ("removal", "c"): 1.5,
    }


def test_additions_are_differences_from_nothing() -> None:
    design = Design("add_one_in", ("a", "b"))
    values = {frozenset(): {0: 0.1}, frozenset("a"): {0: 0.4}, frozenset("b"): {0: 0.2}}
    found = estimates(effects(design, values))
    assert found == pytest.approx({("addition", "a"): 0.3, ("addition", "b"): 0.1})


def test_intervals_and_tests_are_those_of_paired_differences() -> None:
    design = Design("leave_one_out", ("a", "b"))
    values = random_values(design, seeds=7)
    full = values[frozenset("ab")]
    removed = {"a": values[frozenset("b")], "b": values[frozenset("a")]}
    seeds = {name: [full[s] - other[s] for s in range(7)] for name, other in removed.items()}
    adjusted = holm([sign_flip_p(each) for each in seeds.values()])
    for effect, differences, p_holm in zip(
        effects(design, values), seeds.values(), adjusted, strict=True
    ):
        interval = t_interval(differences)
        assert (effect.low, effect.high) == pytest.approx((interval.low, interval.high))
        assert effect.p == sign_flip_p(differences)
        assert effect.p_holm == p_holm


def test_holm_corrects_each_kind_by_itself() -> None:
    found = effects(GCUDML, random_values(GCUDML, seeds=6))
    for kind in ("shapley", "main", "interaction"):
        family = [effect for effect in found if effect.kind == kind]
        assert [e.p_holm for e in family] == holm([e.p for e in family])


def test_a_failed_cell_drops_its_seed_from_the_effects_it_enters_and_no_other() -> None:
    values = random_values(GCUDML, seeds=5)
    del values[frozenset({"distillation"})][3]
    found = effects(GCUDML, values)
    counts = {(effect.kind, effect.term): effect.n for effect in found}
    # Collaboration is compared with and without it where groups are on.
    assert counts.pop(("shapley", "collaboration")) == 5
    assert counts.pop(("main", "collaboration")) == 5
    for pair in ("metric x collaboration", "collaboration x distillation"):
        assert counts.pop(("interaction", pair)) == 5
    assert set(counts.values()) == {4}
    kept = {cell: {s: v for s, v in each.items() if s != 3} for cell, each in values.items()}
    assert (
        estimates(effects(GCUDML, kept))["shapley", "metric"]
        == (estimates(found)["shapley", "metric"])
    )


def test_an_effect_without_a_common_seed_is_left_out() -> None:
    design = Design("leave_one_out", ("a", "b"))
    values = {frozenset("ab"): {0: 1.0}, frozenset("b"): {0: 0.5}, frozenset("a"): {1: 0.5}}
    assert [effect.term for effect in effects(design, values)] == ["a"]


@pytest.mark.parametrize("design", [Design("lattice", ("a", "b", "c", "d", "e")), GCUDML])
def test_equal_cells_have_an_effect_of_exactly_zero(design: Design) -> None:
    values = {cell: {s: 0.1 * (s + 1) for s in range(6)} for cell in cells(design)}
    assert {effect.estimate for effect in effects(design, values)} == {0.0}
    assert {effect.p for effect in effects(design, values)} == {1.0}


@pytest.mark.parametrize("count", [5, 6, 8, 11, 12])
def test_in_a_fraction_no_main_effect_or_pair_is_confounded_with_another(count: int) -> None:
    components = tuple("abcdefghijkl"[:count])
    design = Design("lattice", components, fraction=True)
    trained = cells(design)
    assert len(trained) == fraction_cells(count) == len(set(trained))
    assert frozenset(components) in trained
    contrasts = [
        [int(np.prod([1 if name in cell else -1 for name in names])) for cell in trained]
        for size in (0, 1, 2)
        for names in itertools.combinations(components, size)
    ]
    products = np.array(contrasts) @ np.array(contrasts).T
    assert np.array_equal(products, len(trained) * np.eye(len(contrasts), dtype=int))


def test_a_fraction_finds_main_effects_and_pairs_exactly() -> None:
    components = tuple("abcdef")
    design = Design("lattice", components, fraction=True)

    def value(cell: Cell) -> float:
        return 0.5 + 0.2 * ("a" in cell) - 0.1 * ("f" in cell) + 0.08 * ({"b", "e"} <= cell)

    found = estimates(effects(design, {cell: {0: value(cell)} for cell in cells(design)}))
    assert not any(kind == "shapley" for kind, _ in found)
    assert found["main", "a"] == pytest.approx(0.2)
    assert found["main", "f"] == pytest.approx(-0.1)
    assert found["main", "b"] == pytest.approx(0.04)
    assert found["interaction", "b x e"] == pytest.approx(0.08)
    assert found["interaction", "a x b"] == pytest.approx(0.0)


def test_the_words_of_a_fraction_are_the_products_that_are_constant() -> None:
    design = Design("lattice", tuple("abcdefgh"), fraction=True)
    signs = {
        name: np.array([1 if name in cell else -1 for cell in cells(design)])
        for name in design.components
    }
    constant = [
        names
        for size in range(1, 9)
        for names in itertools.combinations(design.components, size)
        if (np.prod([signs[name] for name in names], axis=0) == 1).all()
    ]
    assert defining_words(design) == constant
    assert min(map(len, constant)) == 5
    assert aliases(design, ("a", "b"), most=3) == [("c", "d", "e"), ("f", "g", "h")]


def test_sampled_orders_do_not_change_when_more_are_asked_for() -> None:
    few = Design("lattice", tuple("abcdefg"), permutations=4, seed=3)
    many = Design("lattice", tuple("abcdefg"), permutations=9, seed=3)
    assert orders(many)[:4] == orders(few)
    assert orders(few)[1] == orders(few)[0][::-1]
    assert set(cells(few)) <= set(cells(many))
    assert orders(Design("lattice", tuple("abcdefg"), permutations=4, seed=4)) != orders(few)


def test_sampled_orders_estimate_shapley_values() -> None:
    components = tuple("abcdef")
    everything = Design("lattice", components)
    chance = np.random.default_rng(1)
    at = {cell: float(chance.normal()) for cell in every_cell(components)}
    design = Design("lattice", components, permutations=400)
    found = estimates(effects(design, {cell: {0: at[cell]} for cell in cells(design)}))
    assert {kind for kind, _ in found} == {"shapley"}
    assert sum(found.values()) == pytest.approx(at[frozenset(components)] - at[frozenset()])
    exact = estimates(effects(everything, {cell: {0: value} for cell, value in at.items()}))
    for name in components:
        assert found["shapley", name] == pytest.approx(exact["shapley", name], abs=0.25)


def test_intervals_cover_known_effects() -> None:
    found = coverage(studies=400, seeds=8, key=0)
    assert set(found) == {"shapley", "main", "interaction"}
    for shares in found.values():
        # Three effects of 400 studies: the standard error is 0.6 %.
        assert shares["covered"] == pytest.approx(0.95, abs=0.02)
        assert shares["false_findings"] <= 0.05 + 2 * (0.05 * 0.95 / 400) ** 0.5


def test_the_known_effects_are_those_of_cells_without_noise() -> None:
    found = effects(DESIGN, {cell: {0: value(cell)} for cell in cells(DESIGN)})
    for effect in found:
        assert effect.estimate == pytest.approx(truth(effect.kind, effect.term), abs=1e-12)
    named = {(effect.kind, effect.term): effect.estimate for effect in found}
    assert named["main", "a"] == pytest.approx(0.14 + 0.08 / 2)
    assert named["interaction", "a x b"] == pytest.approx(0.08)
