"""Recall@K and NMI against slow formulas and the field's library."""

from __future__ import annotations

import pytest
import torch
from oracles import slow_recall
from pytorch_metric_learning.utils.accuracy_calculator import AccuracyCalculator
from sklearn.metrics import normalized_mutual_info_score

from gcudml.config import EvaluateConfig
from gcudml.evaluate import clustering_nmi, evaluate, recall_at_k


def draw(n: int, dim: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(n, dim, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize(
    "labels",
    [[0, 0, 1, 1, 2, 2, 2], [0, 0, 0, 0, 0, 0, 0], [0, 1, 2, 3, 3, 3, 4], [0, 1, 2, 3, 4, 5, 6]],
)
def test_recall_equals_the_slow_formula(labels: list[int]) -> None:
    z = draw(7, 3)
    found = recall_at_k(z, torch.tensor(labels), k=[1, 2, 4])
    for k in (1, 2, 4):
        recall, dropped = slow_recall(z, labels, k)
        assert found.recall[k] == pytest.approx(recall)
        assert found.dropped == dropped
    assert found.queries + found.dropped == len(labels)


def test_recall_at_1_equals_the_library_on_many_points() -> None:
    z, labels = draw(500, 16, seed=1), torch.arange(500) % 40
    unit = torch.nn.functional.normalize(z, dim=1)
    library = AccuracyCalculator(include=("precision_at_1",), k=1).get_accuracy(unit, labels)
    assert recall_at_k(z, labels, k=[1]).recall[1] == pytest.approx(library["precision_at_1"])


def test_a_query_without_a_relevant_image_is_dropped_not_scored() -> None:
    z = torch.tensor([[1.0, 0.0], [1.0, 0.1], [0.0, 1.0]])
    found = recall_at_k(z, torch.tensor([0, 0, 1]), k=[1])
    assert (found.recall[1], found.queries, found.dropped) == (1.0, 2, 1)


def test_a_large_k_finds_everything_that_can_be_found() -> None:
    assert recall_at_k(draw(6, 3), torch.tensor([0, 0, 1, 1, 2, 2]), k=[100]).recall[100] == 1.0


def test_nmi_is_one_for_separated_classes_and_small_for_noise() -> None:
    truth = torch.arange(3).repeat_interleave(20)
    assert clustering_nmi(torch.eye(4)[truth] + 0.01 * draw(60, 4), truth, seed=0) == pytest.approx(
        1.0
    )
    noise = clustering_nmi(draw(60, 4), truth, seed=0)
    assert noise < 0.2


def test_nmi_does_not_care_which_number_a_cluster_has() -> None:
    truth = torch.tensor([0, 0, 1, 1, 2, 2])
    z = torch.eye(3)[torch.tensor([2, 2, 0, 0, 1, 1])]
    assert clustering_nmi(z, truth, seed=5) == pytest.approx(
        normalized_mutual_info_score([0, 0, 1, 1, 2, 2], [1, 1, 2, 2, 0, 0])
    )


def test_metrics_carry_the_names_that_studies_use() -> None:
    metrics = evaluate(draw(8, 3), torch.arange(8) // 2, EvaluateConfig(k=[1, 3], nmi=True), seed=0)
    assert set(metrics) == {"recall@1", "recall@3", "nmi", "queries", "dropped"}
    without = evaluate(draw(8, 3), torch.arange(8) // 2, EvaluateConfig(k=[1], nmi=False), seed=0)
    assert "nmi" not in without
