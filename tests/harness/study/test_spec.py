"""The study file: every rule, and that every error says where, what and which value."""

from __future__ import annotations

from pathlib import Path

import pytest
from fake_workload import load_problems, plan_problems, write_study

from harness.errors import InputError
from harness.study.axes import matches, same_value, set_at
from harness.study.loading import load_study
from harness.workload import JsonValue

GRID = "search: {method.momentum: {grid: [0.0, 0.9]}}\n"


def test_what_is_left_out_has_its_default(tmp_path: Path) -> None:
    spec = load_study(write_study(tmp_path, "")).spec
    assert (spec.study, spec.workload, spec.metric) == ("s", "fake", "recall@1")
    assert spec.seed_list == (0, 1, 2, 3, 4)
    assert spec.sampler == "grid"
    assert spec.is_fixed
    assert spec.trials is None
    assert spec.baseline is None


@pytest.mark.parametrize(
    ("axis", "kind", "values", "bounds", "is_log", "is_whole"),
    [
        ("grid: [1e-3, off, null]", "grid", [0.001, "off", None], None, False, False),
        ("choice: [[1, 2], [3]]", "choice", [[1, 2], [3]], None, False, False),
        ("uniform: [0, 1]", "uniform", None, (0.0, 1.0), False, False),
        ("loguniform: [1e-4, 1e-1]", "loguniform", None, (1e-4, 1e-1), True, False),
        ("int: [0, 5]", "int", None, (0, 5), False, True),
        ("logint: [1, 64]", "logint", None, (1, 64), True, True),
    ],
)
def test_each_kind_of_axis_is_understood(
    tmp_path: Path,
    axis: str,
    kind: str,
    values: list[JsonValue] | None,
    bounds: tuple[float, float] | None,
    is_log: bool,
    is_whole: bool,
) -> None:
    text = f"sampler: random\ntrials: 3\nsearch: {{a.b: {{{axis}}}}}\n"
    found = load_study(write_study(tmp_path, text)).spec.search["a.b"]
    assert (found.kind, found.values, found.bounds) == (kind, values, bounds)
    assert (found.is_log, found.is_whole) == (is_log, is_whole)


@pytest.mark.parametrize(
    ("axis", "message"),
    [
        (
            "{}",
            "s.yaml:4:10: search.a: give one of grid, choice, uniform, loguniform, int, logint, "
            "got none of them",
        ),
        (
            "{grid: [1], int: [1, 2]}",
            "s.yaml:4:10: search.a: give one of grid, choice, uniform, loguniform, int, logint, "
            "got grid and int",
        ),
        (
            "{grdi: [1]}",
            "s.yaml:4:14: search.a.grdi: unknown key; did you mean 'grid'? "
            "known: grid, choice, uniform, loguniform, int, logint, when",
        ),
        (
            "[1, 2]",
            "s.yaml:4:10: search.a: input should be a valid dictionary or instance of Axis, "
            "got [1, 2]",
        ),
        ("{grid: 3}", "s.yaml:4:14: search.a.grid: input should be a valid list, got 3"),
        ("{grid: [1, 2, 1]}", "s.yaml:4:10: search.a: grid lists 1 twice"),
        ("{choice: [1, 1.0]}", "s.yaml:4:10: search.a: choice lists 1.0 twice"),
        ("{uniform: [1]}", "s.yaml:4:14: search.a.uniform: needs [low, high]"),
        ("{int: [1, 2, 3]}", "s.yaml:4:14: search.a.int: needs [low, high], got [1, 2, 3]"),
        ("{uniform: [2, 1]}", "s.yaml:4:10: search.a: uniform needs low < high, got 2.0 and 1.0"),
        ("{int: [1, 1]}", "s.yaml:4:10: search.a: int needs low < high, got 1 and 1"),
        ("{loguniform: [0, 1]}", "s.yaml:4:10: search.a: loguniform needs low > 0, got 0.0"),
        ("{logint: [-1, 1]}", "s.yaml:4:10: search.a: logint needs low > 0, got -1"),
        (
            "{int: [1.5, 3]}",
            "s.yaml:4:20: search.a.int.0: input should be a valid integer, got 1.5",
        ),
        (
            "{uniform: [0, true]}",
            "s.yaml:4:27: search.a.uniform.1: input should be a valid number, got True",
        ),
        (
            "{grid: [1], when: [b]}",
            "s.yaml:4:25: search.a.when: input should be a valid dictionary, got ['b']",
        ),
        (
            "{uniform: [0, 1]}",
            "s.yaml:4:10: search.a: the grid sampler needs grid or choice, got uniform; "
            "list values or set sampler to random, tpe or another search",
        ),
    ],
)
def test_a_wrong_axis_is_refused_in_one_line(tmp_path: Path, axis: str, message: str) -> None:
    assert load_problems(write_study(tmp_path, f"search: {{a: {axis}}}")) == [message]


