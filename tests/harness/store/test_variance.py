"""What the view ``variance`` says of a study's finished runs."""

from __future__ import annotations

from pathlib import Path

import dice
import pytest
from driver_place import Place
from roots import ROOT

from harness.stats.variance.variance_share import Share, variance_share
from harness.store.database import query

VARIANCE = """
study: dice
question: Where does the variance come from?
workload: dice
variance: {sources: [weights, batches, views], levels: 8}
"""
SHARES = (
    "SELECT source, n, share, low, high FROM variance "
    "WHERE study = 'dice' AND split = 'test' AND metric = 'recall@1'"
)


def shares(place: Place) -> dict[str, tuple[object, ...]]:
    return {str(source): tuple(rest) for source, *rest in place.ask(SHARES)}


def values(place: Place) -> dict[str, list[float]]:
    found: dict[str, list[float]] = {}
    rows = query(
        place.results,
        "SELECT trial, value FROM results WHERE study = 'dice' AND split = 'test' ORDER BY seed",
    ).rows
    for trial, value in rows:
        found.setdefault(str(trial), []).append(float(str(value)))
    return found


def test_shares_are_those_of_the_finished_runs(tmp_path: Path) -> None:
    place = Place(tmp_path)
    place.run(VARIANCE)
    found, measured = shares(place), values(place)
    assert list(found) == ["all", "weights", "batches", "views", "none"]
    for source in ("weights", "batches"):
        expected = variance_share(measured[source], measured["all"])
        assert isinstance(expected, Share)
        assert found[source] == (8, *(pytest.approx(each) for each in expected))
    assert found["all"] == (8, pytest.approx(1.0), None, None)
    # This workload ignores the views, and repeats a pinned run exactly.
    assert found["views"] == found["none"] == (8, 0.0, 0.0, 0.0)
    assert place.ask("FROM comparisons") == []


def test_what_the_machine_does_at_random_is_seen_with_nothing_varying(tmp_path: Path) -> None:
    place = Place(tmp_path)
    place.run(VARIANCE, "shaken=0.2")
    (low,) = place.ask("SELECT low FROM variance WHERE source = 'none' AND split = 'val'")[0]
    assert isinstance(low, float)
    assert low > 0


def test_a_seed_counts_only_where_everything_else_varied_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = Place(tmp_path)
    run = dice.run

    def fail_once(params: dict[str, object], *, seed: int, **given: object) -> object:
        if seed == 3 and not params["pins"]:
            raise ValueError("level: no such level")
        return run(params, seed=seed, **given)

    monkeypatch.setattr(dice, "run", fail_once)
    place.run(VARIANCE)
    assert {source: row[0] for source, row in shares(place).items()} == dict.fromkeys(
        ("all", "weights", "batches", "views", "none"), 7
    )
    measured = values(place)
    kept = [value for seed, value in enumerate(measured["weights"]) if seed != 3]
    expected = variance_share(kept, measured["all"])
    assert expected is not None
    assert shares(place)["weights"][1] == pytest.approx(expected.share)


def test_ordinary_runs_are_shared_with_other_studies(tmp_path: Path) -> None:
    place = Place(tmp_path)
    place.run("study: plain\nquestion: How good?\nworkload: dice\nseeds: 8\n")
    place.run(VARIANCE)
    ((shared,),) = place.ask(
        "SELECT count(*) FROM (SELECT run_id FROM member GROUP BY 1 HAVING count(*) > 1)"
    )
    assert shared == 8
    ((runs,),) = place.ask("SELECT count(*) FROM run")
    assert runs == 5 * 8


def test_the_readme_asks_for_the_shares_the_largest_first(tmp_path: Path) -> None:
    readme = (ROOT / "harness" / "README.md").read_text(encoding="utf-8")
    section = readme.partition("\n## Where the variance between seeds comes from\n")[2]
    recipe = section.partition("```sql\n")[2].partition("```")[0]
    place = Place(tmp_path)
    place.run(VARIANCE.replace("study: dice", "study: variance"))
    rows = place.ask(recipe)
    assert {row[0] for row in rows} == {"weights", "batches", "views", "none"}
    assert [row[1] for row in rows] == sorted((row[1] for row in rows), reverse=True)
