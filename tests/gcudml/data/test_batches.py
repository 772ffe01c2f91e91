"""Batches: clusters first, then images of each, without favour."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from gcudml.data.batches import cluster_batches
from gcudml.runtime.seeding import generator


def batches_of(labels: Tensor, **changes: int) -> Tensor:
    settings = {"batch_size": 12, "images_per_cluster": 3, "steps": 50} | changes
    return cluster_batches(labels, generator=generator(0, "batches"), **settings)


def shuffled(sizes: list[int], unassigned: int = 0) -> Tensor:
    """Labels with the given cluster sizes, in random order; cluster numbers have gaps."""
    clusters = torch.arange(len(sizes)).mul(3).repeat_interleave(torch.tensor(sizes))
    labels = torch.cat([clusters, torch.full((unassigned,), -1)])
    return labels[torch.randperm(len(labels), generator=generator(0, "order"))]


def test_a_batch_holds_distinct_clusters_with_distinct_images() -> None:
    labels = shuffled([5, 3, 9, 40, 4, 7], unassigned=10)
    batches = batches_of(labels)
    assert batches.shape == (50, 12)
    for batch in batches:
        clusters, counts = labels[batch].unique(return_counts=True)
        assert len(clusters) == 4
        assert (counts == 3).all()
        assert len(batch.unique()) == 12


def test_images_of_a_cluster_stand_together() -> None:
    labels = shuffled([5, 3, 9, 40, 4, 7])
    grouped = labels[batches_of(labels)].reshape(50, 4, 3)
    assert (grouped == grouped[:, :, :1]).all()


def test_unassigned_images_and_lone_images_are_never_drawn() -> None:
    labels = shuffled([1, 5, 1, 6, 4, 8], unassigned=30)
    seen = labels[batches_of(labels)].unique()
    assert seen.tolist() == [3, 9, 12, 15]


def test_all_clusters_are_equally_likely_whatever_their_size() -> None:
    labels = shuffled([3, 300, 30, 10, 3, 50, 5, 20])
    batches = batches_of(labels, steps=2000)
    counts = torch.bincount(labels[batches].flatten() // 3, minlength=8) / 3
    assert (counts - 1000).abs().max() < 100  # 2000 * 4 / 8 each; sd about 22


def test_all_images_of_a_cluster_are_equally_likely() -> None:
    labels = torch.arange(14) // 7
    batches = batches_of(labels, batch_size=6, steps=7000)
    counts = torch.bincount(batches.flatten(), minlength=14)
    assert (counts - 3000).abs().max() < 200  # sd about 41


def test_a_small_cluster_repeats_all_of_its_images() -> None:
    labels = shuffled([2, 2, 2, 2])
    batches = batches_of(labels, batch_size=20, images_per_cluster=5)
    for group in batches.reshape(-1, 5):
        _, counts = group.unique(return_counts=True)
        assert sorted(counts.tolist()) == [2, 3]


def test_too_few_clusters_are_repeated_evenly() -> None:
    labels = shuffled([10, 10, 10])
    for batch in batches_of(labels, batch_size=21):
        _, counts = labels[batch].unique(return_counts=True)
        assert sorted(counts.tolist()) == [6, 6, 9]


def test_equal_generators_give_equal_batches() -> None:
    labels = shuffled([5, 3, 9, 40, 4, 7])
    assert torch.equal(batches_of(labels), batches_of(labels))
    other = cluster_batches(
        labels, batch_size=12, images_per_cluster=3, steps=50, generator=generator(1, "batches")
    )
    assert not torch.equal(batches_of(labels), other)


def test_the_batch_is_cut_to_whole_clusters() -> None:
    assert batches_of(shuffled([5] * 9), batch_size=14).shape == (50, 12)


@pytest.mark.parametrize("labels", [torch.arange(5), torch.full((5,), -1)])
def test_no_cluster_with_a_pair_is_an_error_with_a_remedy(labels: Tensor) -> None:
    with pytest.raises(ValueError, match=r"^method\.clusters: [01] clusters have two images"):
        batches_of(labels)
