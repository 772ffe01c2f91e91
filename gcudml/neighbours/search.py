"""Nearest neighbours and k-means: the only home of faiss."""

import math
from collections.abc import Iterator
from typing import NamedTuple

import faiss
import numpy as np
import torch
from jaxtyping import Bool, Float, Float32, Int, Int64
from torch import Tensor
from torch.nn import functional as F

from gcudml.config.fields import Distance, Search

BLOCK_ROWS = 4096
BLOCK_ENTRIES = 1 << 22  # neighbours that a block may hold: bounds memory where many are asked for
MOST_COMPARED = 1 << 24  # similarities at a time, where ranks are counted
CELLS = 4  # of an IVF index, times the square root of the number of points
FEWEST_OF_A_CELL = 39  # points on average: with fewer, faiss warns that its centres are ill-placed
PROBED = 16  # cells of an IVF index that a query looks into, and more where it wants many points
LINKS = 32  # of a point of an HNSW index
FOLLOWED = 64  # candidates that an HNSW search keeps, and more where it wants many points
LONGEST_ROW = 1e15  # squared distances, and sums of very many, stay below the largest 32-bit number


class Found(NamedTuple):
    """The neighbours of some rows."""

    rows: Int[Tensor, " block"]
    """Indices of the rows."""
    nearest: Int[Tensor, "block kept"]
    """Indices of their neighbours, best first."""


def usable_rows(embeddings: Float[Tensor, "n dim"]) -> Bool[Tensor, " n"]:
    """Which rows are finite and short enough to be squared without overflow."""
    usable: Tensor = embeddings.float().norm(dim=1) <= LONGEST_ROW  # False for NaN
    return usable


def as_compared(embeddings: Float[Tensor, "n dim"], distance: Distance) -> Float[Tensor, "n dim"]:
    """The points that searches compare: of unit length for cosine; zeros for unusable rows."""
    points = embeddings.detach().float().where(usable_rows(embeddings)[:, None], 0.0)
    # In place: of very many points there is one copy and no second.
    return F.normalize(points, dim=1, out=points) if distance == "cosine" else points


def is_approximate(search: Search, device: torch.device) -> bool:
    """Whether ``search_in_blocks`` may miss neighbours of points on a device: never on a GPU."""
    return search != "exact" and device.type == "cpu"


def nearest(
    embeddings: Float[Tensor, "n dim"],
    k: int,
    *,
    distance: Distance = "cosine",
    block_rows: int = BLOCK_ROWS,
) -> Int[Tensor, "n kept"]:
    """Indices of the ``k`` nearest other rows, best first; never the row itself.

    ``kept`` is ``min(k, n - 1)``. See ``search_in_blocks``.
    """
    blocks = search_in_blocks(embeddings, k, distance=distance, block_rows=block_rows)
    return torch.cat([found.nearest for found in blocks])


