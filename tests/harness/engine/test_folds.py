"""A study with ``folds`` trains each seed once per fold; a seed counts when all its folds have."""

from __future__ import annotations

import itertools
import statistics
from pathlib import Path

import folded
import pytest
import yaml
from driver_place import Place, Witness, interrupt

from harness.engine.dispatch.packing import Packing
from harness.engine.preview import preview
from harness.engine.record_writer import merge_members
from harness.engine.run_options import RunOptions
from harness.engine.run_study import run_study
from harness.engine.study_state import load_study_state
from harness.errors import InputError
from harness.export.row_files import write_tables
from harness.records.studies.study_record import read_study_record
from harness.report.study_page import page_text
from harness.stats.variance.folds import fold_interval

FOLDS = 3
SEEDS = 6
GRID: dict[str, object] = {
    "study": "folds",
    "question": "Is x worth it?",
    "workload": "folded",
    "search": {"x": {"grid": [0.0, 0.5, 1.0]}},
    "seeds": SEEDS,
    "folds": FOLDS,
    "metric": "height",
}


def study(**changes: object) -> str:
    content = GRID | changes
    return yaml.safe_dump({key: value for key, value in content.items() if value is not None})


def value(x: float, seed: int, fold: int, y: float = 0.0) -> float:
    return float(folded.height({"x": x, "y": y}, seed, fold))


def mean_of_folds(x: float, seed: int, y: float = 0.0) -> float:
    return statistics.fmean(value(x, seed, fold, y) for fold in range(1, FOLDS + 1))


def test_a_result_is_the_mean_over_the_folds_of_a_seed(place: Place) -> None:
    outcome = place.run(study())
    assert outcome.done == outcome.total == (3 + 1) * SEEDS * FOLDS
    rows = place.ask("SELECT trial, seed, value FROM results WHERE role <> 'control' ORDER BY ALL")
    expected = {(f"x={x:g}", s): mean_of_folds(x, s) for x in (0.0, 0.5, 1.0) for s in range(SEEDS)}
    assert {(t, s): pytest.approx(v, abs=1e-12) for t, s, v in rows} == expected
    single = place.ask(
        "SELECT seed, fold, value, split FROM folds WHERE trial = 'x=1' ORDER BY ALL"
    )
    assert single == [
        (seed, fold, value(1.0, seed, fold), "val")
        for seed in range(SEEDS)
        for fold in range(1, FOLDS + 1)
    ]
    seeds = place.ask("SELECT DISTINCT seeds_done, seeds_planned, split FROM trials")
    assert seeds == [(SEEDS, SEEDS, "val")]
    assert place.ask("SELECT count(*) FROM openings") == [(0,)]


def test_tests_flip_the_means_of_seeds_and_the_classes_have_their_own_interval(
    place: Place,
) -> None:
    place.run(study())
    ((n, difference, p, low, high, folds, classes),) = place.ask(
        "SELECT n, difference, p, low_classes, high_classes, folds, classes FROM comparisons"
        " WHERE trial = 'x=1' AND metric = 'height'"
    )
    assert (n, folds, classes) == (SEEDS, FOLDS, None)
    assert p == pytest.approx(2 / 2**SEEDS)
    by_fold = [
        statistics.fmean(value(1.0, s, fold) - value(0.0, s, fold) for s in range(SEEDS))
        for fold in range(1, FOLDS + 1)
    ]
    assert difference == pytest.approx(statistics.fmean(by_fold))
    expected = fold_interval(by_fold)
    assert expected is not None
    assert (low, high) == pytest.approx((expected.low, expected.high))


def test_a_seed_with_a_failed_fold_does_not_count_until_that_fold_alone_is_trained_again(
    place: Place,
) -> None:
    text = study(base={"broken": 2}, search={"x": {"grid": [0.0, 1.0]}}, seeds=2)
    outcome = place.run(text)
    assert (outcome.done, outcome.failed) == (3 * 2 * 2, 3 * 2)
    assert place.ask("SELECT DISTINCT fold FROM failures") == [(2,)]
    assert place.ask("SELECT count(*) FROM results") == [(0,)]
    assert place.ask("SELECT DISTINCT seeds_done, seeds_failed FROM trials") == [(0, 2)]
    (place.folder / "mended").touch()
    before = trained(place)
    options = RunOptions(place.results, "local", None, threads=1, again=frozenset({"crash"}))
    assert run_study(place.write(text), (), options, Witness()).done == 3 * 2 * 3
    assert {line.split()[2] for line in trained(place)[len(before) :]} == {"2"}
    assert place.ask("SELECT count(*) FROM results") == [(3 * 2,)]
    assert place.ask("SELECT DISTINCT seeds_done, seeds_failed FROM trials") == [(2, 0)]


