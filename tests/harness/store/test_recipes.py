"""The recipes of the README, asked of a store that real studies have made."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import toy_workload
from driver_place import Place
from roots import ROOT

from harness.engine.dispatch import retry_policy
from harness.store.database import query

README = ROOT / "harness" / "README.md"
STUDY = """
study: momentum
question: How slowly should the teacher follow the student?
workload: toy_workload
base: {epochs: 3, clusters: 4}
search:
  method.teacher_momentum: {grid: [0.0, 0.9, 0.99]}
seeds: 6
"""
OTHER = STUDY.replace("study: momentum", "study: slower").replace("[0.0, 0.9,", "[0.0, 0.999,")
BROKEN = STUDY.replace("study: momentum", "study: broken").replace(
    "{epochs: 3,", "{fail: diverge, only_seeds: [1], epochs: 3,"
)
LATTICE = """
study: lattice
question: What is each part worth?
workload: toy_workload
base: {epochs: 1, clusters: 4}
ablate:
  design: lattice
  components: {quality: {quality: 0.3}, momentum: {method.teacher_momentum: 0.0}}
seeds: 2
"""
Rows = list[dict[str, object]]


def recipes() -> dict[int, tuple[str, str]]:
    """Number -> title and query."""
    section = README.read_text(encoding="utf-8").partition("\n## Eleven recipes\n")[2]
    section = section.partition("\n## ")[0]
    found = re.findall(
        r"\*\*(\d+)\. (.+?)\*\*[^`]*(?:`\w+`[^`]*)?```sql\n(.*?)```", section, re.DOTALL
    )
    return {int(number): (title, sql) for number, title, sql in found}


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("recipes")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(toy_workload.FOLDER, str(folder))
        patch.setitem(retry_policy.RETRY_POLICIES, "crash", retry_policy.RetryPolicy(retries=0))
        place = Place(folder)
        for study in (STUDY, OTHER, BROKEN, LATTICE):
            place.run(study)
        yield place.results


def rows_of(results: Path, number: int) -> Rows:
    table = query(results, recipes()[number][1])
    return [dict(zip(table.columns, row, strict=True)) for row in table.rows]


def test_there_are_eleven() -> None:
    found = recipes()
    assert sorted(found) == list(range(1, 12))
    assert len({title for title, _ in found.values()}) == 11


@pytest.mark.parametrize("number", range(1, 12))
def test_a_recipe_returns_rows_without_gaps(results: Path, number: int) -> None:
    rows = rows_of(results, number)
    assert len(rows) >= 2
    assert all(value is not None for row in rows for value in row.values())


def test_trials_and_differences_are_listed(results: Path) -> None:
    trials = rows_of(results, 1)
    assert len(trials) == 5  # three and two controls
    assert [row["mean"] for row in trials] == sorted((row["mean"] for row in trials), reverse=True)
    differences = {row["trial"]: row for row in rows_of(results, 2)}
    assert len(differences) == 4
    best = differences["teacher_momentum=0.99"]
    assert best["difference"] == pytest.approx(0.099, abs=0.03)
    assert not best["exploratory"]
    by_seed = [row for row in rows_of(results, 3) if row["trial"] == "teacher_momentum=0.99"]
    assert sorted(row["seed"] for row in by_seed) == list(range(6))
    mean = sum(float(str(row["difference"])) for row in by_seed) / 6
    assert mean == pytest.approx(best["difference"], rel=1e-12)


def test_the_best_epoch_is_that_of_the_largest_value(results: Path) -> None:
    rows = rows_of(results, 4)
    assert len(rows) == 18
    assert {(row["best_epoch"], row["last_epoch"]) for row in rows} == {(2, 2)}


def test_holm_by_hand_is_the_stored_one(results: Path) -> None:
    rows = rows_of(results, 5)
    assert len(rows) == 2
    for row in rows:
        assert row["by_hand"] == pytest.approx(row["p_holm"], rel=1e-12)
    assert rows[0]["p_holm"] == pytest.approx(2 * float(str(rows[0]["p"])))


def test_failures_costs_and_shared_runs_are_those_of_the_studies(results: Path) -> None:
    failures = rows_of(results, 6)
    assert {(row["study"], row["seed"], row["failure"]) for row in failures} == {
        ("broken", 1, "diverged")
    }
    assert {row["runs"] for row in rows_of(results, 7)} == {6}
    shared = rows_of(results, 8)
    assert {row["studies"] for row in shared} == {"momentum, slower"}
    assert len(shared) == 4 * 6  # the baseline, 0.99 and two controls


def test_curves_stand_side_by_side_and_clusters_are_unequal(results: Path) -> None:
    curves = rows_of(results, 9)
    assert [row["epoch"] for row in curves] == [0, 1, 2]
    assert all(float(str(row["0.99"])) > float(str(row["0"])) for row in curves)
    sizes = [10, 11, 12, 13]
    gini = sum(abs(a - b) for a in sizes for b in sizes) / (2 * len(sizes) * sum(sizes))
    for row in rows_of(results, 10):
        assert (row["n"], row["mean"]) == (6, pytest.approx(gini))


def test_components_and_pairs_are_listed_by_size(results: Path) -> None:
    rows = rows_of(results, 11)
    assert [(row["kind"], row["term"]) for row in rows] == [
        ("shapley", "quality"),
        ("shapley", "momentum"),
        ("interaction", "quality x momentum"),
    ]
    assert rows[0]["estimate"] == pytest.approx(0.2, abs=0.04)
