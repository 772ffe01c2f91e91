from __future__ import annotations

import dataclasses
import statistics
from pathlib import Path

import pytest
from report_fixtures import Made, controls, make_study, momentum, opened, value_of

from harness.errors import InputError
from harness.report.data.load import load_tables
from harness.report.data.study_data import Comparison, StudyTables, View
from harness.report.data.training import read_training
from harness.report.findings.answer import answer
from harness.report.findings.axes.swept_axes import number_scale, swept_axes
from harness.report.findings.estimates import difference_text, signed
from harness.report.findings.tables.final_table import final_table
from harness.store import database

TEST = View("test", "recall@1")


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_study(tmp_path_factory.mktemp("tables"), momentum())


@pytest.fixture(scope="module")
def tables(results: Path) -> StudyTables:
    return load_tables(results, "momentum")


def trial_id(tables: StudyTables, label: str) -> str:
    return next(trial.trial_id for trial in tables.trials if trial.label == label)


def test_summaries_are_those_of_the_values_that_the_runs_reported(tables: StudyTables) -> None:
    made = momentum()[1]
    values = [value_of(made, seed, "test", 1) for seed in range(5)]
    found = tables.summaries[TEST, trial_id(tables, made.label)]
    assert found.mean == pytest.approx(statistics.mean(values))
    assert found.sd == pytest.approx(statistics.stdev(values))
    half = 2.7764451 * statistics.stdev(values) / 5**0.5
    assert found.low == pytest.approx(found.mean - half)
    assert found.high == pytest.approx(found.mean + half)
    assert found.n == 5


def test_summaries_agree_with_the_view_that_a_reviewer_queries(
    results: Path, tables: StudyTables
) -> None:
    rows = database.query(results, "SELECT split, k, trial_id, mean, sd, low, high, n FROM summary")
    assert len(rows.rows) == 6 * 2 * 4
    for split, k, trial, *numbers in rows.rows:
        found = tables.summaries[View(str(split), f"recall@{k}"), str(trial)]
        assert dataclasses.astuple(found) == pytest.approx(numbers)


def test_comparisons_are_paired_with_the_baseline(tables: StudyTables) -> None:
    baseline, trial = momentum()[:2]
    differences = [
        value_of(trial, seed, "test", 1) - value_of(baseline, seed, "test", 1) for seed in range(5)
    ]
    found = tables.comparisons[TEST, trial_id(tables, trial.label)]
    assert found.difference == pytest.approx(statistics.mean(differences))
    assert found.n == 5
    assert (found.p, found.p_holm) == (None, None)  # five pairs are too few for one to be shown
    assert found.better == 1.0
    assert found.exploratory
    assert (TEST, trial_id(tables, baseline.label)) not in tables.comparisons


def test_views_come_test_first_then_by_k_then_scores(tables: StudyTables) -> None:
    assert [view.key for view in tables.views] == [
        *(f"test|{name}" for name in ("recall@1", "recall@2", "recall@4", "recall@8", "nmi")),
        *(f"val|{name}" for name in ("recall@1", "recall@2", "recall@4", "recall@8", "nmi")),
    ]
    assert tables.primary == TEST
    assert [view.label for view in tables.chosen_views()][:5][::4] == ["Recall@1", "NMI"]


def test_final_table_has_a_row_a_trial_in_the_order_of_the_study(results: Path) -> None:
    table = final_table(results, "momentum")
    assert table.view == TEST
    assert [row.trial.label for row in table.rows] == [one.label for one in momentum()]
    assert [row.trial.is_baseline for row in table.rows] == [True, *[False] * 5]
    assert all(row.summary.n == row.planned == 5 for row in table.rows)
    assert table.rows[0].summary.mean == pytest.approx(
        statistics.mean(value_of(momentum()[0], seed, "test", 1) for seed in range(5))
    )


def test_an_unknown_study_is_answered_with_the_nearest_name(results: Path) -> None:
    with pytest.raises(InputError, match=r"unknown study 'momentun'; did you mean 'momentum'\?"):
        load_tables(results, "momentun")


