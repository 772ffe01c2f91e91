from __future__ import annotations

import json
import random
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from driver_place import SEARCH, Place
from report_fixtures import Made, make_study

from harness.report.data.load import load_tables
from harness.report.data.study_data import StudyTables
from harness.report.findings.axes.search_space import Searched, searched
from harness.report.findings.axes.swept_axes import drawn_axes
from harness.report.html import sections
from harness.report.plots.render import figure_json
from harness.report.plots.search import importance
from harness.report.plots.search.importance import FEWEST_FOR_A_SURFACE, landscape_pictures
from harness.report.plots.search.parallel import MOST_LINES, parallel_pictures
from harness.report.study_page import divided, write_report
from harness.search.importance import FEWEST_TRIALS
from harness.workload import JsonValue

AXES: dict[str, JsonValue] = {
    "method.momentum": {"uniform": [0.0, 1.0]},
    "train.rate": {"loguniform": [1e-4, 1.0]},
    "method.loss": {"choice": ["cbml", "<b>ms</b>"]},
}


def trials(count: int) -> list[Made]:
    """The momentum decides, and the rate a little."""
    pick = random.Random(3)
    made = []
    for number in range(count):
        momentum, rate = pick.uniform(0, 1), 10 ** pick.uniform(-4, 0)
        varied = {"method.momentum": momentum, "train.rate": rate}
        level = 0.3 + 0.4 * momentum + (0.05 if rate > 0.01 else 0.0)
        role = "trial" if number else "baseline"
        loss = ["cbml", "<b>ms</b>"][number % 2]
        made.append(Made(f"n={number}", level, {**varied, "method.loss": loss}, role))
    return made


def a_search(folder: Path, made: list[Made], axes: Mapping[str, JsonValue] = AXES) -> StudyTables:
    spec: dict[str, JsonValue] = {"search": dict(axes), "sampler": "tpe"}
    make_study(folder, made, sampler="tpe", seeds=1, spec=spec, with_clusters=False)
    return load_tables(folder, "momentum")


def drawn(found: Searched) -> dict[str, dict[str, Any]]:
    pictures = [*landscape_pictures(found), *parallel_pictures(found)]
    return {each.name: json.loads(figure_json(each)) | {"words": each.text} for each in pictures}


@pytest.fixture(scope="module")
def search(tmp_path_factory: pytest.TempPathFactory) -> StudyTables:
    return a_search(tmp_path_factory.mktemp("search"), trials(20))


def test_the_most_important_parameter_is_first_everywhere(search: StudyTables) -> None:
    found = searched(search)
    assert [each.title for each in found.parameters] == ["momentum", "rate", "loss"]
    pictures = drawn(found)
    (bars,) = pictures["importance"]["data"]
    assert bars["x"] == sorted(bars["x"], reverse=True)
    assert pictures["importance"]["layout"]["yaxis"]["ticktext"] == ["momentum", "rate", "loss"]
    assert "from 20 trials" in pictures["importance"]["words"]
    notes = pictures["parallel"]["layout"]["annotations"]
    names = [note["text"] for note in notes if note.get("yref") == "paper"]
    assert names == ["<b>momentum</b>", "<b>rate</b>", "<b>loss</b>", "<b>Recall@1</b>"]
    layout = pictures["contour"]["layout"]
    assert layout["xaxis"]["title"]["text"] == "momentum"
    assert layout["yaxis"]["type"] == "log"
    assert layout["yaxis"]["ticktext"] == ["0.0001", "0.001", "0.01", "0.1", "1"]


def test_a_contour_shows_every_trial_and_no_ground_where_none_are(search: StudyTables) -> None:
    surface, dots = drawn(searched(search))["contour"]["data"]
    assert len(dots["x"]) == 20
    assert sorted(dots["x"]) == sorted(
        float(str(t.varied["method.momentum"])) for t in search.contenders
    )
    heights = [value for row in surface["z"] for value in row]
    known = [value for value in heights if value is not None]
    assert 0 < len(known) < len(heights)
    values = [
        summary.mean for (view, _), summary in search.summaries.items() if view == search.primary
    ]
    assert min(values) <= min(known)
    assert max(known) <= max(values)


def test_a_contour_of_very_many_trials_shows_some_of_them_and_the_best(
    search: StudyTables, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importance, "MOST_DOTS", 10)
    picture = drawn(searched(search))["contour"]
    dots = picture["data"][-1]
    best = max(searched(search).values.values())
    assert len(dots["x"]) in (10, 11)
    assert max(dots["marker"]["color"]) == pytest.approx(best, abs=1e-6)
    assert f"{len(dots['x'])} of 20 trials" in picture["words"]


def test_few_trials_have_no_ground_and_say_so(tmp_path: Path) -> None:
    pictures = drawn(searched(a_search(tmp_path, trials(FEWEST_FOR_A_SURFACE - 1))))
    assert [trace["type"] for trace in pictures["contour"]["data"]] == ["scatter"]
    assert "With fewer than 15 trials no background is drawn" in pictures["contour"]["words"]


def test_every_trial_is_a_line_from_its_parameters_to_its_value(search: StudyTables) -> None:
    lines = drawn(searched(search))["parallel"]["data"]
    points = [(x, y) for trace in lines for x, y in zip(trace["x"], trace["y"], strict=True)]
    ends = [y for x, y in points if x == 3]
    assert len(ends) == 20
    assert (min(ends), max(ends)) == (0.0, 1.0)
    momenta = sorted(y for x, y in points if x == 0)
    assert momenta == pytest.approx(
        sorted(t.varied["method.momentum"] for t in search.contenders), abs=1e-4
    )
    assert sum(x is None for x, _ in points) == 20
    assert lines[-1]["line"]["color"] == "#d55e00"
    assert lines[-1]["y"][3] == max(trace["y"][3] for trace in lines)


