"""What is said of clusters and embeddings, by cases that can be counted by hand."""

from __future__ import annotations

import itertools

import pytest
import torch
from sklearn.metrics import adjusted_rand_score

from gcudml.evaluation import diagnostics
from gcudml.evaluation.diagnostics import describe_clustering, embedding_health, gini, share_changed


def test_clusters_are_compared_with_the_hidden_classes() -> None:
    labels = torch.tensor([0, 0, 0, 1, 1, 2])
    truth = torch.tensor([5, 5, 1, 1, 1, 1])
    found = describe_clustering(labels, truth, clusters=4, previous=None)
    assert found.sizes == [3, 2, 1, 0]
    judged = found.against_classes
    assert judged is not None
    assert judged.purity_of == pytest.approx([2 / 3, 1.0, 1.0, 0.0])
    assert judged.purity == pytest.approx(5 / 6)
    assert judged.ari == pytest.approx(adjusted_rand_score(truth.tolist(), labels.tolist()))
    assert (found.filled, found.unassigned, found.changed) == (3, 0.0, None)


def test_perfect_clusters_and_a_single_one() -> None:
    truth = torch.tensor([0, 0, 1, 1, 2, 2])
    perfect = describe_clustering(truth.roll(2), truth.roll(2), clusters=3, previous=None)
    judged = perfect.against_classes
    assert judged is not None
    assert (judged.purity, judged.nmi, judged.ari) == pytest.approx((1.0, 1.0, 1.0))
    single = describe_clustering(torch.zeros_like(truth), truth, clusters=3, previous=None)
    assert single.against_classes is not None
    assert (single.filled, *single.against_classes[1:]) == pytest.approx((1, 1 / 3, 0, 0))


def test_unassigned_images_count_in_nothing_but_their_share() -> None:
    labels = torch.tensor([0, 0, 1, -1])
    truth = torch.tensor([0, 0, 1, 1])
    found = describe_clustering(labels, truth, clusters=2, previous=None)
    assert found.against_classes is not None
    assert (found.sizes, found.against_classes.purity, found.unassigned) == ([2, 1], 1.0, 0.25)
    nobody = describe_clustering(torch.full((4,), -1), truth, clusters=2, previous=None)
    assert nobody.against_classes is not None
    assert (nobody.filled, nobody.against_classes.purity, nobody.unassigned) == (0, 0.0, 1.0)


def test_without_classes_a_clustering_is_described_by_itself_alone() -> None:
    labels = torch.tensor([0, 0, 1, 2])
    found = describe_clustering(labels, torch.full((4,), -1), clusters=3, previous=labels.roll(1))
    assert found.against_classes is None
    assert (found.sizes, found.filled, found.changed) == ([2, 1, 1], 3, 0.25)


@pytest.mark.parametrize("exact", [True, False])
def test_new_numbers_alone_are_no_change(exact: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(diagnostics, "MOST_EXACT_CLUSTERS", 10 if exact else 0)
    before = torch.tensor([0, 0, 1, 1, 2, 2, 2])
    renumbered = torch.tensor([2, 2, 0, 0, 1, 1, 1])
    assert share_changed(renumbered, before, clusters=3) == 0.0
    moved = renumbered.clone()
    moved[0] = 0
    assert share_changed(moved, before, clusters=3) == pytest.approx(1 / 7)


def test_the_matching_is_the_best_of_all() -> None:
    generator = torch.Generator().manual_seed(0)
    new, old = (torch.randint(4, (40,), generator=generator) for _ in range(2))
    kept = max(
        int((torch.tensor(order)[new] == old).sum()) for order in itertools.permutations(range(4))
    )
    assert share_changed(new, old, clusters=4) == pytest.approx(1 - kept / 40)


def test_the_fast_matching_never_calls_fewer_images_changed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    generator = torch.Generator().manual_seed(1)
    new, old = (torch.randint(30, (400,), generator=generator) for _ in range(2))
    exact = share_changed(new, old, clusters=30)
    monkeypatch.setattr(diagnostics, "MOST_EXACT_CLUSTERS", 0)
    assert exact <= share_changed(new, old, clusters=30) <= 1.0


def test_an_image_that_loses_its_cluster_has_changed() -> None:
    before, after = torch.tensor([0, 0, 1, -1]), torch.tensor([0, -1, 1, -1])
    assert share_changed(after, before, clusters=2) == pytest.approx(0.25)


@pytest.mark.parametrize(
    ("sizes", "expected"), [([5, 5, 5], 0.0), ([0, 0, 9], 2 / 3), ([1, 3], 0.25), ([0, 0], 0.0)]
)
def test_gini(sizes: list[int], expected: float) -> None:
    assert gini(sizes) == pytest.approx(expected)


def test_gini_equals_the_mean_absolute_difference() -> None:
    sizes = [3, 14, 1, 5, 9, 2, 6]
    slow = sum(abs(a - b) for a in sizes for b in sizes) / (2 * len(sizes) * sum(sizes))
    assert gini(sizes) == pytest.approx(slow)


def test_embeddings_that_are_all_alike_raise_the_alarm() -> None:
    alike = embedding_health(torch.full((20, 5), 3.0) * torch.linspace(1, 2, 20)[:, None])
    assert alike["alarm/collapsed"] == 1.0
    assert alike["embedding/spread"] == pytest.approx(0.0, abs=1e-6)
    assert alike["embedding/norm"] == pytest.approx(1.5 * 45**0.5, rel=1e-5)


def test_embeddings_that_differ_do_not() -> None:
    z = torch.randn(200, 8, generator=torch.Generator().manual_seed(0))
    found = embedding_health(z)
    assert found["alarm/collapsed"] == 0.0
    assert found["embedding/spread"] > 0.9
    opposite = embedding_health(torch.tensor([[1.0, 0.0], [-1.0, 0.0]]))
    assert opposite["embedding/spread"] == pytest.approx(1.0)
