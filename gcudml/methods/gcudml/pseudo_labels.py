"""Pseudo-labels from clusters, groups of clusters, and the images that each group uses.

Clusters are renumbered in *group order*, group 1 first, so that the clusters of groups 1..k, which
the classifier of group k covers, are the labels below ``ends[k]``.
"""

from collections.abc import Sequence
from typing import Literal, NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor


class PseudoLabels(NamedTuple):
    """Pseudo-labels: clusters numbered in group order."""

    labels: Int[Tensor, " n"]
    """Cluster of each image."""
    by_size: Int[Tensor, " n"]
    """The same clusters numbered by decreasing size, whatever the grouping. Batches are drawn from
    these labels, so that with one seed two groupings see the same batches."""
    sizes: Int[Tensor, " clusters"]
    """Images in each cluster."""
    order: Int[Tensor, " clusters"]
    """Each cluster's number in k-means."""
    ends: tuple[int, ...]
    """``C_1 < ... < C_G``: group k holds the clusters ``ends[k-1] <= c < ends[k]``."""

    @property
    def group_of(self) -> Int[Tensor, " clusters"]:
        """Index of each cluster's group, from 0."""
        ends = torch.tensor(self.ends, device=self.sizes.device)
        return torch.searchsorted(
            ends, torch.arange(len(self.sizes), device=ends.device), right=True
        )


def order_clusters(
    labels: Int[Tensor, " n"],
    *,
    clusters: int,
    groups: int | None,
    ratio: float | None,
    floor: int,
    grouping: Literal["size", "random"],
    generator: torch.Generator,
) -> PseudoLabels:
    """Divide clusters into groups of similar size and renumber them in group order.

    Args:
        labels: ``(n,)`` cluster indices in ``[0, clusters)``.
        clusters: Number of clusters.
        groups: Number of groups; None: use ``ratio``.
        ratio: Largest over smallest cluster of a group, see ``group_ends_by_ratio``.
        floor: See ``group_ends_by_ratio``.
        grouping: ``size`` groups clusters by decreasing size; ``random`` keeps the number of
            clusters per group but assigns them at random, as a control for the effect of size.
        generator: Draws the random grouping; a CPU generator.
    """
    sizes = torch.bincount(labels, minlength=clusters)
    order = torch.argsort(sizes, descending=True, stable=True)
    falling = sizes[order].tolist()
    if groups is not None:
        ends = group_ends_by_count(falling, groups)
    elif ratio is not None:
        ends = group_ends_by_ratio(falling, ratio, floor)
    else:
        raise ValueError("method.groups: give either groups or group_ratio")
    by_size = _rank(order)[labels]
    if grouping == "random":
        order = torch.randperm(clusters, generator=generator).to(order.device)
    return PseudoLabels(_rank(order)[labels], by_size, sizes[order], order, ends)


def _rank(order: Int[Tensor, " clusters"]) -> Int[Tensor, " clusters"]:
    """Return the position of each cluster in ``order``."""
    rank = torch.empty_like(order)
    rank[order] = torch.arange(len(order), device=order.device)
    return rank


def group_ends_by_ratio(sizes: Sequence[int], ratio: float, floor: int) -> tuple[int, ...]:
    """Start a new group where sizes, sorted decreasingly, drop below first / ``ratio``.

    A cluster joins the current group while its size is at least ``int(first / ratio)``, with the
    size of the group's first cluster; once that bound is below ``floor``, all remaining clusters
    join the last group.

    Returns:
        Cumulative numbers of clusters ``C_1 < ... < C_G = len(sizes)``.

    Source:
        The splitting rule of SHA-GCL (arXiv:2203.09811), whose floor is 200 images.
    """
    ends = []
    first = sizes[0]
    for position, size in enumerate(sizes):
        bound = int(first / ratio)
        if bound < floor:
            break
        if size < bound:
            ends.append(position)
            first = size
    return (*ends, len(sizes))


def group_ends_by_count(sizes: Sequence[int], groups: int) -> tuple[int, ...]:
    """Divide sizes, sorted decreasingly, into ``groups`` parts of equal log-size range.

    If a range holds no cluster, its bound moves so that every group has at least one.

    Returns:
        Cumulative numbers of clusters ``C_1 < ... < C_G = len(sizes)``.
    """
    count = len(sizes)
    logs = np.log(np.maximum(np.asarray(sizes, dtype=float), 1.0))
    span = logs[0] - logs[-1]
    if span == 0:  # all sizes equal: use equal numbers of clusters
        ends = [round(count * (k + 1) / groups) for k in range(groups)]
    else:
        cuts = logs[0] - span * np.arange(1, groups) / groups
        ends = [int(np.sum(logs > cut)) for cut in cuts] + [count]
    for k in range(groups):
        smallest = (ends[k - 1] if k else 0) + 1
        ends[k] = min(max(ends[k], smallest), count - (groups - 1 - k))
    return tuple(ends)


def keep_rates(
    sizes: Int[Tensor, " clusters"],
    ends: Sequence[int],
    *,
    cumulative: bool = True,
    smallest: float = 0.01,
) -> Float[Tensor, "groups clusters"]:
    """Probability that each group's classifier keeps an image of each cluster (median re-sampling).

    ``r_k(c) = min(1, median_k / n_c)``, at least ``smallest``, with the median size of the
    non-empty clusters that classifier k covers; 0 for clusters it does not cover. It covers those
    of groups 1..k, or without ``cumulative`` those of group k only.

    Source:
        SHA-GCL (arXiv:2203.09811), where images of other classes become background; here they are
        dropped, since retrieval has no background class.
    """
    rates = torch.zeros(len(ends), len(sizes), device=sizes.device)
    counts = sizes.clamp(min=1).float()
    for k, end in enumerate(ends):
        start = 0 if cumulative or k == 0 else ends[k - 1]
        filled = counts[start:end][sizes[start:end] > 0].cpu().numpy()
        median = float(np.median(filled)) if filled.size else 1.0
        rates[k, start:end] = (median / counts[start:end]).clamp(smallest, 1.0)
    return rates


def sample_for_groups(
    pseudo: PseudoLabels, *, generator: torch.Generator, cumulative: bool = True
) -> Bool[Tensor, "groups n"]:
    """Sample the images that each group's classifier uses until the next clustering.

    One uniform number per image decides for all classifiers, so that the subsets are nested from
    the image's own group on. See ``keep_rates`` for ``cumulative``.
    """
    rates = keep_rates(pseudo.sizes, pseudo.ends, cumulative=cumulative)
    uniform = torch.rand(len(pseudo.labels), generator=generator).to(pseudo.labels.device)
    return uniform[None, :] < rates[:, pseudo.labels]
