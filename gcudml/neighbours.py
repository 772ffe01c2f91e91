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
    features: Float[Tensor, "n dim"], clusters: int, *, seed: int, iterations: int = 20
) -> Clustering:
    """k-means on the unit sphere with cosine similarity.

    Args:
        features: ``(n, dim)``, any non-zero scale; normalised here.
        clusters: Number of centres, at most ``n``.
        seed: Picks the starting centres (faiss would take 1234 whatever the run's seed).
        iterations: Of Lloyd's algorithm. faiss re-seeds a centre that loses all its points by
            splitting a large one; after the last iteration, or among equal points, a cluster can
            still be empty.

    Raises:
        ValueError: more clusters than points.
    """
    if clusters > len(features):
        raise ValueError(
            f"method.clusters: {clusters} clusters of {len(features)} images; "
            "needs clusters <= training images"
        )
    unit = F.normalize(features.float(), dim=1).cpu().contiguous().numpy()
    faiss.omp_set_num_threads(torch.get_num_threads())
    kmeans = faiss.Kmeans(
        unit.shape[1],
        clusters,
        niter=iterations,
        seed=seed % 2**31,
        spherical=True,
        min_points_per_centroid=1,  # fewer than faiss' 39 is normal here, no reason to warn
        max_points_per_centroid=2**31 - 1,  # no silent sub-sampling
    )
    kmeans.train(unit)
    _, labels = kmeans.index.search(unit, 1)
    centres = np.asarray(kmeans.centroids, dtype=np.float32).reshape(clusters, -1)
    return Clustering(
        labels=torch.from_numpy(labels[:, 0].astype(np.int64)).to(features.device),
        centres=torch.from_numpy(centres).to(features.device),
    )
