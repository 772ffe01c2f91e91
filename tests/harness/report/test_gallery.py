"""What single queries find, the classes, the map: numbers by value, HTML by content."""

from __future__ import annotations

import dataclasses
import json
import math
import shutil
from pathlib import Path
from typing import Any

import pytest
from page_reader import HOSTILE, written
from report_fixtures import controls, make_study, momentum, opened
from seen_fixtures import CLASSES, IMAGES, OF_A_CLASS, WITH_PICTURES, make_seen_study, png
from store_examples import a_run, a_trial, done, start
from waiting import PATIENCE, assert_soon

from harness.records.event_log import append
from harness.records.folders import run_dir, spool_path, work_dir
from harness.records.run_files import digests_below
from harness.report import study_page
from harness.report.data.images import thumbnails
from harness.report.data.images.compared_runs import choose_runs
from harness.report.data.images.projection import Maps, Point, aligned, read_maps
from harness.report.data.images.query_gallery import Gallery, read_gallery
from harness.report.data.images.thumbnails import Pictures
from harness.report.data.load import load_tables
from harness.report.html.images.gallery import read_seen
from harness.report.plots.projection import map_pictures
from harness.report.study_page import write_report
from harness.store import database, rebuild

PICTURE = "data:image/png;base64,iVBORw"
LONG = "a class whose name does not end, " * 10


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_seen_study(tmp_path_factory.mktemp("seen"), momentum())


def load(results: Path) -> tuple[Gallery, Maps, Pictures]:
    tables, pictures = load_tables(results, "momentum"), Pictures(results)
    shown = opened(results, choose_runs, tables)
    gallery = opened(results, read_gallery, "momentum", shown, pictures)
    maps = opened(results, read_maps, shown, pictures)
    assert gallery is not None
    assert maps is not None
    return gallery, maps, pictures


def scalar(results: Path, sql: str) -> Any:
    return database.query(results, sql).rows[0][0]


def test_the_baseline_stands_beside_the_best_trial_by_validation_with_one_seed(
    results: Path,
) -> None:
    shown = load(results)[0].shown
    assert [run.role for run in shown.runs] == ["baseline", "best"]
    best = scalar(
        results,
        "SELECT trial FROM summary WHERE split = 'val' AND k = 1 AND role <> 'control'"
        " ORDER BY mean DESC LIMIT 1",
    )
    assert [run.trial.label for run in shown.runs] == ["teacher_momentum=0", best]
    assert (shown.seed, shown.shared_seeds, shown.chosen_by) == (0, (0, 1), "val")
    for run in shown.runs:
        assert scalar(results, f"SELECT seed FROM run WHERE run_id = '{run.run_id}'") == 0


def test_the_seed_is_the_lowest_that_both_have(tmp_path: Path) -> None:
    made = momentum()
    made[0] = dataclasses.replace(made[0], failed=(0,))
    assert load(make_seen_study(tmp_path, made, seeds=3))[0].shown.seed == 1


def test_a_baseline_that_is_the_best_stands_beside_the_best_other(tmp_path: Path) -> None:
    made = momentum()
    made[0] = dataclasses.replace(made[0], level=0.9)
    shown = load(make_seen_study(tmp_path, made))[0].shown
    assert [run.role for run in shown.runs] == ["baseline", "best other"]
    assert shown.runs[1].trial.label == "teacher_momentum=0.9"
    assert "the baseline is better there" in written(tmp_path).read


def test_runs_on_other_data_are_not_set_side_by_side(tmp_path: Path) -> None:
    make_seen_study(tmp_path, momentum())
    with database.connect(tmp_path, read_only=False) as con:
        con.execute(
            "UPDATE run SET data = 'other' WHERE run_id IN (SELECT run_id FROM member JOIN trial"
            " USING (trial_id) WHERE label = 'teacher_momentum=0.9')"
        )
    shown = load(tmp_path)[0].shown
    assert [run.trial.label for run in shown.runs][1] == "teacher_momentum=0.99"


def test_a_study_with_one_trial_shows_that_one_alone(tmp_path: Path) -> None:
    gallery, maps, _ = load(make_seen_study(tmp_path, momentum()[:1]))
    assert gallery.counts is None
    assert [len(query.finds) for group in gallery.groups for query in group.queries] == [1] * 6
    assert len(maps.runs) == 1
    assert written(tmp_path).headings()[-4:-2] == ["Retrieval", "Map"]