def test_an_empty_list_of_values_is_refused(tmp_path: Path) -> None:
    (line,) = load_problems(write_study(tmp_path, "search: {a: {grid: []}}"))
    assert line.startswith("s.yaml:4:14: search.a.grid: ")
    assert line.endswith(", got []")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("seeds: 0", "s.yaml:4:1: seeds: input should be greater than or equal to 1, got 0"),
        ("seeds: abc", "s.yaml:4:1: seeds: input should be a valid integer, got 'abc'"),
        ("seeds: true", "s.yaml:4:1: seeds: input should be a valid integer, got True"),
        (
            "seeds: '3'",
            "s.yaml:4:1: seeds: input should be a valid integer, got '3'; write 3 without quotes",
        ),
        ("seeds: 2.5", "s.yaml:4:1: seeds: input should be a valid integer, got 2.5"),
        ("seeds: []", "s.yaml:4:1: seeds: give at least one seed"),
        ("seeds: [3, 3]", "s.yaml:4:1: seeds: a seed is given twice"),
        (
            "seeds: [1, -2]",
            "s.yaml:4:12: seeds.1: input should be greater than or equal to 0, got -2",
        ),
        ("seeds: [a, 1]", "s.yaml:4:9: seeds.0: input should be a valid integer, got 'a'"),
        (
            "sampler: tpee",
            "s.yaml:4:1: sampler: input should be 'grid', 'random', 'qmc', 'tpe', 'gp', 'cmaes' or 'nsga2', got 'tpee'",
        ),
        (
            "sampler: cmaes\ntrials: 9\nsearch: {a: {uniform: [0, 1]}, b: {choice: [1, 2]}}",
            "s.yaml:4:1: sampler: cmaes moves a cloud of points and needs at least 2 ranges without "
            "'when', got 1; use tpe",
        ),
        (
            "sampler: random\ntrials: 9\nsearch: {a: {uniform: [0, 1]}}\nconfirm: {seeds: [7, 4]}",
            "s.yaml:7:11: confirm.seeds: the search has used seed 4; winners are partly chosen by "
            "luck, so give fresh seeds",
        ),
        (
            "sampler: random\ntrials: 9\nconfirm: {seeds: true}",
            "s.yaml:6:11: confirm.seeds: input should be a valid integer, got True",
        ),
        (
            "sampler: random\ntrials: 9\nconfirm: {seeds: [7, -1]}",
            "s.yaml:6:22: confirm.seeds.1: input should be greater than or equal to 0, got -1",
        ),
        (
            "trials: 3",
            "s.yaml:4:1: trials: the grid sampler trains all combinations; remove trials",
        ),
        (
            f"sampler: tpe\n{GRID}trials: 0",
            "s.yaml:6:1: trials: input should be greater than or equal to 1, got 0",
        ),
        (
            f"sampler: tpe\n{GRID}",
            "s.yaml:1:1: trials: the tpe sampler needs a number of trials, or a budget",
        ),
        (
            "sampler: random\ntrials: 3\nsearch: {}",
            "s.yaml:6:1: search: the random sampler needs an axis to search",
        ),
        ("base: 3", "s.yaml:4:1: base: input should be a valid dictionary, got 3"),
        (
            "variants: {a: }",
            "s.yaml:4:12: variants.a: input should be a valid dictionary, got None",
        ),
        ("forbid: [3]", "s.yaml:4:10: forbid.0: input should be a valid dictionary, got 3"),
        ("baseline: 3", "s.yaml:4:1: baseline: input should be a valid string, got 3"),
        (
            "variants: {full: {}, none: {a: 1}}\nbaseline: ful",
            "s.yaml:5:1: baseline: no variant 'ful'; did you mean 'full'? known: full, none",
        ),
        (f"{GRID}baseline: full", "s.yaml:5:1: baseline: no variant 'full'; known: none"),
        (
            "metrik: nmi",
            "s.yaml:4:1: metrik: unknown key; did you mean 'metric'? known: study, question, "
            "workload, base, search, variants, ablate, variance, zip, forbid, seeds, folds, stop, baseline, metric, "
            "sampler, trials, confirm, parallel_trials, pruner, limits, budget, train_together, claims",
        ),
    ],
)
def test_a_wrong_field_is_refused_in_one_line(tmp_path: Path, text: str, message: str) -> None:
    assert load_problems(write_study(tmp_path, text)) == [message]


