"""The criterion without labels against Recall@1: which runs count, and what the page shows."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from report_fixtures import opened
from store_examples import a_record, a_run, a_trial, start

from harness.records.event_log import append
from harness.records.events import Finished
from harness.records.folders import run_dir, spool_path, work_dir
from harness.records.studies.study_record import write_study_record
from harness.records.trial import Role
from harness.report.data.agreement import read_agreement
from harness.report.data.load import load_tables
from harness.report.study_page import write_report
from harness.store import rebuild

TIME = "2026-03-01T12:00:00.250000+00:00"
NAMED = {"criterion": "view"}
Pair = tuple[float, float]


def write(
    results: Path,
    pairs: Sequence[Pair],
    *,
    study: str = "s",
    data: str = "da7a",
    role: Role = "trial",
    facts: object = NAMED,
    first: int = 0,
) -> None:
    """A run for each pair of criterion and Recall@1."""
    trials = [
        replace(
            a_trial(first + place, role, study=study),
            params={"m": first + place, "data": {"name": "folder", "root": f"/x/{data}"}},
        )
        for place in range(len(pairs))
    ]
    record = a_record(trials, [0])
    members = []
    for trial, member, (criterion, recall) in zip(trials, record.members, pairs, strict=True):
        run = replace(a_run(trial, 0), data=data)
        members.append(member._replace(run_id=run.run_id))
        directory = run_dir(results, run.run_id)
        work_dir(directory).mkdir(parents=True, exist_ok=True)
        (work_dir(directory) / "facts.json").write_text(json.dumps(facts))
        found = {"val/view": criterion, "val/other": 1.0, "val/recall@1": recall}
        append(spool_path(directory), start(run))
        append(spool_path(directory), Finished(1, TIME, "done", results=found))
    write_study_record(results, replace(record, members=tuple(members)))
    rebuild.rebuild(results)


RISING: list[Pair] = [(0.1, 0.2), (0.2, 0.25), (0.3, 0.4), (0.35, 0.45), (0.5, 0.46), (0.6, 0.7)]


def test_runs_that_have_both_numbers_are_correlated_by_data_set(tmp_path: Path) -> None:
    write(tmp_path, RISING)
    write(tmp_path, [(x, -y) for x, y in [*RISING, (0.9, 0.9)]], study="t", data="0ther")
    (own, other) = opened(tmp_path, read_agreement, load_tables(tmp_path, "s"))
    assert (own.criterion, own.data, own.is_own, len(own.points)) == (
        "view",
        "folder da7a",
        True,
        6,
    )
    assert own.rho == pytest.approx(1.0)
    assert sorted(own.points) == RISING
    assert (other.data, other.is_own, other.rho) == ("folder 0ther", False, pytest.approx(-1.0))


def test_controls_and_a_handful_of_runs_show_nothing(tmp_path: Path) -> None:
    write(tmp_path, RISING[:4])
    write(tmp_path, RISING, study="t", role="control", first=10)
    assert opened(tmp_path, read_agreement, load_tables(tmp_path, "s")) == ()


def test_the_metric_of_the_study_counts_where_no_criterion_is_named(tmp_path: Path) -> None:
    write(tmp_path, RISING, facts={})
    tables = load_tables(tmp_path, "s")
    assert opened(tmp_path, read_agreement, tables) == ()
    asked = replace(tables, study=replace(tables.study, metric="other"))
    (found,) = opened(tmp_path, read_agreement, asked)
    assert (found.criterion, found.rho) == ("other", None)


def test_the_page_draws_it_and_says_the_correlation(tmp_path: Path) -> None:
    write(tmp_path, RISING)
    page = write_report(tmp_path, "s", tmp_path / "pages").read_text(encoding="utf-8")
    assert "<h2>Criterion against Recall@1</h2>" in page
    assert (
        "folder da7a: Spearman\N{RIGHT SINGLE QUOTATION MARK}s \N{GREEK SMALL LETTER RHO} = 1.00"
        in page
    )
    assert 'id="agreement-0-data"' in page


def test_without_a_criterion_the_page_has_no_such_section(tmp_path: Path) -> None:
    write(tmp_path, RISING, facts={})
    page = write_report(tmp_path, "s", tmp_path / "pages").read_text(encoding="utf-8")
    assert "Criterion against" not in page
