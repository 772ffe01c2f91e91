"""Studies with several metrics: what they propose, confirm, store and show."""

from __future__ import annotations

import json
from itertools import product
from pathlib import Path

import pytest
from driver_place import Place, Witness, interrupt

from harness.errors import InputError
from harness.records.studies.study_record import read_study_record
from harness.report.findings.tables.final_table import final_table
from harness.report.study_page import page_text
from harness.store.rebuild import rebuild

GRID = """
study: hill
question: What is high and near?
workload: quadratic
base: {noise: 0.0}
search:
  x: {grid: [0.0, 0.1, 0.3, 0.5, 0.8]}
  y: {grid: [-0.5, 0.2]}
metric: [height, {minimise: x}]
seeds: 2
"""
SEARCH = """
study: hill
question: What is high and near?
workload: quadratic
search:
  x: {uniform: [-1.0, 1.0]}
  y: {uniform: [-1.0, 1.0]}
metric: [height, {minimise: x}]
sampler: tpe
trials: 20
seeds: 1
confirm: {top: 4, seeds: 2}
"""
FRONT = "SELECT DISTINCT trial FROM pareto WHERE on_front AND split = '{split}' ORDER BY ALL"
SAMPLERS = ("tpe", "nsga2", "random", "qmc")


def proposals(results: Path) -> list[str]:
    record = read_study_record(results, "hill")
    assert record is not None
    return [json.dumps(dict(trial.varied)) for trial in record.trials]


def test_the_front_of_a_grid_is_where_it_must_be(place: Place) -> None:
    place.run(GRID)
    # Height falls with the distance from x = 0.3, y = -0.5; beyond 0.3 nothing is gained.
    for split in ("val", "test"):
        assert place.ask(FRONT.format(split=split)) == [
            ("x=0, y=-0.5",),
            ("x=0.1, y=-0.5",),
            ("x=0.3, y=-0.5",),
        ]
    rows = place.ask(
        "SELECT metric, direction, value FROM pareto WHERE trial = 'x=0.1, y=0.2' AND split = 'val'"
    )
    assert [row[:2] for row in rows] == [("height", "maximise"), ("x", "minimise")]
    assert rows[1][2] == 0.1
    assert len(place.ask("SELECT DISTINCT trial FROM pareto")) == 10


@pytest.mark.slow
@pytest.mark.parametrize("sampler", SAMPLERS)
def test_the_front_is_that_of_the_definition_and_is_what_is_confirmed(
    place: Place, sampler: str
) -> None:
    outcome = place.run(SEARCH, f"sampler={sampler}")
    assert (outcome.failed, outcome.done) == (0, outcome.total)
    values = {
        str(label): (float(str(mean)), -json.loads(str(varied)).get("x", 0.0))
        for label, mean, varied in place.ask(
            "SELECT trial, mean, varied FROM trials WHERE phase = 'search' AND role <> 'control'"
        )
    }
    slow = {
        label
        for label, own in values.items()
        if not any(
            all(b >= a for a, b in zip(own, other, strict=True)) and other != own
            for other in values.values()
        )
    }
    found = place.ask("SELECT DISTINCT trial FROM pareto WHERE on_front AND phase = 'search'")
    assert {label for (label,) in found} == slow
    confirmed = place.ask("SELECT trial FROM trials WHERE phase = 'confirm' AND role = 'trial'")
    assert {label for (label,) in confirmed} <= slow
    assert len(confirmed) == min(4, len(slow - {"base"}))


@pytest.mark.slow
@pytest.mark.parametrize("sampler", ["tpe", "nsga2"])
def test_an_interrupted_search_proposes_what_the_uninterrupted_one_does(
    place: Place, tmp_path: Path, sampler: str
) -> None:
    chosen, other = f"sampler={sampler}", tmp_path / "other"
    place.run(SEARCH, chosen)
    for at in (5, 14):
        assert place.run(SEARCH, chosen, watcher=Witness(interrupt(at)), results=other).signal
    place.run(SEARCH, chosen, results=other)
    assert proposals(other) == proposals(place.results)
    points = "FROM pareto_point ORDER BY ALL"
    assert place.ask(points, other) == place.ask(points)


@pytest.mark.slow
@pytest.mark.process
@pytest.mark.parametrize("sampler", ["tpe", "nsga2"])
def test_workers_change_nothing(place: Place, tmp_path: Path, sampler: str) -> None:
    chosen, other = f"sampler={sampler}", tmp_path / "other"
    place.run(SEARCH, chosen)
    place.run(SEARCH, chosen, executor="process", workers=3, results=other)
    assert proposals(other) == proposals(place.results)


def test_a_rebuilt_database_has_the_front(place: Place) -> None:
    place.run(GRID)
    before = place.ask("FROM pareto")
    (place.results / "results.duckdb").unlink()
    rebuild(place.results)
    assert place.ask("FROM pareto") == before


def test_trials_without_all_their_seeds_are_no_candidates(place: Place) -> None:
    stopped = place.run(GRID, watcher=Witness(interrupt(13)))
    assert stopped.signal is not None
    done = {
        label for (label,) in place.ask("SELECT trial FROM trials WHERE seeds_done = seeds_planned")
    }
    assert {label for (label,) in place.ask("SELECT DISTINCT trial FROM pareto")} == done
    assert 0 < len(done) < 10


def test_a_name_that_no_run_reports_is_said_after_the_first(place: Place) -> None:
    with pytest.raises(InputError) as caught:
        place.run(GRID, "metric=[height, {minimise: hight}]")
    said = str(caught.value)
    assert "metric.1: no run reports hight on validation classes, and no parameter" in said
    assert "did you mean 'height'" in said
    assert "\n" not in said


def test_the_terminal_and_the_page_name_the_front(place: Place) -> None:
    place.run(GRID)
    said = final_table(place.results, "hill").front
    assert said.startswith("On the Pareto front (test) are 3 of 10 trials: x=0.3, y=-0.5 (height ")
    assert said.count("y=-0.5") == 3
    page = page_text(place.results, "hill")
    assert 'id="pareto-front-test"' in page
    assert said in page
    assert "height against x" in page
    assert f'aria-label="{said}"' in page


def test_a_study_with_one_metric_shows_no_front(place: Place) -> None:
    place.run(GRID, "metric=height")
    assert final_table(place.results, "hill").front == ""
    assert (
        "areto"
        not in page_text(place.results, "hill").partition("<main>")[2].partition("<script")[0]
    )
    assert place.ask("FROM pareto") == []


def test_three_metrics_make_two_pictures(place: Place) -> None:
    place.run(GRID, "metric=[height, {minimise: x}, {maximise: y}]")
    page = page_text(place.results, "hill")
    assert "height against x" in page
    assert "height against y" in page
    slow = {(x, y) for x, y in product((0.0, 0.1, 0.3, 0.5, 0.8), (-0.5, 0.2)) if x <= 0.3}
    labels = {label for (label,) in place.ask(FRONT.format(split="val"))}
    assert labels == {f"x={x:g}, y={y}" for x, y in slow}
