from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
from report_fixtures import Made, make_study, momentum
from store_examples import held

from harness.errors import InputError, StoreBusyError
from harness.report import index_page
from harness.report.index_page import write_all
from harness.store import rebuild

HOSTILE = "</title><script>alert(1)</script>"


@pytest.fixture
def results(tmp_path: Path) -> Path:
    make_study(tmp_path, momentum(), seeds=3, with_clusters=False)
    half = [
        Made("a", 0.6, {"x": 1}, "baseline", failed=(0,), running=(1,)),
        Made("b", 0.7, {"x": 2}, unstarted=(2,)),
    ]
    make_study(tmp_path, half, study="half", seeds=3, question=HOSTILE, with_clusters=False)
    return tmp_path


def test_all_pages_are_written_and_linked(results: Path) -> None:
    written = write_all(results, results / "reports")
    assert [page.name for page in written.pages] == ["half.html", "momentum.html"]
    assert written.problems == ()
    text = written.path.read_text()
    for name in ("half", "momentum"):
        assert f'<a href="{name}.html">{name}</a>' in text
    assert "How slowly should the teacher follow the student?" in text
    assert "has the highest mean Recall@1 on test classes" in text
    assert "exploratory: fewer than 6 paired seeds" in text
    assert "Updated 2025-01-02 03:04 UTC" in text


def test_states_are_counted(results: Path) -> None:
    text = write_all(results, results / "reports").path.read_text()
    row = next(part for part in text.split("<tr") if '<a href="half.html">' in part)
    cells = [cell.split("</td>")[0] for cell in row.split("<td>")[1:]]
    assert cells[:6] == ["2", "6", "3", "1", "1", "0"]
    assert "Runs: 3 done, 1 failed, 1 running, 1 waiting" in text


def test_the_page_over_all_needs_nothing_from_outside_and_shows_markup_as_text(
    results: Path,
) -> None:
    text = write_all(results, results / "reports").path.read_text()
    assert "default-src 'none'" in text
    assert "plotly" not in text.lower().replace("plotly.react", "")
    assert HOSTILE not in text
    assert "&lt;/title&gt;" in text
    assert len(text) < 100_000


def test_the_same_results_give_the_same_bytes(results: Path, tmp_path: Path) -> None:
    first = write_all(results, tmp_path / "first").path.read_bytes()
    rebuild.rebuild(results)
    assert write_all(results, tmp_path / "second").path.read_bytes() == first


@pytest.mark.parametrize("error", [InputError("the page\nis full"), ZeroDivisionError("oh")])
def test_a_study_that_cannot_be_rendered_is_named_and_stops_no_other(
    results: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    write = index_page.write_report

    def fail(folder: Path, study: str, reports: Path) -> Path:
        if study == "half":
            raise error
        return write(folder, study, reports)

    monkeypatch.setattr(index_page, "write_report", fail)
    written = write_all(results, results / "reports")
    assert [page.name for page in written.pages] == ["momentum.html"]
    reason = "the page is full" if isinstance(error, InputError) else "ZeroDivisionError: oh"
    assert written.problems == (index_page.Problem("half", reason),)
    assert f"No page could be written: {reason}" in written.path.read_text()


@pytest.mark.parametrize("is_there", [True, False])
def test_an_empty_folder_says_so_and_is_not_made(tmp_path: Path, is_there: bool) -> None:
    folder = tmp_path / "results"
    if is_there:
        folder.mkdir()
    written = write_all(folder, tmp_path / "reports")
    assert written.pages == ()
    assert "There is no study in this results folder yet" in written.path.read_text()
    assert folder.exists() is is_there


def test_a_file_is_no_results_folder(tmp_path: Path) -> None:
    (tmp_path / "results").write_text("")
    with pytest.raises(InputError, match="a file, not a results folder"):
        write_all(tmp_path / "results", tmp_path / "reports")


def test_a_study_called_index_does_not_replace_the_page_over_all(tmp_path: Path) -> None:
    make_study(tmp_path, momentum()[:2], study="index", seeds=1, with_clusters=False)
    written = write_all(tmp_path, tmp_path / "reports")
    (page,) = written.pages
    assert page != written.path
    assert f'href="{page.name}"' in written.path.read_text()


def test_a_study_without_a_finished_run_is_listed(tmp_path: Path) -> None:
    made = [dataclasses.replace(one, unstarted=(0,)) for one in momentum()]
    make_study(tmp_path, made, seeds=1)
    text = write_all(tmp_path, tmp_path / "reports").path.read_text()
    assert "no result yet" in text
    assert "Runs: 6 waiting" in text


@pytest.mark.process
def test_a_database_that_is_held_is_said(results: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(index_page, "WAIT_S", 0.0)
    with held(results), pytest.raises(StoreBusyError):
        write_all(results, results / "reports")
