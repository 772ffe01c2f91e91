"""What the views and the comparisons say, against plain Python."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path

import pytest
from store_examples import (
    a_record,
    a_run,
    a_trial,
    ask,
    done,
    failed,
    ingest_into,
    reported,
    start,
    write,
)

from harness.stats.paired import holm, paired_difference, t_interval
from harness.store import database
from harness.store.tables.computed.comparisons import refresh_comparisons
from harness.store.tables.ingest import write_study

BASELINE = a_trial(0, "baseline")
CONTROL = a_trial(9, "control")


def test_the_summary_equals_the_plain_formula(tmp_path: Path) -> None:
    values = {0: [0.5, 0.61, 0.57, 0.52], 1: [0.7, 0.1 + 0.2, 0.4, 0.45]}
    write(tmp_path, [BASELINE, a_trial(1)], values)
    rows = ask(tmp_path, "SELECT number, split, k, mean, sd, low, high, n FROM summary")
    assert [row[:3] for row in rows] == [(0, "test", 1), (1, "test", 1)]
    for number, _, _, *found in rows:
        expected = [*t_interval(values[int(str(number))]), 4]
        assert found == pytest.approx(expected, rel=1e-12)


def test_one_seed_has_a_mean_and_no_spread(tmp_path: Path) -> None:
    write(tmp_path, [BASELINE], {0: [0.5]})
    assert ask(tmp_path, "SELECT mean, sd, low, high, n FROM summary") == [
        (0.5, None, None, None, 1)
    ]
    assert ask(tmp_path, "SELECT mean, sd, low, high FROM trials") == [(0.5, None, None, None)]


def test_more_seeds_than_quantiles_still_have_an_interval(tmp_path: Path) -> None:
    write(tmp_path, [BASELINE], {0: [0.5, 0.6, 0.7]})
    with database.connect(tmp_path, read_only=False) as con:
        con.execute("DELETE FROM t_quantile WHERE df > 1")
    assert ask(tmp_path, "SELECT low IS NOT NULL, n FROM summary") == [(True, 3)]
    assert ask(tmp_path, "SELECT low IS NOT NULL FROM trials") == [(True,)]


def test_a_trial_tells_its_settings_and_how_far_it_is(tmp_path: Path) -> None:
    write(tmp_path, [BASELINE, CONTROL], {0: [0.5, 0.7], 9: [0.1]})
    lost = a_run(CONTROL, 1)
    with database.connect(tmp_path, read_only=False) as con:
        ingest_into(con, tmp_path, lost.run_id, [start(lost), failed("diverged")])
    columns = "trial, role, is_baseline, settings, varied, split, mean"
    rows = ask(tmp_path, f"SELECT {columns}, seeds_done, seeds_planned, seeds_failed FROM trials")
    assert rows == [
        ("m=0", "baseline", True, "method.m=0.0", '{"method.m":0.0}', "test", 0.6, 2, 2, 0),
        ("raw pixels", "control", False, "", "{}", "test", 0.1, 1, 2, 1),
    ]


@pytest.mark.parametrize(("phase", "split"), [("confirm", "test"), ("search", "val")])
def test_the_primary_metric_is_read_on_the_decisive_split(
    tmp_path: Path, phase: str, split: str
) -> None:
    trial = a_trial(0, "baseline", phase)  # type: ignore[arg-type]
    run = a_run(trial, 0)
    with database.connect(tmp_path, read_only=False) as con:
        write_study(con, a_record([trial], [0], metric="map@r"))
        results = {"val__map_at_r": 0.25, "test__map_at_r": 0.75, "test__recall_at_1": 0.5}
        ingest_into(con, tmp_path, run.run_id, [start(run), done(**results)])
    expected = {"val": 0.25, "test": 0.75}[split]
    assert ask(tmp_path, "SELECT metric, split, mean FROM trials") == [("map@r", split, expected)]


def test_only_finished_runs_count(tmp_path: Path) -> None:
    write(tmp_path, [BASELINE], {0: [0.5, 0.6]})
    with database.connect(tmp_path, read_only=False) as con:
        con.execute("UPDATE run SET state = 'failed' WHERE seed = 1")
    assert ask(tmp_path, "SELECT mean, n FROM summary") == [(0.5, 1)]
    assert ask(tmp_path, "SELECT DISTINCT seed FROM curves") == [(0,)]
    assert ask(tmp_path, "SELECT seeds_done, seeds_failed FROM trials") == [(1, 1)]


def test_the_leaderboard_puts_what_is_incomplete_last_and_counts_controls(tmp_path: Path) -> None:
    trials = [BASELINE, a_trial(1), a_trial(2), a_trial(3), CONTROL]
    write(tmp_path, trials, {0: [0.5, 0.5], 1: [0.9], 2: [0.6, 0.7], 9: [0.55, 0.55]})
    rows = ask(tmp_path, "SELECT rank, trial, is_complete FROM leaderboard")
    assert rows == [
        (1, "m=2", True),
        (2, "raw pixels", True),
        (3, "m=0", True),
        (4, "m=1", False),
        (5, "m=3", False),
    ]


@pytest.mark.parametrize("value", ["'NaN'", "'Infinity'", "'-Infinity'"])
def test_a_non_finite_number_never_wins_however_it_came_in(tmp_path: Path, value: str) -> None:
    write(tmp_path, [BASELINE, a_trial(1)], {0: [0.5, 0.6], 1: [0.7, 0.8]})
    with database.connect(tmp_path, read_only=False) as con:
        for table, column in (("recall", "recall"), ("epoch", "value"), ("score", "value")):
            con.execute(
                f"UPDATE {table} SET {column} = {value}::DOUBLE "
                "WHERE run_id IN (SELECT run_id FROM run WHERE seed = 1)"
            )
        refresh_comparisons(con, "s")
    assert ask(tmp_path, "SELECT mean, n FROM summary ORDER BY number") == [(0.5, 1), (0.7, 1)]
    assert ask(tmp_path, "SELECT mean FROM leaderboard") == [(0.7,), (0.5,)]
    assert ask(tmp_path, "SELECT DISTINCT seed FROM curves") == [(0,)]
    assert ask(tmp_path, "SELECT DISTINCT n FROM comparisons") == [(1,)]


def test_failures_say_why(tmp_path: Path) -> None:
    run = a_run(BASELINE, 3)
    with database.connect(tmp_path, read_only=False) as con:
        write_study(con, a_record([BASELINE], [3]))
        ingest_into(
            con, tmp_path, run.run_id, [start(run), failed("oom"), start(run, 2), failed("oom", 2)]
        )
    assert ask(tmp_path, "FROM failures") == [
        (
            *("s", "m=0", BASELINE.trial_id, 0, 3, run.run_id),
            "oom",
            "it broke",
            2,
            "line 1\nline 2",
            0,
        )
    ]


def test_curves_are_in_order(tmp_path: Path) -> None:
    run = a_run(BASELINE, 0)
    with database.connect(tmp_path, read_only=False) as con:
        write_study(con, a_record([BASELINE], [0]))
        events = [start(run), *[reported(i, loss=1.0 - i / 10) for i in range(12)], done()]
        ingest_into(con, tmp_path, run.run_id, events)
    assert ask(tmp_path, "SELECT epoch, value FROM curves") == [
        (i, 1.0 - i / 10) for i in range(12)
    ]


def test_comparisons_equal_the_plain_formulas(tmp_path: Path) -> None:
    values = {
        0: [0.50, 0.52, 0.47, 0.55, 0.51, 0.49],
        1: [0.60, 0.61, 0.59, 0.62, 0.58, 0.60],
        2: [0.51, 0.50, 0.49, 0.54, 0.52, 0.50],
        9: [0.30, 0.30, 0.30, 0.30, 0.30],
    }
    write(tmp_path, [BASELINE, a_trial(1), a_trial(2), CONTROL], values)
    by_seed = {number: dict(enumerate(row)) for number, row in values.items()}
    found_by_hand = {n: paired_difference(by_seed[n], by_seed[0]) for n in (1, 2, 9)}
    expected = {n: row for n, row in found_by_hand.items() if row is not None}
    assert len(expected) == 3
    # The control is a family of its own.
    p_holm = dict(zip((1, 2), holm([expected[n].p for n in (1, 2)]), strict=True)) | {
        9: expected[9].p
    }
    rows = ask(
        tmp_path,
        "SELECT number, n, difference, low, high, p, p_error, prob_improvement, exploratory, "
        "p_holm FROM comparisons WHERE metric = 'recall@1' AND split = 'test'",
    )
    assert len(rows) == 3
    for number, *found in rows:
        row = expected[int(str(number))]
        assert found == pytest.approx([*row, p_holm[int(str(number))]], rel=1e-12)
    assert [row[8] for row in rows] == [False, False, True]


def test_every_metric_is_a_family_of_its_own(tmp_path: Path) -> None:
    write(tmp_path, [BASELINE, a_trial(1)], {0: [0.5, 0.6], 1: [0.7, 0.6]})
    rows = ask(tmp_path, "SELECT trial, split, metric, n, difference, p, p_holm FROM comparisons")
    assert rows == [
        ("m=1", "test", "nmi", 2, pytest.approx(0.05), 1.0, 1.0),
        ("m=1", "test", "recall@1", 2, pytest.approx(0.1), 1.0, 1.0),
    ]


def test_one_pair_is_compared_without_an_interval(tmp_path: Path) -> None:
    write(tmp_path, [BASELINE, a_trial(1)], {0: [0.5], 1: [0.75]})
    rows = ask(tmp_path, "SELECT n, difference, low, high, p, exploratory FROM comparisons")
    assert rows[1] == (1, 0.25, None, None, 1.0, True)


def test_no_baseline_or_no_common_seed_is_no_comparison(tmp_path: Path) -> None:
    write(tmp_path, [a_trial(0), a_trial(1)], {0: [0.5], 1: [0.75]})
    unpaired = [a_trial(5, "baseline", study="t"), a_trial(6, study="t")]
    write(tmp_path, unpaired, {5: [0.5, 0.4], 6: []})
    assert ask(tmp_path, "FROM comparisons") == []


def test_a_trial_is_compared_within_its_phase(tmp_path: Path) -> None:
    trials = [
        a_trial(0, "baseline", "search"),
        a_trial(1, "trial", "search"),
        a_trial(2, "baseline", "confirm"),
        a_trial(3, "trial", "confirm"),
    ]
    write(tmp_path, trials, {0: [0.1], 1: [0.2], 2: [0.5], 3: [0.9]})
    rows = ask(tmp_path, "SELECT number, difference FROM comparisons WHERE metric = 'recall@1'")
    assert rows == [(1, pytest.approx(0.1)), (3, pytest.approx(0.4))]


def test_comparisons_follow_new_results(tmp_path: Path) -> None:
    trials = [BASELINE, a_trial(1)]
    write(tmp_path, trials, {0: [0.5], 1: [0.75]})
    write(tmp_path, trials, {0: [0.5, 0.5, 0.5], 1: [0.75, 0.75]})
    rows = ask(
        tmp_path, "SELECT n, difference, low, high FROM comparisons WHERE metric = 'recall@1'"
    )
    assert rows == [(2, 0.25, 0.25, 0.25)]
    assert not any(math.isnan(float(str(value))) for value in rows[0])


def test_every_trial_is_set_against_every_control_in_pairs(tmp_path: Path) -> None:
    other = dataclasses.replace(CONTROL, number=8, label="untouched", params={"m": 8})
    trials = [BASELINE, a_trial(1), other, CONTROL]
    scores = {0: [0.5, 0.6, 0.7], 1: [0.8, 0.7, 0.9], 8: [0.4, 0.9], 9: [0.1, 0.1, 0.1]}
    write(tmp_path, trials, scores)
    columns = "control, trial, n, round(difference, 6), metric"
    rows = ask(tmp_path, f"SELECT {columns} FROM control_comparisons WHERE split = 'test'")
    assert rows == [
        ("untouched", "m=0", 2, -0.1, "recall@1"),
        ("untouched", "m=1", 2, 0.1, "recall@1"),
        ("raw pixels", "m=0", 3, 0.5, "recall@1"),
        ("raw pixels", "m=1", 3, 0.7, "recall@1"),
    ]
    adjusted = ask(
        tmp_path,
        "SELECT control, min(p_holm), max(p_holm) FROM control_comparisons GROUP BY control",
    )
    # Two trials a control, and with 2 or 3 seeds no p is below 1/2 or 1/4.
    assert sorted(adjusted) == [("raw pixels", 0.5, 0.5), ("untouched", 1.0, 1.0)]
    metrics = ask(tmp_path, "SELECT DISTINCT metric FROM control_comparisons")
    assert metrics == [("recall@1",)]
