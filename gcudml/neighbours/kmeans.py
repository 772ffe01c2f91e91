"""k-means clustering of embeddings, with faiss."""

from typing import NamedTuple

import faiss
import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional as F

from gcudml.neighbours.search import usable_rows


class Clustering(NamedTuple):
    """A k-means clustering of points."""

    labels: Int[Tensor, " n"]
    """Index of each point's centre."""
    centres: Float[Tensor, "clusters dim"]
    """Unit vectors if the clustering is spherical."""


def spherical_kmeans(
    features: Float[Tensor, "n dim"],
    clusters: int,
    *,
    seed: int,
    iterations: int = 20,
    start: Float[Tensor, "clusters dim"] | None = None,
) -> Clustering:
    """Run k-means on the unit sphere, with cosine similarity.

    Args:
        features: ``(n, dim)``, any non-zero scale; normalised here.
        clusters: Number of centres, at most ``n``.
        seed: Draws the initial centres (faiss would use 1234 whatever the run's seed).
        iterations: Of Lloyd's algorithm. faiss replaces an empty cluster by splitting a large one;
            after the last iteration, or among equal points, a cluster can still be empty.
        start: Initial centres, so that clusters keep their numbers; None: randomly drawn points.

    Raises:
        ValueError: more clusters than points.
        FloatingPointError: a feature is not finite or too large, so the training has diverged.
    """
    unit = F.normalize(features.float(), dim=1)
    kmeans = _faiss_kmeans(unit, clusters, seed=seed, iterations=iterations, spherical=True)
    return _cluster(kmeans, unit, start)


def euclidean_kmeans(
    features: Float[Tensor, "n dim"],
    clusters: int,
    *,
    seed: int,
    iterations: int = 20,
    restarts: int = 1,
    start: Float[Tensor, "clusters dim"] | None = None,
) -> Clustering:
    """Run k-means with Euclidean distance on unnormalised features.

    Keeps the best of ``restarts`` runs from different points (one run if ``start`` is given). The
    other arguments and the errors are those of ``spherical_kmeans``.
    """
    points = features.float()
    kmeans = _faiss_kmeans(points, clusters, seed=seed, iterations=iterations, spherical=False)
    kmeans.cp.nredo = restarts if start is None else 1
    return _cluster(kmeans, points, start)


def _faiss_kmeans(
    points: Float[Tensor, "n dim"], clusters: int, *, seed: int, iterations: int, spherical: bool
) -> faiss.Kmeans:
    if clusters > len(points):
        raise ValueError(
            f"method.clusters: {clusters} clusters of {len(points)} images; "
            "needs clusters <= training images"
        )
    if not usable_rows(points).all():
        raise FloatingPointError(
            "k-means: a feature is not finite or too large to square; the training has diverged"
        )
    faiss.omp_set_num_threads(torch.get_num_threads())
    return faiss.Kmeans(
        points.shape[1],
        clusters,
        niter=iterations,
        seed=seed % 2**31,
        spherical=spherical,
        min_points_per_centroid=1,  # fewer than faiss's 39 is normal here and needs no warning
        max_points_per_centroid=2**31 - 1,  # no silent sub-sampling
    )


def _cluster(
    kmeans: faiss.Kmeans,
    points: Float[Tensor, "n dim"],
    start: Float[Tensor, "clusters dim"] | None,
) -> Clustering:
    x = points.cpu().contiguous().numpy()
    kmeans.train(x, init_centroids=None if start is None else start.cpu().numpy())
    _, labels = kmeans.index.search(x, 1)
    centres = np.asarray(kmeans.centroids, dtype=np.float32).reshape(kmeans.k, -1)
    return Clustering(
        labels=torch.from_numpy(labels[:, 0].astype(np.int64)).to(points.device),
        centres=torch.from_numpy(centres).to(points.device),
    )
