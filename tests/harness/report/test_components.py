"""What the page and the terminal say of the components of an ablation."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from ablation_study import COMPONENTS, LEVELS, make_ablation
from report_fixtures import make_study, momentum

from harness.report.data.load import load_tables
from harness.report.data.study_data import StudyTables, View
from harness.report.findings.axes.swept_axes import swept_axes
from harness.report.findings.components import component_sentences, headline, shown_effects
from harness.report.findings.tables.final_table import final_table
from harness.report.findings.tables.methods_text import methods_paragraph
from harness.report.plots.effects.components import Steps, effect_pictures, steps
from harness.report.plots.effects.interactions import grids
from harness.report.study_page import page_text

TEST = View("test", "recall@1")
SIX: Any = {
    name: {"without": {f"method.weights.{name}": 0}}
    for name in ("metric", "groups", "distillation", "head", "views", "order")
}


def tables(tmp_path: Path, **asked: Any) -> StudyTables:
    return load_tables(make_ablation(tmp_path, **asked), "parts")


def trace_of(found: StudyTables, picture: str, kind: str) -> dict[str, Any]:
    (drawn,) = [each for each in effect_pictures(found) if each.name == picture]
    (trace,) = [
        trace
        for trace in drawn.traces
        if trace["type"] == kind and trace["visible"] and trace.get("mode") != "lines"
    ]
    return trace


def test_the_bars_are_shapley_values_with_their_intervals(tmp_path: Path) -> None:
    found = tables(tmp_path)
    trace = trace_of(found, "effects", "bar")
    effects = shown_effects(found, TEST)
    assert [effect.kind for effect in effects] == ["shapley"] * 4
    assert [effect.term for effect in effects] == list(COMPONENTS)
    assert trace["x"] == [pytest.approx(effect.estimate, abs=1e-6) for effect in effects]
    first = effects[0]
    assert first.high is not None
    assert trace["error_x"]["array"][0] == pytest.approx(first.high - first.estimate, abs=1e-6)
    truth = 0.09 + LEVELS[frozenset({"metric", "distillation"})] / 2
    assert first.estimate == pytest.approx(truth, abs=0.01)


def test_the_matrix_has_every_pair_twice_but_none_of_a_component_and_what_it_needs(
    tmp_path: Path,
) -> None:
    grid = trace_of(tables(tmp_path), "effect-pairs", "heatmap")["z"]
    assert grid == [list(column) for column in zip(*grid, strict=True)]
    metric, groups, collaboration, distillation = range(4)
    assert grid[groups][distillation] == pytest.approx(0.03, abs=0.01)
    assert grid[metric][distillation] == pytest.approx(-0.025, abs=0.01)
    empty = {(x, y) for y, row in enumerate(grid) for x, cell in enumerate(row) if cell is None}
    assert empty == {(x, x) for x in range(4)} | {
        (groups, collaboration),
        (collaboration, groups),
    }


def test_the_way_from_bare_ends_at_full(tmp_path: Path) -> None:
    found = tables(tmp_path)
    way = steps(found, TEST)
    assert way is not None
    full = found.baseline
    assert full is not None
    assert way.bare + sum(way.sizes.values()) == pytest.approx(
        found.summaries[TEST, full.trial_id].mean
    )
    assert list(way.sizes) == ["metric", "groups", "distillation", "collaboration"]
    bars = trace_of(found, "effect-steps", "bar")
    ends = [base + size for base, size in zip(bars["base"], bars["x"], strict=True)]
    assert bars["base"][1:] == pytest.approx(ends[:-1], abs=2e-6)


def test_a_lost_seed_is_left_out_of_the_way_as_well(tmp_path: Path) -> None:
    found = tables(tmp_path, failed=[("no groups", 2)])
    way = steps(found, TEST)
    # Collaboration does not need the failed run: it rests on more seeds than the others.
    assert {e.term: e.n for e in shown_effects(found, TEST)} == {
        "metric": 7,
        "groups": 7,
        "collaboration": 8,
        "distillation": 7,
    }
    assert way is None
    assert isinstance(steps(tables(tmp_path / "full", failed=[("full", 2)]), TEST), Steps)


def test_a_sentence_says_what_two_are_worth_together(tmp_path: Path) -> None:
    said = component_sentences(tables(tmp_path))
    assert re.fullmatch(
        r"metric: \+7\.\d points of Recall@1 \(95 % interval \+\d\.\d to \+\d\.\d, "
        r"Holm p = 0\.031, 8 paired seeds: helps\)\.",
        said[0],
    )
    together = [sentence for sentence in said if "together" in sentence]
    assert re.fullmatch(
        r"groups and distillation are worth 3\.\d points more together than apart "
        r"\(95 % interval \+\d\.\d to \+\d\.\d, Holm p = 0\.039, 8 paired seeds\)\.",
        together[0],
    )
    assert together[1].startswith("metric and distillation are worth 2.0 points less together")
    assert len(together) == 2


def test_with_few_seeds_the_largest_pair_is_named_without_a_verdict(tmp_path: Path) -> None:
    said = component_sentences(tables(tmp_path, seeds=3))
    assert "exploratory" in said[0]
    assert "Holm" not in " ".join(said)
    assert said[-1].endswith("3 paired seeds): exploratory, and no pair more so.")


@pytest.mark.parametrize(
    ("asked", "kind", "names"),
    [
        ({"design": "leave_one_out"}, "removal", ["effects"]),
        ({"design": "add_one_in"}, "addition", ["effects"]),
        ({"components": SIX, "fraction": "V"}, "main", ["effects", "effect-pairs"]),
        ({"components": SIX, "permutations": 4}, "shapley", ["effects", "effect-steps"]),
    ],
)
def test_every_design_is_drawn_as_far_as_it_goes(
    tmp_path: Path, asked: dict[str, Any], kind: str, names: list[str]
) -> None:
    found = tables(tmp_path, seeds=2, **asked)
    assert {effect.kind for effect in shown_effects(found, TEST)} == {kind}
    assert [picture.name for picture in effect_pictures(found)] == names


def test_components_are_no_swept_axes(tmp_path: Path) -> None:
    found = tables(tmp_path)
    assert [axis.key for axis in swept_axes(found)] == ["trial"]
    assert grids(found) == ()


def test_page_and_terminal_have_the_sentences(tmp_path: Path) -> None:
    results = make_ablation(tmp_path)
    page = page_text(results, "parts")
    section = page.partition('<section id="components">')[2].partition("</section>")[0]
    for sentence in component_sentences(load_tables(results, "parts")):
        assert sentence in section
    assert "Since collaboration needs groups" in section
    assert "Every effect" in section
    said = headline(load_tables(results, "parts"))
    assert said.startswith("groups and distillation are worth 3.")
    assert final_table(results, "parts").claim.endswith(said)


def test_a_fraction_names_on_the_page_what_it_confounds(tmp_path: Path) -> None:
    page = page_text(make_ablation(tmp_path, seeds=2, components=SIX, fraction="V"), "parts")
    assert "are constant: metric x groups x distillation x head x views." in page


def test_the_methods_name_design_and_tests(tmp_path: Path) -> None:
    text = methods_paragraph(tables(tmp_path), None)
    assert "They are the lattice of metric, groups, collaboration, distillation." in text
    assert "4 Shapley values, 4 main effects and 5 interactions of components" in text
    assert "Holm-corrected within each kind" in text


def test_a_grid_has_no_section_on_components(tmp_path: Path) -> None:
    results = make_study(tmp_path, momentum(), seeds=2)
    assert component_sentences(load_tables(results, "momentum")) == ()
    assert headline(load_tables(results, "momentum")) == ""
    assert '<section id="components">' not in page_text(results, "momentum")
