"""Slow formulas of STML, written from the equations one row and one pair at a time."""

from __future__ import annotations

import math

import torch
from oracles import softmax


def unit(row: torch.Tensor) -> list[float]:
    """The row at length 1; a row of zeros stays one."""
    values = [float(v) for v in row]
    norm = math.sqrt(sum(v * v for v in values))
    return [v / norm if norm else 0.0 for v in values]


def squared(a: list[float], b: list[float]) -> float:
    return sum((x - y) ** 2 for x, y in zip(a, b, strict=True))


def slow_pairwise(teacher: torch.Tensor, sigma: float) -> list[list[float]]:
    z = [unit(row) for row in teacher]
    return [[math.exp(-squared(a, b) / sigma) for b in z] for a in z]


def slow_rankings(teacher: torch.Tensor, images: list[int]) -> list[list[int]]:
    """Each row's neighbours: itself, the rows of its image, the nearest; ties to the lower row."""
    z = [unit(row) for row in teacher]
    rankings = []
    for i in range(len(z)):
        keys = []
        for j in range(len(z)):
            is_other = images[j] != images[i]
            keys.append((j != i, is_other, round(squared(z[i], z[j]), 8) if is_other else 0.0, j))
        rankings.append([key[-1] for key in sorted(keys)])
    return rankings


def slow_reciprocal(teacher: torch.Tensor, images: list[int], context: int) -> list[set[int]]:
    first = [ranking[:context] for ranking in slow_rankings(teacher, images)]
    return [{j for j in first[i] if i in first[j]} for i in range(len(first))]


def slow_contextual(
    teacher: torch.Tensor, images: list[int], context: int, query_expansion: bool
) -> list[list[float]]:
    rankings = slow_rankings(teacher, images)
    sets = slow_reciprocal(teacher, images, context)
    rows = range(len(sets))
    overlap = [
        [len(sets[i] & sets[j]) / len(sets[i]) if j in sets[i] else 0.0 for j in rows] for i in rows
    ]
    if query_expansion:
        half = max(1, round(min(context, len(sets)) / 2))
        overlap = [
            [sum(overlap[h][j] for h in rankings[i][:half]) / half for j in rows] for i in rows
        ]
    return [[(overlap[i][j] + overlap[j][i]) / 2 for j in rows] for i in rows]


def slow_scaled(z: torch.Tensor) -> list[list[float]]:
    """Distances in units of each row's mean one; 0 where all rows are one point."""
    rows = [[float(v) for v in row] for row in z]
    scaled = []
    for a in rows:
        distances = [math.dist(a, b) for b in rows]
        mean = sum(distances) / len(rows)
        scaled.append([d / mean if mean else 0.0 for d in distances])
    return scaled


def slow_relaxed_contrastive(z: torch.Tensor, similarity: torch.Tensor, margin: float) -> float:
    d, w, n = slow_scaled(z), similarity.tolist(), len(z)
    total = 0.0
    for i in range(n):
        for j in range(n):
            if i != j:
                total += w[i][j] * d[i][j] ** 2
                total += (1 - w[i][j]) * max(margin - d[i][j], 0.0) ** 2
    return total / max(n * (n - 1), 1)


def slow_distance_distillation(
    learns: torch.Tensor, teaches: torch.Tensor, temperature: float
) -> float:
    total = 0.0
    for learnt, taught in zip(slow_scaled(learns), slow_scaled(teaches), strict=True):
        q = softmax([-d / temperature for d in learnt])
        p = softmax([-d / temperature for d in taught])
        total += sum(x * math.log(x / y) for x, y in zip(p, q, strict=True))
    return temperature**2 * total / len(learns)
