"""From the components of a study to its trials: which there are, and what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest
from fake_workload import load_problems, plan_problems, plan_study, write_study

from harness.study.axes import get_at
from harness.study.loading import load_study
from harness.study.trials.plan import Plan

THREE = """\
ablate:
  design: lattice
  components:
    momentum: {method.momentum: 0}
    groups: {method.groups: 1}
    grouping: {without: {method.grouping: off}, needs: [groups]}
"""
TWELVE = "base: {{extra: {{{}}}}}\nablate:\n  design: lattice\n  components:\n{}".format(
    ", ".join(f"x{n}: 1" for n in range(12)),
    "".join(f"    c{n}: {{extra.x{n}: 0}}\n" for n in range(12)),
)


def labels(plan: Plan) -> list[str]:
    return [trial.label for trial in plan.fixed]


def baseline_label(plan: Plan) -> str:
    (label,) = [t.label for t in (*plan.fixed, *plan.controls) if t.role == "baseline"]
    return label


def test_a_lattice_has_every_combination_that_can_be_trained(tmp_path: Path) -> None:
    plan = plan_study(tmp_path, THREE)
    assert labels(plan) == [
        "full",
        "no momentum",
        "no grouping",
        "only groups",
        "no groups",
        "bare",
    ]
    assert [trial.number for trial in (*plan.fixed, *plan.controls)] == [*range(7)]
    assert baseline_label(plan) == "full"
    without = plan.fixed[labels(plan).index("no groups")]
    assert without.varied == {"momentum": True, "groups": False, "grouping": False}
    assert without.variant is None
    assert get_at(without.params, "method.groups") == 1
    assert get_at(without.params, "method.grouping") == "off"
    assert get_at(without.params, "method.momentum") == 0.9


@pytest.mark.parametrize(
    ("design", "expected", "baseline"),
    [
        ("leave_one_out", ["full", "no momentum", "no grouping", "no groups"], "full"),
        ("add_one_in", ["bare", "only momentum", "only groups"], "bare"),
    ],
)
def test_designs_without_combinations(
    tmp_path: Path, design: str, expected: list[str], baseline: str
) -> None:
    plan = plan_study(tmp_path, THREE, f"ablate.design={design}")
    assert labels(plan) == expected
    assert baseline_label(plan) == baseline


def test_a_lattice_holds_the_trials_of_a_leave_one_out_with_equal_ids(tmp_path: Path) -> None:
    few = plan_study(tmp_path, THREE, "ablate.design=leave_one_out")
    many = {trial.trial_id: trial.label for trial in plan_study(tmp_path, THREE).fixed}
    assert [many[trial.trial_id] for trial in few.fixed] == labels(few)


def test_trials_are_named_by_what_is_shorter(tmp_path: Path) -> None:
    names = ["momentum", "groups", "clusters", "temperature"]
    off = ["method.momentum: 0", "method.groups: 1", "method.clusters: 50", "method.temperature: 1"]
    parts = "".join(f"    {n}: {{{o}}}\n" for n, o in zip(names, off, strict=True))
    plan = plan_study(tmp_path, f"ablate:\n  design: lattice\n  components:\n{parts}")
    assert len(plan.fixed) == 16
    assert {"no momentum, no groups", "only temperature", "no clusters", "bare"} <= {*labels(plan)}
    assert len({*labels(plan)}) == 16


def test_a_single_component_has_no_bare_trial(tmp_path: Path) -> None:
    text = "ablate: {design: leave_one_out, components: {groups: {method.groups: 1}}}\n"
    assert labels(plan_study(tmp_path, text)) == ["full", "no groups"]


@pytest.mark.parametrize(
    ("baseline", "expected"),
    [
        ("bare", "bare"),
        ("no groups", "no groups"),
        ("{groups: false, momentum: true}", "no groups"),
    ],
)
def test_the_baseline_may_be_any_trial(tmp_path: Path, baseline: str, expected: str) -> None:
    assert baseline_label(plan_study(tmp_path, THREE, f"baseline={baseline}")) == expected


def test_a_control_may_stand_for_everything_off(tmp_path: Path) -> None:
    plan = plan_study(tmp_path, THREE, "ablate.bare=raw pixels")
    assert "bare" not in labels(plan)
    (control,) = plan.controls
    assert control.label == "raw pixels"
    assert control.role == "control"
    assert control.varied == {"momentum": False, "groups": False, "grouping": False}


@pytest.mark.parametrize("baseline", ["bare", "raw pixels"])
def test_a_control_that_is_the_baseline_is_one_of_the_trials(tmp_path: Path, baseline: str) -> None:
    plan = plan_study(tmp_path, THREE, "ablate.bare=raw pixels", f"baseline={baseline}")
    assert plan.controls == ()
    assert labels(plan)[0] == baseline_label(plan) == "raw pixels"
    assert [trial.number for trial in plan.fixed] == [*range(6)]
    added = plan_study(tmp_path, THREE, "ablate.bare=raw pixels", "ablate.design=add_one_in")
    assert labels(added) == ["raw pixels", "only momentum", "only groups"]


def test_twelve_components_need_a_fraction_or_permutations(tmp_path: Path) -> None:
    (line,) = plan_problems(tmp_path, TWELVE)
    assert line.startswith("s.yaml:6:3: ablate.design: a lattice of 12 components has 4,096 cells;")
    assert "fraction: V' (256 cells" in line
    assert "permutations: N' (about N x 11 cells" in line
    fraction = plan_study(tmp_path, TWELVE, "ablate.fraction=V")
    assert len(fraction.fixed) == 256
    assert baseline_label(fraction) == "full"
    assert len(plan_study(tmp_path, TWELVE, "ablate.permutations=2").fixed) == 24


def test_a_study_without_components_keeps_its_fingerprint(tmp_path: Path) -> None:
    spec = load_study(write_study(tmp_path, "search: {method.momentum: {grid: [0.0, 0.9]}}")).spec
    assert spec.fingerprint == "41d148d9e4c6"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            "ablate: {design: lattice, components: {groups: {method.groups: 4}}}",
            "s.yaml:4:40: ablate.components.groups: changes nothing: the base has these values "
            "already; set in the base what switches it on, or remove the component",
        ),
        (
            "ablate:\n  design: lattice\n  components:\n    a: {method.groups: 1}\n"
            "    b: {method.groups: 2}\n",
            "s.yaml:8:9: ablate.components.b: 'method.groups' is also set by 'a'; components must "
            "be independent, so give the key to one of them",
        ),
        (
            "ablate:\n  design: lattice\n  components:\n    a: {method.groups: 1}\n"
            "    b: {without: {method: {name: pixels}}}\n",
            "s.yaml:8:19: ablate.components.b: 'method' is or 'method.groups' set by 'a'; "
            "components must be independent, so give the key to one of them",
        ),
        (
            THREE.replace("[groups]", "[grups]"),
            "s.yaml:9:49: ablate.components.grouping.needs: no component 'grups'; did you mean "
            "'groups'? known: momentum, groups",
        ),
        (
            THREE.replace("{method.groups: 1}", "{without: {method.groups: 1}, needs: [grouping]}"),
            "s.yaml:8:43: ablate.components: groups and grouping need each other in a circle; merge "
            "them, or drop a 'needs'",
        ),
        (
            THREE.replace("momentum: {", "'a, b': {"),
            "s.yaml:7:5: ablate.components.a, b: a name starts with a letter or digit and has no "
            "comma, colon or '=', since trials are labelled with it; rename the component",
        ),
        (
            f"{THREE}  fraction: V\n",
            "s.yaml:10:3: ablate.fraction: no fraction of 3 components has resolution V, which "
            "needs 5; remove fraction",
        ),
        (
            f"{THREE.replace('lattice', 'leave_one_out')}  permutations: 3\n",
            "s.yaml:10:3: ablate.permutations: only a lattice is sampled; remove permutations, or "
            "set design to lattice",
        ),
        (
            f"{THREE}  fraction: V\n  permutations: 3\n",
            "s.yaml:11:3: ablate.permutations: the lattice is already a fraction; keep fraction for "
            "main effects and interactions, or permutations for Shapley values",
        ),
        (
            f"{THREE}  bare: raw pixel\n",
            "s.yaml:10:3: ablate.bare: no control 'raw pixel'; did you mean 'raw pixels'? known: "
            "raw pixels",
        ),
        (
            f"{THREE.replace('lattice', 'leave_one_out')}  bare: raw pixels\n",
            "s.yaml:10:3: ablate.bare: this design has no trial with everything off; remove bare",
        ),
        (
            f"{THREE}baseline: no gruops\n",
            "s.yaml:10:1: baseline: no trial 'no gruops'; did you mean 'no groups'? known: full, "
            "no momentum, no grouping, only groups, no groups, bare",
        ),
        (
            f"{THREE}baseline: {{groups: false}}\n",
            "s.yaml:10:1: baseline: matches 2 trials; give the label of one: full, no momentum, no "
            "grouping, only groups, no groups, bare",
        ),
        (
            f"{THREE}baseline: {{gruops: false}}\n",
            "s.yaml:10:1: baseline: no component 'gruops'; did you mean 'groups'? known: momentum, "
            "groups, grouping",
        ),
        (
            THREE.replace("groups: 1", "groups: 0"),
            "s.yaml:8:14: method.groups: Input should be greater than or equal to 1 (trial 'no "
            "groups'); or let a component say what it 'needs'",
        ),
        (
            THREE.replace("groups: 1", "group: 1"),
            "s.yaml:8:14: method.group: Extra inputs are not permitted (trial 'no groups'); or let "
            "a component say what it 'needs'",
        ),
    ],
)
def test_what_no_ablation_can_be_is_refused_in_one_line(
    tmp_path: Path, text: str, expected: str
) -> None:
    assert plan_problems(tmp_path, text) == [expected]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            f"search: {{method.momentum: {{grid: [0.0, 0.9]}}}}\n{THREE}",
            "s.yaml:4:1: search: 'ablate' decides which trials there are; remove search or ablate",
        ),
        (
            f"variants: {{a: {{}}}}\n{THREE}",
            "s.yaml:4:1: variants: 'ablate' decides which trials there are; remove variants or "
            "ablate",
        ),
        (
            f"sampler: tpe\ntrials: 3\n{THREE}",
            "s.yaml:4:1: sampler: 'ablate' trains fixed trials; remove sampler or ablate",
        ),
        (
            THREE.replace("design: lattice", "design: latice"),
            "s.yaml:5:3: ablate.design: input should be 'leave_one_out', 'add_one_in', 'lattice' or 'path', "
            "got 'latice'",
        ),
        (
            f"{THREE}  fractoin: V\n",
            "s.yaml:10:3: ablate.fractoin: unknown key; did you mean 'fraction'? known: components, "
            "design, fraction, permutations, permutation_seed, bare, start, race, tune",
        ),
        (
            THREE.replace("without: {method.grouping: off}, ", ""),
            "s.yaml:9:5: ablate.components.grouping: needs: give the overrides that switch it off "
            "under 'without'",
        ),
        (
            THREE.replace("momentum: {method.momentum: 0}", "momentum: {}"),
            "s.yaml:7:5: ablate.components.momentum.without: is empty; name the parameters that switch "
            "it off",
        ),
    ],
)
def test_what_is_no_ablation_is_refused_in_one_line(
    tmp_path: Path, text: str, expected: str
) -> None:
    assert load_problems(write_study(tmp_path, text)) == [expected]
