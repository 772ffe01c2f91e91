"""Importance in SQL: which trials and parameters count, for grids, searches and variants."""

from __future__ import annotations

import itertools
import random
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from store_examples import a_record, a_run, ask, done, start

from harness.records.folders import run_dir
from harness.records.trial import Phase, Role, Trial
from harness.store import database
from harness.store.tables.computed.importance import FEWEST_TRIALS, refresh_importance
from harness.store.tables.ingest import ingest_all, write_study
from harness.workload import JsonValue

Settings = Mapping[str, JsonValue]
GRID: list[Settings] = [
    {"m.a": a, "m.b": b} for a, b in itertools.product([0.1, 0.2, 0.3], ["x", "y"])
]
ASKED: Settings = {"m.a": {"grid": [0.1, 0.2, 0.3]}, "m.b": {"grid": ["x", "y"]}}


def make(
    results: Path,
    settings: Sequence[Settings],
    scores: Sequence[Sequence[float]],
    *,
    search: Settings = ASKED,
    sampler: str = "grid",
    phase: Phase = "confirm",
    roles: Mapping[int, Role] | None = None,
    zipped: JsonValue = None,
    variants: Sequence[str | None] | None = None,
) -> None:
    """A study whose trial ``i`` has the settings and, for each seed, the scores at ``i``."""
    trials = [
        Trial("s", i, f"t{i}", phase, (roles or {}).get(i, "trial"), variants[i] if variants else None, one, {"i": i})
        for i, one in enumerate(settings)
    ]  # fmt: skip
    seeds = range(max(map(len, scores)))
    spec = {"study": "s", "search": dict(search), "zip": zipped}
    record = replace(a_record(trials, list(seeds)), sampler=sampler, spec=spec)
    split = "test" if phase == "confirm" else "val"
    entries = {}
    for trial, of_trial in zip(trials, scores, strict=True):
        for seed, value in enumerate(of_trial):
            run = a_run(trial, seed)
            run_dir(results, run.run_id).mkdir(parents=True)
            both = {
                f"{split}__recall_at_1": value,
                "val__recall_at_1": value if split == "val" else 0.5,
            }
            entries[run.run_id] = [start(run), done(**both)]
    with database.connect(results, read_only=False) as con:
        write_study(con, record)
        ingest_all(con, results, entries)
        refresh_importance(con, "s")


def noisy(values: Sequence[float], seeds: int = 4) -> list[list[float]]:
    draw = random.Random(0)
    return [[value + draw.gauss(0, 0.001) for _ in range(seeds)] for value in values]


def test_a_grid_is_explained_exactly(tmp_path: Path) -> None:
    # a moves the score by 0.1 a step, b by 0.2, and nothing else does.
    values = [0.1 * round(10 * float(str(one["m.a"]))) + 0.2 * (one["m.b"] == "y") for one in GRID]
    make(tmp_path, GRID, [[value] for value in values])
    of_a, of_b = 0.02 / 3, 0.01
    rows = ask(tmp_path, "FROM importance")
    assert rows == [
        ("s", "m.b", pytest.approx(of_b / (of_a + of_b)), None, None),
        ("s", "m.a", pytest.approx(of_a / (of_a + of_b)), None, None),
    ]
    assert ask(tmp_path, "SELECT parameter, other, share FROM interactions") == [
        ("m.a", "m.b", pytest.approx(0.0, abs=1e-12))
    ]


def test_seeds_give_an_interval(tmp_path: Path) -> None:
    make(tmp_path, GRID, noisy([float(one["m.b"] == "y") for one in GRID]))
    ((share, low, high),) = ask(
        tmp_path, "SELECT share, low, high FROM importance WHERE parameter = 'm.b'"
    )
    assert 0.999 < float(str(low)) <= float(str(share)) <= float(str(high)) <= 1


def test_controls_do_not_count(tmp_path: Path) -> None:
    scores = noisy([float(one["m.b"] == "y") for one in GRID])
    make(tmp_path / "a", GRID, scores)
    make(tmp_path / "b", [*GRID, {}], [*scores, [0.1] * 4], roles={len(GRID): "control"})
    assert ask(tmp_path / "a", "FROM importance") == ask(tmp_path / "b", "FROM importance")


