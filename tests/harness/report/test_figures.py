from __future__ import annotations

import dataclasses
import json
import math
import statistics
from pathlib import Path
from typing import Any

import pytest
from report_fixtures import Made, controls, make_study, momentum, opened, value_of

from harness.report.data.load import load_tables
from harness.report.data.study_data import StudyTables
from harness.report.data.training import read_training
from harness.report.html.elements.tables import ablation_key
from harness.report.plots.ablation import ablation_panels, ablation_pictures
from harness.report.plots.colours import BASELINE
from harness.report.plots.picture import Picture, trial_colours
from harness.report.plots.render import figure_json
from harness.report.plots.search.search_history import exploration_pictures
from harness.report.plots.training.cluster_sizes import purity_pictures, size_pictures
from harness.report.plots.training.curves import cluster_pictures, curve_pictures


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_study(tmp_path_factory.mktemp("figures"), momentum())


@pytest.fixture(scope="module")
def tables(results: Path) -> StudyTables:
    return load_tables(results, "momentum")


def traces(picture: Picture, view: str = "test|recall@1") -> list[dict[str, Any]]:
    data = json.loads(figure_json(picture))["data"]
    return [trace for trace in data if trace.get("meta", {}).get("view") == view]


def test_every_seed_is_a_dot_that_names_its_run(tables: StudyTables) -> None:
    (picture,) = ablation_pictures(tables)
    (dots,) = [t for t in traces(picture) if "seed" in t.get("hovertemplate", "")]
    assert len(dots["x"]) == 4 * 5
    found = {
        (label, seed): y for (label, seed, _), y in zip(dots["customdata"], dots["y"], strict=True)
    }
    for one in momentum()[:4]:
        for seed in range(5):
            assert found[one.label, seed] == pytest.approx(value_of(one, seed, "test", 1), abs=1e-6)
    run_ids = {run.run_id for run in tables.runs}
    assert {run_id for _, _, run_id in dots["customdata"]} <= run_ids


def test_means_have_intervals_and_the_baseline_a_mark_and_line_of_its_own(
    tables: StudyTables,
) -> None:
    (picture,) = ablation_pictures(tables)
    means = [t for t in traces(picture) if "error_y" in t]
    assert [trace["marker"]["symbol"] for trace in means] == ["circle", "diamond"]
    values = [value_of(momentum()[0], seed, "test", 1) for seed in range(5)]
    (baseline,) = means[1:]
    assert baseline["y"] == [pytest.approx(statistics.mean(values), abs=1e-6)]
    half = 2.7764451 * statistics.stdev(values) / math.sqrt(5)
    assert baseline["error_y"]["array"] == [pytest.approx(half, abs=1e-5)]
    lines = [t for t in traces(picture) if t["y"] == baseline["y"] * 2]
    assert lines[0]["line"]["color"] == BASELINE


def test_only_the_primary_view_is_shown_at_first(tables: StudyTables) -> None:
    (picture,) = ablation_pictures(tables)
    figure = json.loads(figure_json(picture))
    shown = {trace["meta"]["view"] for trace in figure["data"] if trace["visible"]}
    assert shown == {"test|recall@1"}
    views = {trace["meta"]["view"] for trace in figure["data"]}
    assert views == set(figure["layout"]["meta"]["ranges"])
    assert len(views) == 10


def test_controls_are_lines_with_name_and_value(tables: StudyTables) -> None:
    (picture,) = ablation_pictures(tables)
    texts = ["".join(trace["text"]) for trace in traces(picture) if "text" in trace]
    assert [text.replace("&nbsp;", "") for text in texts] == ["raw pixels 0.417", "untrained 0.459"]


@pytest.mark.parametrize(("level", "arrow"), [(0.1, "↓"), (0.95, "↑")])
def test_a_control_far_off_does_not_squeeze_the_trials(
    tmp_path: Path, level: float, arrow: str
) -> None:
    made = [*momentum()[:4], Made("far", level, role="control")]
    (picture,) = ablation_pictures(load_tables(make_study(tmp_path, made), "momentum"))
    (text,) = ["".join(trace["text"]) for trace in traces(picture) if "text" in trace]
    assert text.startswith(f"&nbsp;{arrow} far ")
    low, high = json.loads(figure_json(picture))["layout"]["yaxis"]["range"]
    assert 0.4 < low < high < 0.8


