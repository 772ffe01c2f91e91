"""The page as a reader uses it, in Chromium without a network."""

from __future__ import annotations

import csv
import dataclasses
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import duckdb
import pytest
from ablation_study import make_ablation
from report_fixtures import Made, controls, make_study, momentum
from waiting import PATIENCE

from harness.report.study_page import write_report
from harness.store import database

pytestmark = [pytest.mark.browser, pytest.mark.timeout(120)]
FLAGS = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking"]
EN_DASH = "\N{EN DASH}"
SCRIPT = "<script>alert(1)</script>"


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    if chromium is None:
        pytest.skip("needs Chromium: apt-get install chromium")
    playwright = pytest.importorskip("playwright.sync_api", reason="needs playwright")
    with playwright.sync_playwright() as running:
        started = running.chromium.launch(executable_path=chromium, args=FLAGS)
        yield started
        started.close()


class Tab:
    """An open page with what it complained of."""

    def __init__(self, browser: Any, path: Path, *, width: int = 1280) -> None:
        self.complaints: list[str] = []
        context = browser.new_context(
            viewport={"width": width, "height": 900}, offline=True, accept_downloads=True
        )
        self.page = context.new_page()
        self.page.set_default_timeout(30_000 * PATIENCE)
        self.page.on("console", lambda message: self.complaints.append(message.text))
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("dialog", lambda dialog: self.complaints.append(dialog.message))
        self.page.goto(path.as_uri())


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("browser")
    return write_report(make_study(folder, momentum(), seeds=6), "momentum", folder / "reports")


def column(table: Any, place: int) -> list[str]:
    return [
        text.strip() for text in table.locator(f"tbody tr > :nth-child({place})").all_inner_texts()
    ]


def test_split_and_measure_change_every_plot_and_table_together(browser: Any, report: Path) -> None:
    tab = Tab(browser, report)
    shown = tab.page.locator("table:visible caption").filter(
        has_text=re.compile(r" on (test classes|validation images)$")
    )
    assert shown.all_inner_texts() == ["Recall@1 on test classes"]
    tab.page.locator('input[name="split-table"][value="val"]').check()
    tab.page.locator('input[name="measure-plot"][value="nmi"]').check()
    assert shown.all_inner_texts() == ["NMI on validation images"]
    assert "NMI, validation images" in tab.page.locator("#ablation-0").text_content()
    assert tab.page.locator('input[name="split-plot"][value="val"]').is_checked()
    assert tab.complaints == []


def test_a_head_sorts_its_table_by_keyboard_and_says_so(browser: Any, report: Path) -> None:
    tab = Tab(browser, report)
    table = tab.page.get_by_role("region", name="Recall@1 on test classes", exact=True)
    head = table.locator("th", has_text="mean")
    before = column(table, 2)
    head.locator("button").focus()
    tab.page.keyboard.press("Enter")
    assert head.get_attribute("aria-sort") == "descending"
    assert column(table, 2) == sorted(before, key=float, reverse=True) != before
    tab.page.keyboard.press("Enter")
    assert head.get_attribute("aria-sort") == "ascending"
    assert column(table, 2) == sorted(before, key=float)
    differences = table.locator("th", has_text="difference")
    differences.locator("button").click()
    assert table.locator("th[aria-sort]").count() == 1
    texts = column(table, 6)
    numbers = [float(t.split()[0].replace("\N{MINUS SIGN}", "-")) for t in texts if t != EN_DASH]
    assert numbers == sorted(numbers, reverse=True)
    assert texts[-1] == EN_DASH  # the baseline has none
    assert tab.complaints == []


