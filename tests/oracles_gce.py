"""The triplet loss and the meta-classes' moves, written with loops that the code is compared with."""

from __future__ import annotations

import itertools
import math

import torch
from oracles import unit


def slow_triplet(
    z: torch.Tensor, labels: list[int], *, margin: float, mining: str
) -> tuple[float, float]:
    """The mean of active triplets and their share, one anchor, positive and negative at a time."""
    rows = [unit(row) for row in z]
    terms = []
    for a, p in itertools.permutations(range(len(labels)), 2):
        if labels[a] < 0 or labels[a] != labels[p]:
            continue
        to_positive = math.dist(rows[a], rows[p])
        negatives = [
            math.dist(rows[a], rows[n])
            for n in range(len(labels))
            if labels[n] >= 0 and labels[n] != labels[a]
        ]
        if mining == "semihard" and negatives:
            beyond = [d for d in negatives if d > to_positive]
            negatives = [min(beyond) if beyond else max(negatives)]
        terms += [max(0.0, to_positive - d + margin) for d in negatives]
    active = [term for term in terms if term > 0]
    return sum(active) / max(len(active), 1), len(active) / max(len(terms), 1)


def slow_moved(new: list[int], previous: list[int], names: tuple[int, ...]) -> int:
    """Classes that change their learner under a naming of the new meta-classes."""
    return sum(names[n] != p for n, p in zip(new, previous, strict=True))


def slow_correlation(slices: torch.Tensor) -> float:
    """Mean Pearson correlation between the learners' cosines of all pairs of images."""
    images, learners = slices.shape[:2]
    columns = []
    for learner in range(learners):
        rows = [unit(slices[i, learner]) for i in range(images)]
        columns.append(
            [
                sum(x * y for x, y in zip(rows[i], rows[j], strict=True))
                for i, j in itertools.combinations(range(images), 2)
            ]
        )
    found = []
    for one, other in itertools.combinations(columns, 2):
        a = [x - sum(one) / len(one) for x in one]
        b = [x - sum(other) / len(other) for x in other]
        dot = sum(x * y for x, y in zip(a, b, strict=True))
        found.append(dot / math.sqrt(sum(x * x for x in a) * sum(y * y for y in b)))
    return sum(found) / len(found)
