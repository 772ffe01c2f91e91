"""Approximate indexes against exact search, and what a run says of them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import faiss
import pytest
import torch
from oracles import SlowRetrieval, slow_retrieval
from tiny import tiny, train_tiny

from gcudml import workload
from gcudml.config import EvaluateConfig
from gcudml.data.datasets import load
from gcudml.evaluation import query_log
from gcudml.evaluation.query_log import QueryLog
from gcudml.evaluation.retrieval import evaluate, retrieve
from gcudml.neighbours import search as search_module
from gcudml.neighbours.search import first_hits, is_approximate, nearest, search_in_blocks

DIM = 8
every_index = pytest.mark.parametrize("search", ["ivf", "hnsw"])
every_distance = pytest.mark.parametrize("distance", ["cosine", "euclidean"])


def draw(n: int, dim: int = DIM, seed: int = 0) -> torch.Tensor:
    return torch.randn(n, dim, generator=torch.Generator().manual_seed(seed))


def in_classes(n: int, classes: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Points that lie closely round the centres of their classes."""
    labels = torch.arange(n) % classes
    return 4 * draw(classes)[labels] + 0.4 * draw(n, seed=1), labels


def sorted_neighbours(z: torch.Tensor, k: int, distance: str) -> torch.Tensor:
    points = torch.nn.functional.normalize(z, dim=1) if distance == "cosine" else z
    return torch.cdist(points, points).fill_diagonal_(torch.inf).argsort(dim=1)[:, :k]


def found_by(z: torch.Tensor, k: int, **how: Any) -> torch.Tensor:
    return torch.cat([block.nearest for block in search_in_blocks(z, k, **how)])


def share(found: torch.Tensor, expected: torch.Tensor) -> float:
    return float((found[:, :, None] == expected[:, None]).any(dim=1).float().mean())


@pytest.fixture
def two_threads() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


@every_index
@every_distance
def test_nearly_all_neighbours_are_those_of_a_full_sort(search: Any, distance: Any) -> None:
    z, _ = in_classes(1500, 30)
    found = found_by(z, 8, search=search, distance=distance, block_rows=350)
    assert share(found, sorted_neighbours(z, 8, distance)) > 0.98
    assert not (found == torch.arange(1500)[:, None]).any()


@every_index
def test_an_index_does_leave_points_out(search: Any) -> None:
    z = draw(4000, 32)  # no classes: the hardest case
    found = share(found_by(z, 8, search=search), nearest(z, 8))
    assert 0.4 < found < 1


@every_index
@every_distance
def test_queries_are_searched_for_in_their_gallery_alone(search: Any, distance: Any) -> None:
    z, _ = in_classes(2000, 40)
    asked, gallery = torch.arange(0, 2000, 7), torch.arange(0, 2000).reshape(-1, 2)[:, 1]
    gallery = gallery[gallery % 7 != 0]
    how = {"queries": asked, "gallery": gallery, "distance": distance}
    found, exact = found_by(z, 5, search=search, **how), found_by(z, 5, **how)
    assert torch.isin(found, gallery).all()
    assert share(found, exact) > 0.98


@every_index
def test_equal_rows_find_others_and_never_themselves(search: Any) -> None:
    z = torch.ones(500, 3)
    z[250:] = torch.tensor([1.0, -2.0, 3.0])
    found = found_by(z, 4, search=search)
    assert found.shape == (500, 4)
    assert (found >= 0).all()
    assert not (found == torch.arange(500)[:, None]).any()
    assert ((found < 250) == (torch.arange(500) < 250)[:, None]).all()


@every_index
@pytest.mark.parametrize("n", [1, 2, 5, 90])
def test_where_all_are_wanted_all_are_found(search: Any, n: int) -> None:
    found = found_by(draw(n), 200, search=search)
    others = [[j for j in range(n) if j != i] for i in range(n)]
    assert found.sort(dim=1).values.tolist() == others


def test_a_query_whose_cells_hold_too_few_is_searched_for_exactly() -> None:
    z = draw(2000)
    z[:1600] = z[0]  # one cell of 1600, and many small ones
    found = found_by(z, 150, search="ivf")
    assert (found >= 0).all()
    assert all(len(set(row)) == 150 for row in found[1600:].tolist())
    unit = torch.nn.functional.normalize(z, dim=1)
    near = (unit[:, None] * unit[found]).sum(dim=2)
    assert (near[:, :-1] >= near[:, 1:] - 1e-5).all()


@every_index
@every_distance
def test_an_unusable_row_finds_nothing_and_is_not_found(search: Any, distance: Any) -> None:
    z, labels = in_classes(1500, 30)
    z[3], z[7] = float("nan"), 1e20
    found = retrieve(z, labels, k=[1], search=search, distance=distance)
    exact = retrieve(z, labels, k=[1], distance=distance)
    assert found.recall[1] == pytest.approx(exact.recall[1], abs=0.002)
    assert found.recall[1] <= 1 - 2 / 1500


@cache
def by_the_slow_formulas(distance: str) -> tuple[torch.Tensor, torch.Tensor, SlowRetrieval]:
    """Points, their labels, and what the formulas give."""
    labels = torch.arange(200) % 20
    z = draw(20)[labels] + 0.6 * draw(200, seed=1)
    return z, labels, slow_retrieval(z, labels.tolist(), 4, euclidean=distance == "euclidean")


