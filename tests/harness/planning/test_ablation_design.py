"""What the plan says of an ablation's design."""

from __future__ import annotations

from pathlib import Path

import pytest
import toy_workload
from driver_place import Place

from harness.cli.plan_output import describe
from harness.engine.run_options import RunOptions
from harness.planning.ablation_design import design_lines, largest_family, powers
from harness.planning.forecast import Forecast, make_forecast
from harness.stats.ablations.designs import Design, DesignName
from harness.stats.power import detectable_effect
from harness.study.loading import load_study
from harness.study.trials.plan import make_plan
from harness.workload import load_workload

FOUR = ("a", "b", "c", "d")
STUDY = """
study: parts
question: What is each part worth?
workload: toy_workload
base: {epochs: 1, clusters: 4}
ablate:
  design: lattice
  components:
    quality: {quality: 0.3}
    momentum: {method.teacher_momentum: 0.0}
    clusters: {without: {clusters: 2}, needs: [momentum]}
seeds: 6
"""


def plan(place: Place, *overrides: str) -> Forecast:
    options = RunOptions(place.results, workers=2, threads=1)
    return make_forecast(place.write(STUDY), overrides, options, may_probe=False)


@pytest.mark.parametrize(
    ("name", "cost", "tests"),
    [
        (
            "lattice",
            "design: a lattice of 4 components costs 16 x n runs and estimates each main effect "
            "from all of them; leave-one-out 5 x n",
            "tests: Holm over 4 Shapley values, 4 main effects and 6 interactions (for each kind "
            "by itself); significance needs 8 seeds, and there are 7",
        ),
        (
            "leave_one_out",
            "design: leave-one-out of 4 components costs 5 x n runs and estimates each component "
            "from 2 x n of them; a lattice 16 x n, each main effect from all of them, and "
            "interactions",
            "tests: Holm over 4 removals; significance needs 8 seeds, and there are 7",
        ),
        (
            "add_one_in",
            "design: add-one-in of 4 components costs 5 x n runs and estimates each component "
            "from 2 x n of them; a lattice 16 x n, each main effect from all of them, and "
            "interactions",
            "tests: Holm over 4 additions; significance needs 8 seeds, and there are 7",
        ),
    ],
)
def test_a_design_tells_its_cost_and_the_seeds_it_needs(
    name: DesignName, cost: str, tests: str
) -> None:
    assert design_lines(Design(name, FOUR), 7) == (cost, tests)


def test_a_fraction_names_what_it_confounds() -> None:
    cost, tests, aliases = design_lines(Design("lattice", tuple("abcdefgh"), fraction=True), 20)
    assert cost == (
        "design: a fraction of the lattice of 8 components costs 64 x n runs and estimates each "
        "main effect from all of them; leave-one-out 9 x n"
    )
    assert "8 main effects and 28 interactions" in tests
    assert "significance needs 11 seeds" in tests
    assert aliases.startswith(
        "aliases: constant in this fraction: a x b x c x d x e, a x b x f x g x h, "
        "c x d x e x f x g x h; "
    )


def test_sampled_orders_promise_shapley_values_only() -> None:
    cost, tests = design_lines(Design("lattice", tuple("abcdef"), permutations=10), 20)
    assert "10 sampled orders of 6 components" in cost
    assert "each Shapley value" in cost
    assert tests == "tests: Holm over 6 Shapley values; significance needs 8 seeds"


def test_the_noise_of_an_average_is_smaller_than_that_of_a_difference() -> None:
    assert largest_family(Design("leave_one_out", FOUR)) == (4, 1.0)
    size, noise = largest_family(Design("lattice", FOUR))
    assert size == 6
    # Sixteen runs, each weighed 1/4, against two runs that are weighed 1.
    assert noise == pytest.approx((16 * (1 / 4) ** 2 / 2) ** 0.5)


def test_a_lattice_detects_less_than_leave_one_out_of_the_same_components() -> None:
    lattice, single = powers(Design("lattice", FOUR), 10, 0.02)
    assert (lattice.design, lattice.runs_per_seed, lattice.is_chosen) == ("lattice", 16, True)
    assert (single.design, single.runs_per_seed, single.is_chosen) == ("leave_one_out", 5, False)
    sizes = {kind.kind: kind for each in (lattice, single) for kind in each.kinds}
    # Sixteen runs, each weighed 1/8, against two that are weighed 1.
    single_effect = detectable_effect(10, 4)
    assert single_effect is not None
    assert sizes["removal"].effect == single_effect
    assert sizes["main effect"].effect == pytest.approx(single_effect * (16 / 64 / 2) ** 0.5)
    assert sizes["removal"].difference == pytest.approx(0.02 * single_effect)
    assert [kind.effects for kind in lattice.kinds] == [4, 4, 6]


