"""Classes before the first hit, and Recall@1 with fewer classes against drawing all of them."""

from __future__ import annotations

import itertools
import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny import train_tiny

from gcudml.config import EvaluateConfig
from gcudml.evaluation.class_counts import count_classes
from gcudml.evaluation.retrieval import retrieve
from gcudml.neighbours.search import first_hits

CLASSES = 6


def draw(n: int, dim: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(n, dim, generator=torch.Generator().manual_seed(seed))


def tables_of(workdir: Path, table: str) -> list[dict[str, Any]]:
    text = (workdir / "tables" / f"{table}.jsonl").read_text(encoding="utf-8")
    return [json.loads(line) for line in text.splitlines()]


def expected_recall(rows: list[dict[str, Any]], chosen: int) -> float:
    """The formula, with whole numbers."""
    hits = queries = 0.0
    for row in rows:
        queries += row["queries"]
        if "classes_before_hit" in row:
            free = row["classes"] - 1 - row["classes_before_hit"]
            all_draws = math.comb(row["classes"] - 1, chosen - 1)
            hits += row["queries"] * math.comb(free, chosen - 1) / all_draws
    return hits / queries


def recall_of_draws(z: torch.Tensor, labels: torch.Tensor, asks: torch.Tensor, c: int) -> float:
    """Recall@1 averaged over every draw of ``c`` classes that holds the query's, by sorting."""
    found = []
    among = torch.ones_like(asks) if asks.all() else ~asks
    for query in asks.nonzero()[:, 0].tolist():
        own = int(labels[query])
        others = [each for each in labels[among].unique().tolist() if each != own]
        near = torch.nn.functional.cosine_similarity(z[query].double(), z.double(), dim=1)
        for drawn in itertools.combinations(others, c - 1):
            may_be_found = among & torch.isin(labels, torch.tensor([own, *drawn]))
            may_be_found[query] = False
            candidates = may_be_found.nonzero()[:, 0]
            best = candidates[near[candidates].argmax()]
            found.append(int(labels[best]) == own)
    return sum(found) / len(found)


@pytest.mark.parametrize("c", range(1, CLASSES + 1))
@pytest.mark.parametrize("k", [[1], [1, 8]])
def test_recall_with_fewer_classes_is_the_mean_over_all_draws(c: int, k: list[int]) -> None:
    labels = torch.arange(18) % CLASSES
    z = draw(18, 3) + 0.8 * torch.nn.functional.one_hot(labels, CLASSES)[:, :3]
    config = EvaluateConfig(k=k, map_at_r=False)
    rows = count_classes("val", z, labels, config, distance="cosine")
    whole = torch.ones(18, dtype=torch.bool)
    assert expected_recall(rows, c) == pytest.approx(recall_of_draws(z, labels, whole, c))
    assert {row["classes"] for row in rows} == {CLASSES}


@pytest.mark.parametrize("c", range(2, CLASSES + 1))
def test_with_a_gallery_its_classes_are_drawn(c: int) -> None:
    labels, asks = torch.arange(24) % CLASSES, torch.arange(24) < 12
    z = draw(24, 3, 1)
    rows = count_classes("test", z, labels, EvaluateConfig(k=[1]), distance="cosine", is_query=asks)
    assert expected_recall(rows, c) == pytest.approx(recall_of_draws(z, labels, asks, c))


def test_among_all_classes_it_is_recall_at_1_even_with_equal_images() -> None:
    labels = torch.arange(40) % 10
    z = draw(40, 2).round()  # many are equal
    rows = count_classes("val", z, labels, EvaluateConfig(k=[1]), distance="euclidean")
    found = retrieve(z, labels, k=[1], distance="euclidean")
    assert expected_recall(rows, 10) == found.recall[1]


def test_a_query_that_never_finds_its_class_fails_with_any_classes() -> None:
    labels, z = torch.arange(8) % 4, draw(8, 3)
    z[0] = float("nan")
    rows = count_classes("val", z, labels, EvaluateConfig(k=[1]), distance="cosine")
    assert [row["queries"] for row in rows if "classes_before_hit" not in row] == [2]
    assert expected_recall(rows, 1) == pytest.approx(6 / 8)


@pytest.mark.parametrize("distance", ["cosine", "euclidean"])
def test_counts_are_the_same_whether_a_hit_is_in_the_list_or_beyond(distance: Any) -> None:
    labels, z = torch.arange(60) % 20, draw(60, 3)
    whole = first_hits(z, labels, queries=torch.arange(60), distance=distance)
    blocks: list[torch.Tensor] = []
    retrieve(z, labels, k=[59], distance=distance, keep=lambda found: blocks.append(found.classes))
    assert whole.classes.tolist() == torch.cat(blocks).tolist()
    for query, (rank, classes) in enumerate(zip(*map(torch.Tensor.tolist, whole), strict=True)):
        exact = z.double()
        far = (
            -torch.nn.functional.cosine_similarity(exact[query], exact, dim=1)
            if distance == "cosine"
            else (exact - exact[query]).norm(dim=1)
        )
        order = sorted((i for i in range(60) if i != query), key=far.tolist().__getitem__)
        assert classes == len({int(labels[i]) for i in order[: rank - 1]})


def test_an_approximate_search_counts_nothing() -> None:
    labels, z = torch.arange(60) % 20, draw(60, 3)
    config = EvaluateConfig(k=[1], search="ivf")
    assert count_classes("val", z, labels, config, distance="cosine") == []


@pytest.mark.parametrize("method", ["gcudml", "untrained", "pixels"])
@pytest.mark.parametrize("map_at_r", [True, False])
def test_a_run_counts_its_chosen_epoch_on_both_splits(
    tmp_path: Path, method: str, map_at_r: bool
) -> None:
    data = {"classes": 30, "images_per_class": 4}
    results, _ = train_tiny(
        tmp_path,
        test=True,
        method={"name": method},
        data=data,
        evaluate={"map_at_r": map_at_r},
        train={"epochs": 3},
    )
    rows = tables_of(tmp_path, "class_counts")
    for split in ("val", "test"):
        own = [row for row in rows if row["split"] == split]
        assert sum(row["queries"] for row in own) == results[f"{split}/queries"]
        whole = own[0]["classes"]
        assert expected_recall(own, whole) == pytest.approx(results[f"{split}/recall@1"], rel=1e-12)
    queries = tables_of(tmp_path, "queries")
    for row in queries:
        assert (row["classes_before_hit"] == 0) == (row["first_hit"] == 1)
        before = set(row["neighbour_labels"][: row["first_hit"] - 1])
        if row["first_hit"] <= 8:
            assert row["classes_before_hit"] == len(before)
    counted = {row["classes_before_hit"]: row["queries"] for row in rows if row["split"] == "test"}
    for classes, count in counted.items():
        assert sum(row["classes_before_hit"] == classes for row in queries) == count


def test_test_classes_are_not_counted_while_they_are_shut(tmp_path: Path) -> None:
    train_tiny(tmp_path, test=False)
    assert {row["split"] for row in tables_of(tmp_path, "class_counts")} == {"val"}


@pytest.mark.parametrize("k", [1, 8])
def test_an_unusable_image_of_the_own_class_is_no_other_class(k: int) -> None:
    # Unusable images are compared as zeros: nearer to the first query than what it finds.
    z = torch.tensor([[1.0, 0.0], [math.nan, 0.0], [-0.5, 1.0], [-1.0, 0.0]])
    labels = torch.tensor([0, 0, 0, 1])
    found = first_hits(z, labels, queries=torch.tensor([0]))
    assert (found.ranks.tolist(), found.classes.tolist()) == ([2], [0])
    blocks: list[torch.Tensor] = []
    retrieve(z, labels, k=[k], keep=lambda found: blocks.append(found.classes))
    assert blocks[0][0] == 0
