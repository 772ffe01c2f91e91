"""Nearest neighbours and spherical k-means."""

from __future__ import annotations

import pytest
import torch

from gcudml.neighbours import nearest, spherical_kmeans


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