@every_index
@every_distance
def test_scores_come_close_to_the_slow_formulas(
    search: Any, distance: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(search_module, "FEWEST_OF_A_CELL", 10)  # 20 cells, not all looked into
    monkeypatch.setattr(search_module, "PROBED", 8)
    z, labels, slow = by_the_slow_formulas(distance)
    config = EvaluateConfig(k=[1, 4], search=search, nmi=False, ami=False)
    found = evaluate(z, labels, config, seed=0, distance=distance)
    assert 0.5 < slow.recall < 0.995
    assert found["recall@4"] == pytest.approx(slow.recall, abs=0.02)
    assert found["map@r"] == pytest.approx(slow.map_at_r, abs=0.02)
    assert found["r_precision"] == pytest.approx(slow.r_precision, abs=0.02)


@every_index
def test_the_search_that_is_asked_for_is_the_one_that_scores(search: Any) -> None:
    z, labels = draw(4000, 32), torch.arange(4000) % 80  # no structure: an index must miss some
    scores = [
        evaluate(z, labels, EvaluateConfig(search=each, nmi=False, ami=False), seed=0)
        for each in ("exact", search)
    ]
    assert scores[0]["map@r"] != scores[1]["map@r"]
    assert scores[0]["queries"] == scores[1]["queries"]


@every_index
@every_distance
@pytest.mark.usefixtures("two_threads")
def test_equal_calls_find_equal_rows_on_any_number_of_threads(search: Any, distance: Any) -> None:
    z = draw(1500, 16)
    found = [found_by(z, 8, search=search, distance=distance) for _ in range(2)]
    torch.set_num_threads(1)
    found.append(found_by(z, 8, search=search, distance=distance))
    assert all(torch.equal(found[0], other) for other in found[1:])


def test_a_graph_is_linked_by_one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    threads = []

    class Watched(faiss.IndexHNSWFlat):
        def add(self, points: Any) -> None:
            threads.append(faiss.omp_get_max_threads())
            super().add(points)

    monkeypatch.setattr(search_module.faiss, "IndexHNSWFlat", Watched)
    faiss.omp_set_num_threads(2)
    assert found_by(draw(300), 4, search="hnsw").shape == (300, 4)
    assert threads == [1]


def test_a_gpu_always_searches_exactly() -> None:
    assert is_approximate("ivf", torch.device("cpu"))
    assert not is_approximate("ivf", torch.device("cuda"))
    assert not is_approximate("exact", torch.device("cpu"))


@pytest.mark.parametrize("method", ["pixels", "untrained"])
def test_a_run_says_that_its_scores_are_approximate(tmp_path: Path, method: str) -> None:
    for search in ("exact", "hnsw"):
        folder = tmp_path / search
        train_tiny(folder, test=True, method={"name": method}, evaluate={"search": search})
        remarks = json.loads((folder / "facts.json").read_text()).get("remarks", [])
        said = [each for each in remarks if "approximate (evaluate.search: hnsw)" in each]
        assert len(said) == (search == "hnsw")


@pytest.mark.parametrize("search", ["exact", "hnsw"])
def test_ranks_beyond_an_approximate_list_are_counted_for_shown_queries_alone(
    search: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(query_log, "SHOWN_QUERIES", 12)
    config = tiny(data={"classes": 40, "images_per_class": 4}, evaluate={"search": search})
    part = load(config.data, "test")
    z, labels = draw(len(part.labels), 4), torch.from_numpy(part.labels)
    log = QueryLog(tmp_path, config.data, config.evaluate)
    retrieve(z, labels, k=[1], map_at_r=False, search=search, keep=log.keep)
    log.write(z, labels, distance="cosine")
    lines = (tmp_path / "tables" / "queries.jsonl").read_text().splitlines()
    whole = first_hits(z, labels, queries=torch.arange(len(z))).ranks.tolist()
    late = 0
    for row, rank in zip(map(json.loads, lines), whole, strict=True):
        is_counted = rank <= 8 or search == "exact" or "picture" in row
        assert row["first_hit"] == (rank if is_counted else None)
        late += rank > 8 and "picture" in row
    assert late


def test_the_table_of_queries_is_the_same_in_blocks_of_any_size(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = tiny(data={"classes": 20, "images_per_class": 4})
    part = load(config.data, "test")
    z, labels = draw(len(part.labels), 4), torch.from_numpy(part.labels.copy())
    labels[5] = 30  # dropped: alone in its class
    written = []
    for size in (7, 10_000):
        monkeypatch.setattr(query_log, "ROWS_AT_ONCE", size)
        log = QueryLog(tmp_path / str(size), config.data)
        retrieve(z, labels, k=[1], keep=log.keep)
        log.write(z, labels, distance="euclidean")
        written.append((tmp_path / str(size) / "tables" / "queries.jsonl").read_text())
    assert written[0] == written[1]
    assert written[0].count('"dropped":true') == 1


def test_an_unknown_search_is_refused_in_one_line() -> None:
    with pytest.raises(ValueError, match=r"^evaluate\.search: .*'exact', 'ivf' or 'hnsw'.*'annoy'"):
        workload.check({"evaluate": {"search": "annoy"}})
    assert workload.check({})["evaluate"]["search"] == "exact"
