from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from page_reader import HOSTILE, Page, written
from report_fixtures import Made, controls, make_study, momentum
from waiting import PATIENCE

from harness.errors import InputError, StoreBusyError
from harness.report import study_page
from harness.report.data.training import Training
from harness.report.study_page import write_report
from harness.store import database, rebuild
from harness.store.database_file import open_patiently


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Page:
    return written(make_study(tmp_path_factory.mktemp("page"), momentum()))


def test_the_page_has_its_sections_in_order(page: Page) -> None:
    assert page.headings() == [
        "Answer",
        "Ablation",
        "Results",
        "Training",
        "Clusters",
        "Failures and costs",
        "Reproduce",
    ]
    assert "How slowly should the teacher follow the student?" in page.read
    assert "teacher_momentum=0.9 has the highest mean Recall@1" in page.read
    assert page.read.index("has the highest mean") < page.read.index("By teacher_momentum")


def test_the_page_needs_nothing_from_outside(page: Page) -> None:
    for tag, attributes in page.tags:
        assert "src" not in attributes
        assert (attributes.get("href") or "data:").startswith(("data:", "#")), tag
    assert "default-src 'none'" in page.source
    assert page.source.count("plotly.js v") == 1


def test_every_picture_has_its_data_and_its_words(page: Page) -> None:
    plots = [attributes for tag, attributes in page.tags if attributes.get("class") == "plot"]
    assert len(plots) == 1 + 5 + 3 + 2
    ids = {attributes.get("id") for _, attributes in page.tags}
    for plot in plots:
        assert plot["role"] == "img"
        assert len(plot["aria-label"] or "") > 40
        assert f"{plot['id']}-data" in ids
    data = [json.loads(text) for text in page.scripts[1:-2]]
    assert len(data) == len(plots)
    assert all(figure["data"] and figure["layout"] for figure in data)


def test_the_page_tells_how_to_get_every_number_again(page: Page) -> None:
    for text in (
        "harness run studies/momentum.yaml",
        "f00d" * 10 + " with uncommitted changes",
        "c0de" * 4,
        "da7a" * 4,
        "torch 2.11.0",
        "a-host",
        "bfloat16",
        "516 MiB",
        "method.teacher_momentum:\n    grid:\n    - 0.0",
        "FROM comparisons WHERE study = 'momentum'",
    ):
        assert text in page.read, text


def test_the_queries_that_the_page_names_run(tmp_path: Path) -> None:
    results = make_study(tmp_path, momentum(), seeds=2, with_clusters=False)
    queries = [text.split('"')[1] for text in written(results).read.split("harness sql")[1:]]
    assert len(queries) == 4
    counts = [len(database.query(results, query).rows) for query in queries]
    assert all(counts[:3])


def test_the_same_results_give_the_same_bytes(tmp_path: Path) -> None:
    results = make_study(tmp_path, momentum(), seeds=3)
    first = write_report(results, "momentum", tmp_path / "first").read_bytes()
    rebuild.rebuild(results)
    assert write_report(results, "momentum", tmp_path / "second").read_bytes() == first


def test_a_page_opens_the_database_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    results = make_study(tmp_path, momentum(), seeds=2)
    opened = []
    monkeypatch.setattr(
        database,
        "open_patiently",
        lambda path, **how: opened.append(how["read_only"]) or open_patiently(path, **how),
    )
    write_report(results, "momentum", tmp_path / "reports")
    assert opened == [True]


