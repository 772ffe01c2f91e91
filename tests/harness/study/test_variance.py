"""From the sources of randomness to the trials of a study, and what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest
from fake_workload import load_problems, write_study

from harness.errors import InputError
from harness.planning.variance_design import variance_lines
from harness.stats.variance.variance_share import factor_of_interval
from harness.study.loading import load_study
from harness.study.trials.plan import Plan, make_plan
from harness.workload import load_workload

DICE = "study: s\nquestion: Where does the variance come from?\nworkload: dice\n"
TWO = "variance: {sources: [weights, views], levels: 4}\n"


def plan_dice(folder: Path, text: str = TWO, *overrides: str, workload: str = "dice") -> Plan:
    path = write_study(folder, text, head=DICE.replace("dice", workload))
    return make_plan(load_study(path, overrides), load_workload(workload))


def test_everything_each_source_and_nothing_vary_over_the_levels(tmp_path: Path) -> None:
    plan = plan_dice(tmp_path)
    pins = {trial.label: trial.params["pins"] for trial in plan.fixed}
    free = 1_000_000
    assert pins == {
        "all": {},
        "weights": {"batches": free, "views": free},
        "views": {"weights": free, "batches": free},
        "none": {"weights": free, "batches": free, "views": free},
    }
    assert [trial.role for trial in plan.fixed] == ["baseline", "trial", "trial", "trial"]
    assert [trial.number for trial in plan.fixed] == [0, 1, 2, 3]
    assert plan.fixed[1].varied == {"weights": True, "views": False}
    assert plan.controls == ()
    assert {plan.seeds_of(trial) for trial in plan.fixed} == {(0, 1, 2, 3)}


def test_runs_in_which_everything_varies_are_ordinary_runs(tmp_path: Path) -> None:
    plain = plan_dice(tmp_path, "seeds: 2\n")
    assert plan_dice(tmp_path).fixed[0].params == plain.fixed[0].params


def test_sources_can_be_pinned_elsewhere(tmp_path: Path) -> None:
    plan = plan_dice(tmp_path, TWO, "variance.pinned=77")
    assert plan.fixed[1].params["pins"] == {"batches": 77, "views": 77}


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (
            "variance: {sources: [weights, kmeans]}\n",
            "s.yaml:4:31: variance.sources: no source 'kmeans'; known: weights, batches, views",
        ),
        (
            "variance: {sources: [weight]}\n",
            "s.yaml:4:22: variance.sources: no source 'weight'; did you mean 'weights'? "
            "known: weights, batches, views",
        ),
        (
            f"base: {{pins: {{views: 3}}}}\n{TWO}",
            "s.yaml:4:15: base: 'pins.views' pins 'views', and variance pins sources itself; "
            "remove it",
        ),
    ],
)
def test_an_impossible_plan_is_refused_in_a_line(tmp_path: Path, text: str, problem: str) -> None:
    with pytest.raises(InputError) as caught:
        plan_dice(tmp_path, text)
    assert str(caught.value).replace(f"{tmp_path}/", "") == problem


def test_a_workload_that_declares_no_sources_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="'quadratic' declares 0 sources of randomness"):
        plan_dice(tmp_path, TWO, workload="quadratic")


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (f"{TWO}seeds: 3\n", "seeds: 'variance' decides"),
        (f"{TWO}search: {{level: {{grid: [0.1, 0.2]}}}}\n", "search: 'variance' decides"),
        (f"{TWO}variants: {{a: {{level: 1}}, b: {{level: 2}}}}\n", "variants: 'variance' decides"),
        (f"{TWO}confirm: {{top: 1}}\n", "confirm: 'variance' decides"),
        (f"{TWO}sampler: random\ntrials: 3\n", "sampler: 'variance' decides"),
        ("variance: {sources: [weights, weights]}\n", "'weights' is given twice; remove one"),
        ("variance: {sources: [weights], levels: 2}\n", "variance.levels"),
        ("variance: {sources: [weights], pinned: 3}\n", "3 is one of the 10 seeds that vary"),
        ("variance: {sources: []}\n", "variance.sources"),
    ],
)
def test_fields_that_contradict_are_refused_in_a_line(
    tmp_path: Path, text: str, problem: str
) -> None:
    (found,) = load_problems(write_study(tmp_path, text, head=DICE))
    assert problem in found


def test_a_study_without_variance_keeps_its_fingerprint(tmp_path: Path) -> None:
    spec = load_study(write_study(tmp_path, "seeds: 3\n", head=DICE)).spec
    assert spec.fingerprint == "2105f3dd4af4"
    stored = spec.model_validate(spec.model_dump(mode="json"))
    assert stored == spec


def test_the_recorded_study_can_be_read_again(tmp_path: Path) -> None:
    spec = plan_dice(tmp_path).spec
    recorded = spec.model_dump(mode="json")
    assert "seeds" not in recorded
    assert spec.model_validate(recorded).fingerprint == spec.fingerprint


def test_the_plan_says_what_it_costs_and_how_well_a_share_is_known(tmp_path: Path) -> None:
    spec = plan_dice(tmp_path).spec
    (line,) = variance_lines(spec.variance)
    assert "2 sources alone, all together and none cost (2 + 2) x 4 runs" in line
    assert f"a factor of {factor_of_interval(4):.1f} " in line
    assert variance_lines(None) == ()
