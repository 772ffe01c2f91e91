"""From a study to its trials: which there are, what they are called, which is the baseline."""

from __future__ import annotations

from pathlib import Path

import pytest
from fake_workload import FakeWorkload, plan_problems, plan_study, write_study

from harness.errors import InputError
from harness.study.axes import get_at
from harness.study.loading import load_study
from harness.study.trials.conditions import is_forbidden
from harness.study.trials.plan import Plan, make_plan
from harness.study.trials.single_trial import label_of, show
from harness.workload import JsonValue, Params

MOMENTUM = "search: {method.momentum: {grid: [0.0, 0.9]}}\n"
ADAPTIVE = "sampler: random\ntrials: 20\n"


def labels(plan: Plan) -> list[str]:
    return [trial.label for trial in plan.fixed]


def baseline_label(plan: Plan) -> str:
    (label,) = [trial.label for trial in plan.fixed if trial.role == "baseline"]
    return label


def test_a_grid_has_all_combinations_with_the_last_axis_fastest(tmp_path: Path) -> None:
    text = "search: {method.momentum: {grid: [0.0, 0.9]}, train.epochs: {choice: [1, 2]}}\n"
    plan = plan_study(tmp_path, text)
    assert labels(plan) == [
        "momentum=0, epochs=1",
        "momentum=0, epochs=2",
        "momentum=0.9, epochs=1",
        "momentum=0.9, epochs=2",
    ]
    assert [trial.number for trial in plan.fixed] == [0, 1, 2, 3]
    assert [trial.role for trial in plan.fixed] == ["baseline", "trial", "trial", "trial"]
    assert {trial.phase for trial in plan.fixed} == {"confirm"}
    last = plan.fixed[3]
    assert last.varied == {"method.momentum": 0.9, "train.epochs": 2}
    assert get_at(last.params, "method.momentum") == 0.9
    assert last.params["data"] == "strokes"
    assert len({trial.trial_id for trial in plan.fixed}) == 4


def test_a_study_without_axes_is_its_base_and_the_controls(tmp_path: Path) -> None:
    plan = plan_study(tmp_path, "base: {train: {epochs: 7}}")
    assert [(t.label, t.role, t.number) for t in (*plan.fixed, *plan.controls)] == [
        ("base", "baseline", 0),
        ("raw pixels", "control", 1),
    ]
    control = plan.controls[0].params
    assert control["method"] == {"name": "pixels"}
    assert get_at(control, "train.epochs") == 7


def test_an_axis_with_a_condition_exists_only_where_it_holds(tmp_path: Path) -> None:
    text = """\
    search:
      method.groups: {grid: [1, 2], when: {method.name: teacher}}
      method.name: {grid: [pixels, teacher]}
    baseline: {method.name: pixels}
    """
    plan = plan_study(tmp_path, text)
    assert labels(plan) == ["name=pixels", "groups=1, name=teacher", "groups=2, name=teacher"]
    assert baseline_label(plan) == "name=pixels"


def test_a_condition_may_list_values_and_hang_on_another_conditional_axis(tmp_path: Path) -> None:
    text = """\
    search:
      method.name: {grid: [pixels, teacher]}
      method.grouping: {grid: [size, random, off], when: {method.name: teacher}}
      method.groups: {grid: [2, 3], when: {method.grouping: [size, random]}}
    """
    assert len(labels(plan_study(tmp_path, text))) == 1 + 2 + 2 + 1


def test_an_end_of_an_axis_has_the_conditional_axes_that_come_with_it(tmp_path: Path) -> None:
    text = """\
    sampler: random
    trials: 20
    base: {method: {name: pixels}}
    search:
      method.name: {choice: [pixels, teacher]}
      train.epochs: {choice: [5, 6]}
      method.momentum: {uniform: [0.25, 0.5], when: {method.name: teacher}}
      method.groups: {int: [2, 3], when: {method.name: teacher}}
    """
    named = "baseline: {method.name: teacher, method.momentum: 0.5, method.groups: 3}\n"
    ends = [trial.varied for trial in plan_study(tmp_path, text).ends]
    assert {"method.name": "pixels"} in ends
    assert {"method.name": "teacher", "method.momentum": 0.25, "method.groups": 2} in ends
    assert {"method.name": "teacher", "method.momentum": 0.5, "method.groups": 2} in ends
    assert {"train.epochs": 5} in ends
    ends = [trial.varied for trial in plan_study(tmp_path, text + named).ends]
    assert {"method.name": "teacher", "method.momentum": 0.5, "method.groups": 3} in ends
    assert {"method.name": "teacher", "method.momentum": 0.25, "method.groups": 3} in ends
    beside = {"method.name": "teacher", "method.momentum": 0.5, "method.groups": 3}
    assert beside | {"train.epochs": 6} in ends


