from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path

import pytest
from report_fixtures import Made, controls, make_study, momentum, opened, value_of

from harness.errors import InputError
from harness.report.comparison_page import (
    claim,
    read_contenders,
    render_comparison,
    write_comparison,
)
from harness.report.data.cross_study import Contender, Terms, rules_of, set_against
from harness.report.data.study_data import View
from harness.report.plots.comparison import comparison_picture
from harness.stats.paired import holm, paired_difference
from harness.workload import JsonValue

VIEW = View("test", "recall@1")
TERMS = Terms("toy", "recall@1", True, "da7a", {"data.name": "strokes", "evaluate.k": [1, 2]})


def contender(study: str, label: str, values: Mapping[int, float], **changes: object) -> Contender:
    made = Contender(
        study=study,
        label=label,
        number=0,
        is_baseline=label == "base",
        is_control=False,
        varied=frozenset({"method.k"}),
        view=VIEW,
        values=values,
        runs={seed: f"{study} {label} {seed}" for seed in values},
        code=frozenset({"c0de"}),
        terms=(TERMS,),
    )
    return dataclasses.replace(made, **changes)


def flat(level: float, seeds: int = 8, step: float = 0.001) -> dict[int, float]:
    return {seed: level + step * seed * (-1) ** seed for seed in range(seeds)}


def with_terms(**changes: object) -> tuple[Terms, ...]:
    return (dataclasses.replace(TERMS, **changes),)


BASE = contender("one", "base", flat(0.5))
NEAR = contender("one", "near", flat(0.52, step=0.002))
FAR = contender("two", "far", flat(0.6, step=0.004))
TWO_BASE = contender("two", "base", flat(0.49, step=0.003))


def test_every_trial_is_paired_with_the_first_baseline_and_corrected_over_the_page() -> None:
    found = set_against([BASE, NEAR, TWO_BASE, FAR], None)
    assert found.reference == BASE
    assert [row.contender.name for row in found.rows] == [
        "two / far",
        "one / near",
        "one / base",
        "two / base",
    ]
    rows = {row.contender.name: row for row in found.rows}
    assert rows["one / base"].comparison is None
    differences = [paired_difference(each.values, BASE.values) for each in (NEAR, TWO_BASE, FAR)]
    adjusted = holm([each.p for each in differences if each])
    for each, expected, p_holm in zip((NEAR, TWO_BASE, FAR), differences, adjusted, strict=True):
        compared = rows[each.name].comparison
        assert compared is not None
        assert expected is not None
        assert (compared.n, compared.difference) == (8, expected.difference)
        assert (compared.low, compared.high, compared.p) == (
            expected.low,
            expected.high,
            expected.p,
        )
        assert compared.p_holm == p_holm
        assert compared.better == expected.prob_improvement
    assert found.family == 3


def test_seeds_that_only_one_has_do_not_count_and_none_shared_is_no_comparison() -> None:
    some = contender("two", "some", {6: 0.7, 7: 0.8, 99: 0.1})
    none = contender("two", "none", {100: 0.9})
    rows = {row.contender.label: row for row in set_against([BASE, some, none], None).rows}
    compared = rows["some"].comparison
    assert compared is not None
    assert compared.n == 2
    assert compared.exploratory
    assert rows["none"].comparison is None
    assert rows["none"].summary.mean == 0.9


def test_another_reference_can_be_named() -> None:
    found = set_against([BASE, NEAR, FAR], "two/far")
    assert found.reference == FAR
    compared = {row.contender.name: row.comparison for row in found.rows}
    assert compared["two / far"] is None
    assert compared["one / base"] is not None
    assert compared["one / base"].difference < 0


def test_an_unknown_reference_is_named_with_the_nearest() -> None:
    with pytest.raises(InputError, match="no finished trial 'one/nea'; did you mean 'one/near'"):
        set_against([BASE, NEAR], "one/nea")


