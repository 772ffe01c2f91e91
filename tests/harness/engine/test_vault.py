"""Who has read a test set, how often, and by which command: the views ``openings`` and ``vault``."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import toy_workload
from driver_place import GRID, Place, Witness
from roots import ROOT

from harness.engine.run_options import RunOptions
from harness.engine.run_study import run_study
from harness.records.provenance import user_name
from harness.report.study_page import page_text
from harness.store.rebuild import rebuild

OTHER = GRID.replace("study: quality", "study: other").replace("[0.2, 0.5]", "[0.5, 0.7, 0.9]")
VAULT = "SELECT studies, trials, runs, names FROM vault ORDER BY ALL"


@pytest.fixture
def by_file(monkeypatch: pytest.MonkeyPatch) -> None:
    """A test set that is named by a parameter, apart from the data as a whole."""

    def fingerprint(params: dict[str, object]) -> str:
        return f"test of {str(params['data'])[0]}"

    monkeypatch.setattr(toy_workload, "test_fingerprint", fingerprint, raising=False)


@pytest.mark.usefixtures("by_file")
def test_a_test_set_counts_its_readers_over_all_studies(place: Place) -> None:
    place.run()
    assert place.ask(VAULT) == [(1, 2, 8, ["quality"])]
    place.run(OTHER)
    assert place.ask(VAULT) == [(2, 5, 12, ["other", "quality"])]  # 4 + 2 runs are shared
    assert place.ask("SELECT test_set FROM vault") == [("test of t",)]


@pytest.mark.usefixtures("by_file")
def test_other_data_with_the_same_test_files_are_one_test_set(place: Place) -> None:
    place.run()
    place.run(OTHER.replace("epochs: 1,", "data: tiny, epochs: 1,"))
    assert place.ask("SELECT count(DISTINCT data) FROM run") == [(2,)]
    assert place.ask(VAULT) == [(2, 5, 18, ["other", "quality"])]
    place.run(GRID.replace("study: quality", "study: far").replace("epochs", "data: x, epochs"))
    assert [row[0] for row in place.ask(VAULT)] == [1, 2]


def test_without_a_digest_of_the_test_set_that_of_the_data_serves(place: Place) -> None:
    place.run()
    assert place.ask("SELECT test_set, studies FROM vault") == [("fingerprint of toy", 1)]


@pytest.mark.usefixtures("by_file")
def test_a_search_reads_nothing_before_its_confirmation(place: Place) -> None:
    search = (
        GRID.replace("grid: [0.2, 0.5]", "uniform: [0.2, 0.5]") + "sampler: random\ntrials: 4\n"
    )
    place.run(search)
    assert place.ask(VAULT) == []


@pytest.mark.usefixtures("by_file")
def test_a_rebuild_keeps_the_vault_and_who_opened_it(place: Place) -> None:
    options = RunOptions(place.results, "local", threads=1, command="harness run study.yaml")
    run_study(place.write(GRID), (), options, Witness())
    openings = "SELECT DISTINCT username, command FROM openings"
    assert place.ask(openings) == [(user_name(), "harness run study.yaml")]
    assert place.ask("SELECT users FROM vault") == [([user_name()],)]
    before = place.ask(VAULT), place.ask("SELECT * FROM openings")
    rebuild(place.results)
    assert (place.ask(VAULT), place.ask("SELECT * FROM openings")) == before


def test_a_container_without_a_name_for_the_user_gives_a_number(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def nameless() -> str:
        raise KeyError("getpwuid(): uid not found: 1234")

    monkeypatch.setattr("getpass.getuser", nameless)
    assert user_name().isdigit()


@pytest.mark.usefixtures("by_file")
def test_the_page_says_how_often_the_test_set_was_read_and_what_luck_that_is(place: Place) -> None:
    place.run()
    page = page_text(place.results, "quality")
    assert "This test set has been read 2 times by 1 study in this results folder" in page
    assert "If its 2 trials were equally good, the best of them would still be expected 0." in page
    place.run(OTHER)
    page = page_text(place.results, "quality")
    assert "read 5 times by 2 studies" in page
    assert "; as the best of all 5, 0." in page


def test_unusable_data_are_reported_once_and_by_the_data(place: Place, tmp_path: Path) -> None:
    def refuse(params: object) -> str:
        raise ValueError("data: no images there; name a folder with images")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(toy_workload, "test_fingerprint", refuse, raising=False)
        place.run()
    assert place.ask("SELECT test_set FROM vault") == [("fingerprint of toy",)]


@pytest.mark.usefixtures("by_file")
def test_the_recipes_on_claims_and_vault_answer_with_rows(place: Place) -> None:
    claims = "claims: [{trial: quality=0.5, better_than: quality=0.2}]\n"
    place.run(GRID + claims)
    place.run(OTHER)
    place.run(OTHER + claims.replace("quality=0.2", "quality=0.9"))
    text = (ROOT / "harness" / "README.md").read_text(encoding="utf-8")
    _, _, text = text.partition("## Claims: `harness claims`")
    queries = re.findall(r'harness sql "(.*?)"\n', text.partition("## Before a study")[0])
    assert len(queries) == 4
    openings = (4 + 5) * 2  # trials and controls of two studies, with two seeds
    assert [len(place.ask(sql)) for sql in queries] == [1, 1, 1, openings]
