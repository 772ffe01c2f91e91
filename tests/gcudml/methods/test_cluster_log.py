"""What a clustering leaves behind: which of the listed images each cluster holds."""

from __future__ import annotations

import torch

from gcudml.methods.cluster_log import LISTED_IMAGES, ClusterLog


def members_of(labels: torch.Tensor, *, clusters: int, epoch: int = 0) -> list[list[int]]:
    rows = ClusterLog(torch.full_like(labels, -1)).record(labels, clusters=clusters, epoch=epoch)
    return [row["members"] for row in rows.rows]  # type: ignore[misc]  # lists of numbers


def test_members_are_the_images_of_the_cluster() -> None:
    labels = torch.tensor([2, 0, 0, -1, 2, 2])
    assert members_of(labels, clusters=4) == [[1, 2], [], [0, 4, 5], []]


def test_of_many_images_the_same_are_listed_in_every_clustering() -> None:
    count = 3 * LISTED_IMAGES
    one = members_of(torch.zeros(count, dtype=torch.int64), clusters=1)
    parity = members_of(torch.arange(count) % 2, clusters=2, epoch=5)
    assert len(one[0]) == LISTED_IMAGES
    assert sorted(parity[0] + parity[1]) == one[0] == sorted(set(one[0]))
    assert all(image % 2 == 1 for image in parity[1])
    assert max(one[0]) > 2 * LISTED_IMAGES  # drawn from all of them
