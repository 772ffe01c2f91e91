from __future__ import annotations

import json
import statistics
from pathlib import Path

import pytest
from page_reader import written
from report_fixtures import Made, controls, make_study, momentum, opened, value_of

from harness.report.data.evidence.explained import read_explained
from harness.report.data.load import load_tables
from harness.report.html.elements.tables import grid_table
from harness.report.plots.effects.explained import explained_pictures
from harness.report.plots.effects.interactions import component_pictures, grid_pictures, grids
from harness.report.plots.picture import Picture
from harness.report.plots.render import figure_json


def crossed(third: tuple[int, ...] = (0,)) -> list[Made]:
    return [
        Made(
            f"clusters={c}, groups={g}, t={t}",
            0.5 + c / 1000 + g / 100,
            {"method.clusters": c, "method.groups": g} | ({"t": t} if len(third) > 1 else {}),
            "baseline" if (c, g, t) == (50, 1, 0) else "trial",
        )
        for c in (50, 100, 200)
        for g in (1, 4)
        for t in third
    ]


def shown(picture: Picture) -> dict:
    (trace,) = [t for t in json.loads(figure_json(picture))["data"] if t["visible"]]
    return trace


def test_a_heat_map_has_the_mean_of_every_pair_and_its_interval_on_hover(tmp_path: Path) -> None:
    made = crossed()
    tables = load_tables(make_study(tmp_path, [*made, *controls()]), "momentum")
    (picture,) = grid_pictures(tables)
    assert picture.title == "By clusters and groups"
    trace = shown(picture)
    assert trace["meta"] == {"view": "test|recall@1"}
    means = [statistics.mean(value_of(one, s, "test", 1) for s in range(5)) for one in made]
    assert [cell for row in trace["z"] for cell in row] == pytest.approx(
        [means[0], means[2], means[4], means[1], means[3], means[5]], abs=1e-5
    )
    layout = json.loads(figure_json(picture))["layout"]
    assert layout["xaxis"]["ticktext"] == ["50", "100", "200"]
    assert layout["yaxis"]["ticktext"] == ["1", "4"]
    summary = tables.summaries[tables.primary, tables.trials[0].trial_id]
    interval = f"{summary.mean:.3f} [{summary.low:.3f}, {summary.high:.3f}], 5 seeds"
    assert trace["customdata"][0][0] == f"{interval}<br>baseline"
    assert f"50, 1: {interval}" in picture.text
    assert interval in grid_table(tables, grids(tables)[0], tables.primary)


def test_a_cell_of_several_trials_is_their_mean_seed_by_seed(tmp_path: Path) -> None:
    made = crossed(third=(0, 1))
    tables = load_tables(make_study(tmp_path, made), "momentum")
    found = grids(tables)
    assert [grid.title for grid in found] == [
        "clusters and groups",
        "clusters and t",
        "groups and t",
    ]
    by_seed = [statistics.mean(value_of(one, s, "test", 1) for one in made[:2]) for s in range(5)]
    cell = found[0].cells(tables, tables.primary)[0, 0]
    assert cell is not None
    assert cell.n == 5
    assert cell.mean == pytest.approx(statistics.mean(by_seed))
    assert cell.sd == pytest.approx(statistics.stdev(by_seed))


def test_a_seed_that_one_trial_of_a_cell_lacks_does_not_count(tmp_path: Path) -> None:
    made = crossed(third=(0, 1))
    made[1] = Made(made[1].label, 0.9, made[1].varied, failed=(0, 1))
    tables = load_tables(make_study(tmp_path, made), "momentum")
    cell = grids(tables)[0].cells(tables, tables.primary)[0, 0]
    assert cell is not None
    assert cell.n == 3


@pytest.mark.parametrize("sampler", ["tpe", "random"])
def test_a_search_and_an_incomplete_grid_have_no_heat_map(tmp_path: Path, sampler: str) -> None:
    assert not grids(load_tables(make_study(tmp_path / "a", momentum(), seeds=2), "momentum"))
    search = make_study(tmp_path / "b", crossed(), sampler=sampler, seeds=2)
    assert not grid_pictures(load_tables(search, "momentum"))
    holes = make_study(tmp_path / "c", crossed()[:-1], seeds=2)
    assert not grid_pictures(load_tables(holes, "momentum"))


def test_the_bars_of_variants_are_their_paired_differences(tmp_path: Path) -> None:
    names = ["full", "no groups", "<b>no</b> teacher " + "x" * 300]
    made = [
        Made(name, 0.6 - place / 50, variant=name, role="trial" if place else "baseline")
        for place, name in enumerate(names)
    ]
    tables = load_tables(make_study(tmp_path, [*made, *controls()], seeds=6), "momentum")
    (picture,) = component_pictures(tables)
    trace = shown(picture)
    assert (trace["type"], trace["orientation"]) == ("bar", "h")
    pairs = [
        tables.comparisons[tables.primary, t.trial_id]
        for t in tables.contenders
        if not t.is_baseline
    ]
    assert trace["x"] == pytest.approx([pair.difference for pair in pairs], abs=1e-6)
    halves = [(pair.high - pair.low) / 2 for pair in pairs]
    assert trace["error_x"]["array"] == pytest.approx(halves, abs=1e-6)
    layout = json.loads(figure_json(picture))["layout"]
    assert layout["yaxis"]["ticktext"] == ["no groups", "&lt;b&gt;no&lt;/b&gt; teacher xxxxx…"]
    low, high = layout["xaxis"]["range"]
    assert low < min(pair.low for pair in pairs)
    assert high > 0
    assert set(layout["meta"]["ranges"]) == {view.key for view in tables.chosen_views()}
    assert "no groups: \N{MINUS SIGN}0.0" in picture.text


def test_a_study_without_variants_has_no_bars(tmp_path: Path) -> None:
    tables = load_tables(make_study(tmp_path, momentum(), seeds=2), "momentum")
    assert component_pictures(tables) == ()


def test_the_page_draws_what_parameters_and_pairs_explain(tmp_path: Path) -> None:
    results = make_study(tmp_path, [*crossed(), *controls()])
    tables = load_tables(results, "momentum")
    found = opened(results, read_explained, tables)
    assert [(one.parameter, one.other) for one in found] == [
        ("method.clusters", None),
        ("method.groups", None),
        ("method.clusters", "method.groups"),
    ]
    (picture,) = explained_pictures(found, {"method.clusters": "clusters"})
    (trace,) = picture.traces
    assert trace["x"] == [round(one.share, 4) for one in found]
    assert f"clusters and method.groups {found[2].share:.2f} [" in picture.text
    page = written(results)
    assert "Share of the variance between trials" in page.source
    assert "Of the differences between trials in Recall@1 on test classes" in page.read


def test_one_parameter_has_no_bars_of_importance(tmp_path: Path) -> None:
    results = make_study(tmp_path, momentum())
    assert opened(results, read_explained, load_tables(results, "momentum")) == ()
    assert explained_pictures((), {}) == ()
