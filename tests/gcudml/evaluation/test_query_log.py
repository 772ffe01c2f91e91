"""What is written of single queries: ranks, neighbours, the map, and pictures."""

from __future__ import annotations

import importlib.util
import io
import json
import math
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from published_layouts import write_inshop
from tiny import tiny, train_tiny

import gcudml.evaluation.thumbnails
from gcudml import workload
from gcudml.data.datasets import load
from gcudml.evaluation import query_log
from gcudml.evaluation.query_log import QueryLog, lay_out, map_images, principal_plane
from gcudml.evaluation.retrieval import retrieve
from gcudml.evaluation.thumbnails import LONGEST_SIDE, write_thumbnail
from gcudml.neighbours.search import first_hits

QUERIES = [None, [True, False] * 20]


def draw(n: int, dim: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(n, dim, generator=torch.Generator().manual_seed(seed))


def rows_of(workdir: Path, table: str) -> list[dict[str, Any]]:
    text = (workdir / "tables" / f"{table}.jsonl").read_text(encoding="utf-8")
    return [json.loads(line) for line in text.splitlines()]


def recall_from(rows: list[dict[str, Any]], k: int) -> float:
    counted = [row for row in rows if not row["dropped"]]
    return sum((row["first_hit"] or math.inf) <= k for row in counted) / len(counted)


@pytest.mark.parametrize("is_query", QUERIES)
@pytest.mark.parametrize("distance", ["cosine", "euclidean"])
@pytest.mark.parametrize("block_entries", [1 << 24, 100])
def test_the_rank_of_the_first_hit_is_its_place_in_the_sorted_list(
    is_query: list[bool] | None, distance: Any, block_entries: int
) -> None:
    z, labels = draw(40, 3) + 0.5, torch.arange(40) % 8
    asks = torch.ones(40, dtype=torch.bool) if is_query is None else torch.tensor(is_query)
    among = torch.ones(40, dtype=torch.bool) if is_query is None else ~asks
    found = first_hits(
        z,
        labels,
        queries=asks.nonzero()[:, 0],
        gallery=None if is_query is None else among.nonzero()[:, 0],
        distance=distance,
        block_entries=block_entries,
    )
    exact = z.double()
    for query, rank in zip(asks.nonzero()[:, 0].tolist(), found.ranks.tolist(), strict=True):
        if distance == "cosine":
            far = -torch.nn.functional.cosine_similarity(exact[query], exact, dim=1)
        else:
            far = (exact - exact[query]).norm(dim=1)
        others = [i for i in range(40) if among[i] and i != query]
        order = sorted(others, key=far.tolist().__getitem__)
        hits = [place for place, i in enumerate(order, 1) if labels[i] == labels[query]]
        assert rank == min(hits, default=0)


def test_equal_rows_come_in_their_order_and_what_is_never_found_has_no_rank() -> None:
    labels = torch.tensor([0, 1, 1, 0, 2])
    ranks = first_hits(torch.ones(5, 2), labels, queries=torch.arange(5)).ranks
    assert ranks.tolist() == [3, 2, 2, 1, 0]
    z = torch.ones(5, 2)
    z[0] = float("nan")
    assert first_hits(z, labels, queries=torch.arange(5)).ranks.tolist() == [0, 1, 1, 0, 0]


@pytest.mark.parametrize("k", [[1, 2, 4, 8], [3, 100], [1]])
def test_recall_of_a_whole_run_follows_from_its_queries_bit_by_bit(
    tmp_path: Path, k: list[int]
) -> None:
    results, _ = train_tiny(tmp_path, test=True, evaluate={"k": k, "map_at_r": False})
    rows = rows_of(tmp_path, "queries")
    assert [row["image"] for row in rows] == list(range(len(rows)))
    assert results["test/queries"] == len(rows) == 40
    for each in k:
        assert recall_from(rows, each) == results[f"test/recall@{each}"]
    names = load(tiny().data, "test").class_names
    assert [row["label"] for row in rows] == [name for name in names for _ in range(8)]


def test_hits_beyond_the_list_are_ranked_and_those_in_it_agree_with_it(tmp_path: Path) -> None:
    config = tiny(data={"classes": 40, "images_per_class": 4})
    part = load(config.data, "test")
    z, labels = draw(len(part.labels), 4), torch.from_numpy(part.labels)
    log = QueryLog(tmp_path, config.data)
    found = retrieve(z, labels, k=[1, 5], map_at_r=False, keep=log.keep)
    log.write(z, labels, distance="cosine")
    rows = rows_of(tmp_path, "queries")
    whole = first_hits(z, labels, queries=torch.arange(len(z))).ranks.tolist()
    assert [row["first_hit"] for row in rows] == whole
    assert max(whole) > 8  # the list has eight
    assert recall_from(rows, 5) == found.recall[5]
    for row in rows:
        right = [label == row["label"] for label in row["neighbour_labels"]]
        assert row["first_hit"] == right.index(True) + 1 if True in right else row["first_hit"] > 8
        assert row["similarities"] == sorted(row["similarities"], reverse=True)
    unit = torch.nn.functional.normalize(z, dim=1)
    first = float(unit[0] @ unit[rows[0]["neighbours"][0]])
    assert rows[0]["similarities"][0] == pytest.approx(first, abs=1e-4)


def test_queries_and_gallery_are_told_apart(tmp_path: Path) -> None:
    write_inshop(tmp_path / "images")
    data = {"name": "inshop", "root": str(tmp_path / "images"), "image_size": 16}
    data |= {"color": "grey", "protocol": "published"}
    results, _ = train_tiny(tmp_path, test=True, data=data, method={"name": "pixels"})
    part = load(tiny(data=data).data, "test")
    assert part.is_query is not None
    rows = rows_of(tmp_path, "queries")
    assert [row["image"] for row in rows] == part.is_query.nonzero()[0].tolist()
    assert sum(row["dropped"] for row in rows) == results["test/dropped"]
    for k in (1, 2, 4, 8):
        assert recall_from(rows, k) == results[f"test/recall@{k}"]
    for row in rows:
        assert row["file"] == part.files[row["image"]]
        assert (tmp_path / "images" / row["file"]).is_file()
        if not row["dropped"]:
            assert not part.is_query[row["neighbours"]].any()


def test_a_dropped_query_is_there_and_says_so(tmp_path: Path) -> None:
    config = tiny(data={"classes": 10, "images_per_class": 2})
    part = load(config.data, "test")
    labels = torch.from_numpy(part.labels.copy())
    labels[0] = 2  # leaves the second image alone in its class
    log = QueryLog(tmp_path, config.data)
    found = retrieve(draw(6, 4), labels, k=[1], keep=log.keep)
    log.write(draw(6, 4), labels, distance="euclidean")
    rows = rows_of(tmp_path, "queries")
    assert [row["dropped"] for row in rows] == [False, True, False, False, False, False]
    assert "first_hit" not in rows[1]
    assert recall_from(rows, 1) == found.recall[1]
    assert all(near <= 0 for row in rows if not row["dropped"] for near in row["similarities"])


def test_an_embedding_that_is_not_finite_has_no_first_hit_but_counts(tmp_path: Path) -> None:
    config = tiny(data={"classes": 10, "images_per_class": 2})
    labels = torch.from_numpy(load(config.data, "test").labels)
    z = draw(6, 4)
    z[0, 0] = float("nan")
    log = QueryLog(tmp_path, config.data)
    found = retrieve(z, labels, k=[1, 9], keep=log.keep)
    log.write(z, labels, distance="cosine")
    rows = rows_of(tmp_path, "queries")
    assert [row["first_hit"] for row in rows[:2]] == [None, None]
    assert (recall_from(rows, 1), recall_from(rows, 9)) == (found.recall[1], found.recall[9])


def test_runs_on_the_same_data_show_the_same_images(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(query_log, "SHOWN_QUERIES", 5)
    monkeypatch.setattr(query_log, "MAP_IMAGES", 24)
    for seed, name in ((0, "a"), (1, "b")):
        train_tiny(tmp_path / name, seed=seed, test=True)
    for table in ("queries", "projection"):
        one, other = (rows_of(tmp_path / name, table) for name in "ab")
        assert one != other
        shown = [[row["image"], row.get("picture")] for row in one]
        assert shown == [[row["image"], row.get("picture")] for row in other]
    assert sum("picture" in row for row in rows_of(tmp_path / "a", "queries")) == 5
    assert len(rows_of(tmp_path / "a", "projection")) == 24
    for row in rows_of(tmp_path / "a", "queries"):
        assert ("picture" in row) == ("neighbour_pictures" in row)
        for name in [row.get("picture"), *row.get("neighbour_pictures", [])]:
            assert name is None or (tmp_path / "a" / name).is_file()


def test_the_tables_are_those_of_the_chosen_epoch(tmp_path: Path) -> None:
    for seed in range(5):
        place = tmp_path / str(seed)
        results, _ = train_tiny(place, seed=seed, test=True, train={"epochs": 3})
        assert recall_from(rows_of(place, "queries"), 1) == results["test/recall@1"]
        if results["test/recall@1"] != results["test/recall@1_last_epoch"]:
            return
    pytest.fail("in no run another epoch than the last one was chosen")


@pytest.mark.parametrize("method", ["gcudml", "untrained", "pixels"])
def test_nothing_is_written_while_the_test_classes_are_shut(tmp_path: Path, method: str) -> None:
    train_tiny(tmp_path, test=False, method={"name": method})
    tables = {path.stem for path in (tmp_path / "tables").glob("*.jsonl")}
    assert not tables & {"queries", "projection"}
    clusters = rows_of(tmp_path, "cluster_pictures") if "cluster_pictures" in tables else []
    shown = {name for row in clusters for name in row["pictures"]}
    # Pictures are only those of clusters, which are of training images.
    assert {f"images/{path.name}" for path in (tmp_path / "images").glob("*")} == shown
    train_tiny(tmp_path / "open", test=True, method={"name": method})
    assert len(rows_of(tmp_path / "open", "projection")) == 40


def test_a_large_map_has_whole_classes_and_the_same_ones_each_time() -> None:
    labels = np.arange(4000) % 400
    chosen = map_images(labels)
    assert chosen == map_images(labels) == sorted(set(chosen))
    assert len(chosen) == query_log.MAP_IMAGES
    assert set(np.bincount(labels[chosen])) == {0, 10}
    few = map_images(np.repeat(np.arange(3), 1000))
    assert np.bincount(np.repeat(np.arange(3), 1000)[few]).tolist() == [200, 200, 200]
    assert map_images(np.arange(20)) == list(range(20))
    assert len(map_images(np.arange(5000))) == query_log.MAP_IMAGES


def test_the_map_keeps_the_two_widest_directions_and_fixes_their_signs() -> None:
    flat = draw(50, 2).double() * torch.tensor([3.0, 1.0])
    turn = torch.linalg.qr(draw(6, 6, 1).double()).Q[:2]
    plane = principal_plane((flat @ turn).float())
    apart = torch.cdist(flat, flat)
    assert torch.cdist(torch.from_numpy(plane), torch.from_numpy(plane)) == pytest.approx(
        apart, abs=1e-4
    )
    assert plane[:, 0].var() > plane[:, 1].var()
    assert principal_plane(-(flat @ turn).float()) == pytest.approx(plane, abs=1e-5)
    assert all(plane[np.abs(plane[:, axis]).argmax(), axis] > 0 for axis in range(2))
    assert (principal_plane(torch.ones(4, 3)) == 0).all()
    assert principal_plane(torch.ones(1, 3)).tolist() == [[0.0, 0.0]]


@pytest.mark.parametrize("channels", [1, 3])
def test_a_thumbnail_is_a_small_copy_that_all_folders_share(
    tmp_path: Path, cache: Path, channels: int
) -> None:
    image = np.zeros((channels, 100, 200), np.uint8)
    image[:, :, 100:] = 200
    name = write_thumbnail(tmp_path / "a", image)
    with Image.open(tmp_path / "a" / name) as opened:
        assert (opened.format, opened.size) == ("WEBP", (LONGEST_SIDE, LONGEST_SIDE // 2))
        pixels = np.asarray(opened.convert("L"), np.int64)
    assert abs(pixels[:, :30].mean()) < 8
    assert abs(pixels[:, 34:].mean() - 200) < 8
    assert write_thumbnail(tmp_path / "b", image) == name
    kept = cache / "thumbnails" / name
    assert (tmp_path / "b" / name).samefile(kept)
    assert write_thumbnail(tmp_path / "b", image + 1) != name


def test_a_thumbnail_is_copied_where_it_cannot_be_linked(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(source: Path, target: Path) -> None:
        raise OSError(18, "Invalid cross-device link")

    monkeypatch.setattr(gcudml.evaluation.thumbnails.os, "link", refuse)
    image = np.full((1, 20, 20), 7, np.uint8)
    name = write_thumbnail(tmp_path / "a", image)
    content = (tmp_path / "a" / name).read_bytes()
    assert Image.open(io.BytesIO(content)).size == (20, 20)
    shutil.rmtree(cache)  # may go at any time
    assert (tmp_path / "a" / name).read_bytes() == content
    assert list((tmp_path / "a").iterdir()) == [tmp_path / "a" / name]


@pytest.mark.timeout(180)  # its first call compiles it
def test_umap_keeps_neighbours_together_and_draws_the_same_map_again() -> None:
    pytest.importorskip("umap", reason='needs UMAP: pip install "gcudml-harness[umap]"')
    draw = torch.Generator().manual_seed(3)
    classes = torch.arange(5).repeat_interleave(12)
    points = 8 * torch.randn(5, 16, generator=draw)[classes] + torch.randn(60, 16, generator=draw)
    plane = lay_out(points, by="umap")
    assert plane.shape == (60, 2)
    assert (plane == lay_out(points, by="umap")).all()
    apart = np.linalg.norm(plane[:, None] - plane[None], axis=2)
    np.fill_diagonal(apart, np.inf)
    assert (classes[apart.argmin(axis=1)] == classes).all()
    assert (lay_out(points[:4], by="umap") == principal_plane(points[:4])).all()


def test_umap_that_is_not_installed_is_asked_for_before_anything_is_trained(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    with pytest.raises(ValueError, match=r"^evaluate\.map: umap needs .* \"gcudml-harness\[umap\]"):
        workload.check({"data": {"name": "strokes"}, "evaluate": {"map": "umap"}})