def test_the_answer_of_five_seeds_is_exploratory_and_has_no_verdict(tables: StudyTables) -> None:
    found = answer(tables)
    assert found.label == "exploratory"
    assert found.claim.startswith(
        "teacher_momentum=0.9 has the highest mean Recall@1 on test classes, 0.6"
    )
    assert "over the baseline teacher_momentum=0 (5 paired seeds: exploratory)" in found.claim
    assert "better" not in found.claim
    assert "above raw pixels (0.417) and" in found.remarks[0]


def test_the_answer_of_eight_seeds_passes_a_verdict_by_holm(tmp_path: Path) -> None:
    found = answer(load_tables(make_study(tmp_path, momentum(), seeds=8), "momentum"))
    assert found.label == "tested"
    assert "Holm p = 0.0" in found.claim
    assert found.claim.endswith("8 paired seeds: better).")
    assert found.remarks[0].startswith("teacher_momentum=0.9 is ")


def test_equal_trials_are_undecided_however_many_seeds(tmp_path: Path) -> None:
    made = [Made("m=0", 0.6, {"m": 0}, "baseline"), Made("m=1", 0.6, {"m": 1})]
    found = answer(load_tables(make_study(tmp_path, made, seeds=7), "momentum"))
    assert "undecided" in found.claim


def test_a_best_baseline_is_said_to_be_unbeaten(tmp_path: Path) -> None:
    made = [Made("full", 0.7, variant="full", role="baseline"), Made("less", 0.6, variant="less")]
    found = answer(load_tables(make_study(tmp_path, made), "momentum"))
    assert found.claim.startswith(
        "The baseline “full” has the highest mean Recall@1 on test classes"
    )
    assert "the nearest is “less”, \N{MINUS SIGN}0." in found.claim


def test_one_seed_has_a_mean_and_no_uncertainty(tmp_path: Path) -> None:
    tables = load_tables(make_study(tmp_path, momentum(), seeds=1), "momentum")
    found = tables.summaries[TEST, tables.trials[0].trial_id]
    assert (found.sd, found.low, found.high, found.n) == (None, None, None, 1)
    assert "(one seed, so no interval)" in answer(tables).claim
    assert "1 paired seed: exploratory" in answer(tables).claim


def test_a_search_is_scored_on_validation_classes_and_claims_nothing(tmp_path: Path) -> None:
    results = make_study(tmp_path, momentum(), sampler="tpe", seeds=2)
    tables = load_tables(results, "momentum")
    assert tables.is_search
    assert tables.splits() == ("val",)
    found = answer(tables)
    assert found.label == "search"
    assert found.claim.startswith("Search on validation images: of 4 finished trials")
    assert found.claim.endswith("train the winner on fresh seeds before quoting it.")
    assert "test" not in found.claim
    rows = final_table(results, "momentum").rows
    means = [row.summary.mean for row in rows if not row.trial.is_control]
    assert means == sorted(means, reverse=True)
    assert [row.trial.role for row in rows[-2:]] == ["control", "control"]


def test_missing_and_failed_runs_are_said_in_the_open(tmp_path: Path) -> None:
    made = momentum()
    made[1] = dataclasses.replace(made[1], failed=(1,), running=(3,))
    made[2] = dataclasses.replace(made[2], unstarted=(3, 4))
    results = make_study(tmp_path, made)
    tables = load_tables(results, "momentum")
    remarks = answer(tables).remarks
    assert "1 of 30 runs failed (1 diverged); their seeds do not count." in remarks
    assert "3 of 30 runs are not finished (1 running): the numbers may still change." in remarks
    row = final_table(results, "momentum").rows[1]
    assert (row.summary.n, row.planned) == (3, 5)
    assert {run.state for run in tables.runs} == {"done", "failed", "running", "queued"}