def test_the_groups_hold_what_their_titles_say(results: Path) -> None:
    gallery, _, pictures = load(results)
    sample, best, base = gallery.groups
    assert (len(sample.queries), sample.left_out) == (6, len(WITH_PICTURES) - 6)
    images = [query.image for query in sample.queries]
    assert images == sorted(set(images))
    assert best.queries
    assert base.queries
    trial = gallery.shown.runs[1].trial.trial_id
    rows = database.query(
        results, f"SELECT image, wins - losses, seeds FROM flips WHERE trial_id = '{trial}'"
    ).rows
    assert {seeds for *_, seeds in rows} == {2}
    gains = {image: gain for image, gain, _ in rows if image in WITH_PICTURES}
    for group, sign in ((best, 1), (base, -1)):
        shown = [sign * gains[query.image] for query in group.queries]
        every = sorted((sign * gain for gain in gains.values() if sign * gain > 0), reverse=True)
        assert shown == every[:6]
        assert group.left_out == len(every) - len(shown)
        for query, gain in zip(group.queries, shown, strict=True):
            assert query.flips is not None
            assert sign * (query.flips.wins - query.flips.losses) == gain
    for group in gallery.groups:
        for query in group.queries:
            assert query.picture in pictures.data
            for finds in query.finds:
                labels = [one.label for one in finds.neighbours]
                assert [one.is_right for one in finds.neighbours] == [
                    label == query.label for label in labels
                ]
                assert finds.first_hit == labels.index(query.label) + 1
                assert [one.similarity for one in finds.neighbours] == [
                    pytest.approx(0.95 - 0.03 * place) for place in range(8)
                ]


def test_counts_and_classes_are_those_of_the_database(results: Path) -> None:
    gallery = load(results)[0]
    one, other = (run.run_id for run in gallery.shown.runs)
    hits = [
        {
            image
            for (image,) in database.query(
                results, f"SELECT image FROM queries WHERE run_id = '{run}' AND first_hit = 1"
            ).rows
        }
        for run in (one, other)
    ]
    assert gallery.counts is not None
    assert dataclasses.astuple(gallery.counts) == (
        IMAGES,
        len(hits[0] & hits[1]),
        len(hits[0] - hits[1]),
        len(hits[1] - hits[0]),
    )
    assert gallery.all_classes == CLASSES
    by_hand: dict[str, list[float]] = {}
    for run in gallery.shown.runs:
        rows = database.query(
            results,
            "SELECT queries.label, count(*) FILTER (first_hit = 1) / 2 FROM queries JOIN member"
            " USING (run_id) WHERE trial_id = $1 GROUP BY ALL",
            [run.trial.trial_id],
        ).rows
        for label, hits_of_both in rows:
            by_hand.setdefault(str(label), []).append(float(str(hits_of_both)) / OF_A_CLASS)
    shown = {found.label: list(found.recall) for found in gallery.classes}
    assert all(found.queries == OF_A_CLASS for found in gallery.classes)
    assert shown == {label: pytest.approx(by_hand[label]) for label in shown}
    for place in range(2):
        ordered = sorted(values[place] for values in by_hand.values())
        assert max(values[place] for values in shown.values()) == pytest.approx(ordered[-1])
        assert min(values[place] for values in shown.values()) == pytest.approx(ordered[0])
    sums = [sum(values) for values in shown.values()]
    assert sums == sorted(sums, reverse=True)


def test_the_view_of_classes_agrees_with_recall_at_one_of_the_queries(results: Path) -> None:
    rows = database.query(
        results, "SELECT run_id, sum(recall * queries) / sum(queries) FROM classes GROUP BY run_id"
    ).rows
    assert len(rows) == 8
    for run_id, recall in rows:
        sql = f"SELECT count(*) FILTER (first_hit = 1) / count(*) FROM queries WHERE run_id = '{run_id}'"
        assert recall == pytest.approx(scalar(results, sql))