def test_a_condition_sees_the_base_its_defaults_and_variants(tmp_path: Path) -> None:
    groups = "search: {method.groups: {grid: [1, 2], when: {method.name: teacher}}}\n"
    assert labels(plan_study(tmp_path, groups)) == ["groups=1", "groups=2"]
    whole = "variants: {raw: {method: {name: pixels}}, full: {}}\n"
    dotted = "base: {method: {name: pixels}}\nvariants: {raw: {}, full: {method.name: teacher}}\n"
    named = groups.replace("method.name: teacher", "variant: full")
    for text in (groups + whole, groups + dotted, named + whole):
        assert labels(plan_study(tmp_path, text)) == ["raw", "full, groups=1", "full, groups=2"]


@pytest.mark.parametrize(
    ("when", "message"),
    [
        ("{method.grops: 1}", "s.yaml:4:49: search.a.when: unknown key 'method.grops'; did you mean 'method.groups'? known: "),
        ("{method.name: techer}", "s.yaml:4:49: search.a.when: 'method.name' is never 'techer'; no trial has this axis"),
        ("{train.epochs: [7, 8]}", "s.yaml:4:49: search.a.when: 'train.epochs' is never [7, 8]; no trial has this axis"),
        ("{variant: x}", "s.yaml:4:49: search.a.when: unknown key 'variant'; "),
    ],
)  # fmt: skip
def test_a_condition_that_never_holds_is_refused(tmp_path: Path, when: str, message: str) -> None:
    text = (
        f"search: {{method.temperature: {{grid: [1], when: {when}}}, train.epochs: {{grid: [1]}}}}"
    )
    (line,) = plan_problems(tmp_path, text)
    assert line.startswith(message.replace("search.a", "search.method.temperature"))


def test_conditions_in_a_ring_are_refused(tmp_path: Path) -> None:
    axes = "method.groups: {grid: [1], when: {train.epochs: 1}}, train.epochs: {grid: [1], when: {method.groups: 1}}"
    (line,) = plan_problems(tmp_path, f"search: {{{axes}}}")
    assert line.startswith("s.yaml:4:1: search: the conditions of method.groups, train.epochs ")


def test_tied_axes_advance_together(tmp_path: Path) -> None:
    text = """\
    search:
      method.groups: {grid: [1, 2]}
      train.epochs: {grid: [3, 4]}
      method.clusters: {grid: [10, 20]}
    zip: [[method.groups, method.clusters]]
    """
    assert labels(plan_study(tmp_path, text)) == [
        "groups=1, epochs=3, clusters=10",
        "groups=1, epochs=4, clusters=10",
        "groups=2, epochs=3, clusters=20",
        "groups=2, epochs=4, clusters=20",
    ]


def test_forbidden_combinations_are_left_out(tmp_path: Path) -> None:
    text = """\
    variants: {full: {}, brief: {train.learning_rate: 1}}
    search: {method.groups: {grid: [1, 2, 3]}, train.epochs: {grid: [1, 2]}}
    forbid: [{method.groups: [2, 3], train.epochs: 2}, {variant: brief, method.groups: 1}]
    """
    assert labels(plan_study(tmp_path, text)) == [
        "full, groups=1, epochs=1",
        "full, groups=1, epochs=2",
        "full, groups=2, epochs=1",
        "full, groups=3, epochs=1",
        "brief, groups=2, epochs=1",
        "brief, groups=3, epochs=1",
    ]


@pytest.mark.parametrize(
    ("rule", "message"),
    [
        ("{method.momentum: [0, 0.9]}", "s.yaml:5:1: forbid: leaves no trial"),
        (
            "{method.momentun: 0}",
            "s.yaml:5:11: forbid: 'method.momentun' does not vary; "
            "did you mean 'method.momentum'? known: method.momentum, variant",
        ),
    ],
)
def test_a_useless_rule_is_refused(tmp_path: Path, rule: str, message: str) -> None:
    assert plan_problems(tmp_path, f"{MOMENTUM}forbid: [{rule}]") == [message]