def test_the_data_are_saved_as_a_file_and_the_table_is_copied(
    browser: Any, report: Path, tmp_path: Path
) -> None:
    tab = Tab(browser, report)
    tab.page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    with tab.page.expect_download() as waiting:
        tab.page.get_by_role("button", name="Download momentum.csv").click()
    assert waiting.value.suggested_filename == "momentum.csv"
    waiting.value.save_as(tmp_path / "momentum.csv")
    with (tmp_path / "momentum.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 6 * 6
    assert {row["trial"] for row in rows} >= {"teacher_momentum=0.9", "untrained"}
    tab.page.locator('[data-copy="copy-latex"]').click()
    tab.page.get_by_role("status").get_by_text("Copied").wait_for(state="attached")
    assert "\\toprule" in tab.page.evaluate("navigator.clipboard.readText()")
    assert tab.complaints == []


def test_print_opens_what_is_closed_and_uses_light_colours(browser: Any, report: Path) -> None:
    tab = Tab(browser, report)
    tab.page.emulate_media(color_scheme="dark")
    closed = tab.page.locator("details:not([open])")
    count = closed.count()
    assert count > 5
    tab.page.evaluate("dispatchEvent(new Event('beforeprint'))")
    assert closed.count() == 0
    ground = "getComputedStyle(document.body).backgroundColor"
    assert tab.page.evaluate(ground) == "rgb(255, 255, 255)"
    tab.page.evaluate("dispatchEvent(new Event('afterprint'))")
    assert closed.count() == count
    assert tab.page.evaluate(ground) != "rgb(255, 255, 255)"
    assert tab.complaints == []


def test_every_link_of_the_navigation_leads_to_a_section(browser: Any, report: Path) -> None:
    tab = Tab(browser, report)
    links = tab.page.get_by_role("navigation").get_by_role("link")
    assert links.all_inner_texts()[:3] == ["Answer", "Ablation", "Results"]
    for place in range(links.count()):
        target = links.nth(place).get_attribute("href")
        assert tab.page.locator(f"section{target} h2").count() == 1
    assert tab.page.locator("section").count() == links.count()


def test_every_control_has_a_name_and_texts_have_contrast(browser: Any, report: Path) -> None:
    tab = Tab(browser, report)
    unnamed = tab.page.evaluate(
        "[...document.querySelectorAll('button, input, summary, a')]"
        ".filter(e => !(e.textContent.trim() || e.labels?.[0]?.textContent.trim())).length"
    )
    assert unnamed == 0
    for scheme in ("light", "dark"):
        tab.page.emulate_media(color_scheme=scheme)
        assert tab.page.evaluate(CONTRAST) >= 4.5, scheme


CONTRAST = """
(() => {
  const style = getComputedStyle(document.documentElement);
  const light = (name) => {
    const hex = style.getPropertyValue(name).trim().slice(1);
    const [r, g, b] = [0, 2, 4].map((i) => parseInt(hex.slice(i, i + 2), 16) / 255)
      .map((c) => (c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const ratio = (a, b) => (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
  const pairs = ["--ink", "--muted", "--link"].flatMap(
    (text) => ["--paper", "--raised"].map((ground) => ratio(light(text), light(ground))));
  return Math.min(...pairs);
})()
"""


@pytest.mark.parametrize("width", [1280, 390])
def test_a_study_of_markup_and_long_names_shows_as_text(
    browser: Any, tmp_path: Path, width: int
) -> None:
    long = "x" * 300
    made = [
        Made("full", 0.6, variant="full", role="baseline"),
        Made(SCRIPT, 0.62, variant=SCRIPT),
        Made(long, 0.55, variant=long, failed=(1,)),
        *controls(),
    ]
    results = make_study(tmp_path, made, question=SCRIPT * 20, seeds=3)
    with duckdb.connect(
        str(database.database_path(results))
    ) as con:  # no study file may be called so
        for table in ("study", "trial", "comparison"):
            con.execute(f"UPDATE {table} SET study = $1", [SCRIPT])
    tab = Tab(browser, write_report(results, SCRIPT, tmp_path / "reports"), width=width)
    assert tab.page.locator("h1").inner_text() == SCRIPT
    assert tab.page.evaluate("document.documentElement.scrollWidth") == width
    assert tab.page.get_by_text(long).count() > 0
    tab.page.locator("#components .main-svg").first.wait_for()
    assert tab.complaints == []


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"failed": range(3)}, "8 of 8 runs failed (8 diverged)"),
        ({"unstarted": range(3)}, "8 of 8 runs are not finished"),
    ],
)
def test_a_study_without_a_finished_trial_says_so_in_words(
    browser: Any, tmp_path: Path, changed: dict[str, range], said: str
) -> None:
    made = [dataclasses.replace(one, **changed) for one in momentum()[:4]]
    results = make_study(tmp_path, made, seeds=2)
    tab = Tab(browser, write_report(results, "momentum", tmp_path / "reports"))
    text = tab.page.locator("body").inner_text()
    assert "There is no answer yet: no run of a trial has finished." in text
    assert said in text
    assert "Nothing to plot yet" in text
    assert tab.complaints == []


@pytest.mark.parametrize("width", [1280, 390])
def test_the_components_of_an_ablation_are_drawn_and_follow_the_chosen_measure(
    tmp_path: Path, browser: Any, width: int
) -> None:
    page = write_report(make_ablation(tmp_path, seeds=6), "parts", tmp_path / "reports")
    tab = Tab(browser, page, width=width)
    components = tab.page.locator("#components")
    components.scroll_into_view_if_needed()
    for picture in ("effects", "effect-pairs", "effect-steps"):
        tab.page.locator(f"#{picture} .main-svg").first.wait_for(state="attached")
    assert tab.page.evaluate("document.documentElement.scrollWidth") == width
    tab.page.locator('input[name="measure-component"][value="nmi"]').check()
    tab.page.locator("#effect-steps", has_text="NMI, test classes").wait_for()
    assert "NMI, test classes: Shapley value" in tab.page.locator("#effects").text_content()
    names = tab.page.locator("#effect-pairs .xtick text").all_text_contents()
    assert [name.strip() for name in names] == [
        "metric",
        "groups",
        "collaboration",
        "distillation",
    ]
    components.get_by_text("Every effect").click()
    shown = components.locator("table:visible caption").all_inner_texts()
    assert shown == ["NMI on test classes, effects"]
    assert tab.complaints == []