def test_the_second_map_is_turned_towards_the_first_and_keeps_its_distances(
    results: Path,
) -> None:
    maps = load(results)[1]
    assert [one.is_turned for one in maps.runs] == [False, True]
    first, second = (one.points for one in maps.runs)
    raw = database.query(
        results,
        f"SELECT x, y FROM projection WHERE run_id = '{maps.runs[1].run.run_id}' ORDER BY image",
    ).rows
    for a, b in ((0, 1), (5, 40), (59, 12)):
        before = math.dist([float(str(v)) for v in raw[a]], [float(str(v)) for v in raw[b]])
        after = math.dist((second[a].x, second[a].y), (second[b].x, second[b].y))
        assert after == pytest.approx(before)
    apart = sum((p.x - o.x) ** 2 + (p.y - o.y) ** 2 for p, o in zip(second, first, strict=True))
    before = sum(
        (float(str(x)) - o.x) ** 2 + (float(str(y)) - o.y) ** 2
        for (x, y), o in zip(raw, first, strict=True)
    )
    assert apart <= before + 1e-9


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_a_map_that_was_only_turned_or_mirrored_lies_on_the_first(sign: float) -> None:
    first = [
        Point(i, "a", None, x, y) for i, (x, y) in enumerate([(3, 1), (-1, 2), (0, -2), (1, 0)])
    ]
    turned = [
        dataclasses.replace(p, x=0.6 * p.x - 0.8 * sign * p.y, y=0.8 * p.x + 0.6 * sign * p.y)
        for p in first
    ]
    for found, wanted in zip(aligned(turned, first), first, strict=True):
        assert (found.x, found.y) == pytest.approx((wanted.x, wanted.y))
    assert aligned(turned, ()) == tuple(turned)


def test_the_classes_that_are_confused_most_are_coloured_alike_on_both_maps(
    results: Path,
) -> None:
    maps = load(results)[1]
    ids = ", ".join(f"'{one.run.run_id}'" for one in maps.runs)
    rows = database.query(
        results,
        f"SELECT label, count(*) FILTER (first_hit > 1) AS n FROM queries WHERE run_id IN ({ids})"
        " GROUP BY label ORDER BY n DESC, label LIMIT 10",
    ).rows
    assert maps.coloured == tuple(sorted(str(label) for label, _ in rows))
    pictures = map_pictures(maps)
    marks = [[dict(t["marker"]) | {"size": 0} for t in picture.traces] for picture in pictures]  # type: ignore[call-overload]
    assert marks[0] == marks[1]
    assert len({(mark["color"], mark["symbol"]) for mark in marks[0]}) == 11
    for picture in pictures:
        points = [point for trace in picture.traces for point in trace["customdata"]]  # type: ignore[attr-defined]
        assert sorted(image for image, _, _ in points) == list(range(IMAGES))
        assert all(
            maps.labels[label] == f"class {image // OF_A_CLASS:02d}" for image, label, _ in points
        )


def test_each_picture_is_in_the_page_once(results: Path) -> None:
    study_page = written(results)
    data = json.loads(next(text for text in study_page.scripts if '"pictures"' in text[:20]))
    assert len(data["pictures"]) == IMAGES
    assert "".join(study_page.scripts[1:]).count(PICTURE) == IMAGES  # plotly.js has one, too
    images = [attributes for tag, attributes in study_page.tags if tag == "img"]
    assert len(images) > 100
    assert {image["data-picture"] for image in images} <= data["pictures"].keys()
    assert all(image["alt"] for image in images)
    assert "no picture" not in study_page.read


def test_the_same_runs_give_the_same_page(results: Path, tmp_path: Path) -> None:
    first = write_report(results, "momentum", tmp_path / "a").read_bytes()
    assert write_report(results, "momentum", tmp_path / "b").read_bytes() == first


def test_a_study_whose_workload_writes_nothing_of_the_kind_has_no_such_sections(
    tmp_path: Path,
) -> None:
    make_study(tmp_path, momentum()[:2], seeds=1)
    assert opened(tmp_path, read_seen, tmp_path, load_tables(tmp_path, "momentum")).gallery is None
    study_page = written(tmp_path)
    assert "Retrieval" not in study_page.headings()
    assert "Map" not in study_page.headings()


def break_pictures(results: Path, how: str) -> None:
    for folder in (results / "runs").glob("*/work/images"):
        for path in folder.iterdir():
            if how == "missing":
                path.unlink()
            elif how == "text":
                path.write_text("<script>alert(1)</script>")
            elif how == "large":
                path.write_bytes(png(1) + b"\0" * thumbnails.MOST_BYTES_OF_ONE)
            elif how == "link":
                path.rename(results / path.name)
                path.symlink_to(results / path.name)