def test_long_names_lie_flat_and_are_shortened(tmp_path: Path) -> None:
    names = ["full", "without the collaboration between groups", "<b>bold</b> & more of it"]
    made = [
        Made(name, 0.5, variant=name, role="trial" if place else "baseline")
        for place, name in enumerate(names)
    ]
    tables = load_tables(make_study(tmp_path, [*made, *controls()], seeds=2), "momentum")
    (picture,) = ablation_pictures(tables)
    axis = json.loads(figure_json(picture))["layout"]["yaxis"]
    assert axis["ticktext"] == [
        "full",
        "without the collaborati…",
        "&lt;b&gt;bold&lt;/b&gt; &amp; more of it",
    ]
    assert axis["range"] == [2.5, -0.5]
    assert any("error_x" in trace for trace in traces(picture))


def test_several_axes_show_trials_and_the_best_one(tmp_path: Path) -> None:
    made = [
        Made(f"a={a}, b={b}", 0.5 + a / 100, {"a": a, "b": b}, "trial" if a + b else "baseline")
        for a in (0, 1, 2)
        for b in (0, 1)
    ]
    tables = load_tables(make_study(tmp_path, made, seeds=2), "momentum")
    seeds, *pictures = ablation_pictures(tables)
    assert seeds.title == "By trial"
    (dots,) = [t for t in traces(seeds) if "seed" in t.get("hovertemplate", "")]
    assert len(dots["x"]) == 6 * 2
    assert any("error_x" in trace or "error_y" in trace for trace in traces(seeds))
    assert [picture.title for picture in pictures] == ["By a", "By b"]
    for picture in pictures:
        marked = [trace for trace in traces(picture) if "customdata" in trace]
        assert [trace["marker"]["symbol"] for trace in marked] == ["circle", "star", "diamond"]
        assert sum(len(trace["x"]) for trace in marked) == 6


def test_a_log_axis_has_powers_of_ten_as_ticks(tmp_path: Path) -> None:
    made = [Made(f"lr={lr}", 0.5, {"lr": lr}) for lr in (0.0003, 0.002, 0.01, 0.05)]
    results = make_study(
        tmp_path,
        made,
        sampler="random",
        seeds=1,
        spec={"search": {"lr": {"loguniform": [1e-4, 0.1]}}},
    )
    (picture,) = ablation_pictures(load_tables(results, "momentum"))
    axis = json.loads(figure_json(picture))["layout"]["xaxis"]
    assert axis["type"] == "log"
    assert axis["range"][0] < math.log10(0.0003)
    assert axis["range"][1] > math.log10(0.05)


def test_curves_have_a_band_and_a_line_a_trial(results: Path, tables: StudyTables) -> None:
    training = opened(results, read_training, tables)
    pictures = curve_pictures(tables, training)
    assert [picture.title for picture in pictures] == [
        "Loss",
        "loss/group",
        "loss/metric",
        "Recall@1, validation images",
        "Learning rate",
    ]
    data = json.loads(figure_json(pictures[0]))["data"]
    trials = [trial.trial_id for trial in training.trials]
    assert [trace["meta"]["trial"] for trace in data] == [t for t in trials for _ in range(2)]
    band, line = data[:2]
    assert len(band["x"]) == 2 * len(line["x"])
    assert line["line"]["color"] == BASELINE
    assert all(
        low <= y <= high for y, (low, high, _) in zip(line["y"], line["customdata"], strict=True)
    )


def test_cluster_sizes_are_on_one_log_scale(results: Path, tables: StudyTables) -> None:
    training = opened(results, read_training, tables)
    pictures = size_pictures(training)
    assert [picture.title for picture in pictures] == [
        "Cluster sizes: baseline, teacher_momentum=0",
        "Cluster sizes: teacher_momentum=0.9",
    ]
    axes = [json.loads(figure_json(picture))["layout"]["yaxis"] for picture in pictures]
    assert axes[0]["range"] == axes[1]["range"]
    assert axes[0]["type"] == "log"
    names = [trace["name"] for trace in json.loads(figure_json(pictures[0]))["data"]]
    assert names == ["epoch 0", "epoch 2", "epoch 5"]
    assert [d.name for d in cluster_pictures(training)] == ["gini", "purity"]