def search_in_blocks(
    embeddings: Float[Tensor, "n dim"],
    k: int,
    *,
    distance: Distance = "cosine",
    queries: Int[Tensor, " queries"] | None = None,
    gallery: Int[Tensor, " gallery"] | None = None,
    search: Search = "exact",
    block_rows: int = BLOCK_ROWS,
) -> Iterator[Found]:
    """The ``k`` nearest rows of each query, some queries at a time.

    Exact unless ``is_approximate``: then some of the nearest may be missing, and farther ones have
    their places. Equal calls find equal rows, on any number of threads.

    Ties are broken by the search, equally in every call on one device. Rows that are not
    ``usable_rows`` take part as zeros: it is the caller's to look for them.

    Args:
        embeddings: ``(n, dim)``; any scale for cosine, as they are for Euclidean.
        k: At least 1; of fewer rows all are found.
        distance: What nearest means.
        queries: Indices of the rows to search for; None: all.
        gallery: Indices of the rows to search among, none of them a query; None: all rows, and a
            row is no neighbour of itself, whatever equals it.
        search: How they are found. An index is made anew by every call; a query for which it finds
            fewer than ``k`` is searched for exactly.
        block_rows: Most queries of a block; fewer where ``k`` is large.
    """
    points = as_compared(embeddings, distance)
    among = points if gallery is None else points[gallery]
    without_self = gallery is None
    kept = min(k, len(among) - without_self)
    wanted = kept + without_self
    asked = torch.arange(len(points), device=points.device) if queries is None else queries
    index = None
    if is_approximate(search, points.device) and len(among):
        index = _index(among, wanted, search=search, distance=distance)
    for rows in asked.split(max(1, min(block_rows, BLOCK_ENTRIES // max(1, wanted)))):
        found = _search(points[rows], among, wanted, distance, index)
        if without_self:
            # The row itself goes last and off; where ties pushed it out, the last one does.
            is_self = found == rows[:, None]
            order = is_self.to(torch.uint8).argsort(dim=1, stable=True)
            found = found.gather(1, order)[:, :kept]
        yield Found(rows, found if gallery is None else gallery[found])


def nearest_of(
    queries: Float32[np.ndarray, "q dim"],
    among: Float32[np.ndarray, "m dim"],
    k: int,
    *,
    distance: Distance,
) -> tuple[Float32[np.ndarray, "q k"], Int64[np.ndarray, "q k"]]:
    """Cosine similarity or Euclidean distance to the ``k`` nearest of ``among``, and their places.

    Args:
        queries: Of length 1 for cosine.
        among: The same.
        k: At most ``m``.
        distance: What nearest means.
    """
    faiss.omp_set_num_threads(torch.get_num_threads())
    metric = faiss.METRIC_INNER_PRODUCT if distance == "cosine" else faiss.METRIC_L2
    scores, places = faiss.knn(
        np.ascontiguousarray(queries), np.ascontiguousarray(among), k, metric=metric
    )
    if distance != "cosine":
        scores = np.sqrt(scores.clip(min=0))  # faiss gives squares, by rounding just below 0
    return scores, places.astype(np.int64, copy=False)


def rank_of_first(
    embeddings: Float[Tensor, "n dim"],
    labels: Int[Tensor, " n"],
    *,
    queries: Int[Tensor, " queries"],
    gallery: Int[Tensor, " gallery"] | None = None,
    distance: Distance = "cosine",
    block_entries: int = MOST_COMPARED,
) -> Int[Tensor, " queries"]:
    """The rank, from 1, at which each query finds the first row with its label; 0 for never.

    Counts the rows that are nearer than the nearest one with the label, so nothing is sorted.
    Similarities are those of ``search_in_blocks``, summed by another library: where two differ in
    the last digits only, or not at all (then the row that comes first counts as nearer), a list of
    that search may have them in another order. Takes as long as the search itself for as many
    queries, and ``block_entries`` numbers at a time in memory.
    """
    points, usable = as_compared(embeddings, distance), usable_rows(embeddings)
    among = torch.arange(len(points), device=points.device) if gallery is None else gallery
    candidates = points if gallery is None else points[gallery]
    squares = candidates.square().sum(dim=1)
    ranks = torch.zeros_like(queries)
    rows = max(1, block_entries // max(1, len(among)))
    for first in range(0, len(queries), rows):
        asked = queries[first : first + rows]
        nearness = points[asked] @ candidates.T  # (block, gallery)
        if distance == "euclidean":
            nearness = 2 * nearness - squares  # less the distance's square, but for a constant
        is_self = asked[:, None] == among
        nearness.masked_fill_(is_self, -torch.inf)
        wanted = (labels[asked][:, None] == labels[among]) & usable[among] & ~is_self
        wanted &= usable[asked][:, None]
        best = nearness.masked_fill(~wanted, -torch.inf).max(dim=1)  # of equals the first
        nearer = nearness > best.values[:, None]
        places = torch.arange(len(among), device=among.device)
        nearer |= (nearness == best.values[:, None]) & (places < best.indices[:, None])
        found = wanted.any(dim=1)
        ranks[first : first + rows] = torch.where(found, nearer.sum(dim=1) + 1, 0)
    return ranks


def _search(
    queries: Float[Tensor, "block dim"],
    among: Float[Tensor, "m dim"],
    k: int,
    distance: Distance,
    index: faiss.Index | None = None,
) -> Int[Tensor, "block k"]:
    """Places in ``among`` of the ``k`` nearest points, best first; ``index``: of these."""
    if index is not None:
        faiss.omp_set_num_threads(torch.get_num_threads())
        _, indexed = index.search(queries.contiguous().numpy(), k)
        found = torch.from_numpy(indexed.astype(np.int64, copy=False))
        short = (found < 0).any(dim=1)  # few points in the cells, or equal ones that hide others
        if short.any():
            found[short] = _search(queries[short], among, k, distance)
        return found
    if queries.device.type == "cpu":
        faiss.omp_set_num_threads(torch.get_num_threads())
        metric = faiss.METRIC_INNER_PRODUCT if distance == "cosine" else faiss.METRIC_L2
        _, places = faiss.knn(
            queries.contiguous().numpy(), among.contiguous().numpy(), k, metric=metric
        )
        return torch.from_numpy(places.astype(np.int64, copy=False))
    if distance == "cosine":
        return (queries @ among.T).topk(k, dim=1).indices
    return torch.cdist(queries, among).topk(k, dim=1, largest=False).indices


def _index(
    among: Float[Tensor, "m dim"], k: int, *, search: Search, distance: Distance
) -> faiss.Index:
    """An approximate index of points on the host, set for searches of ``k`` neighbours.

    The same for the same points: faiss draws from seeds of its own.

    Source:
        IVF: Jégou et al., TPAMI 2011. HNSW: Malkov and Yashunin, TPAMI 2020, arXiv:1603.09320.
    """
    count, dim = among.shape
    points = among.contiguous().numpy()
    metric = faiss.METRIC_INNER_PRODUCT if distance == "cosine" else faiss.METRIC_L2
    if search == "hnsw":
        links = faiss.IndexHNSWFlat(dim, LINKS, metric)
        links.hnsw.efSearch = max(FOLLOWED, 2 * k)
        faiss.omp_set_num_threads(1)  # several threads link in the order in which they come
        links.add(points)
        return links
    cells = max(1, min(int(CELLS * math.sqrt(count)), count // FEWEST_OF_A_CELL))
    quantizer = faiss.IndexFlat(dim, metric)
    lists = faiss.IndexIVFFlat(quantizer, dim, cells, metric)
    lists.nprobe = min(cells, max(PROBED, math.ceil(4 * k * cells / count)))
    lists.cp.min_points_per_centroid = 1  # as few as in tests are no reason to warn
    faiss.omp_set_num_threads(torch.get_num_threads())
    lists.train(points)
    lists.add(points)
    return lists