@pytest.mark.parametrize(
    ("zipped", "message"),
    [
        ("[[a, bb]]", "s.yaml:4:1: zip: 'bb' is not an axis; did you mean 'b'? known: a, b, c, d"),
        ("[[a, c]]", "s.yaml:4:1: zip: lists must be equally long, got a: 2, c: 3"),
        ("[[a, b], [b, a]]", "s.yaml:4:1: zip: 'b' is tied twice"),
        ("[[a, a]]", "s.yaml:4:1: zip: 'a' is tied twice"),
        ("[[a, d]]", "s.yaml:4:1: zip: tied axes need the same 'when'"),
    ],
)
def test_axes_that_cannot_be_tied_are_refused(tmp_path: Path, zipped: str, message: str) -> None:
    axes = "a: {grid: [1, 2]}, b: {grid: [1, 2]}, c: {grid: [1, 2, 3]}"
    text = f"zip: {zipped}\nsearch: {{{axes}, d: {{grid: [1, 2], when: {{a: 1}}}}}}"
    assert load_problems(write_study(tmp_path, text)) == [message]


def test_a_range_cannot_be_tied_and_one_axis_is_no_tie(tmp_path: Path) -> None:
    text = "sampler: random\ntrials: 3\nsearch: {a: {int: [1, 2]}, b: {grid: [1]}}\n"
    assert load_problems(write_study(tmp_path, f"{text}zip: [[a, b]]")) == [
        "s.yaml:7:1: zip: 'a' needs grid or choice to be tied"
    ]
    (line,) = load_problems(write_study(tmp_path, f"{text}zip: [[a]]"))
    assert line.startswith("s.yaml:7:7: zip.0: list should have at least 2 items")


def test_several_problems_are_a_line_each(tmp_path: Path) -> None:
    path = write_study(tmp_path, "seeds: -1\nsampler: x\n", head="study: A b\nquestion: ''\n")
    lines = load_problems(path)
    assert [line.partition(" ")[0] for line in lines] == [
        "s.yaml:1:1:",
        "s.yaml:2:1:",
        "s.yaml:1:1:",
        "s.yaml:3:1:",
        "s.yaml:4:1:",
    ]
    assert lines[0].endswith("got 'A b'")
    assert lines[2] == "s.yaml:1:1: workload: is missing; add it"


def test_a_line_break_in_a_key_does_not_break_the_line(tmp_path: Path) -> None:
    (line,) = load_problems(write_study(tmp_path, '"a\\nb": 1'))
    assert line.startswith("s.yaml:4:1: a\\nb: unknown key; ")


def test_the_fingerprint_follows_content_and_not_the_order_of_keys(tmp_path: Path) -> None:
    one = load_study(write_study(tmp_path, "seeds: 3\nbase: {a: 1, b: 2}")).spec
    same = load_study(write_study(tmp_path, "base: {b: 2, a: 1}\nseeds: 3")).spec
    other = load_study(write_study(tmp_path, "base: {b: 2, a: 1}\nseeds: 4")).spec
    assert one.fingerprint == same.fingerprint != other.fingerprint
    assert len(one.fingerprint) == 12


PARENT = """\
base: {train: {epochs: 3, learning_rate: 0.1}, data: strokes}
search: {method.momentum: {grid: [0.0, 0.9]}}
seeds: 7
"""