@pytest.mark.parametrize("how", ["missing", "text", "large", "link"])
def test_what_is_no_picture_is_an_empty_frame(tmp_path: Path, how: str) -> None:
    break_pictures(make_seen_study(tmp_path, momentum()[:2], seeds=1), how)
    study_page = written(tmp_path)
    assert "img" not in {tag for tag, _ in study_page.tags}
    assert study_page.read.count("no picture") > 50
    assert "alert(1)" not in study_page.source
    assert PICTURE not in "".join(study_page.scripts[1:])


@pytest.mark.parametrize(
    "name", ["../facts.json", "images/../../spool.jsonl", "/etc/hostname", 3, "images/a.svg", ""]
)
def test_a_name_that_leads_elsewhere_is_no_picture(results: Path, name: object) -> None:
    run_id = load(results)[0].shown.runs[0].run_id
    assert Pictures(results).add(run_id, "images/3.png") == "p0"
    assert Pictures(results).add(run_id, name) is None


def test_a_webp_file_is_known_by_its_first_bytes(results: Path, tmp_path: Path) -> None:
    folder = work_dir(run_dir(tmp_path, "r")) / "images"
    folder.mkdir(parents=True)
    (folder / "a.webp").write_bytes(b"RIFF\x10\0\0\0WEBPVP8 ")
    (folder / "b.png").write_bytes((folder / "a.webp").read_bytes())
    pictures = Pictures(tmp_path)
    assert pictures.add("r", "images/a.webp") == pictures.add("r", "images/b.png") == "p0"
    assert pictures.data["p0"].startswith("data:image/webp;base64,UklGR")