def test_a_trial_with_one_lucky_seed_does_not_lead(tmp_path: Path) -> None:
    made = momentum()
    made[2] = dataclasses.replace(made[2], level=0.9, failed=(1, 2, 3, 4))
    tables = load_tables(make_study(tmp_path, made), "momentum")
    assert [trial.label for trial in tables.ranked(TEST)] == [
        "teacher_momentum=0.9",
        "teacher_momentum=0",
        "teacher_momentum=0.999",
    ]
    words = "has the highest mean Recall@1 on test classes of those with the most seeds so far, 0.6"
    assert words in answer(tables).claim


def test_a_study_without_a_finished_run_has_no_answer_yet(tmp_path: Path) -> None:
    made = [dataclasses.replace(one, unstarted=range(5)) for one in momentum()]
    results = make_study(tmp_path, made)
    tables = load_tables(results, "momentum")
    assert tables.primary is None
    assert answer(tables).label == "no result yet"
    row = final_table(results, "momentum").rows[0]
    assert (row.summary, row.planned) == (None, 5)


@pytest.mark.parametrize(
    ("values", "is_log", "scale"),
    [
        ([50, 100, 200, 400], False, "linear"),
        ([0, 0.9, 0.99, 0.999], False, "category"),
        ([0.001, 0.01, 1], False, "log"),
        ([0.001, 0.002, 0.003], True, "log"),
        ([1, 2, 4, 8, 16, 32], False, "log"),
        ([0, 1], True, "linear"),
        ([-1, 0, 1], False, "linear"),
        ([i / 20 + 0.0001 * (i % 3) for i in range(20)], False, "linear"),
    ],
)
def test_numbers_get_the_scale_on_which_they_can_be_told_apart(
    values: list[float], is_log: bool, scale: str
) -> None:
    assert number_scale(values, is_log) == scale


def test_crowded_numbers_are_evenly_spaced_in_their_order(tables: StudyTables) -> None:
    (axis,) = swept_axes(tables)
    assert (axis.title, axis.scale, axis.ordered) == ("teacher_momentum", "category", True)
    assert axis.ticks == ((0.0, "0"), (1.0, "0.9"), (2.0, "0.99"), (3.0, "0.999"))
    assert axis.positions[trial_id(tables, "teacher_momentum=0.99")] == 2.0
    assert trial_id(tables, "raw pixels") not in axis.positions


def test_zero_stands_left_of_a_log_axis(tmp_path: Path) -> None:
    made = [
        Made(f"w={w:g}", 0.5, {"w": w}, "trial" if w else "baseline")
        for w in (0.0, 0.003, 0.02, 0.9)
    ]
    spec = {"study": "momentum", "search": {"w": {"loguniform": [0.001, 1.0]}}}
    tables = load_tables(make_study(tmp_path, made, sampler="tpe", spec=spec), "momentum")
    (axis,) = swept_axes(tables)
    assert axis.scale == "log"
    assert axis.ticks == ((0.001, "0"), (0.01, "0.01"), (0.1, "0.1"))
    assert axis.positions[trial_id(tables, "w=0")] == pytest.approx(0.001)
    assert axis.positions[trial_id(tables, "w=0.9")] == 0.9


def test_variants_stand_in_the_order_of_the_study_and_several_axes_apart(tmp_path: Path) -> None:
    made = [
        Made(f"{name}, k={k}", 0.5, {"variant": name, "method.k": k}, role, name)
        for name, k, role in (("b", 1, "baseline"), ("b", 2, "trial"), ("a", 1, "trial"))
    ]
    variant, k = swept_axes(load_tables(make_study(tmp_path, made), "momentum"))
    assert [text for _, text in variant.ticks] == ["b", "a"]
    assert not variant.ordered
    assert (k.title, k.scale) == ("k", "linear")


def test_an_axis_that_exists_only_sometimes_says_so(tmp_path: Path) -> None:
    made = [
        Made("m=a", 0.5, {"m": "a"}, "baseline"),
        Made("m=b, k=1", 0.5, {"m": "b", "k": "x"}),
        Made("m=b, k=2", 0.5, {"m": "b", "k": "y"}),
    ]
    _, k = swept_axes(load_tables(make_study(tmp_path, made, seeds=1), "momentum"))
    assert [text for _, text in k.ticks] == ["x", "y", "not set"]


