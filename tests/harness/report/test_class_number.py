"""Recall@1 by number of classes: the numbers, the sentence and the picture of the page."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from page_reader import written
from report_fixtures import Made, make_study, momentum, opened
from roots import ROOT
from seen_fixtures import make_seen_study

from harness.report.data.evidence.by_classes import ByClasses, rank_correlation, read_by_classes
from harness.report.data.load import load_tables
from harness.report.findings.class_number import class_number_text
from harness.report.findings.estimates import class_interval_text
from harness.report.plots.by_classes import by_classes_picture
from harness.store import database
from harness.store.tables.bulk_rows import Row, insert_rows

MADE = [
    Made("a", 0.5, {"m": 0}, "baseline"),
    Made("b", 0.6, {"m": 1}),
    Made("c", 0.7, {"m": 2}),
    Made("raw pixels", 0.4, role="control"),
]
BEFORE = {"a": {"val": [9, 1], "test": [2, 8]}, "b": {"val": [8, 2], "test": [4, 6]}}
BEFORE |= {"c": {"val": [7, 3], "test": [6, 4]}, "raw pixels": {"val": [5, 5], "test": [5, 5]}}
"""Queries of each trial with no class, and with one class, before their first hit."""


def make(results: Path, classes: dict[str, int]) -> ByClasses | None:
    make_study(results, MADE, seeds=2, with_clusters=False)
    tables = load_tables(results, "momentum")
    labels = {trial.trial_id: trial.label for trial in tables.trials}
    rows: list[Row] = [
        {
            "run_id": run.run_id,
            "split": split,
            "classes": size,
            "classes_before_hit": before,
            "queries": queries,
        }
        for run in tables.runs
        for split, size in classes.items()
        for before, queries in enumerate(BEFORE[labels[run.trial_id]][split])
    ]
    with database.connect(results, read_only=False) as con:
        insert_rows(con, "class_counts", rows, replace=False)
    found: ByClasses | None = opened(results, read_by_classes, tables)
    return found


def test_the_splits_are_compared_at_the_smaller_number(tmp_path: Path) -> None:
    found = make(tmp_path, {"val": 5, "test": 9})
    assert found is not None
    assert (found.classes, found.matched_classes) == ({"val": 5, "test": 9}, 5)
    # One class of eight is before the hit: of four others it is drawn every second time.
    assert list(found.raw["test"].values()) == pytest.approx([0.2, 0.4, 0.6])
    assert list(found.matched["test"].values()) == pytest.approx([0.6, 0.7, 0.8])
    assert found.matched["val"] == found.raw["val"]
    assert rank_correlation(found.matched) == pytest.approx(-1.0)
    said = class_number_text(found)
    assert "0.800 among 5 validation classes and 0.400 among 9 test classes" in said
    assert "among 5 classes each it is 0.800 and 0.700" in said
    assert "Over 3 trials, the rank correlation" in said
    assert "\N{MINUS SIGN}1.00 as they are" in said


@pytest.mark.parametrize("classes", [{"val": 5}, {"test": 9}, {"val": 7, "test": 7}])
def test_with_one_split_or_equal_numbers_there_is_nothing_to_compare(
    tmp_path: Path, classes: dict[str, int]
) -> None:
    assert make(tmp_path, classes) is None
    assert "Number of classes" not in written(tmp_path).headings()


def test_the_page_draws_a_line_per_trial_and_split(tmp_path: Path) -> None:
    found = make(tmp_path, {"val": 5, "test": 9})
    assert found is not None
    trials = [trial for trial in load_tables(tmp_path, "momentum").trials if not trial.is_control]
    picture = by_classes_picture(found, trials)
    drawn = [trace for trace in picture.traces if "meta" in trace]
    assert len(drawn) == 2 * len(trials)
    assert [trace["x"] for trace in drawn[:2]] == [[2, 3, 5], [2, 3, 5, 7, 9]]
    assert "Among 5 classes: a: validation 0.900, test 0.600" in picture.text
    page = written(tmp_path)
    assert "Number of classes" in page.headings()
    assert class_number_text(found) in page.read


def test_the_table_says_what_an_interval_covers(tmp_path: Path) -> None:
    page = written(make_seen_study(tmp_path, momentum(), seeds=3))
    found = load_tables(tmp_path, "momentum").comparisons
    wide = {view.text: one.over_classes for (view, _), one in found.items() if one.over_classes}
    assert set(wide) == {f"Recall@{k} on test classes" for k in (1, 2, 4, 8)}
    one = next(iter(wide.values()))
    assert (one.classes, f"other classes: {class_interval_text(one)}" in page.read) == (15, True)
    assert "the one for other classes also covers another draw of 15 such classes" in page.read


def test_each_recipe_of_the_readme_returns_rows_without_gaps(tmp_path: Path) -> None:
    make_seen_study(tmp_path, momentum(), seeds=3)
    with database.connect(tmp_path, read_only=False) as con:
        con.execute(
            "INSERT INTO class_counts SELECT run_id, unnest(['val', 'test']), unnest([5, 9]), 1, 10 "
            "FROM run"
        )
    text = (ROOT / "harness" / "README.md").read_text(encoding="utf-8")
    section = text.partition("\n## Other classes, fewer classes\n")[2].partition("\n## ")[0]
    recipes = re.findall(r"```sql\n(.*?)```", section, re.DOTALL)
    assert len(recipes) == 3
    for sql in recipes:
        found = database.query(tmp_path, sql)
        assert len(found.rows) >= 3
        of_trials = [row for row in found.rows if row[0] not in ("raw pixels", "untrained")]
        assert all(value is not None for row in of_trials for value in row)