def test_many_components_have_no_whole_lattice_to_compare_with() -> None:
    found = powers(Design("lattice", tuple("abcdefgh"), fraction=True), 12, None)
    assert [each.design for each in found] == ["lattice", "leave_one_out"]
    assert all(kind.difference is None for each in found for kind in each.kinds)


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    monkeypatch.setenv(toy_workload.FOLDER, str(tmp_path))
    return Place(tmp_path)


def test_the_plan_says_it_and_tests_the_largest_family(place: Place) -> None:
    found = plan(place)
    said = describe(found)
    assert said[2].startswith("design: a lattice of 3 components costs 6 x n runs")
    assert (found.trials, found.runs) == (6, 6 * 6 + 2 * 6)
    assert found.power is not None
    assert found.power.comparisons == 3
    assert any(line.startswith("warning: with 6 seeds no difference") for line in said)
    more = describe(plan(place, "seeds=8"))
    (lattice, single) = (line for line in more if line.startswith("power of "))
    assert lattice.startswith("power of lattice (6 x 8 runs): detects a Shapley value of ")
    assert single.startswith("power of leave-one-out (4 x 8 runs): would detect a removal of ")


def test_a_control_that_is_the_baseline_does_not_stand_for_the_cost_of_a_run(place: Place) -> None:
    overrides = ("ablate.design=add_one_in", "ablate.bare=untrained")
    made = make_plan(load_study(place.write(STUDY), overrides), load_workload("toy_workload"))
    assert [trial.label for trial in made.fixed if trial.role == "baseline"] == ["untrained"]
    assert made.typical.label == "only quality"
    other = make_plan(load_study(place.write(STUDY)), load_workload("toy_workload"))
    assert other.typical.label == "full"


def test_the_detectable_effect_is_in_the_noise_of_its_average(place: Place) -> None:
    place.run(STUDY, "seeds=8")
    found = plan(place, "seeds=8").power
    assert found is not None
    assert found.effect is not None
    assert found.spread is not None
    made = load_study(place.write(STUDY)).spec.ablate
    assert made is not None
    _, noise = largest_family(made.plan)
    assert noise != 1
    assert found.difference == pytest.approx(found.effect * noise * found.spread.sd)


def test_a_path_tells_what_its_races_cost_at_least_and_at_most() -> None:
    cost, tests = design_lines(Design("path", FOUR), 7)
    assert cost == (
        "design: a path of 4 components, from full to bare, costs 27 to 54 runs on validation "
        "classes for its races (at most 6 seeds each), then 5 x n runs, and estimates each step "
        "from 2 x n of them"
    )
    assert tests == "tests: Holm over 4 path steps; significance needs 8 seeds, and there are 7"
    assert largest_family(Design("path", FOUR)) == (4, 1.0)


def test_the_plan_of_a_path_counts_races_and_nodes(place: Place) -> None:
    forecast = plan(place, "ablate.design=path")
    lines = describe(forecast)
    assert lines[1].startswith(
        "runs: 5 trials x at most 6 seeds, then 4 trials and 2 controls x 6 fresh seeds = "
    )
    assert "costs 6 to 24 runs on validation classes" in lines[2]
    assert forecast.runs == forecast.to_do == 24 + 6 * 6
    assert forecast.power is not None
    assert (forecast.power.seeds, forecast.power.comparisons) == (6, 3)


def test_the_plan_of_a_tuned_ablation_counts_the_settings_of_each_cell(place: Place) -> None:
    tune = "ablate.tune={trials: 3, seeds: 2, search: {epochs: {int: [1, 4]}}}"
    forecast = plan(place, "ablate.design=leave_one_out", tune)
    lines = describe(forecast)
    assert lines[1].startswith(
        "runs: 12 trials x 2 seeds, then 4 trials and 2 controls x 6 fresh seeds = 60"
    )
    assert lines[3] == (
        "tune: every cell gets the same 3 settings of epochs on validation classes, 2 seeds each: "
        "at most 24 runs before these, and the best of each cell is trained"
    )