def test_a_first_study_without_its_baseline_asks_for_a_reference() -> None:
    with pytest.raises(InputError, match=r"baseline of one has no finished run; .*--baseline"):
        set_against([NEAR, FAR], None)


def test_runs_that_two_studies_share_count_once() -> None:
    twin = dataclasses.replace(TWO_BASE, runs=BASE.runs, values=BASE.values)
    found = set_against([BASE, twin, NEAR, FAR], None)
    assert found.twins == (("two / base", "one / base"),)
    assert found.family == 2


def test_the_reference_stands_itself_where_its_runs_are_shared() -> None:
    twin = dataclasses.replace(TWO_BASE, runs=BASE.runs, values=BASE.values)
    found = set_against([BASE, twin, NEAR], "two/base")
    assert [row.comparison is None for row in found.rows if row.contender == twin] == [True]
    assert found.twins == (("one / base", "two / base"),)


def test_controls_are_a_family_of_their_own_and_come_last() -> None:
    pixels = contender("one", "raw pixels", flat(0.9, step=0.005), is_control=True)
    found = set_against([BASE, NEAR, pixels], None)
    assert found.rows[-1].contender == pixels
    compared = found.rows[-1].comparison
    assert compared is not None
    assert compared.p_holm == compared.p
    assert found.family == 1


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"workload": "other"}, r"their workload \(toy, other\)"),
        ({"metric": "nmi"}, r"their metric \(recall@1, nmi\)"),
        ({"is_test": False}, r"what is scored \(test classes, validation only\)"),
        ({"data": "beef"}, r"their data \(digest da7a, beef\)"),
        (
            {"rules": {"data.name": "strokes", "evaluate.k": [1, 2], "data.imbalance": 4.0}},
            r"data.imbalance \(not set, 4.0\)",
        ),
        ({"rules": {"data.name": "birds"}}, r"data.name \(strokes, birds\)"),
    ],
)
def test_trials_that_were_not_scored_alike_are_refused(
    changes: Mapping[str, object], said: str
) -> None:
    other = dataclasses.replace(FAR, terms=with_terms(**changes))
    with pytest.raises(
        InputError, match=f"^compare: one / base and two / far differ in {said}; [^\n]*$"
    ):
        set_against([BASE, NEAR, other], None)


def test_a_control_is_let_pass() -> None:
    terms = with_terms(data="without weights")
    pixels = contender("two", "raw pixels", flat(0.3), is_control=True, terms=terms)
    assert set_against([BASE, FAR, pixels], None).rows[-1].contender == pixels


def test_what_a_study_varies_itself_is_no_rule() -> None:
    rules: dict[str, JsonValue] = {**TERMS.rules, "data.labelled": 0.1}
    other = dataclasses.replace(
        FAR, terms=with_terms(rules=rules), varied=frozenset({"data.labelled"})
    )
    assert set_against([BASE, other], None).family == 1


def test_where_data_lie_is_no_rule() -> None:
    params: dict[str, JsonValue] = {
        "data": {"root": "/a", "name": "folder", "split": {"val": 0.2}},
        "evaluate": {"k": [1]},
        "method": {"k": 3},
    }
    assert rules_of(params) == {
        "data.name": "folder",
        "data.split.val": 0.2,
        "evaluate.k": [1],
    }


def test_different_code_is_said_and_not_refused() -> None:
    other = dataclasses.replace(FAR, code=frozenset({"beef"}))
    assert set_against([BASE, FAR], None).has_one_code
    found = set_against([BASE, other], None)
    assert not found.has_one_code
    assert found.code == {"one": ("c0de",), "two": ("beef",)}
    page = render_comparison(found)
    assert "not all trained with the same code" in page
    assert "one: c0de; two: beef" in page
    assert "code differs" in page
    assert "code differs" not in render_comparison(set_against([BASE, FAR], None))