def test_no_driver_writes_between_two_rows_of_a_page(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    results = make_study(tmp_path, momentum()[:2], seeds=1)
    original, tried = study_page.read_training, []

    def load_later(*given: Any) -> Training:
        with pytest.raises(StoreBusyError), database.connect(results, read_only=False):
            pass
        tried.append(given)
        return original(*given)

    monkeypatch.setattr(study_page, "read_training", load_later)
    write_report(results, "momentum", tmp_path / "reports")
    assert len(tried) == 1
    with database.connect(results, read_only=False):  # and it is free again
        pass


def test_markup_in_a_study_is_shown_as_text(tmp_path: Path) -> None:
    made = [
        Made("plain", 0.6, variant="plain", role="baseline"),
        Made(HOSTILE, 0.7, variant=HOSTILE, failed=(1,)),
    ]
    results = make_study(tmp_path, [*made, *controls()], question=HOSTILE, seeds=2)
    page = written(results)
    assert page.read.count(HOSTILE) > 3
    assert "onerror" not in {name for _, attributes in page.tags for name in attributes}
    assert "img" not in {tag for tag, _ in page.tags}
    assert len(page.scripts) == 3 + sum(a.get("class") == "plot" for _, a in page.tags)
    assert not any("<script" in text or "</" in text for text in page.scripts[1:-1])
    assert "<b>nan</b> & more" in page.read


def test_a_name_that_is_no_file_name_is_written_beside_the_others(tmp_path: Path) -> None:
    results = make_study(tmp_path, momentum()[:2], study='a<b>"&c', seeds=1)
    path = write_report(results, 'a<b>"&c', tmp_path / "new" / "reports")
    assert path.parent == tmp_path / "new" / "reports"
    assert path.name.startswith("a_b_c-")
    assert 'a<b>"&c' in Page(path).read


def test_one_seed_is_reported_without_intervals(tmp_path: Path) -> None:
    page = written(make_study(tmp_path, momentum(), seeds=1))
    assert "one seed, so no interval" in page.read
    assert "nan" not in page.read.lower()
    assert page.headings()[:3] == ["Answer", "Ablation", "Results"]


def test_failed_runs_are_listed_with_their_last_lines(tmp_path: Path) -> None:
    made = momentum()
    made[1] = dataclasses.replace(made[1], failed=(0, 1, 2))
    page = written(make_study(tmp_path, made, seeds=3))
    assert page.read.count("diverged, attempt 1: loss is nan at epoch 3") == 3
    assert "0 of 3" in page.read


def test_a_study_without_cluster_rows_has_no_cluster_section(tmp_path: Path) -> None:
    page = written(make_study(tmp_path, momentum(), seeds=2, with_clusters=False))
    assert "Clusters" not in page.headings()
    assert "Training" in page.headings()


def test_a_search_is_reported_on_validation_classes_alone(tmp_path: Path) -> None:
    page = written(make_study(tmp_path, momentum(), sampler="tpe", seeds=2))
    assert "search: no claim" in page.read
    assert "test classes" not in page.read


def test_a_study_without_results_says_so(tmp_path: Path) -> None:
    made = [dataclasses.replace(one, unstarted=range(5)) for one in momentum()]
    page = written(make_study(tmp_path, made))
    assert "There is no answer yet" in page.read
    assert page.headings() == ["Answer", "Ablation", "Failures and costs", "Reproduce"]


def test_an_unknown_study_writes_nothing(tmp_path: Path) -> None:
    results = make_study(tmp_path, momentum()[:2], seeds=1)
    with pytest.raises(InputError, match="unknown study 'momentun'; did you mean 'momentum'"):
        write_report(results, "momentun", tmp_path / "reports")
    assert not (tmp_path / "reports").exists()


def test_a_folder_that_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    results = make_study(tmp_path, momentum()[:2], seeds=1)
    (tmp_path / "reports").write_text("a file")
    with pytest.raises(InputError, match=r"momentum\.html: cannot write the report .*--reports"):
        write_report(results, "momentum", tmp_path / "reports")


def test_a_report_that_fails_leaves_the_older_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    results = make_study(tmp_path, momentum()[:2], seeds=1)
    path = write_report(results, "momentum", tmp_path / "reports")
    before = path.read_bytes()

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(InputError, match="No space left on device"):
        write_report(results, "momentum", tmp_path / "reports")
    assert path.read_bytes() == before
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.browser
@pytest.mark.timeout(120)
@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (390, "dark")])
def test_the_page_works_in_a_browser_without_a_network(
    tmp_path: Path, width: int, scheme: str
) -> None:
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    if chromium is None:
        pytest.skip("needs Chromium: apt-get install chromium")
    playwright = pytest.importorskip("playwright.sync_api", reason="needs playwright")
    made = [*momentum(), Made(HOSTILE, 0.5, {"method.teacher_momentum": HOSTILE})]
    path = write_report(make_study(tmp_path, made, seeds=3), "momentum", tmp_path / "reports")
    flags = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking"]
    complaints: list[str] = []
    requests: list[str] = []
    with playwright.sync_playwright() as running:
        browser = running.chromium.launch(executable_path=chromium, args=flags)
        tab = browser.new_context(
            viewport={"width": width, "height": 900}, color_scheme=scheme, offline=True
        ).new_page()
        tab.set_default_timeout(30_000 * PATIENCE)
        tab.on("console", lambda message: complaints.append(message.text))
        tab.on("pageerror", lambda error: complaints.append(str(error)))
        tab.on("dialog", lambda dialog: complaints.append(dialog.message))
        tab.on("request", lambda request: requests.append(request.url))
        tab.goto(path.as_uri())

        plots = tab.locator(".plot")
        assert plots.count() == 11
        for place in range(plots.count()):
            box = plots.nth(place).locator("svg.main-svg").first.bounding_box()
            assert box is not None
            assert box["width"] > 200
            assert box["height"] > 150
        assert tab.evaluate("document.documentElement.scrollWidth") == width

        table = tab.get_by_role("region", name="Recall@4 on test classes", exact=True)
        assert not table.is_visible()
        tab.locator('.choice input[name="measure-plot"][value="recall@4"]').check()
        table.wait_for()
        assert "Recall@4, test classes" in tab.locator("#ablation-0").text_content()

        curves = tab.locator("#curve-0 .scatterlayer .trace")
        before = curves.count()
        tab.locator("button[data-trial]").first.click()
        assert curves.count() < before
        browser.close()
    assert complaints == []
    assert [url for url in requests if not url.startswith("data:")] == [path.as_uri()]