def test_a_search_of_very_many_trials_draws_the_best_of_them(tmp_path: Path) -> None:
    found = searched(a_search(tmp_path, trials(MOST_LINES + 4)))
    picture = drawn(found)["parallel"]
    assert sum(x == 0 for trace in picture["data"] for x in trace["x"]) == MOST_LINES
    assert f"The best {MOST_LINES} of {MOST_LINES + 4} trials" in picture["words"]


def test_below_eight_trials_importance_is_left_out_with_words(tmp_path: Path) -> None:
    tables = a_search(tmp_path, trials(FEWEST_TRIALS - 1))
    html = sections.search_section(tables, None)
    assert "that needs 8 finished trials in the search space, and there are 7" in html
    assert 'id="importance"' not in html
    assert 'id="parallel"' in html
    assert 'class="scroll" role="region"' in html


def test_a_trial_outside_the_space_is_counted_and_not_drawn(tmp_path: Path) -> None:
    made = [Made("base", 0.9, {}, "baseline"), *trials(10)[1:]]
    tables = a_search(tmp_path, made)
    found = searched(tables)
    assert found.left_out == 1
    assert len(found.trials) == 9
    assert "such as a baseline: 1; these pictures leave them out" in (
        sections.search_section(tables, None)
    )


def test_a_parameter_that_a_condition_rules_out_is_drawn_as_not_set(tmp_path: Path) -> None:
    axes = {**AXES, "method.depth": {"int": [1, 9], "when": {"method.loss": "cbml"}}}
    made = [
        Made(
            one.label,
            one.level,
            {**one.varied, "method.depth": 1 + at % 9} if at % 2 == 0 else one.varied,
        )
        for at, one in enumerate(trials(18))
    ]
    found = searched(a_search(tmp_path, made, axes))
    assert found.left_out == 0
    depth = next(each for each in found.parameters if each.title == "depth")
    assert len(depth.values) == 9
    picture = drawn(found)["parallel"]
    assert "not set" in [note["text"] for note in picture["layout"]["annotations"]]
    assert min(y for trace in picture["data"] for y in trace["y"] if y is not None) < -0.1


def test_an_axis_on_which_all_but_one_trial_were_given_up_is_not_drawn(tmp_path: Path) -> None:
    axes: dict[str, JsonValue] = {
        "method.loss": {"choice": ["cbml", "ms"]},
        "method.depth": {"uniform": [0.0, 9.0], "when": {"method.loss": "ms"}},
        "method.rate": {"loguniform": [0.01, 1.0]},
    }
    made = [
        Made("a", 0.3, {"method.loss": "cbml", "method.rate": 0.24663662934585243}, "baseline"),
        Made("b", 0.4, {"method.loss": "cbml", "method.rate": 0.25637326134572563}),
        Made("c", 0.5, {"method.loss": "ms", "method.depth": 2.5, "method.rate": 0.9}),
        Made(
            "d",
            0.5,
            {"method.loss": "ms", "method.depth": 7.123456789, "method.rate": 0.5},
            unstarted=(0,),
        ),
    ]
    tables = a_search(tmp_path, made, axes)
    shown = {axis.title: axis for axis in drawn_axes(tables)}
    assert list(shown) == ["loss", "rate"]
    assert [text for _, text in shown["rate"].ticks] == ["0.247", "0.9"]


def test_tied_parameters_are_one(tmp_path: Path) -> None:
    made = [
        Made(f"{at}", 0.4 + at / 100, {"a": at % 3, "b": at % 3 * 2, "c": at % 2})
        for at in range(12)
    ]
    spec: dict[str, JsonValue] = {
        "search": {key: {"choice": [0, 1]} for key in "abc"},
        "zip": [["a", "b"]],
    }
    make_study(tmp_path, made, sampler="random", seeds=1, spec=spec)
    found = searched(load_tables(tmp_path, "momentum"))
    assert sorted(each.title for each in found.parameters) == ["a + b", "c"]


def test_markup_in_a_choice_is_text(search: StudyTables) -> None:
    notes = drawn(searched(search))["parallel"]["layout"]["annotations"]
    assert "&lt;b&gt;ms&lt;/b&gt;" in [note["text"] for note in notes]


def test_a_search_in_which_no_run_has_finished_has_no_section(tmp_path: Path) -> None:
    made = [Made("a", 0.5, {"method.momentum": 0.1}, unstarted=(0,))]
    assert sections.search_section(a_search(tmp_path, made), None) == ""


@pytest.mark.timeout(60)
def test_trials_of_the_confirmation_are_in_no_picture_of_the_search(place: Place) -> None:
    place.run(SEARCH + "confirm: {top: 2, seeds: 2}\n")
    tables, search = divided(load_tables(place.results, "best"))
    assert search is not None
    found = searched(search)
    confirmed = {trial.trial_id for trial in tables.trials}
    assert len(found.trials) + found.left_out == len(search.contenders)
    assert not confirmed & {trial.trial_id for trial in found.trials}
    page = write_report(place.results, "best", place.folder / "reports").read_text()
    for name in ("importance", "parallel", "history"):
        assert f'id="{name}"' in page
