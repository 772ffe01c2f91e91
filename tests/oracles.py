"""Slow formulas, written from the equations with loops, that the fast code is compared with."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch


def unit(row: torch.Tensor) -> list[float]:
    values = [float(v) for v in row]
    norm = math.sqrt(sum(v * v for v in values))
    return [v / norm for v in values]


def cosine(a: torch.Tensor, b: torch.Tensor) -> float:
    return sum(x * y for x, y in zip(unit(a), unit(b), strict=True))


def slow_multi_similarity(
    z: torch.Tensor, labels: list[int], alpha: float, beta: float, base: float, margin: float
) -> float:
    """Wang et al. 2019 with pair mining, one anchor and one pair at a time."""
    total, anchors = 0.0, 0
    for i, label in enumerate(labels):
        if label < 0:
            continue
        anchors += 1
        positives, negatives = [], []
        for j, other in enumerate(labels):
            if j == i or other < 0:
                continue
            (positives if other == label else negatives).append(cosine(z[i], z[j]))
        kept_positives = [s for s in positives if negatives and s < max(negatives) + margin]
        kept_negatives = [s for s in negatives if positives and s > min(positives) - margin]
        if not kept_positives or not kept_negatives:
            continue
        total += math.log(1 + sum(math.exp(-alpha * (s - base)) for s in kept_positives)) / alpha
        total += math.log(1 + sum(math.exp(beta * (s - base)) for s in kept_negatives)) / beta
    return total / max(anchors, 1)


def slow_contextual_bias(
    z: torch.Tensor, labels: list[int], margin: float, bias: float, share: float
) -> float:
    """CBML's log form, one anchor and one pair at a time."""
    total, anchors = 0.0, 0
    for i, label in enumerate(labels):
        if label < 0:
            continue
        anchors += 1
        positives, negatives = [], []
        for j, other in enumerate(labels):
            if j != i and other >= 0:
                (positives if other == label else negatives).append(cosine(z[i], z[j]))
        if not positives or not negatives:
            continue
        kept_positives = [s for s in positives if s < max(negatives) + margin]
        kept_negatives = [s for s in negatives if s > min(positives) - margin]
        if not kept_positives or not kept_negatives:
            continue
        middle = share * sum(positives) / len(positives)
        middle += (1 - share) * sum(negatives) / len(negatives)
        total += math.log(1 + sum(math.exp(-(s - 0.5) / 0.5) for s in kept_positives))
        total += math.log(1 + sum(math.exp((s - 1.0) / 0.01) for s in kept_negatives))
        total += bias * sum((s - middle) ** 2 for s in negatives)
    return total / max(anchors, 1)


def softmax(scores: list[float]) -> list[float]:
    top = max(scores)
    powers = [math.exp(s - top) for s in scores]
    return [p / sum(powers) for p in powers]


def slow_group_classifier(
    logits: list[torch.Tensor], labels: list[int], sampled: torch.Tensor
) -> float:
    """Equation 1: mean over groups of the mean cross-entropy of each group's own rows."""
    total = 0.0
    for k, scores in enumerate(logits):
        rows = [i for i in range(len(labels)) if bool(sampled[k, i])]
        if rows:
            total += sum(-math.log(softmax(scores[i].tolist())[labels[i]]) for i in rows) / len(
                rows
            )
    return total / len(logits)


def slow_collaborative(
    logits: list[torch.Tensor],
    labels: list[int],
    sampled: torch.Tensor,
    pairs: list[tuple[int, int]],
    temperature: float,
) -> float:
    """Equation 2, pair (who teaches, who learns) by pair and row by row."""
    total = 0.0
    for a, b in pairs:
        known = min(logits[a].shape[1], logits[b].shape[1])
        rows = [i for i in range(len(labels)) if bool(sampled[max(a, b), i])]
        if not rows:
            continue
        for i in rows:
            p = softmax([s / temperature for s in logits[a][i].tolist()[:known]])
            q = softmax([s / temperature for s in logits[b][i].tolist()[:known]])
            divergence = sum(x * math.log(x / y) for x, y in zip(p, q, strict=True))
            weight = 1.0 if labels[i] < known else 0.1
            total += weight * divergence * temperature**2 / len(rows)
    return total / len(pairs)


def slow_logit_distillation(
    student: list[torch.Tensor], teacher: list[torch.Tensor], temperature: float
) -> float:
    """Mean over groups and rows of KL(teacher || student) of softened class scores."""
    total = 0.0
    for learnt, taught in zip(student, teacher, strict=True):
        for i in range(len(learnt)):
            p = softmax([s / temperature for s in taught[i].tolist()])
            q = softmax([s / temperature for s in learnt[i].tolist()])
            total += sum(x * math.log(x / y) for x, y in zip(p, q, strict=True)) / len(learnt)
    return total / len(student)


def slow_relational(student: torch.Tensor, teacher: torch.Tensor) -> float:
    """Equation 4: KL between row-wise softmaxes of minus the mean-scaled distances."""
    n = len(student)

    def row(z: torch.Tensor, i: int) -> list[float]:
        distances = [math.dist(unit(z[i]), unit(z[j])) for j in range(n) if j != i]
        mean = sum(distances) / len(distances)
        return softmax([-d / mean for d in distances])

    total = 0.0
    for i in range(n):
        p, q = row(teacher, i), row(student, i)
        total += sum(x * math.log(x / y) for x, y in zip(p, q, strict=True))
    return total / n


class SlowRetrieval(NamedTuple):
    recall: float
    map_at_r: float
    r_precision: float
    dropped: int


def slow_retrieval(
    z: torch.Tensor,
    labels: list[int],
    k: int,
    *,
    euclidean: bool = False,
    is_query: list[bool] | None = None,
) -> SlowRetrieval:
    """All retrieval metrics, by sorting each query's gallery."""
    n = len(labels)
    queries = [i for i in range(n) if is_query is None or is_query[i]]
    hits = average = precision = 0.0
    counted = 0
    for i in queries:
        gallery = [j for j in range(n) if (j != i if is_query is None else not is_query[j])]
        relevant = sum(labels[j] == labels[i] for j in gallery)
        if not relevant:
            continue
        counted += 1

        def far(j: int, i: int = i) -> float:
            return math.dist(z[i], z[j]) if euclidean else -cosine(z[i], z[j])

        ranked = [labels[j] == labels[i] for j in sorted(gallery, key=far)]
        hits += any(ranked[:k])
        first = ranked[:relevant]
        precision += sum(first) / relevant
        average += (
            sum(sum(first[: p + 1]) / (p + 1) for p, hit in enumerate(first) if hit) / relevant
        )
    total = max(counted, 1)
    return SlowRetrieval(hits / total, average / total, precision / total, len(queries) - counted)