def test_variants_override_the_base_and_are_crossed_with_axes(tmp_path: Path) -> None:
    text = f"""\
    base: {{method: {{clusters: 50}}}}
    variants: {{full: {{}}, one-group: {{method.groups: 1, train: {{epochs: 9}}}}}}
    {MOMENTUM}
    baseline: {{variant: one-group, method.momentum: 0.9}}
    """
    plan = plan_study(tmp_path, text)
    assert labels(plan) == [
        "full, momentum=0",
        "full, momentum=0.9",
        "one-group, momentum=0",
        "one-group, momentum=0.9",
    ]
    assert baseline_label(plan) == "one-group, momentum=0.9"
    trial = plan.fixed[3]
    assert trial.variant == "one-group"
    assert trial.varied == {"variant": "one-group", "method.momentum": 0.9}
    assert get_at(trial.params, "method.clusters") == 50
    assert get_at(trial.params, "method.groups") == 1
    assert get_at(trial.params, "train.epochs") == 9


def test_planning_does_not_change_the_study(tmp_path: Path) -> None:
    text = f"variants: {{a: {{method: {{groups: 1}}}}, b: {{method: {{groups: 2}}}}}}\n{MOMENTUM}"
    loaded = load_study(write_study(tmp_path, text))
    before = loaded.spec.fingerprint
    make_plan(loaded, FakeWorkload())
    assert loaded.spec.fingerprint == before
    assert loaded.spec.variants["a"] == {"method": {"groups": 1}}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "variants: {a: {method.momentum: 1}}\n" + MOMENTUM,
            "s.yaml:4:16: variants.a: 'method.momentum' is also an axis; keep one",
        ),
        (
            "search: {method: {grid: [{name: pixels}]}, method.groups: {grid: [1]}}",
            "s.yaml:4:44: search.method.groups: lies inside the axis 'method'; keep one",
        ),
        (
            "variants: {a: {method.groups: 1}}\nsearch: {method: {grid: [{name: pixels}]}}",
            "s.yaml:4:16: variants.a: 'method.groups' is inside 'method', an axis; keep one",
        ),
        (
            "search: {variant: {grid: [1]}}",
            "s.yaml:4:10: search.variant: 'variant' is reserved for variants; rename the parameter",
        ),
        (
            "variants: {a: {}, b: {}}",
            "s.yaml:4:19: 'b' has the same parameters as 'a'; remove one of them",
        ),
        (
            "search: {method: {grid: [{name: teacher}, {name: teacher, groups: 4}]}}",
            's.yaml:4:1: \'method={"name": "teacher", "groups": 4}\' has the same parameters as '
            '\'method={"name": "teacher"}\'; remove one of them',
        ),
    ],
)
def test_what_contradicts_or_repeats_itself_is_refused(
    tmp_path: Path, text: str, message: str
) -> None:
    assert plan_problems(tmp_path, text) == [message]


def test_too_many_combinations_are_refused_before_they_are_made(tmp_path: Path) -> None:
    numbers = list(range(1, 1002))
    text = f"search: {{method.groups: {{grid: {numbers}}}, train.epochs: {{grid: {numbers}}}}}"
    (line,) = plan_problems(tmp_path, text)
    assert line == "s.yaml:4:1: search: 1,002,001 combinations; the most is 100,000"


def test_each_wrong_parameter_is_a_line_with_its_place(tmp_path: Path) -> None:
    lines = plan_problems(tmp_path, "base: {train: {epochs: 0}, dat: x}\n" + MOMENTUM)
    assert [line.partition(" (trial")[0] for line in lines] == [
        "s.yaml:4:16: train.epochs: Input should be greater than or equal to 1",
        "s.yaml:4:28: dat: Extra inputs are not permitted",
    ]


