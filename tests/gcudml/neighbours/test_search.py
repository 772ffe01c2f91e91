"""Nearest neighbours and spherical k-means."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from gcudml.neighbours.kmeans import Clustering, euclidean_kmeans, spherical_kmeans
from gcudml.neighbours.search import nearest, search_in_blocks


def draw(n: int, dim: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(n, dim, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("block_rows", [1, 7, 100])
def test_nearest_equals_a_full_sort_without_the_row_itself(block_rows: int) -> None:
    z = draw(23, 5)
    unit = torch.nn.functional.normalize(z, dim=1)
    similarity = (unit @ unit.T).fill_diagonal_(-2.0)
    expected = similarity.argsort(dim=1, descending=True)[:, :4]
    assert torch.equal(nearest(z, 4, block_rows=block_rows), expected)


def test_an_exact_copy_is_found_first_and_the_row_itself_never() -> None:
    z = draw(6, 4)
    z[3] = z[0]
    found = nearest(z, 5)
    assert found[0, 0] == 3
    assert found[3, 0] == 0
    assert not (found == torch.arange(6)[:, None]).any()


def test_more_neighbours_than_others_gives_all_others() -> None:
    assert nearest(draw(4, 3), 10).shape == (4, 3)


def test_kmeans_finds_well_separated_clusters() -> None:
    centres = torch.eye(5)[:4] * 10
    truth = torch.arange(4).repeat_interleave(25)
    found = spherical_kmeans(centres[truth] + 0.3 * draw(100, 5), 4, seed=1)
    for cluster in range(4):
        assert len(found.labels[truth == cluster].unique()) == 1
    assert len(found.labels.unique()) == 4
    torch.testing.assert_close(found.centres.norm(dim=1), torch.ones(4))


def test_kmeans_follows_the_seed_and_nothing_else() -> None:
    z = draw(300, 8)
    first, again = spherical_kmeans(z, 20, seed=3), spherical_kmeans(z, 20, seed=3)
    other = spherical_kmeans(z, 20, seed=4)
    assert torch.equal(first.labels, again.labels)
    assert not torch.equal(first.labels, other.labels)


def test_scale_does_not_matter() -> None:
    z = draw(50, 4)
    scaled = z * torch.linspace(0.5, 20, 50)[:, None]
    assert torch.equal(
        spherical_kmeans(z, 6, seed=0).labels, spherical_kmeans(scaled, 6, seed=0).labels
    )


def test_more_clusters_than_points_is_refused_with_the_parameter_named() -> None:
    with pytest.raises(ValueError, match=r"method\.clusters: 5 clusters of 4 images"):
        spherical_kmeans(draw(4, 2), 5, seed=0)


@pytest.mark.parametrize("distance", ["cosine", "euclidean"])
def test_queries_are_searched_for_in_their_gallery_alone(distance: str) -> None:
    z = 5 + draw(12, 4)
    queries, gallery = torch.tensor([1, 4, 7]), torch.tensor([0, 2, 3, 10, 11])
    blocks = search_in_blocks(
        z, 3, distance=distance, queries=queries, gallery=gallery, block_rows=2
    )
    found = torch.cat([block.nearest for block in blocks])
    points = torch.nn.functional.normalize(z, dim=1) if distance == "cosine" else z
    expected = gallery[torch.cdist(points[queries], points[gallery]).argsort(dim=1)[:, :3]]
    assert torch.equal(found, expected)


def test_euclidean_neighbours_equal_a_full_sort() -> None:
    z = draw(30, 5) * torch.linspace(0.1, 4, 30)[:, None]
    expected = torch.cdist(z, z).fill_diagonal_(torch.inf).argsort(dim=1)[:, :6]
    assert torch.equal(nearest(z, 6, distance="euclidean", block_rows=7), expected)


def test_a_row_is_not_its_own_neighbour_among_many_equal_ones() -> None:
    found = nearest(torch.ones(50, 3), 4)
    assert found.shape == (50, 4)
    assert not (found == torch.arange(50)[:, None]).any()


@pytest.mark.parametrize("kmeans", [spherical_kmeans, euclidean_kmeans])
def test_a_warm_start_keeps_the_numbers_of_clusters(kmeans: Callable[..., Clustering]) -> None:
    centres = torch.eye(6) * 8
    truth = torch.arange(6).repeat(20)
    z = centres[truth] + 0.3 * draw(120, 6)
    found = kmeans(z, 6, seed=1, start=centres[[3, 1, 5, 0, 2, 4]])
    assert torch.equal(torch.tensor([3, 1, 5, 0, 2, 4])[found.labels], truth)


def test_euclidean_kmeans_minds_the_norm() -> None:
    z = torch.cat([torch.ones(10, 2), 10 * torch.ones(10, 2)]) + 0.1 * draw(20, 2)
    found = euclidean_kmeans(z, 2, seed=0, restarts=3)
    assert found.labels[:10].unique().numel() == found.labels[10:].unique().numel() == 1
    assert found.labels[0] != found.labels[10]
    assert sorted(found.centres.norm(dim=1).tolist()) == pytest.approx([2**0.5, 200**0.5], abs=0.3)


@pytest.mark.parametrize(
    ("kmeans", "bad"),
    [
        (spherical_kmeans, float("nan")),
        (spherical_kmeans, float("inf")),
        (euclidean_kmeans, float("nan")),
        (euclidean_kmeans, 1e20),  # its square is infinite, at which faiss aborts the process
    ],
)
def test_numbers_out_of_range_are_a_divergence(
    kmeans: Callable[..., Clustering], bad: float
) -> None:
    z = draw(20, 4)
    z[3, 1] = bad
    with pytest.raises(FloatingPointError, match="the training has diverged"):
        kmeans(z, 3, seed=0)
