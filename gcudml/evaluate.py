"""Embedding whole data sets, and how well embeddings retrieve their class."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from sklearn.metrics import normalized_mutual_info_score
from torch import Tensor

from gcudml.config import EvaluateConfig
from gcudml.neighbours import nearest, spherical_kmeans

INFERENCE_ROWS = 256


class Retrieval(NamedTuple):
    """Recall@K of one set of embeddings."""

    recall: dict[int, float]
    """K -> share of the counted queries with a hit among their K nearest neighbours."""
    queries: int
    """Queries that count."""
    dropped: int
    """Queries left out because no other image has their class."""


def recall_at_k(
    embeddings: Float[Tensor, "n dim"], labels: Int[Tensor, " n"], *, k: Sequence[int]
) -> Retrieval:
    """Share of images with an image of their own class among the K most similar others.

    Cosine similarity, every image is a query against all others. A query whose class has no
    other image cannot succeed: it is dropped and counted. With no query left, recall is 0.

    Args:
        embeddings: ``(n, dim)``, any non-zero scale.
        labels: ``(n,)`` class indices, >= 0.
        k: Each K >= 1; a K of n or more looks at all others.

    Source:
        Jégou et al., TPAMI 2011, as metric learning uses it. Libraries differ on dropped
        queries: some score them 0, some 1.
    """
    has_match = torch.bincount(labels)[labels] > 1
    counted = int(has_match.sum())
    found = nearest(embeddings, max(k))
    hits = labels[found] == labels[:, None]  # (n, max k)
    recall = {
        each: float((hits[:, :each].any(dim=1) & has_match).sum()) / max(counted, 1) for each in k
    }
    return Retrieval(recall=recall, queries=counted, dropped=len(labels) - counted)


def clustering_nmi(
    embeddings: Float[Tensor, "n dim"], labels: Int[Tensor, " n"], *, seed: int
) -> float:
    """Normalised mutual information of k-means with the true number of classes, in [0, 1].

    Arithmetic mean of the entropies, as in the field's tables; spherical k-means, one start.
    """
    classes = len(labels.unique())
    found = spherical_kmeans(embeddings, classes, seed=seed).labels
    return float(normalized_mutual_info_score(labels.cpu().numpy(), found.cpu().numpy()))


def evaluate(
    embeddings: Float[Tensor, "n dim"],
    labels: Int[Tensor, " n"],
    config: EvaluateConfig,
    *,
    seed: int,
) -> dict[str, float]:
    """All metrics of one split by name: ``recall@1``, ``nmi``, ``queries``, ``dropped``."""
    retrieval = recall_at_k(embeddings, labels, k=config.k)
    metrics = {f"recall@{k}": value for k, value in retrieval.recall.items()}
    if config.nmi:
        metrics["nmi"] = clustering_nmi(embeddings, labels, seed=seed)
    return metrics | {"queries": retrieval.queries, "dropped": retrieval.dropped}