def test_purity_is_drawn_by_cluster_size(results: Path, tables: StudyTables) -> None:
    training = opened(results, read_training, tables)
    (picture,) = purity_pictures(training)
    traces = json.loads(figure_json(picture))["data"]
    assert len(traces) == len(training.trials)
    assert {trace["meta"]["trial"] for trace in traces} == {t.trial_id for t in training.trials}
    for trace in traces:
        mine = [p for p in training.purities if p.trial.trial_id == trace["meta"]["trial"]]
        assert trace["x"] == [p.from_size for p in mine] == sorted(trace["x"])
        assert trace["y"] == pytest.approx([p.purity for p in mine], abs=1e-4)
    first = training.purities[0]
    assert f"{first.from_size} to {2 * first.from_size - 1} images" in picture.text
    assert purity_pictures(dataclasses.replace(training, purities=())) == ()


def test_trials_keep_apart_by_colour(tables: StudyTables) -> None:
    colours = trial_colours(tables.contenders)
    assert len(set(colours.values())) == 4
    assert colours[tables.trials[0].trial_id] == BASELINE


def test_every_picture_is_told_in_words(results: Path, tables: StudyTables) -> None:
    training = opened(results, read_training, tables)
    (picture,) = ablation_pictures(tables)
    assert "teacher_momentum=0.9: 0.607 [0.592, 0.622], 5 seeds" in picture.text
    assert "raw pixels: 0.417" in picture.text
    for each in (*curve_pictures(tables, training), *size_pictures(training)):
        assert "teacher_momentum=0" in each.text


def test_intervals_that_are_not_drawn_do_not_stretch_the_picture(tmp_path: Path) -> None:
    made = [
        Made(f"w={w:g}", 0.5 + w / 100, {"w": w}, "trial" if w else "baseline")
        for w in (0.0, 1.0, 2.0)
    ]
    results = make_study(tmp_path, made, sampler="tpe", seeds=2)  # two seeds: huge intervals
    tables = load_tables(results, "momentum")
    (picture,) = ablation_pictures(tables)
    low, high = json.loads(figure_json(picture))["layout"]["yaxis"]["range"]
    means = [s.mean for (view, _), s in tables.summaries.items() if view == tables.primary]
    assert high - low < 1.2 * (max(means) - min(means))
    assert low < min(means) <= max(means) < high


@pytest.mark.parametrize(
    ("sampler", "has_two_axes", "expected"),
    [
        ("grid", False, {"one seed", "mean, 95 % interval"}),
        ("grid", True, {"one seed", "mean, 95 % interval", "mean of one trial", "best"}),
        ("tpe", True, {"mean of one trial", "best"}),
    ],
)
def test_the_key_names_the_marks_that_are_drawn(
    tmp_path: Path, sampler: str, has_two_axes: bool, expected: set[str]
) -> None:
    made = [
        Made(f"a={a}, b={b}", 0.5, {"a": a, "b": b}, "trial" if a + b else "baseline")
        for a in (0, 1)
        for b in ((0, 1) if has_two_axes else (0,))
    ]
    tables = load_tables(make_study(tmp_path, made, seeds=2, sampler=sampler), "momentum")
    key = ablation_key(ablation_panels(tables), False, is_search=tables.is_search)
    marks = {"one seed", "mean, 95 % interval", "mean of one trial", "best"}
    assert {mark for mark in marks if f">{mark}<" in key} == expected


def test_a_search_is_drawn_in_the_order_of_its_proposals(tmp_path: Path) -> None:
    levels = [0.5, 0.4, 0.7, 0.6]
    made = [
        Made(f"m={place}", level, {"m": place / 10}, "trial" if place else "baseline")
        for place, level in enumerate(levels)
    ]
    tables = load_tables(make_study(tmp_path, made, sampler="tpe"), "momentum")
    history, *slices = exploration_pictures(tables)
    means = [statistics.mean(value_of(one, seed, "val", 1) for seed in range(5)) for one in made]
    best, trials, baseline = json.loads(figure_json(history))["data"]
    assert best["x"] == [0, 1, 2, 3]
    assert best["y"] == pytest.approx([means[0], means[0], means[2], means[2]], abs=1e-6)
    assert (trials["x"], baseline["x"]) == ([1, 2, 3], [0])
    assert trials["y"] == pytest.approx(means[1:], abs=1e-6)
    assert "best was trial 2, m=2" in history.text
    (by_m,) = slices
    drawn = json.loads(figure_json(by_m))
    assert all("meta" not in trace for trace in drawn["data"])  # no choice of the page hides it
    assert {x for trace in drawn["data"] if trace["mode"] == "markers" for x in trace["x"]} == {
        0.0,
        0.1,
        0.2,
        0.3,
    }