def test_a_child_merges_the_base_and_replaces_other_fields(tmp_path: Path) -> None:
    write_study(tmp_path, PARENT, name="parent.yaml")
    child = write_study(
        tmp_path,
        "base: {train: {epochs: 9}}\nsearch: {method.groups: {grid: [1]}}\n",
        head="extends: parent.yaml\nstudy: child\n",
    )
    spec = load_study(child).spec
    assert (spec.study, spec.question, spec.seeds) == ("child", "Does it help?", 7)
    assert spec.base == {"train": {"epochs": 9, "learning_rate": 0.1}, "data": "strokes"}
    assert list(spec.search) == ["method.groups"]


def test_an_error_in_what_is_inherited_stands_in_the_parent(tmp_path: Path) -> None:
    write_study(tmp_path, PARENT.replace("seeds: 7", "seeds: 0"), name="parent.yaml")
    child = write_study(tmp_path, "base: {data: x}\n", head="extends: parent.yaml\n")
    assert load_problems(child) == [
        "parent.yaml:6:1: seeds: input should be greater than or equal to 1, got 0"
    ]
    source = load_study(child, ["seeds=1"]).source
    assert source.where(("base", "train", "epochs")) == f"{tmp_path}/parent.yaml:4:16"
    assert source.where(("base", "data")) == f"{child}:2:8"
    assert source.where(("seeds",)) == "--set seeds=1"


def test_a_replaced_field_keeps_no_place_of_the_parent(tmp_path: Path) -> None:
    write_study(tmp_path, PARENT, name="parent.yaml")
    text = "search: {method.momentum: {}}\n"
    (line,) = load_problems(write_study(tmp_path, text, head="extends: parent.yaml\n"))
    assert line.startswith("s.yaml:2:10: search.method.momentum: give one of ")


@pytest.mark.parametrize(
    ("head", "message"),
    [
        (
            "extends: parent.yaml\nbase: 3\n",
            "s.yaml:2:1: base: input should be a valid dictionary, got 3",
        ),
        ("extends: 3\n", "s.yaml:1:1: extends: give the path of a study file, got 3"),
        ("extends:\n", "s.yaml:1:1: extends: give the path of a study file, got None"),
        ("extends: none.yaml\n", "s.yaml:1:1: extends: no file 'none.yaml'"),
        (
            "extends: s.yaml\n",
            "s.yaml:1:1: extends: s.yaml extends another study itself; only one level is allowed",
        ),
    ],
)
def test_a_wrong_extends_is_refused(tmp_path: Path, head: str, message: str) -> None:
    write_study(tmp_path, PARENT, name="parent.yaml")
    assert load_problems(write_study(tmp_path, "", head=head)) == [message]


def test_set_reaches_fields_of_the_study_and_parameters_of_its_base(tmp_path: Path) -> None:
    path = write_study(tmp_path, "base: {train: {epochs: 3, learning_rate: 1}}\n")
    overrides = ["seeds=[7, 8]", "train.learning_rate=1e-3", "method.grouping=off", "data="]
    loaded = load_study(path, overrides)
    assert loaded.spec.seed_list == (7, 8)
    assert loaded.spec.base == {
        "train": {"epochs": 3, "learning_rate": 0.001},
        "method": {"grouping": "off"},
        "data": None,
    }
    assert loaded.source.where(("base", "train", "learning_rate")) == (
        "--set train.learning_rate=1e-3"
    )
    assert loaded.source.where(("base", "train", "epochs")) == f"{path}:4:16"


def test_the_values_of_an_axis_can_be_replaced(tmp_path: Path) -> None:
    path = write_study(tmp_path, GRID)
    before = load_study(path).spec.search
    loaded = load_study(path, ("search.method.momentum={grid: [0.25, 0.75]}",))
    assert loaded.spec.search.keys() == before.keys()
    assert loaded.spec.search["method.momentum"].grid == [0.25, 0.75]
    with pytest.raises(InputError, match="the study has no axis 'a'; it has none"):
        load_study({"study": "s", "question": "?", "workload": "w"}, ("search.a=1",))