def test_curves_average_the_seeds_and_leave_failed_runs_out(tmp_path: Path) -> None:
    made = [dataclasses.replace(momentum()[0], failed=(0,)), momentum()[1]]
    results = make_study(tmp_path, made, seeds=3)
    tables = load_tables(results, "momentum")
    training = opened(results, read_training, tables)
    names = list(dict.fromkeys(curve.name for curve in training.curves))
    assert names == [
        *("loss", "loss/group", "loss/metric", "val/recall@1", "learning_rate"),
        *("gini", "purity"),
    ]
    first = training.curves[0]
    assert first.trial.is_baseline
    assert [point.epoch for point in first.points] == [0, 1, 2, 3, 4, 5]
    assert {point.n for point in first.points} == {2}
    assert all(point.low <= point.mean <= point.high for point in first.points)


def test_cluster_sizes_are_ranked_and_their_gini_is_the_formula(results: Path) -> None:
    tables = load_tables(results, "momentum")
    training = opened(results, read_training, tables)
    assert [(s.trial.label, s.epoch) for s in training.sizes] == [
        (f"teacher_momentum={value}", epoch) for value in ("0", "0.9") for epoch in (0, 2, 5)
    ]
    for found in training.sizes:
        assert len(found.sizes) == 40
        assert list(found.sizes) == sorted(found.sizes, reverse=True)
    gini = next(c for c in training.curves if c.name == "gini" and c.trial.is_baseline)
    baseline = tables.trials[0].trial_id
    by_seed: dict[object, list[int]] = {}
    rows = database.query(
        results,
        "SELECT seed, size FROM clusters JOIN member USING (run_id) WHERE trial_id = ? AND epoch = 5",
        [baseline],
    ).rows
    for seed, size in rows:
        assert isinstance(size, int)
        by_seed.setdefault(seed, []).append(size)
    wanted = [
        sum(abs(a - b) for a in sizes for b in sizes) / (2 * len(sizes) * sum(sizes))
        for sizes in by_seed.values()
    ]
    assert gini.points[-1].mean == pytest.approx(statistics.mean(wanted))
    assert gini.points[-1].n == 5


def test_many_trials_keep_the_baseline_and_the_best_in_the_curves(tmp_path: Path) -> None:
    made = [
        Made(f"k={k}", 0.5 + k / 100, {"k": k}, "trial" if k else "baseline") for k in range(12)
    ]
    results = make_study(tmp_path, [*made, *controls()], seeds=1, with_clusters=False)
    training = opened(results, read_training, load_tables(results, "momentum"))
    assert [trial.label for trial in training.trials] == ["k=0", *(f"k={k}" for k in range(6, 12))]
    assert training.left_out == 5
    assert training.sizes == ()


def test_differences_are_written_with_their_sign_and_without_negative_zero() -> None:
    found = Comparison(5, 0.0312, 0.01, 0.0524, None, None, 1.0)
    assert difference_text(found) == "+0.031 [+0.010, +0.052]"
    assert signed(-0.0312) == "\N{MINUS SIGN}0.031"
    assert signed(-0.0001) == "0.000"


def test_remarks_and_alarms_of_runs_are_said_once_and_name_their_trials(tmp_path: Path) -> None:
    made = momentum()
    remark = "This method is a reconstruction."
    for place in (0, 1):
        made[place] = dataclasses.replace(made[place], sentences={"remarks": [remark]})
    alarm = {"alarms": ["one cluster holds everything"]}
    made[2] = dataclasses.replace(made[2], sentences=alarm)
    remarks = answer(load_tables(make_study(tmp_path, made), "momentum")).remarks
    assert remarks.count(remark) == 1
    runs = 5 * len(made)
    expected = f"Alarm in 5 of {runs} runs ({made[2].label}): one cluster holds everything"
    assert expected in remarks
