"""Pictures of pure and mixed clusters on the page."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from report_fixtures import momentum, opened
from seen_fixtures import make_seen_study

from harness.report.data.images.cluster_gallery import MOST_IMAGES, ClusteredRun, read_clusters
from harness.report.data.images.compared_runs import choose_runs
from harness.report.data.images.thumbnails import Pictures
from harness.report.data.load import load_tables
from harness.report.html.images.cluster_gallery import cluster_gallery_section
from harness.report.study_page import page_text
from harness.store import rebuild

HOSTILE = "<img src=x onerror=alert(1)>"


def cluster(purity: float, labels: list[str], pictures: list[str]) -> dict[str, object]:
    row = {"epoch": 4, "cluster": round(100 * purity), "size": 30, "purity": purity}
    return {**row, "labels": labels, "pictures": pictures}


PURE = cluster(0.9, ["a", "a", "b"], ["images/0.png", "images/3.png", "images/6.png"])
MIXED = cluster(0.2, [HOSTILE, "b"], ["images/9.png"])
LONG = cluster(0.5, ["c"] * 20, ["images/12.png"] * 20)


@pytest.fixture
def results(tmp_path: Path) -> Path:
    make_seen_study(tmp_path, momentum()[:2], seeds=1)
    for queries in (tmp_path / "runs").glob("*/work/tables/queries.jsonl"):
        lines = "".join(json.dumps(row) + "\n" for row in (MIXED, PURE, LONG))
        queries.with_name("cluster_pictures.jsonl").write_text(lines, encoding="utf-8")
    rebuild.rebuild(tmp_path)
    return tmp_path


def load(results: Path) -> tuple[ClusteredRun, ...]:
    shown = opened(results, choose_runs, load_tables(results, "momentum"))
    found: tuple[ClusteredRun, ...] = opened(results, read_clusters, shown, Pictures(results))
    return found


def test_clusters_of_both_runs_are_read_the_purest_first(results: Path) -> None:
    found = load(results)
    assert [one.run.role for one in found] == ["baseline", "best"]
    pure, long, mixed = found[0].clusters
    assert [one.purity for one in found[0].clusters] == [0.9, 0.5, 0.2]
    assert (pure.size, pure.epoch, pure.majority) == (30, 4, "a")
    assert len({image.picture for image in pure.images}) == 3
    assert len(long.images) == MOST_IMAGES
    assert [image.picture is None for image in mixed.images] == [False, True]  # one has no file


def test_the_page_marks_the_most_frequent_class(results: Path) -> None:
    html = cluster_gallery_section(load(results)[:1])
    pure = html.partition("purity 0.90")[2].partition("purity 0.50")[0]
    assert pure.count('class="right"') == 2
    assert pure.count('class="wrong"') == 1
    assert "no picture" in html
    assert HOSTILE not in html
    assert cluster_gallery_section(()) == ""


def test_the_pictures_are_embedded(results: Path) -> None:
    page = page_text(results, "momentum")
    assert '<section id="pure-and-mixed-clusters">' in page
    for one in load(results)[0].clusters[0].images:
        assert f'data-picture="{one.picture}"' in page


def test_a_study_without_such_pictures_has_no_such_section(tmp_path: Path) -> None:
    make_seen_study(tmp_path, momentum()[:2], seeds=1)
    assert load(tmp_path) == ()
    assert "pure-and-mixed-clusters" not in page_text(tmp_path, "momentum")
