"""Curves that are torn or not finite, on the page."""

from __future__ import annotations

import re
from pathlib import Path

from store_examples import a_record, a_run, a_trial, done, failed, ingest_into, reported, start

from harness.report.data.load import load_tables
from harness.report.data.training import load_training
from harness.report.study_page import page_text
from harness.store import database
from harness.store.tables.ingest import write_study

BASELINE, OTHER = a_trial(0, "baseline"), a_trial(1)


def test_a_number_that_is_not_finite_bends_no_curve_and_is_said_in_words(tmp_path: Path) -> None:
    with database.connect(tmp_path, read_only=False) as con:
        write_study(con, a_record([BASELINE, OTHER], [0, 1]))
        for trial in (BASELINE, OTHER):
            for seed in (0, 1):
                is_broken = (trial, seed) == (OTHER, 1)
                losses = [1.0 + seed, float("nan") if is_broken else 0.5 + seed]
                events = [reported(epoch, loss=loss) for epoch, loss in enumerate(losses)]
                end = failed("diverged") if is_broken else done(test__recall_at_1=0.5)
                run = a_run(trial, seed)
                ingest_into(con, tmp_path, run.run_id, [start(run), *events, end])
    curves = load_training(tmp_path, load_tables(tmp_path, "s")).curves
    means = {curve.trial.trial_id: [point.mean for point in curve.points] for curve in curves}
    assert means == {BASELINE.trial_id: [1.5, 1.0], OTHER.trial_id: [1.0, 0.5]}
    page = page_text(tmp_path, "s")
    assert re.search(r"diverged, attempt 1:\s+it broke", page)
    pictures = re.findall(r'<script type="application/json"[^>]*>(.*?)</script>', page, re.S)
    assert pictures
    assert not any("NaN" in picture or "Infinity" in picture for picture in pictures)