@pytest.mark.parametrize(
    ("override", "start"),
    [
        ("seeds", "--set seeds: give KEY=VALUE, such as seeds=2 or train.epochs=2"),
        ("=3", "--set =3: give KEY=VALUE"),
        ("base.train.epochs=3", "--set base.train.epochs=3: only whole fields of a study"),
        (
            "sampler=x",
            "--set sampler=x: sampler: input should be 'grid', 'random', 'qmc', 'tpe', 'gp', 'cmaes' or 'nsga2', got 'x'",
        ),
        ("seed=3", "--set seed=3: unknown key 'seed'; did you mean 'seeds'?"),
        ("method.momentum=1", "--set method.momentum=1: 'method.momentum' is an axis"),
        (
            "search.method.x=1",
            "--set search.method.x=1: the study has no axis 'method.x'; did you mean",
        ),
        ("search.method.momentum={grd: [1]}", "--set search.method.momentum={grd: [1]}: search."),
        ("data=010", "--set data=010:1:1: 010 can be read as octal or decimal"),
        ("data=[", "--set data=[:1:2: not YAML: "),
    ],
)
def test_a_wrong_set_is_refused_in_one_line(tmp_path: Path, override: str, start: str) -> None:
    (line,) = load_problems(write_study(tmp_path, GRID), override)
    assert line.startswith(start)


def test_a_later_set_wins_over_an_earlier_one(tmp_path: Path) -> None:
    path = write_study(tmp_path, "")
    assert load_study(path, ["seeds=2", "a.b=1", "seeds=3", "a.b=2"]).spec.seed_list == (0, 1, 2)
    assert load_study(path, ["a.b=1", "a.b=2"]).spec.base == {"a": {"b": 2}}


def test_numbers_are_equal_across_types_but_true_is_not_one() -> None:
    assert same_value(1, 1.0)
    assert same_value(0.1 + 0.2, 0.3)
    assert not same_value(True, 1)
    assert not same_value("1", 1)
    assert matches({"a": [1, 2], "b": None}, {"a": 2.0, "b": None})
    assert not matches({"a": [1, 2]}, {"a": 3})
    assert matches({"a": [[1, 2]]}, {"a": [1, 2]})


def test_a_dotted_key_makes_the_mappings_on_its_way() -> None:
    target: dict[str, JsonValue] = {"a": 1}
    set_at(target, "b.c.d", 2)
    set_at(target, "b.c.e", 3)
    assert target == {"a": 1, "b": {"c": {"d": 2, "e": 3}}}


def test_a_missing_study_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such file"):
        load_study(tmp_path / "none.yaml")


def test_seeds_of_repeated_trials_are_those_of_no_confirmation(tmp_path: Path) -> None:
    text = "sampler: random\ntrials: 9\nsearch: {a: {uniform: [0, 1]}}\nseeds: [0, 5]\n"
    plain = load_study(write_study(tmp_path, text)).spec
    assert plain.repeat_seeds(1) == (1_000_000, 1_000_001)
    assert plain.repeat_seeds(2) == (1_000_002, 1_000_003)
    more = load_study(write_study(tmp_path, text + "confirm: {seeds: 50}\n")).spec
    assert more.repeat_seeds(2) == plain.repeat_seeds(2)
    taken = load_study(write_study(tmp_path, text + "confirm: {seeds: [7, 1000001]}\n")).spec
    assert taken.repeat_seeds(1) == (1_000_000, 1_000_002)


def test_the_parts_of_a_field_can_be_set_one_by_one(tmp_path: Path) -> None:
    text = "sampler: random\ntrials: 9\nsearch: {a: {uniform: [0, 1]}}\nconfirm: {top: 3, seeds: 4}"
    path = write_study(tmp_path, text)
    loaded = load_study(path, ("confirm.seeds=7", "budget.hours=1.5"))
    assert loaded.spec.confirm is not None
    assert (loaded.spec.confirm.top, loaded.spec.confirm.seeds) == (3, 7)
    assert (loaded.spec.budget.hours, loaded.spec.budget.runs) == (1.5, None)
    with pytest.raises(InputError, match=r"--set confirm.tip=2: confirm.tip: unknown key.*top"):
        load_study(path, ("confirm.tip=2",))


STOP = "search: {method.momentum: {grid: [0.0, 0.9]}}\nbaseline: {method.momentum: 0.0}\n"


def test_a_study_that_stops_has_no_number_of_seeds(tmp_path: Path) -> None:
    text = f"{STOP}stop: {{effect: 0.02, most_seeds: 12}}\n"
    spec = load_study(write_study(tmp_path, text)).spec
    assert spec.seed_list == tuple(range(12))
    assert spec.stop is not None
    assert (spec.stop.alpha, spec.stop.looks, spec.stop.margin) == (0.05, "every", None)
    assert spec.stop.rule.looks == tuple(range(6, 13))
    dumped = spec.model_dump(mode="json")
    assert "seeds" not in dumped
    assert type(spec).model_validate(dumped) == spec


