"""Metrics and table rows of a clustering, for every method with pseudo-labels."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch
from jaxtyping import Int
from torch import Tensor

from gcudml.evaluation.diagnostics import describe_clustering
from gcudml.runtime.seeding import generator

LISTED_IMAGES = 500
"""Number of training images whose cluster is written down in every clustering."""


class Logged(NamedTuple):
    """Metrics and table rows of one clustering."""

    metrics: Mapping[str, float]
    rows: Sequence[Mapping[str, object]]
    """For the table ``clusters``: one row per cluster. Purity is None if images have no classes.
    ``members`` are those of the listed images that are in it, by their position."""


class ClusterLog:
    """Describes successive clusterings; uses the hidden classes only for this."""

    def __init__(self, hidden_labels: Int[Tensor, " n"]) -> None:
        self.hidden_labels = hidden_labels
        self.previous: Int[Tensor, " n"] | None = None

    def state_dict(self) -> dict[str, Int[Tensor, " n"] | None]:
        """Return the state that a resumed run needs."""
        return {"previous": self.previous}

    def load_state_dict(self, state: Mapping[str, Int[Tensor, " n"] | None]) -> None:
        """Restore the state from ``state_dict``."""
        self.previous = state["previous"]

    def record(
        self,
        labels: Int[Tensor, " n"],
        *,
        clusters: int,
        epoch: int,
        group_of: Int[Tensor, " clusters"] | None = None,
    ) -> Logged:
        """Compare a clustering with the hidden classes and with the previous clustering.

        Args:
            labels: Cluster of each training image; -1 = unassigned.
            clusters: Number of clusters, including empty ones.
            epoch: First epoch that uses the clustering.
            group_of: Group of each cluster, if the method groups them.
        """
        found = describe_clustering(
            labels, self.hidden_labels, clusters=clusters, previous=self.previous
        )
        self.previous = labels.clone()
        metrics: dict[str, float] = {}
        purity_of: Sequence[float | None] = [None] * clusters
        if (judged := found.against_classes) is not None:
            purity_of = judged.purity_of
            metrics = {
                "clusters/purity": judged.purity,
                "clusters/nmi": judged.nmi,
                "clusters/ari": judged.ari,
            }
        metrics |= {
            "clusters/gini": found.gini,
            "clusters/filled": float(found.filled),
            "clusters/unassigned": found.unassigned,
            "alarm/one_cluster": float(found.filled <= 1),
        }
        if found.changed is not None:
            metrics["clusters/changed"] = found.changed
        groups = [0] * clusters if group_of is None else group_of.tolist()
        members = _listed_members(labels, clusters)
        rows: list[dict[str, object]] = [
            {
                "epoch": epoch,
                "cluster": cluster,
                "size": size,
                "purity": purity,
                "group": group,
                "members": members[cluster],
            }
            for cluster, (size, purity, group) in enumerate(
                zip(found.sizes, purity_of, groups, strict=True)
            )
        ]
        return Logged(metrics, rows)


def _listed_members(labels: Int[Tensor, " n"], clusters: int) -> list[list[int]]:
    """Return the listed images of each cluster: the same images in every epoch and run."""
    listed = torch.randperm(len(labels), generator=generator(0, "listed images"))[:LISTED_IMAGES]
    members: list[list[int]] = [[] for _ in range(clusters)]
    order = listed.sort().values
    for image, cluster in zip(order.tolist(), labels.cpu()[order].tolist(), strict=True):
        if cluster >= 0:
            members[cluster].append(image)
    return members
