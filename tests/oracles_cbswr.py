"""Slow formulas of CBSwR, written from the equations with loops, that the fast code is compared with."""

from __future__ import annotations

import math

import torch
from oracles import cosine, softmax, unit


def slow_entropies(logits: torch.Tensor, *, normalize: bool = False) -> tuple[float, float]:
    """H(Y) and H(Y|X) in nats, one row and one cluster at a time."""
    rows = [softmax(unit(row) if normalize else row.tolist()) for row in logits]
    clusters = len(rows[0])
    mean = [sum(row[c] for row in rows) / len(rows) for c in range(clusters)]
    entropy = -sum(p * math.log(p) for p in mean if p > 0)
    conditional = sum(-sum(p * math.log(p) for p in row if p > 0) for row in rows) / len(rows)
    return entropy, conditional


def slow_deep_clustering(
    logits: torch.Tensor, *, normalize: bool, balance: float, scale: str
) -> float:
    """Normalised H(Y|X) + 1 - balance * normalised H(Y); without the 1 where nothing is scaled."""
    entropy, conditional = slow_entropies(logits, normalize=normalize)
    rows, clusters = logits.shape
    if scale == "none":
        return conditional - balance * entropy
    conditional /= math.log(clusters) if scale == "clusters" else math.log(rows)
    return conditional + 1 - balance * entropy / math.log(clusters)


def slow_centre_softmax(
    x: torch.Tensor,
    partners: torch.Tensor,
    centres: torch.Tensor,
    own: list[int],
    *,
    temperature: float,
    negative_weight: float,
    denominator: str,
    floor: float = 1e-6,
) -> float:
    """Positive concentration and negative separation, one row and one centre at a time."""
    if len(centres) == 1 and denominator == "z_minus":
        return 0.0
    total = 0.0
    for i, q in enumerate(own):
        s = math.exp(cosine(x[i], partners[i]) / temperature)
        a = [math.exp(cosine(x[i], centre) / temperature) for centre in centres]
        others = [j for j in range(len(centres)) if j != q]
        z = sum(a)
        total -= math.log(s / (z if denominator == "z" else sum(a[j] for j in others)))
        for j in others:
            total -= negative_weight * math.log(max(1 - a[j] / z, floor))
    return total / len(own)


def slow_reconstruction(
    decoded: torch.Tensor, targets: torch.Tensor, own: list[int], *, reduction: str
) -> float:
    """Squared error of each row against its cluster's picture, value by value."""
    total, values = 0.0, targets[0].numel()
    for i, q in enumerate(own):
        pairs = zip(targets[i].flatten().tolist(), decoded[q].flatten().tolist(), strict=True)
        total += sum((a - b) ** 2 for a, b in pairs)
    return total / len(own) / (values if reduction == "mean" else 1)


def slow_centroids(maps: torch.Tensor, own: list[int]) -> list[torch.Tensor]:
    """Mean of the maps of each cluster, cluster by cluster."""
    centroids = []
    for cluster in range(max(own) + 1):
        rows = [maps[i] for i, q in enumerate(own) if q == cluster]
        centroids.append(sum(rows, torch.zeros_like(maps[0])) / len(rows))
    return centroids
