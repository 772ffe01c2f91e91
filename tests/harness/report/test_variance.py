"""What the report says of where the variance between seeds comes from."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
from driver_place import Place

from harness.report.data.load import load_tables
from harness.report.data.study_data import SourceShare, StudyTables, View
from harness.report.findings.answer import answer
from harness.report.findings.optimism import luck, optimism
from harness.report.findings.tables.methods_text import methods_paragraph
from harness.report.findings.variance import variance_claim, variance_sentences
from harness.report.study_page import page_text

VARIANCE = """
study: dice
question: Where does the variance come from?
workload: dice
variance: {sources: [weights, batches, views], levels: 6}
"""
VIEW = View("test", "recall@1")
ALL = SourceShare("all", 10, 0.02, 1.0, None, None)
WEIGHTS = SourceShare("weights", 10, 0.0089, 0.2, 0.051, 0.78)
VIEWS = SourceShare("views", 10, 0.015, 0.6, 0.3, 1.2)


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = Place(tmp_path_factory.mktemp("dice"))
    place.run(VARIANCE)
    return place.results


@pytest.fixture(scope="module")
def tables(results: Path) -> StudyTables:
    return load_tables(results, "dice")


def with_shares(tables: StudyTables, *shares: SourceShare) -> StudyTables:
    return dataclasses.replace(tables, variance={VIEW: shares})


def test_the_answer_names_the_sources_the_largest_first(tables: StudyTables) -> None:
    none = SourceShare("none", 10, 0.0, 0.0, 0.0, 0.0)
    assert variance_claim(with_shares(tables, ALL, WEIGHTS, VIEWS, none), VIEW) == (
        "Of the variance of Recall@1 on test classes between seeds (sd 0.0200 over 10 seeds), each "
        "source alone gives: views 60 % [30, 120], weights 20 % [5.1, 78]; with everything pinned "
        "all runs are equal."
    )


def test_what_the_machine_gives_at_random_is_part_of_the_answer(tables: StudyTables) -> None:
    none = SourceShare("none", 10, 0.004, 0.04, 0.01, 0.16)
    claim = variance_claim(with_shares(tables, ALL, WEIGHTS, none), VIEW)
    assert "with everything pinned 4.0 % [1.0, 16] is left, which the machine gives" in claim
    waiting = variance_claim(with_shares(tables, ALL, WEIGHTS), VIEW)
    assert "runs with everything pinned are still to come" in waiting


def test_without_shares_there_is_no_answer_yet(tables: StudyTables) -> None:
    bare = dataclasses.replace(tables, variance={})
    assert answer(bare).label == "no result yet"
    assert "three seeds" in answer(bare).claim
    assert variance_sentences(bare) == ()


def test_sources_that_act_independently_are_seen_seed_by_seed(tables: StudyTables) -> None:
    said = variance_sentences(tables)
    assert len(said) == 5
    assert "correlates with what all give together by 1.00 [1.00, 1.00]" in said[-1]
    noise = SourceShare("none", 10, 0.004, 0.1, 0.01, 0.16)
    summed = variance_sentences(with_shares(tables, ALL, WEIGHTS, VIEWS, noise))[-1]
    assert "add up to 70 % of the variance" in summed  # the machine's part counts once


def test_nothing_is_compared_or_chosen(tables: StudyTables) -> None:
    assert answer(tables).label == "measured"
    assert tables.comparisons == {}
    assert optimism(tables) is None
    assert luck(tables, None) is None
    assert "Pitman" in methods_paragraph(tables, None)


def test_the_page_has_a_section_with_picture_and_table(results: Path) -> None:
    page = page_text(results, "dice")
    section = page.partition('<section id="variance">')[2].partition("</section>")[0]
    assert "What each source gives alone" in section
    assert "everything pinned" in section
    assert section.count("<tr") > 4
    assert "shares of a variance: nothing is compared" in page