def test_the_claim_names_the_best_and_how_sure_that_is() -> None:
    assert claim(set_against([BASE, NEAR, FAR], None)).startswith(
        "two / far has the highest mean Recall@1 on test classes, 0.598 ± 0.0"
    )
    assert "(Holm p = 0.016, 8 paired seeds: better)" in claim(set_against([BASE, NEAR, FAR], None))
    assert claim(set_against([BASE, TWO_BASE], None)).endswith("; it is the reference.")
    lone = contender("two", "lone", {99: 0.9})
    assert "shares no seed with the reference one / base" in claim(set_against([BASE, lone], None))


def test_the_picture_has_every_seed_and_marks_the_reference() -> None:
    picture = comparison_picture(set_against([BASE, NEAR, FAR], None))
    line, *studies = picture.traces
    assert line["x"] == [round(sum(BASE.values.values()) / 8, 6)] * 2
    seeds = [x for trace in studies[::2] for x in trace["x"]]  # type: ignore[attr-defined]
    expected = [v for each in (BASE, NEAR, FAR) for v in each.values.values()]
    assert sorted(seeds) == pytest.approx(sorted(expected), abs=1e-6)
    assert studies[1]["marker"]["symbol"] == ["circle", "diamond"]  # type: ignore[index]
    assert "The reference is one / base" in picture.text


GROUPS = [
    Made(f"groups={k}", level, {"method.groups": k}, "baseline" if k == 1 else "trial")
    for k, level in ((1, 0.58), (4, 0.64))
]


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("across")
    make_study(folder, momentum(), seeds=4, with_clusters=False)
    make_study(folder, [*GROUPS, *controls()], study="groups", seeds=6, with_clusters=False)
    make_study(folder, GROUPS, study="search", seeds=2, sampler="tpe", with_clusters=False)
    waiting = [Made("new", 0.5, {"method.new": 1}, "baseline", unstarted=(0,))]
    make_study(folder, waiting, study="waiting", seeds=1, with_clusters=False)
    return folder


def test_contenders_are_read_from_the_store(results: Path) -> None:
    found = opened(results, read_contenders, results, "groups", {})
    assert [each.label for each in found] == ["groups=1", "groups=4", "raw pixels", "untrained"]
    assert found[1].values == {
        seed: pytest.approx(value_of(GROUPS[1], seed, "test", 1)) for seed in range(6)
    }
    (terms,) = found[0].terms
    assert (terms.workload, terms.metric, terms.is_test) == ("toy_workload", "recall@1", True)
    assert terms.data == "da7a" * 4
    assert found[0].code == {"c0de" * 4}


def test_the_page_is_named_after_the_studies_and_the_same_each_time(
    results: Path, tmp_path: Path
) -> None:
    first = write_comparison(results, ["momentum", "groups"], tmp_path / "a")
    again = write_comparison(results, ["momentum", "groups"], tmp_path / "b")
    assert first.name == "compare-momentum.groups.html"
    text = first.read_text()
    assert again.read_text() == text
    assert "groups / groups=4 has the highest mean Recall@1 on test classes" in text
    assert "momentum /<wbr> teacher_<wbr>momentum=<wbr>0" in text
    assert "With fewer than 6 pairs no p and no verdict are given." in text  # four seeds are shared
    assert "Holm p" not in text
    assert "groups / raw pixels is momentum / raw pixels" not in text  # other seeds, other runs


def test_a_search_is_not_set_against_test_classes(results: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"what is scored .test classes, validation only"):
        write_comparison(results, ["momentum", "search"], tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("studies", "said"),
    [
        (["momentum"], "name at least two different studies"),
        (["momentum", "momentum"], "name at least two different studies"),
        (["momentum", "group"], "unknown study 'group'; did you mean 'groups'"),
        (["momentum", "waiting"], "waiting has no finished run with its metric"),
    ],
)
def test_what_cannot_be_compared_is_one_line(
    results: Path, tmp_path: Path, studies: list[str], said: str
) -> None:
    with pytest.raises(InputError, match=f"^[^\n]*{said}[^\n]*$"):
        write_comparison(results, studies, tmp_path)
