"""What the view ``effects`` says of an ablation, from its runs."""

from __future__ import annotations

from pathlib import Path

import pytest
import toy_workload
from driver_place import Place

from harness.engine.dispatch import retry_policy
from harness.stats.ablations.designs import Cell, Design
from harness.stats.ablations.lattice import effects
from harness.store.database import query

ABLATION = """
study: parts
question: What is each part worth?
workload: toy_workload
base: {epochs: 1, quality: 0.5, clusters: 4}
ablate:
  design: lattice
  bare: untrained
  components:
    quality: {quality: 0.3}
    momentum: {method.teacher_momentum: 0.0}
    clusters: {without: {clusters: 2}, needs: [momentum]}
seeds: 6
"""
GRID = """
study: grid
question: Does quality matter?
workload: toy_workload
base: {epochs: 1, clusters: 2}
search: {quality: {grid: [0.2, 0.5]}}
seeds: 2
"""
COLUMNS = ("kind", "term", "n", "estimate", "low", "high", "p", "p_holm")
DESIGN = Design("lattice", ("quality", "momentum", "clusters"), {"clusters": ("momentum",)})


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    monkeypatch.setenv(toy_workload.FOLDER, str(tmp_path))
    monkeypatch.setitem(retry_policy.RETRY_POLICIES, "crash", retry_policy.RetryPolicy(retries=0))
    return Place(tmp_path)


def cell_values(results: Path, metric: str, split: str) -> dict[Cell, dict[int, float]]:
    rows = query(
        results,
        "SELECT results.trial, seed, value FROM results WHERE name = $1 AND split = $2",
        [metric, split],
    ).rows
    cells = {
        "full": {"quality", "momentum", "clusters"},
        "no quality": {"momentum", "clusters"},
        "no momentum": {"quality"},
        "no clusters": {"quality", "momentum"},
        "only momentum": {"momentum"},
        "untrained": set(),
    }
    found: dict[Cell, dict[int, float]] = {}
    for trial, seed, value in rows:
        if trial in cells:
            found.setdefault(frozenset(cells[trial]), {})[seed] = value
    return found


@pytest.mark.parametrize(("split", "metric"), [("test", "recall@1"), ("val", "nmi")])
def test_effects_are_those_of_the_finished_runs(place: Place, split: str, metric: str) -> None:
    place.run(ABLATION)
    rows = query(
        place.results,
        f"SELECT {', '.join(COLUMNS)} FROM effects WHERE study = 'parts' AND split = $1 "
        "AND metric = $2",
        [split, metric],
    ).rows
    expected = effects(DESIGN, cell_values(place.results, metric, split))
    assert len(expected) == 8
    for row, effect in zip(rows, expected, strict=True):
        assert row[:3] == (*effect[:2], 6)
        found = [effect.estimate, effect.low, effect.high, effect.p, effect.p_holm]
        assert list(row[3:]) == pytest.approx(found)
    main = {row[1]: row[3] for row in rows if row[0] == "main"}
    assert main["quality"] > main["clusters"]


def test_the_cells_of_an_ablation_can_be_told_in_sql(place: Place) -> None:
    place.run(ABLATION)
    rows = query(
        place.results,
        "SELECT trial FROM trials WHERE NOT (varied -> '$.momentum')::BOOLEAN ORDER BY number",
    ).rows
    assert rows == [("no momentum",), ("untrained",)]


def test_a_failed_run_drops_its_seed_and_the_number_of_seeds_shows_it(place: Place) -> None:
    broken = ABLATION.replace("{quality: 0.3}", "{quality: 0.3, fail: crash, only_seeds: [2]}")
    place.run(broken)
    rows = query(
        place.results,
        "SELECT DISTINCT term, n FROM effects WHERE kind = 'main' AND metric = 'recall@1'",
    ).rows
    assert sorted(rows) == [("clusters", 5), ("momentum", 5), ("quality", 5)]


def test_a_lattice_trains_only_what_leaving_one_out_has_not_trained(
    place: Place, tmp_path: Path
) -> None:
    few = ABLATION.replace("lattice", "leave_one_out").replace("  bare: untrained\n", "")
    place.run(few)
    before = len(toy_workload.calls(tmp_path))
    assert query(place.results, "SELECT DISTINCT kind FROM effects").rows == [("removal",)]
    place.run(ABLATION.replace("study: parts", "study: lattice"))
    after = toy_workload.calls(tmp_path)[before:]
    # Left are: only momentum, and the untrained control which the first study has trained, too.
    assert len(after) == 6
    place.run(ABLATION, extend=True)
    assert len(toy_workload.calls(tmp_path)) == before + 6


def test_a_study_that_is_no_ablation_has_no_effects(place: Place) -> None:
    place.run(GRID)
    assert query(place.results, "FROM effects").rows == []