def test_a_study_without_stop_has_the_fingerprint_that_it_always_had(tmp_path: Path) -> None:
    spec = load_study(write_study(tmp_path, GRID)).spec
    assert "stop" not in spec.model_dump(mode="json")
    assert spec.fingerprint == "41d148d9e4c6"


@pytest.mark.parametrize(
    ("stop", "message"),
    [
        (
            "{effect: 0.1, most_seeds: 20, looks: [6, 10, 10, 20]}",
            "s.yaml:6:1: stop: looks: must increase, and begin with 2 seeds or more, got "
            "[6, 10, 10, 20]; sort them",
        ),
        (
            "{effect: 0.1, most_seeds: 20, looks: [6, 10, 15]}",
            "s.yaml:6:1: stop: looks: the last look is at most_seeds (20), got 15; add 20 to the "
            "looks or set most_seeds to 15",
        ),
        (
            "{effect: 0.1, most_seeds: 20, looks: often}",
            "s.yaml:6:37: stop.looks: give every, or numbers of seeds such as [6, 10, 20], got "
            "'often'",
        ),
        ("{most_seeds: 20}", "s.yaml:6:1: stop.effect: is missing; add it"),
        (
            "{effect: 0.1, most_seeds: 20, method: sprt}",
            "s.yaml:6:37: stop.method: input should be 'group_sequential' or 'e-process', got "
            "'sprt'",
        ),
        (
            "{effect: 0.1, most_sed: 20, most_seeds: 20}",
            "s.yaml:6:21: stop.most_sed: unknown key; did you mean 'most_seeds'? known: alpha, "
            "looks, effect, margin, most_seeds, method",
        ),
        (
            "{effect: 0.1, most_seeds: 20}\nseeds: 5",
            "s.yaml:7:1: seeds: stop decides how many seeds a trial gets; remove seeds or stop",
        ),
        (
            "{effect: 0.1, most_seeds: 20}\nsampler: random\ntrials: 5",
            "s.yaml:6:1: stop: decides about the trials of a grid, not of a random search; remove "
            "stop, or set sampler to grid",
        ),
        (
            "{effect: 0.1, most_seeds: 20}\nsampler: tpe\ntrials: 5\npruner: median",
            "s.yaml:6:1: stop: decides about the trials of a grid, not of a tpe search; remove "
            "stop, or set sampler to grid",
        ),
        (
            "{effect: 0.1, most_seeds: 20}\npruner: median",
            "s.yaml:7:1: pruner: a grid compares all its trials, so none can be pruned; remove "
            "pruner, or set sampler to random, tpe or another search",
        ),
        (
            "{effect: 0.1, most_seeds: 20}\nconfirm: {top: 1, seeds: [90, 91]}",
            "s.yaml:6:1: stop: it decides on test classes, which a sealed grid keeps shut; remove "
            "confirm, or give seeds in place of stop",
        ),
        (
            "{effect: 0.1, most_seeds: 20}\nclaims: [{trial: momentum=0.9, better_than: momentum=0}]",
            "s.yaml:6:1: stop: claims are tested once all seeds have ended, and stop decides as they "
            "come in; remove claims, or give seeds in place of stop",
        ),
    ],
)
def test_a_stop_that_cannot_be_is_refused_in_one_line(
    tmp_path: Path, stop: str, message: str
) -> None:
    assert load_problems(write_study(tmp_path, f"{STOP}stop: {stop}\n")) == [message]


def test_too_few_seeds_to_show_anything_are_refused(tmp_path: Path) -> None:
    text = "search: {method.momentum: {grid: [0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7]}}\n"
    stop = "stop: {effect: 0.1, most_seeds: 7}\n"
    assert plan_problems(tmp_path, f"{text}baseline: {{method.momentum: 0.0}}\n{stop}") == [
        "s.yaml:6:21: stop.most_seeds: 7 seeds can show nothing in 7 comparisons; give at least 9, "
        "or compare fewer trials"
    ]
    assert plan_problems(tmp_path, stop) == [
        "s.yaml:4:1: stop: there is nothing to compare with the baseline; add a trial, or give seeds"
    ]
