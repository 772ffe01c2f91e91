"""Diagnostics of clusters and embeddings during training; never used in training itself."""

import itertools
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int
from scipy.optimize import linear_sum_assignment
from sklearn.metrics import adjusted_rand_score, normalized_mutual_info_score
from torch import Tensor, nn
from torch.nn import functional as F

MOST_EXACT_CLUSTERS = 2000  # above this, exact matching takes longer than the clustering
ALIKE = 1e-4  # below this spread, the embeddings of a batch differ only by rounding


class Clusters(NamedTuple):
    """Statistics of a clustering, on its own and compared with the previous clustering."""

    sizes: list[int]
    against_classes: "AgainstClasses | None"
    """None if images have no classes."""
    gini: float
    """Gini coefficient of the sizes: 0 if all are equal, near 1 if one cluster holds almost all."""
    filled: int
    """Number of non-empty clusters."""
    unassigned: float
    """Fraction of images without a cluster; the other statistics leave them out."""
    changed: float | None
    """See ``share_changed``; None for the first clustering."""


class AgainstClasses(NamedTuple):
    """Agreement of a clustering with the hidden classes."""

    purity_of: list[float]
    """Fraction of each cluster that its most frequent class makes up; 0 for an empty cluster."""
    purity: float
    """Fraction of images whose class is the most frequent one in their cluster."""
    nmi: float
    """Normalised mutual information with the classes (arithmetic mean of the entropies)."""
    ari: float
    """Adjusted Rand index: 1 for a clustering equal to the classes, 0 for chance level."""


ALARMS = {
    "alarm/one_cluster": "one cluster held all images.",
    "alarm/collapsed": "all embeddings of a batch were alike.",
}
"""Metric -> the problem that a value above 0 indicates."""


def alarms_after(alarms: Sequence[str], metrics: Mapping[str, float]) -> tuple[str, ...]:
    """Add the alarms in an epoch's metrics to those raised so far, without duplicates."""
    raised = [ALARMS[name] for name in ALARMS if metrics.get(name)]
    return tuple(dict.fromkeys([*alarms, *raised]))


def is_finite(network: nn.Module) -> bool:
    """Whether all weights and buffers are finite."""
    return all(bool(value.isfinite().all()) for value in network.state_dict().values())


def describe_clustering(
    labels: Int[Tensor, " n"],
    hidden_labels: Int[Tensor, " n"],
    *,
    clusters: int,
    previous: Int[Tensor, " n"] | None,
) -> Clusters:
    """Compute the statistics of a clustering.

    Args:
        labels: Cluster of each image; -1 = unassigned.
        hidden_labels: True classes, >= 0; all -1 if images have none.
        clusters: Number of clusters, including empty ones.
        previous: Labels of the previous clustering, in any numbering; None for the first.
    """
    known = labels >= 0
    sizes = torch.bincount(labels[known], minlength=clusters)
    classes = int(hidden_labels.max()) + 1
    return Clusters(
        sizes=sizes.tolist(),
        against_classes=_against_classes(labels[known], hidden_labels[known], sizes, classes)
        if classes
        else None,
        gini=gini(sizes.tolist()),
        filled=int((sizes > 0).sum()),
        unassigned=float((~known).float().mean()),
        changed=None if previous is None else share_changed(labels, previous, clusters=clusters),
    )


def _against_classes(
    mine: Int[Tensor, " known"],
    truth: Int[Tensor, " known"],
    sizes: Int[Tensor, " clusters"],
    classes: int,
) -> AgainstClasses:
    clusters = len(sizes)
    joint = torch.bincount(mine * classes + truth, minlength=clusters * classes)
    majority = joint.view(clusters, classes).amax(dim=1)
    both = truth.cpu().numpy(), mine.cpu().numpy()
    return AgainstClasses(
        purity_of=(majority / sizes.clamp(min=1)).tolist(),
        purity=float(majority.sum() / sizes.sum().clamp(min=1)),
        nmi=float(normalized_mutual_info_score(*both)) if len(mine) else 0.0,
        ari=float(adjusted_rand_score(*both)) if len(mine) else 0.0,
    )


def share_changed(
    labels: Int[Tensor, " n"], previous: Int[Tensor, " n"], *, clusters: int
) -> float:
    """Fraction of images that changed cluster, independent of how clusters are numbered.

    Old and new clusters are matched one to one so that as many images as possible stay (Hungarian
    algorithm). Above 2,000 clusters, pairs are matched greedily by decreasing overlap, which can
    only overestimate the change. An image that is unassigned in one of the two counts as changed,
    in both as unchanged.
    """
    both = (labels >= 0) & (previous >= 0)
    pairs, overlaps = torch.unique(labels[both] * clusters + previous[both], return_counts=True)
    new, old = (pairs // clusters).cpu().numpy(), (pairs % clusters).cpu().numpy()
    counts = overlaps.cpu().numpy()
    if clusters <= MOST_EXACT_CLUSTERS:
        table = np.zeros((clusters, clusters))
        table[new, old] = counts
        kept = table[linear_sum_assignment(table, maximize=True)].sum()
    else:
        kept = _greedy_overlap(new.tolist(), old.tolist(), counts.tolist())
    unassigned = int(((labels < 0) & (previous < 0)).sum())
    return 1.0 - (float(kept) + unassigned) / max(1, len(labels))


def _greedy_overlap(new: list[int], old: list[int], counts: list[int]) -> int:
    """Number of images that stay when clusters are matched greedily by decreasing overlap."""
    kept, used_new, used_old = 0, set[int](), set[int]()
    for count, mine, theirs in sorted(zip(counts, new, old, strict=True), reverse=True):
        if mine not in used_new and theirs not in used_old:
            used_new.add(mine)
            used_old.add(theirs)
            kept += count
    return kept


def gini(sizes: Sequence[int]) -> float:
    """Gini coefficient of non-negative sizes, in [0, 1)."""
    rising = sorted(sizes)
    count, total = len(rising), sum(rising)
    if total == 0:
        return 0.0
    area = sum(itertools.accumulate(rising)) / total  # under the Lorenz curve, in steps
    return (count + 1 - 2 * area) / count


def embedding_health(embeddings: Float[Tensor, "batch dim"]) -> dict[str, float]:
    """Measure whether the embeddings of a batch have collapsed.

    ``embedding/norm`` is their mean norm. ``embedding/spread`` is 1 minus the squared norm of the
    mean direction: 0 when all point the same way, near 1 when directions are spread evenly.
    ``alarm/collapsed`` is 1 if the spread is within rounding error of 0, else 0.
    """
    norms = embeddings.norm(dim=1)
    centre = F.normalize(embeddings.double(), dim=1).mean(dim=0)
    spread = float(1 - centre.square().sum())
    return {
        "embedding/norm": float(norms.mean()),
        "embedding/spread": spread,
        "alarm/collapsed": float(spread < ALIKE),
    }