def test_tied_parameters_count_once_and_a_single_one_is_not_explained(tmp_path: Path) -> None:
    tied = [{**one, "m.c": one["m.a"]} for one in GRID]
    search = {**ASKED, "m.c": {"grid": [0.1, 0.2, 0.3]}}
    make(tmp_path / "a", tied, noisy(range(6)), search=search, zipped=[["m.a", "m.c"]])
    assert {row[1] for row in ask(tmp_path / "a", "FROM importance")} == {"m.a", "m.b"}
    make(tmp_path / "b", GRID[::2], noisy(range(3)))
    assert ask(tmp_path / "b", "FROM importance") == []


def test_variants_are_a_parameter(tmp_path: Path) -> None:
    names = ["full", "less"] * 3
    settings = [{"m.a": one["m.a"]} for one in GRID]
    scores = noisy([0.5 if name == "full" else 0.1 for name in names])
    make(tmp_path, settings, scores, search={"m.a": ASKED["m.a"]}, variants=names)
    assert ask(tmp_path, "SELECT parameter, share > 0.99 FROM importance") == [
        ("variant", True),
        ("m.a", False),
    ]


@pytest.mark.slow
def test_a_search_is_explained_by_trees_of_the_trials_in_its_space(tmp_path: Path) -> None:
    draw = random.Random(1)
    settings: list[Settings] = [
        {"m.a": 10 ** draw.uniform(-3, -1), "m.b": draw.choice(["x", "y"])} for _ in range(60)
    ]
    values = [0.0 if one["m.b"] == "x" else 1.0 for one in settings]
    outside: Settings = {"m.a": 0.0, "m.b": "x"}
    search: Settings = {"m.a": {"loguniform": [0.001, 0.1]}, "m.b": {"choice": ["x", "y"]}}
    make(
        tmp_path,
        [*settings, outside],
        [[value] for value in [*values, 99.0]],
        search=search,
        sampler="random",
        phase="search",
    )
    rows = ask(tmp_path, "FROM importance")
    assert [row[:3] for row in rows] == [("s", "m.b", pytest.approx(1.0)), ("s", "m.a", 0.0)]
    make(
        tmp_path / "few", settings[:7], [[v] for v in values[:7]],
        search=search, sampler="random", phase="search",
    )  # fmt: skip
    assert ask(tmp_path / "few", "FROM importance") == []


def test_what_has_not_changed_is_not_computed_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make(tmp_path, GRID, noisy(range(6)))
    before = ask(tmp_path, "FROM explained_variance")

    def refuse(*_: object) -> None:
        raise AssertionError("computed again")

    monkeypatch.setattr("harness.store.tables.computed.importance.crossed_shares", refuse)
    with database.connect(tmp_path, read_only=False) as con:
        refresh_importance(con, "s")
    assert ask(tmp_path, "FROM explained_variance") == before
    with database.connect(tmp_path, read_only=False) as con:
        con.execute("UPDATE recall SET recall = 0.75 WHERE split = 'test' AND recall > 4")
        with pytest.raises(AssertionError, match="computed again"):
            refresh_importance(con, "s")


def test_a_parameter_of_some_trials_is_explained_among_these(tmp_path: Path) -> None:
    settings: list[Settings] = [
        {"m.a": a, "m.b": "x"} | ({"m.c": c} if c else {})
        for a, c in itertools.product([0.1, 0.2], [None, 1, 2])
    ]
    assert len(settings) < FEWEST_TRIALS  # too few to explain m.a by trees
    values = [0.4 * (one.get("m.c") == 2) + 0.1 * (one["m.a"] == 0.2) for one in settings]
    search: Settings = {"m.a": {"grid": [0.1, 0.2]}, "m.c": {"grid": [1, 2], "when": {"m.b": "x"}}}
    make(tmp_path, settings, [[value] for value in values], search=search)
    mean = sum(values) / 6
    whole = sum((value - mean) ** 2 for value in values)
    # Among the four that have it: two groups of two, 0.4 apart, each 0.2 from their mean.
    assert ask(tmp_path, "SELECT parameter, share FROM importance") == [
        ("m.c", pytest.approx(4 * 0.2**2 / whole))
    ]