def trained(place: Place) -> list[str]:
    return (place.folder / "folds.txt").read_text(encoding="utf-8").splitlines()


def test_an_interrupted_study_goes_on_in_the_middle_of_a_seed(place: Place) -> None:
    place.run(study(), watcher=Witness(interrupt(14)))
    done = len(trained(place))
    whole = place.ask("SELECT trial, seed FROM results")
    assert len(whole) * FOLDS <= done < (3 + 1) * SEEDS * FOLDS
    outcome = place.run(study())
    assert outcome.trained == outcome.total - done
    assert len(set(trained(place))) == len(trained(place)) == outcome.total


def test_folds_of_a_smaller_study_are_reused_by_a_larger_one(place: Place) -> None:
    place.run(study(seeds=1))
    outcome = place.run(study(study="more", seeds=2))
    assert outcome.trained == (3 + 1) * FOLDS
    other = place.run(study(study="other-cut", seeds=1, folds=2))
    assert other.trained == (3 + 1) * 2


def test_runs_are_named_with_their_folds(place: Place) -> None:
    planned = preview(place.write(study(seeds=1)), (), place.results)
    assert [(each.seed, each.fold) for each in planned.runs if each.trial == "x=1"] == [
        (0, 1),
        (0, 2),
        (0, 3),
    ]
    witness = Witness()
    place.run(study(seeds=1), watcher=witness)
    assert {line.fold for line in witness.ended_lines} == {1, 2, 3}


def test_a_search_maximises_the_mean_over_folds_and_its_winner_is_confirmed_uncut(
    place: Place,
) -> None:
    text = study(
        search={"x": {"uniform": [0.0, 1.0]}},
        sampler="tpe",
        trials=5,
        seeds=2,
        confirm={"top": 1, "seeds": 3},
    )
    witness = Witness()
    outcome = place.run(text, watcher=witness)
    assert outcome.done == outcome.total == 5 * 2 * FOLDS + 3 * 3
    assert witness.snapshots[0].total == outcome.total
    rows = place.ask(
        "SELECT phase, fold, count(*), bool_or(run.test) FROM trial JOIN member USING (trial_id)"
        " JOIN run USING (run_id) GROUP BY ALL ORDER BY ALL"
    )
    assert rows == [("confirm", 0, 9, True), *(("search", f, 10, False) for f in (1, 2, 3))]
    best = place.ask(
        "SELECT arg_max(trial, mean) FROM trials WHERE phase = 'search' AND role <> 'control'"
    )
    confirmed = place.ask("SELECT trial FROM trials WHERE phase = 'confirm' AND role = 'trial'")
    assert confirmed == best
    assert place.run(text).trained == 0


def test_a_trial_with_a_failed_fold_is_not_chosen(place: Place) -> None:
    variants = {"low": {"x": 0.0}, "middle": {"x": 0.5}, "high": {"x": 1.0, "broken": 1}}
    confirm = {"top": 1, "seeds": 1}
    place.run(study(search=None, variants=variants, baseline="low", seeds=1, confirm=confirm))
    confirmed = "SELECT trial FROM trials WHERE phase = 'confirm' AND role = 'trial'"
    assert place.ask(confirmed) == [("middle",)]


def test_only_runs_with_the_same_data_share_a_process(place: Place) -> None:
    state = load_study_state(place.write(study(seeds=2)), (), place.results)
    packing = Packing(state.plan, is_possible=True)
    tasks = list(state.schedule.tasks.values())
    assert {task.fold for task in tasks} == {1, 2, 3}
    for one, other in itertools.product(tasks, tasks):
        assert packing.are_compatible(one, other) == (one.fold == other.fold)