def test_where_room_for_pictures_ends_the_rest_is_left_out(
    results: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    size = len(next(iter(load(results)[2].data.values())))
    monkeypatch.setattr(thumbnails, "MOST_BYTES", 10 * (size + 8))
    gallery, maps, pictures = load(results)
    assert 9 <= len(pictures.data) <= 11
    assert gallery.groups[0].queries[0].picture is not None  # the gallery comes first
    assert sum(point.picture is None for point in maps.runs[0].points) > 40


def test_a_page_that_would_be_too_large_has_fewer_pictures(
    results: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = len(study_page.page_text(results, "momentum").encode())
    sizes = [len(text) for text in load(results)[2].data.values()]
    monkeypatch.setattr(study_page, "FEWEST_PICTURE_BYTES", 0)
    monkeypatch.setattr(study_page, "MOST_BYTES", whole - sum(sizes) // 2)
    rooms: list[int | None] = []
    monkeypatch.setattr(
        study_page,
        "read_seen",
        lambda *of, room=None: rooms.append(room) or read_seen(*of, room=room),
    )
    smaller = study_page.page_text(results, "momentum")
    assert rooms == [None, sum(sizes) - sum(sizes) // 2]
    assert len(smaller.encode()) < whole
    assert smaller.count("data:image/png") == len(sizes) // 2 + 1  # plotly.js has one, too
    monkeypatch.setattr(study_page, "FEWEST_PICTURE_BYTES", sum(sizes))
    assert len(study_page.page_text(results, "momentum").encode()) == whole


def test_class_names_are_shortened_and_shown_as_text(tmp_path: Path) -> None:
    make_seen_study(tmp_path, momentum()[:2], names={0: HOSTILE, 1: LONG}, seeds=1)
    study_page = written(tmp_path)
    assert "onerror" not in {name for _, attributes in study_page.tags for name in attributes}
    assert not any("<script" in text or "</" in text for text in study_page.scripts[1:-1])
    assert LONG[:39] + "\N{HORIZONTAL ELLIPSIS}" in study_page.read
    assert LONG not in study_page.read
    assert HOSTILE[:20] in study_page.read


def test_queries_without_pictures_and_maps_alone_are_shown(tmp_path: Path) -> None:
    make_seen_study(tmp_path, momentum()[:2], seeds=1)
    for path in (tmp_path / "runs").glob("*/work/tables/queries.jsonl"):
        rows = [json.loads(line) for line in path.read_text().splitlines()]
        bare = ("image", "label", "dropped", "first_hit")
        path.write_text("".join(json.dumps({k: r[k] for k in bare}) + "\n" for r in rows))
    assert rebuild.rebuild(tmp_path).notices == ()
    assert "Retrieval" in written(tmp_path).headings()
    for path in (tmp_path / "runs").glob("*/work/tables/queries.jsonl"):
        path.unlink()
    rebuild.rebuild(tmp_path)
    headings = written(tmp_path).headings()
    assert "Retrieval" not in headings
    assert "Map" in headings


def test_controls_are_not_shown(tmp_path: Path) -> None:
    make_seen_study(tmp_path, [momentum()[0], *controls()], seeds=1)
    assert [run.role for run in load(tmp_path)[0].shown.runs] == ["baseline"]


@pytest.mark.browser
@pytest.mark.timeout(120)
@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (390, "dark")])
def test_pictures_load_and_a_class_can_be_chosen_without_a_network(
    tmp_path: Path, width: int, scheme: str
) -> None:
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    if chromium is None:
        pytest.skip("needs Chromium: apt-get install chromium")
    playwright = pytest.importorskip("playwright.sync_api", reason="needs playwright")
    make_seen_study(tmp_path, momentum(), names={0: HOSTILE, 1: LONG})
    path = write_report(tmp_path, "momentum", tmp_path / "reports")
    complaints: list[str] = []
    with playwright.sync_playwright() as running:
        browser = running.chromium.launch(
            executable_path=chromium, args=["--headless", "--no-sandbox", "--disable-gpu"]
        )
        tab = browser.new_context(
            viewport={"width": width, "height": 900}, color_scheme=scheme, offline=True
        ).new_page()
        tab.set_default_timeout(30_000 * PATIENCE)
        tab.on("console", lambda message: complaints.append(message.text))
        tab.on("pageerror", lambda error: complaints.append(str(error)))
        tab.on("dialog", lambda dialog: complaints.append(dialog.message))
        tab.goto(path.as_uri())
        tab.wait_for_function("[...document.images].every((image) => image.complete)")
        widths = tab.evaluate("[...document.images].map((image) => image.naturalWidth)")
        assert len(widths) > 100
        assert set(widths) == {8}
        assert tab.evaluate("document.documentElement.scrollWidth") == width

        choice = tab.get_by_label("Class", exact=True)
        choice.focus()
        choice.select_option(label="class 07")
        shown = tab.locator("#map-images img")
        assert shown.count() == OF_A_CLASS
        assert shown.first.get_attribute("alt") == "class 07, image 28"
        assert shown.first.evaluate("(image) => image.decode().then(() => image.naturalWidth)") == 8

        tab.locator("#map-0").scroll_into_view_if_needed()
        tip = tab.locator(".tip")

        def points_at_an_image() -> bool:
            # Again where the page was still scrolling, which hides what was shown.
            tab.mouse.move(1, 1)
            tab.locator("#map-0 .scatterlayer path.point").first.hover(force=True)
            tab.evaluate("new Promise((done) => requestAnimationFrame(done))")
            return bool(tip.is_visible())

        assert_soon(points_at_an_image)
        assert ", image " in tip.text_content()
        assert tip.locator("img").evaluate("(image) => image.naturalWidth") == 8
        browser.close()
    assert complaints == []


def test_a_picture_that_is_not_what_its_run_wrote_is_none(tmp_path: Path) -> None:
    run = a_run(a_trial(0), 0)
    directory = run_dir(tmp_path, run.run_id)
    folder = work_dir(directory) / "images"
    folder.mkdir(parents=True)
    for name in "abc":
        (folder / f"{name}.png").write_bytes(b"\x89PNG\r\n\x1a\n" + name.encode())
    append(spool_path(directory), start(run))
    files = digests_below(work_dir(directory))
    append(spool_path(directory), dataclasses.replace(done(), files=files))
    (folder / "b.png").write_bytes(b"\x89PNG\r\n\x1a\nx")
    pictures = Pictures(tmp_path)
    added = [pictures.add(run.run_id, f"images/{name}.png") for name in "abc"]
    assert added == ["p0", None, "p1"]


def test_a_query_says_with_how_many_seeds_it_flips(results: Path) -> None:
    gallery, page = load(results)[0], written(results)
    consistent = gallery.groups[1].queries[0]
    assert consistent.flips is not None
    assert (consistent.flips.seeds, consistent.flips.wins) == (2, 2)
    assert "of 2 seeds: 2 only best" in page.read.replace("\n", " ")
    assert "differ most consistently over all 2 shared seeds" in page.read