@pytest.mark.parametrize(
    ("text", "start", "end"),
    [
        ("search: {method.momentum: {grid: [0.5, 2]}}", "s.yaml:4:10: method.momentum: ", " (trial 'momentum=2')"),
        ("search: {method.momentun: {grid: [0.5]}}", "s.yaml:4:10: method.momentun: ", " (trial 'momentun=0.5')"),
        ("variants: {a: {}, b: {train.epoch: 2}}", "s.yaml:4:23: train.epoch: ", " (trial 'b')"),
        ("variants: {a: {train: {epoch: 2}}}", "s.yaml:4:24: train.epoch: ", " (trial 'a')"),
        ("search: {method.groups: {grid: [500]}}", "s.yaml:4:10: method.groups: at most 100", "got 500 (trial 'groups=500')"),
        (ADAPTIVE + "search: {method.momentum: {uniform: [0, 2]}}", "s.yaml:6:10: method.momentum: ", " (trial 'momentum=2')"),
        (ADAPTIVE + "search: {method.temperature: {choice: [1, 0]}}", "s.yaml:6:10: method.temperature: ", " (trial 'temperature=0')"),
    ],
)  # fmt: skip
def test_a_parameter_that_the_workload_refuses_stands_where_it_was_set(
    tmp_path: Path, text: str, start: str, end: str
) -> None:
    (line,) = plan_problems(tmp_path, text)
    assert line.startswith(start)
    assert line.endswith(end)


class _Picky(FakeWorkload):
    def controls(self) -> dict[str, Params]:
        return {"broken": {"method.groups": 0}}


def test_a_control_that_does_not_fit_is_refused(tmp_path: Path) -> None:
    loaded = load_study(write_study(tmp_path, "base: {method: {groups: 2}}"))
    with pytest.raises(InputError, match=r"s\.yaml:4:17: method\.groups: .*\(control 'broken'\)$"):
        make_plan(loaded, _Picky())


class _Fitting(FakeWorkload):
    """Has a control that fits a trial's data and nothing else of it."""

    def controls(self, params: Params) -> dict[str, Params]:
        return {"raw": {"method": {"name": "pixels"}, "train": {}, "data": params["data"]}}


@pytest.mark.parametrize(
    ("axes", "expected"),
    [
        ("method.momentum: {grid: [0.1, 0.2]}, train.epochs: {grid: [1, 2]}", ["raw"]),
        (
            "data: {grid: [strokes, folder]}, train.epochs: {grid: [1, 2]}",
            ["raw (data=strokes)", "raw (data=folder)"],
        ),
    ],
)
@pytest.mark.parametrize("sampler", ["", ADAPTIVE])
def test_controls_may_fit_a_trial_and_equal_ones_count_once(
    tmp_path: Path, axes: str, expected: list[str], sampler: str
) -> None:
    loaded = load_study(write_study(tmp_path, f"{sampler}search: {{{axes}}}"))
    plan = make_plan(loaded, _Fitting())
    if sampler:  # its first trial is the baseline, which varies nothing
        expected = ["raw", *expected[1:]]
    assert [control.label for control in plan.controls] == expected
    first = 20 if sampler else 4
    assert [control.number for control in plan.controls] == list(
        range(first, first + len(expected))
    )
    assert {control.params["train"]["epochs"] for control in plan.controls} == {3}  # type: ignore[index,call-overload]


@pytest.mark.parametrize(
    ("baseline", "label"),
    [("{}", None), ("{method.momentum: 0.9}", "momentum=0.9"), ("{method.momentum: 0}", "momentum=0")],
)  # fmt: skip
def test_the_baseline_is_the_trial_with_the_named_values(
    tmp_path: Path, baseline: str, label: str | None
) -> None:
    text = f"{MOMENTUM}baseline: {baseline}"
    if label is None:
        assert plan_problems(tmp_path, text) == [
            "s.yaml:5:1: baseline: matches 2 trials (momentum=0; momentum=0.9); "
            "give a value for every varied parameter"
        ]
    else:
        assert baseline_label(plan_study(tmp_path, text)) == label


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            MOMENTUM + "baseline: {method.momentun: 0}",
            "s.yaml:5:1: baseline: 'method.momentun' does not vary; "
            "did you mean 'method.momentum'? known: method.momentum",
        ),
        (
            MOMENTUM + "baseline: {method.momentum: 0.5}",
            "s.yaml:5:1: baseline: matches none of the trials: momentum=0; momentum=0.9",
        ),
        (
            MOMENTUM + "variants: {a: {}, b: {data: x}}\nbaseline: b",
            "s.yaml:6:1: baseline: matches 2 trials (b, momentum=0; b, momentum=0.9); "
            "give a value for every varied parameter",
        ),
        (
            ADAPTIVE + MOMENTUM + "baseline: {train.epochs: 1}",
            "s.yaml:7:12: baseline: 'train.epochs' does not vary; known: method.momentum",
        ),
        (
            ADAPTIVE + MOMENTUM + "variants: {a: {}, b: {data: x}}\nbaseline: {variant: c}",
            "s.yaml:8:12: baseline: no variant 'c'; known: a, b",
        ),
    ],
)
def test_a_baseline_that_is_no_single_trial_is_refused(
    tmp_path: Path, text: str, message: str
) -> None:
    assert plan_problems(tmp_path, text) == [message]


