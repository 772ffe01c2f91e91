"""The shares of time on the page, by value."""

from __future__ import annotations

from pathlib import Path

import pytest
from store_examples import a_record, a_run, a_trial, done, ingest_into, reported, start

from harness.report.html.profile import Part, load_profile, profile_section
from harness.report.study_page import page_text
from harness.store import database
from harness.store.tables.ingest import write_study

BASELINE, CONTROL = a_trial(0, "baseline"), a_trial(9, "control")


def make(results: Path, parts: list[dict[str, float]]) -> None:
    """Two runs that report these epochs, and a control that reports other ones."""
    with database.connect(results, read_only=False) as con:
        write_study(con, a_record([BASELINE, CONTROL], [0, 1]))
        for trial, seed in ((BASELINE, 0), (BASELINE, 1), (CONTROL, 0)):
            run = a_run(trial, seed)
            epochs = parts if trial is BASELINE else [{"seconds/part/student": 1000.0}]
            events = [reported(number, **epoch) for number, epoch in enumerate(epochs)]
            ingest_into(
                con, results, run.run_id, [start(run), *events, done(test__recall_at_1=0.5)]
            )


def test_shares_are_those_of_all_trained_runs_and_epochs(tmp_path: Path) -> None:
    first = {"seconds/part/student": 2.0, "seconds/part/views": 1.0, "seconds/train": 9.0}
    second = {"seconds/part/student": 4.0, "seconds/part/views": 1.0, "seconds/train": 9.0}
    make(tmp_path, [first, second])
    found = load_profile(tmp_path, "s")
    assert found is not None
    assert found.runs == 2
    assert found.parts == (
        Part("student", pytest.approx(3.0), pytest.approx(0.75)),
        Part("views", pytest.approx(1.0), pytest.approx(0.25)),
    )
    text = profile_section(found)
    assert "Measured in 2 runs" in text
    assert "<td>75.0</td><td>3.000</td>" in text
    assert "Where the time goes" in page_text(tmp_path, "s")


def test_a_study_that_was_not_measured_has_no_such_section(tmp_path: Path) -> None:
    make(tmp_path, [{"seconds/train": 9.0}])
    assert load_profile(tmp_path, "s") is None
    assert profile_section(None) == ""
    assert "Where the time goes" not in page_text(tmp_path, "s")
