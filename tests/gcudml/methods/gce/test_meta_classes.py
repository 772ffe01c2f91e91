"""Which learner gets which classes: partitions, balance, names that stay."""

from __future__ import annotations

import itertools

import pytest
import torch
from oracles_gce import slow_moved

from gcudml.methods.gce.meta_classes import (
    class_proxies,
    cluster_classes,
    fill_up,
    match_names,
    random_classes,
    usable_classes,
)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def blobs(*sizes: int, seed: int = 0) -> torch.Tensor:
    """Directions around one axis a blob."""
    centres = torch.eye(len(sizes), 6)
    rows = torch.cat([centre.expand(size, -1) for centre, size in zip(centres, sizes, strict=True)])
    return rows + 0.05 * torch.randn(rows.shape, generator=generator(seed))


def test_classes_of_one_image_are_not_usable_and_the_others_are_numbered_anew() -> None:
    labels = torch.tensor([7, 3, 7, -1, 5, 3, 9, 9, -1, -1])
    assert usable_classes(labels).tolist() == [1, 0, 1, -1, -1, 0, 2, 2, -1, -1]


@pytest.mark.parametrize("labels", [[], [-1, -1], [0, 1, 2]])
def test_without_pairs_no_class_is_usable(labels: list[int]) -> None:
    found = usable_classes(torch.tensor(labels, dtype=torch.int64))
    assert found.tolist() == [-1] * len(labels)


def test_a_proxy_is_the_unit_mean_of_unit_features() -> None:
    features = torch.tensor([[2.0, 0.0], [0.0, 5.0], [0.0, 3.0], [9.0, 9.0]])
    proxies = class_proxies(features, torch.tensor([0, 0, 1, -1]), classes=2)
    half = 0.5**0.5
    torch.testing.assert_close(proxies, torch.tensor([[half, half], [0.0, 1.0]]))


def test_similar_classes_get_one_learner() -> None:
    partition = cluster_classes(blobs(4, 7, 5), 3, least=2, seed=0)
    parts = [set(part.tolist()) for part in partition.split([4, 7, 5])]
    assert [len(part) for part in parts] == [1, 1, 1]
    assert set.union(*parts) == {0, 1, 2}


@pytest.mark.parametrize("least", [1, 2, 4, 50])
@pytest.mark.parametrize("sizes", [(1, 20, 3), (8, 8, 8), (2, 2, 20)])
def test_every_class_has_one_learner_and_every_learner_enough_classes(
    sizes: tuple[int, ...], least: int
) -> None:
    partition = cluster_classes(blobs(*sizes), 3, least=least, seed=1)
    assert partition.shape == (24,)
    counts = torch.bincount(partition, minlength=3)
    assert len(counts) == 3
    assert counts.min() >= min(least, 8)


def test_equal_proxies_still_make_a_partition() -> None:
    counts = torch.bincount(cluster_classes(torch.ones(9, 4), 3, least=2, seed=0), minlength=3)
    assert counts.sum() == 9
    assert counts.min() >= 2


def test_the_nearest_classes_move_in_and_nothing_else_moves() -> None:
    partition = torch.tensor([0, 0, 0, 0, 0, 1])
    similarity = torch.tensor(
        [[0.9, 0.1], [0.9, 0.8], [0.9, 0.3], [0.9, 0.7], [0.9, 0.2], [0.0, 1.0]]
    )
    assert fill_up(partition, similarity, least=3).tolist() == [0, 1, 0, 1, 0, 1]
    assert fill_up(partition, similarity, least=1).tolist() == partition.tolist()
    assert partition.tolist() == [0, 0, 0, 0, 0, 1]


def test_a_meta_class_that_has_no_more_than_it_needs_gives_nothing() -> None:
    partition = torch.tensor([0, 0, 1, 1, 1, 2])
    similarity = torch.zeros(6, 3)
    similarity[0, 2] = 1.0  # the nearest, but its meta-class would be left with one
    similarity[3, 2] = 0.5
    assert fill_up(partition, similarity, least=2).tolist() == [0, 0, 1, 2, 1, 2]


def test_random_meta_classes_are_balanced_and_follow_their_generator() -> None:
    first = random_classes(14, 4, generator=generator(0))
    assert sorted(torch.bincount(first).tolist()) == [3, 3, 4, 4]
    assert torch.equal(first, random_classes(14, 4, generator=generator(0)))
    assert not torch.equal(first, random_classes(14, 4, generator=generator(1)))


def test_a_renumbered_clustering_keeps_its_names() -> None:
    previous = torch.tensor([0, 0, 1, 1, 1, 2, 2, 3])
    for order in itertools.permutations(range(4)):
        renumbered = torch.tensor(order)[previous]
        assert torch.equal(match_names(renumbered, previous, learners=4)[renumbered], previous)


@pytest.mark.parametrize("seed", range(6))
def test_no_other_naming_moves_fewer_classes(seed: int) -> None:
    new, previous = (
        torch.randint(4, (15,), generator=generator(2 * seed + each)) for each in (0, 1)
    )
    names = match_names(new, previous, learners=4)
    assert sorted(names.tolist()) == [0, 1, 2, 3]
    moved = slow_moved(new.tolist(), previous.tolist(), tuple(names.tolist()))
    assert moved == min(
        slow_moved(new.tolist(), previous.tolist(), order)
        for order in itertools.permutations(range(4))
    )


def test_what_had_no_meta_class_has_no_say_in_the_names() -> None:
    previous = torch.tensor([1, 1, 0, -1, -1, -1])
    new = torch.tensor([0, 0, 1, 1, -1, 1])
    assert match_names(new, previous, learners=2).tolist() == [1, 0]