@pytest.mark.parametrize(
    ("rest", "varied"),
    [
        ("", {}),
        ("baseline: {method.momentum: 0.5}", {"method.momentum": 0.5}),
        ("variants: {a: {}, b: {data: x}}", {"variant": "a"}),
        ("variants: {a: {}, b: {data: x}}\nbaseline: b", {"variant": "b"}),
    ],
)
def test_an_adaptive_study_starts_from_its_baseline_and_hides_test_classes(
    tmp_path: Path, rest: str, varied: dict[str, JsonValue]
) -> None:
    plan = plan_study(tmp_path, ADAPTIVE + MOMENTUM + rest)
    (trial,) = plan.fixed
    assert (trial.role, trial.number, trial.phase) == ("baseline", 0, "search")
    assert trial.varied == varied
    assert [control.number for control in plan.controls] == [20]


def test_the_ends_of_an_axis_are_checked_where_the_axis_exists(tmp_path: Path) -> None:
    text = (
        ADAPTIVE
        + """\
base: {method: {name: pixels}}
variants: {raw: {}, full: {method.name: teacher}}
search:
  method.grouping: {choice: [size, off], when: {method.name: teacher}}
  method.groups: {int: [1, 90], when: {method.grouping: size}}
  method.clusters: {choice: [10, 200], when: {method.grouping: off}}
"""
    )
    assert plan_study(tmp_path, text).fixed[0].label == "raw"  # fmt: skip


def test_the_ends_of_tied_axes_are_checked_together(tmp_path: Path) -> None:
    axes = "method.groups: {choice: [1, 300]}, method.clusters: {choice: [1, 300]}"
    tied = f"{ADAPTIVE}search: {{{axes}}}\nzip: [[method.groups, method.clusters]]"
    assert plan_study(tmp_path, tied).fixed[0].label == "base"


def test_a_label_uses_the_shortest_names_that_are_unique(tmp_path: Path) -> None:
    text = "sampler: random\ntrials: 2\nsearch: {a.b.x: {int: [0, 1]}, a.c.x: {int: [0, 1]}, d.y: {int: [0, 1]}}"
    spec = load_study(write_study(tmp_path, text)).spec
    assert (
        label_of(spec, {"a.b.x": 1, "a.c.x": None, "d.y": 0.123456}) == "b.x=1, c.x=null, y=0.12346"
    )
    assert label_of(spec, {}) == "base"
    assert [show(v) for v in (0.001, 1e-7, 3, "off", True, [1, 2])] == ["0.001", "1e-07", "3", "off", "true", "[1, 2]"]  # fmt: skip


def test_a_proposal_becomes_a_trial_or_is_ruled_out(tmp_path: Path) -> None:
    text = f"{ADAPTIVE}{MOMENTUM}forbid: [{{method.momentum: 0.9}}]"
    plan = plan_study(tmp_path, text)
    trial = plan.trial(7, {"method.momentum": 0.0})
    assert (trial.number, trial.role, trial.phase) == (7, "trial", "search")
    assert not is_forbidden(plan.spec, {"method.momentum": 0.0})
    assert is_forbidden(plan.spec, {"method.momentum": 0.9})
    with pytest.raises(InputError, match="momentum"):
        plan.trial(8, {"method.momentum": 7})


def test_a_setting_keeps_its_id_when_others_come_and_go(tmp_path: Path) -> None:
    two = plan_study(tmp_path, MOMENTUM)
    three = plan_study(tmp_path, "search: {method.momentum: {grid: [0.5, 0.9, 0.0]}}")
    ids = {trial.label: trial.trial_id for trial in three.fixed}
    assert [trial.trial_id for trial in two.fixed] == [ids["momentum=0"], ids["momentum=0.9"]]
