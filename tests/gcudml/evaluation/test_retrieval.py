"""Retrieval and clustering metrics against slow formulas and the field's library."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from oracles import slow_retrieval
from pytorch_metric_learning.utils.accuracy_calculator import AccuracyCalculator
from sklearn.metrics import adjusted_mutual_info_score, normalized_mutual_info_score
from tiny import tiny

from gcudml.config import EvaluateConfig
from gcudml.evaluation.retrieval import evaluate, retrieve, score_clusters
from gcudml.neighbours import search
from gcudml.neighbours.kmeans import spherical_kmeans

LABELS = [
    [0, 0, 1, 1, 2, 2, 2, 1, 0],
    [0] * 9,
    [0, 1, 2, 3, 3, 3, 4, 4, 0],
    list(range(9)),
]
QUERIES = [
    None,
    [True, False, True, False, False, True, False, True, False],
    [True, True, True, True, True, True, False, False, False],
]


def draw(n: int, dim: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(n, dim, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("labels", LABELS)
@pytest.mark.parametrize("is_query", QUERIES)
@pytest.mark.parametrize("distance", ["cosine", "euclidean"])
@pytest.mark.parametrize("block_entries", [1 << 22, 20])
def test_all_metrics_equal_the_slow_formulas(
    labels: list[int],
    is_query: list[bool] | None,
    distance: Any,
    block_entries: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(search, "BLOCK_ENTRIES", block_entries)  # several blocks
    z = 3 * draw(9, 3) + 1
    found = retrieve(
        z,
        torch.tensor(labels),
        k=[1, 2, 4],
        distance=distance,
        is_query=None if is_query is None else torch.tensor(is_query),
    )
    for k in (1, 2, 4):
        slow = slow_retrieval(z, labels, k, euclidean=distance == "euclidean", is_query=is_query)
        assert found.recall[k] == pytest.approx(slow.recall)
        assert found.map_at_r == pytest.approx(slow.map_at_r)
        assert found.r_precision == pytest.approx(slow.r_precision)
        assert found.dropped == slow.dropped
    asked = len(labels) if is_query is None else sum(is_query)
    assert found.queries + found.dropped == asked


def library_metrics(z: torch.Tensor, labels: torch.Tensor, clusters: torch.Tensor) -> dict:
    calculator = AccuracyCalculator(
        include=("precision_at_1", "mean_average_precision_at_r", "r_precision", "NMI", "AMI"),
        k="max_bin_count",
        kmeans_func=lambda x, nmb_clusters: clusters,
        device=torch.device("cpu"),
    )
    return calculator.get_accuracy(torch.nn.functional.normalize(z, dim=1), labels)


@pytest.mark.parametrize("seed", range(3))
def test_metrics_equal_the_librarys_on_random_points(seed: int) -> None:
    labels = torch.randint(25, (400,), generator=torch.Generator().manual_seed(seed))
    z = draw(400, 12, seed) + torch.nn.functional.one_hot(labels % 12, 12)
    found = evaluate(z, labels, EvaluateConfig(k=[1]), seed=7)
    clusters = spherical_kmeans(z, len(labels.unique()), seed=7).labels
    library = library_metrics(z, labels, clusters)
    assert found["recall@1"] == pytest.approx(library["precision_at_1"])
    assert found["map@r"] == pytest.approx(library["mean_average_precision_at_r"])
    assert found["r_precision"] == pytest.approx(library["r_precision"])
    assert found["nmi"] == pytest.approx(library["NMI"])
    assert found["ami"] == pytest.approx(library["AMI"])


def test_query_against_gallery_equals_the_library() -> None:
    labels = torch.arange(200) % 20
    z = draw(200, 10) + torch.nn.functional.one_hot(labels % 10, 10)
    is_query = torch.arange(200) % 3 == 0
    unit = torch.nn.functional.normalize(z, dim=1)
    library = AccuracyCalculator(
        include=("precision_at_1", "mean_average_precision_at_r", "r_precision"),
        k="max_bin_count",
        device=torch.device("cpu"),
    ).get_accuracy(unit[is_query], labels[is_query], unit[~is_query], labels[~is_query])
    found = retrieve(z, labels, k=[1], is_query=is_query)
    assert found.recall[1] == pytest.approx(library["precision_at_1"])
    assert found.map_at_r == pytest.approx(library["mean_average_precision_at_r"])
    assert found.r_precision == pytest.approx(library["r_precision"])


def test_a_query_without_a_relevant_image_is_dropped_not_scored() -> None:
    z = torch.tensor([[1.0, 0.0], [1.0, 0.1], [0.0, 1.0]])
    found = retrieve(z, torch.tensor([0, 0, 1]), k=[1])
    assert (found.recall[1], found.queries, found.dropped) == (1.0, 2, 1)


def test_with_no_query_left_everything_is_zero() -> None:
    found = retrieve(draw(3, 2), torch.arange(3), k=[1])
    assert found == ({1: 0.0}, 0.0, 0.0, 0, 3)


def test_a_large_k_finds_everything_that_can_be_found() -> None:
    found = retrieve(draw(6, 3), torch.tensor([0, 0, 1, 1, 2, 2]), k=[100])
    assert found.recall[100] == 1.0


def test_equal_embeddings_find_each_other_and_never_themselves() -> None:
    found = retrieve(torch.ones(6, 3), torch.arange(6), k=[1, 5])
    assert found.queries == 0
    found = retrieve(torch.ones(6, 3), torch.tensor([0, 0, 1, 1, 2, 2]), k=[5])
    assert found.recall[5] == 1.0


@pytest.mark.parametrize("distance", ["cosine", "euclidean"])
@pytest.mark.parametrize("bad", [float("nan"), float("inf"), 1e20])
def test_an_embedding_that_is_not_finite_finds_nothing_and_is_not_found(
    bad: float, distance: Any
) -> None:
    z = torch.eye(4).repeat(2, 1)
    labels = torch.arange(4).repeat(2)
    assert retrieve(z, labels, k=[1], distance=distance).recall[1] == 1.0
    z[0, 1] = bad
    found = retrieve(z, labels, k=[1, 7], distance=distance)
    assert found.recall == {1: 6 / 8, 7: 6 / 8}  # neither it nor its only partner
    assert found.r_precision == 6 / 8
    scores = score_clusters(z, labels, seed=0, distance=distance)
    assert np.isfinite(scores).all()


def test_a_k_that_is_asked_for_twice_counts_once() -> None:
    z, labels = draw(30, 4), torch.arange(30) % 5
    assert retrieve(z, labels, k=[1, 1, 2]).recall == retrieve(z, labels, k=[1, 2]).recall


def test_nmi_is_one_for_separated_classes_and_ami_nought_for_noise() -> None:
    truth = torch.arange(3).repeat_interleave(20)
    apart = score_clusters(torch.eye(4)[truth] + 0.01 * draw(60, 4), truth, seed=0)
    assert apart == pytest.approx((1.0, 1.0))
    noise = score_clusters(draw(60, 4), truth, seed=0)
    assert noise.ami < 0.1
    assert noise.ami < noise.nmi


def test_clusters_are_scored_whatever_their_numbers() -> None:
    truth = torch.tensor([0, 0, 1, 1, 2, 2])
    z = torch.eye(3)[torch.tensor([2, 2, 0, 0, 1, 1])]
    other = [1, 1, 2, 2, 0, 0]
    assert score_clusters(z, truth, seed=5) == pytest.approx(
        (
            normalized_mutual_info_score(truth.tolist(), other),
            adjusted_mutual_info_score(truth.tolist(), other),
        )
    )


def test_euclidean_and_cosine_differ_where_norms_do() -> None:
    z = torch.tensor([[1.0, 0.0], [9.0, 1.0], [0.9, 0.3], [8.5, 2.5]])
    labels = torch.tensor([0, 1, 0, 1])
    assert retrieve(z, labels, k=[1], distance="euclidean").recall[1] == 1.0
    assert retrieve(z, labels, k=[1], distance="cosine").recall[1] == 0.0


def test_the_distance_is_the_methods_unless_the_configuration_names_one() -> None:
    stml = tiny(method={"name": "stml"})
    assert (stml.distance, tiny().distance) == ("euclidean", "cosine")
    assert tiny(method={"name": "stml"}, evaluate={"distance": "cosine"}).distance == "cosine"


def test_metrics_carry_the_names_that_studies_use() -> None:
    labels = torch.arange(8) // 2
    everything = {"recall@1", "recall@3", "map@r", "r_precision", "nmi", "ami"}
    metrics = evaluate(draw(8, 3), labels, EvaluateConfig(k=[1, 3]), seed=0)
    assert set(metrics) == everything | {"queries", "dropped"}
    few = EvaluateConfig(k=[1], nmi=False, ami=False, map_at_r=False)
    assert set(evaluate(draw(8, 3), labels, few, seed=0)) == {"recall@1", "queries", "dropped"}