def test_two_drivers_keep_all_folds_in_the_record(place: Place) -> None:
    place.run(study(seeds=1))
    record = read_study_record(place.results, "folds")
    assert record is not None
    assert {each.key[1:] for each in record.members} == {(0, 1), (0, 2), (0, 3)}
    merged = merge_members(record.members[:7], record.members[5:])
    assert sorted(merged) == sorted(record.members)


@pytest.mark.parametrize(
    "varied",
    [
        {"search": None, "variants": {"high": {"x": 1.0}, "low": {"x": 0.0}}, "baseline": "low"},
        {
            "search": None,
            "base": {"x": 1.0, "y": 1.0},
            "ablate": {
                "design": "lattice",
                "components": {"x": {"x": 0.0}, "y": {"y": 0.0}},
            },
        },
        {"confirm": {"top": 1, "seeds": 2}, "claims": [{"trial": "winner", "better_than": "x=0"}]},
        {"search": {"x": {"uniform": [0.0, 1.0]}}, "sampler": "random", "trials": 3},
    ],
    ids=["variants", "ablation", "sealed grid with a claim", "random"],
)
def test_every_kind_of_study_can_have_folds(place: Place, varied: dict[str, object]) -> None:
    outcome = place.run(study(seeds=2, **varied))
    assert outcome.done == outcome.total
    seeds = place.ask(
        "SELECT DISTINCT seeds_done, count(DISTINCT fold) FROM trials JOIN member USING (trial_id)"
        " WHERE phase = 'search' AND role <> 'control' GROUP BY trial_id, seeds_done"
    )
    assert seeds == [(2, FOLDS)]


def test_effects_of_an_ablation_are_of_the_means_over_folds(place: Place) -> None:
    components = {"x": {"x": 0.0}, "y": {"y": 0.0}}
    ablate = {"design": "lattice", "components": components}
    place.run(study(search=None, base={"x": 1.0, "y": 1.0}, ablate=ablate))
    ((estimate, n),) = place.ask(
        "SELECT estimate, n FROM effects WHERE term = 'x' AND kind = 'main' AND split = 'val'"
    )
    contrasts = [
        statistics.fmean(mean_of_folds(1.0, s, y) - mean_of_folds(0.0, s, y) for y in (0.0, 1.0))
        for s in range(SEEDS)
    ]
    assert n == SEEDS
    assert estimate == pytest.approx(statistics.fmean(contrasts))


def test_the_page_says_how_many_folds_and_has_a_table_of_them(place: Place) -> None:
    place.run(study())
    page = page_text(place.results, "folds")
    assert "has the highest mean height on validation images of 3 folds" in page
    assert "Search on" not in page
    assert "over the baseline" in page
    assert "fold by fold: means over seeds" in page
    assert "from the differences of the 3 folds (Nadeau and Bengio)" in page
    assert "once for each of 3 class-disjoint folds" in page


def test_folds_cannot_change_under_the_name_of_a_study(place: Place) -> None:
    place.run(study(seeds=1))
    with pytest.raises(InputError, match=r"folds: 3 -> 2"):
        place.run(study(seeds=1, folds=2))
    with pytest.raises(InputError, match="folds has changed"):
        place.run(study(seeds=1, folds=2), extend=True)


def test_a_budget_counts_the_runs_of_folds(place: Place) -> None:
    outcome = place.run(study(budget={"runs": 10}))
    assert outcome.done == 10
    sealed = study(seeds=2, confirm={"seeds": 1}, budget={"runs": 20})
    with pytest.raises(InputError, match=r"budget\.runs: .* need 21 runs, got 20"):
        place.run(sealed)


def test_a_study_without_folds_is_written_and_identified_as_before(place: Place) -> None:
    place.run(study(folds=None, seeds=1))
    assert place.ask("SELECT DISTINCT fold FROM folds") == [(0,)]
    assert place.ask("SELECT DISTINCT fold FROM member") == [(0,)]
    assert place.ask("SELECT bool_and(test) FROM run") == [(True,)]


def test_the_files_of_the_run_name_the_fold(place: Place, tmp_path: Path) -> None:
    place.run(study(seeds=1))
    (tmp_path / "out").mkdir()
    write_tables(place.results, "folds", "csv", tmp_path / "out")
    lines = (tmp_path / "out" / "folds.csv").read_text(encoding="utf-8").splitlines()
    assert len(lines) == 1 + (3 + 1) * FOLDS
