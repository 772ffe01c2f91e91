"""Nearest neighbours and k-means: the only home of faiss."""

from typing import NamedTuple

import faiss
import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional as F

BLOCK_ROWS = 4096


class Clustering(NamedTuple):
    """Clusters of points on the unit sphere."""

    labels: Int[Tensor, " n"]
    """Index of each point's centre."""
    centres: Float[Tensor, "clusters dim"]
    """Unit vectors."""


def nearest(
    embeddings: Float[Tensor, "n dim"], k: int, *, block_rows: int = BLOCK_ROWS
) -> Int[Tensor, "n kept"]:
    """Indices of the ``k`` most similar other rows by cosine, best first; never the row itself.

    ``kept`` is ``min(k, n - 1)``. Ties are broken by the sort, equally in every call. Works in
    blocks of rows, so that memory stays at ``block_rows * n`` floats.
    """
    unit = F.normalize(embeddings, dim=1)
    kept = min(k, len(unit) - 1)
    found = []
    for start in range(0, len(unit), block_rows):
        similarity = unit[start : start + block_rows] @ unit.T  # (block, n)
        rows = torch.arange(len(similarity), device=unit.device)
        similarity[rows, rows + start] = -torch.inf
        found.append(similarity.topk(kept, dim=1).indices)
    return torch.cat(found)


def spherical_kmeans(
    features: Float[Tensor, "n dim"],
    clusters: int,
    *,
    seed: int,
    iterations: int = 20,
    restarts: int = 1,
    start: Float[Tensor, "clusters dim"] | None = None,
) -> Clustering:
    """k-means on the unit sphere with cosine similarity."""
    unit = F.normalize(features.float(), dim=1)
    return _kmeans(unit, clusters, seed, iterations, restarts, start, True)


def euclidean_kmeans(
    features: Float[Tensor, "n dim"],
    clusters: int,
    *,
    seed: int,
    iterations: int = 20,
    restarts: int = 1,
    start: Float[Tensor, "clusters dim"] | None = None,
) -> Clustering:
    """k-means with Euclidean distance."""
    return _kmeans(features.float(), clusters, seed, iterations, restarts, start, False)


def _kmeans(features, clusters, seed, iterations, restarts, start, spherical):  # type: ignore
    x = features.cpu().contiguous().numpy()
    faiss.omp_set_num_threads(torch.get_num_threads())
    kmeans = faiss.Kmeans(
        x.shape[1],
        clusters,
        niter=iterations,
        nredo=restarts,
        seed=seed % 2**31,
        spherical=spherical,
        min_points_per_centroid=1,
        max_points_per_centroid=2**31 - 1,
    )
    kmeans.train(x, init_centroids=None if start is None else start.cpu().numpy())
    _, labels = kmeans.index.search(x, 1)
    centres = np.asarray(kmeans.centroids, dtype=np.float32).reshape(clusters, -1)
    return Clustering(
        labels=torch.from_numpy(labels[:, 0].astype(np.int64)).to(features.device),
        centres=torch.from_numpy(centres).to(features.device),
    )
