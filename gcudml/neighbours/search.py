"""Nearest-neighbour search: exact, or approximate with faiss indexes."""

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
BLOCK_ENTRIES = 1 << 22  # neighbours per block: bounds the memory if many are requested
MOST_COMPARED = 1 << 24  # similarities held at a time when counting ranks
CELLS = 4  # cells of an IVF index, times the square root of the number of points
FEWEST_OF_A_CELL = 39  # points per cell on average: with fewer, faiss warns of poor centres
PROBED = 16  # cells of an IVF index searched per query; more if it wants many neighbours
LINKS = 32  # links per point of an HNSW index
FOLLOWED = 64  # candidates kept by an HNSW search; more if it wants many neighbours
LONGEST_ROW = 1e15  # squared distances, even summed over very many, do not overflow float32


class Found(NamedTuple):
    """Neighbours of a block of rows."""

    rows: Int[Tensor, " block"]
    """Indices of the rows."""
    nearest: Int[Tensor, "block kept"]
    """Indices of their neighbours, best first."""


def usable_rows(embeddings: Float[Tensor, "n dim"]) -> Bool[Tensor, " n"]:
    """Mask of the rows that are finite and short enough to be squared without overflow."""
    usable: Tensor = embeddings.float().norm(dim=1) <= LONGEST_ROW  # False for NaN
    return usable


def as_compared(embeddings: Float[Tensor, "n dim"], distance: Distance) -> Float[Tensor, "n dim"]:
    """Prepare points for a search: unit length for cosine; zeros for unusable rows."""
    points = embeddings.detach().float().where(usable_rows(embeddings)[:, None], 0.0)
    # In place, so that there is only one copy of very many points.
    return F.normalize(points, dim=1, out=points) if distance == "cosine" else points


def is_approximate(search: Search, device: torch.device) -> bool:
    """Whether ``search_in_blocks`` may miss neighbours; never for points on a GPU."""
    return search != "exact" and device.type == "cpu"


def nearest(
    embeddings: Float[Tensor, "n dim"],
    k: int,
    *,
    distance: Distance = "cosine",
    block_rows: int = BLOCK_ROWS,
) -> Int[Tensor, "n kept"]:
    """Find the ``k`` nearest other rows of each row, best first; never the row itself.

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
    """Find the ``k`` nearest rows of each query, a block of queries at a time.

    Exact unless ``is_approximate``: then farther rows may take the place of some of the nearest.
    Results are the same in every call and for any number of threads.

    Ties are broken by the search, in the same way in every call on one device. Rows that are not
    ``usable_rows`` take part as zeros; the caller has to handle them.

    Args:
        embeddings: ``(n, dim)``; normalised here for cosine, used unnormalised for Euclidean.
        k: At least 1; if there are fewer rows, all are found.
        distance: How rows are compared.
        queries: Indices of the query rows; None: all.
        gallery: Indices of the rows to search, none of them a query; None: all rows, where a row
            is never its own neighbour, even if others are equal to it.
        search: How neighbours are found. Every call builds a new index; a query for which it finds
            fewer than ``k`` rows is searched again exactly.
        block_rows: Maximum number of queries per block; smaller if ``k`` is large.
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
            # Drop the row itself; if ties pushed it off the list, drop the last neighbour.
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
    """Find the ``k`` nearest rows of ``among``: their similarities or distances, and their indices.

    Args:
        queries: Of unit length for cosine.
        among: The same.
        k: At most ``m``.
        distance: Cosine similarity, or Euclidean distance.
    """
    faiss.omp_set_num_threads(torch.get_num_threads())
    metric = faiss.METRIC_INNER_PRODUCT if distance == "cosine" else faiss.METRIC_L2
    scores, places = faiss.knn(
        np.ascontiguousarray(queries), np.ascontiguousarray(among), k, metric=metric
    )
    if distance != "cosine":
        scores = np.sqrt(scores.clip(min=0))  # faiss returns squares, which rounding may make < 0
    return scores, places.astype(np.int64, copy=False)


class FirstHits(NamedTuple):
    """Place of the first row with each query's label."""

    ranks: Int[Tensor, " queries"]
    """Rank, from 1; 0 if there is none."""
    classes: Int[Tensor, " queries"]
    """Number of other labels with a nearer row; meaningless where the rank is 0."""


def first_hits(
    embeddings: Float[Tensor, "n dim"],
    labels: Int[Tensor, " n"],
    *,
    queries: Int[Tensor, " queries"],
    gallery: Int[Tensor, " gallery"] | None = None,
    distance: Distance = "cosine",
    block_entries: int = MOST_COMPARED,
) -> FirstHits:
    """Count the rows, and their labels, that are nearer than the first with each query's label.

    Nothing is sorted. The similarities of ``search_in_blocks`` are summed by another library, so
    that rows whose similarities are equal (here the lower index counts as nearer) or differ only
    by rounding may be ordered differently there. Takes as long as the search itself for the same
    number of queries, and holds ``block_entries`` numbers at a time.
    """
    points, usable = as_compared(embeddings, distance), usable_rows(embeddings)
    among = torch.arange(len(points), device=points.device) if gallery is None else gallery
    candidates = points if gallery is None else points[gallery]
    squares = candidates.square().sum(dim=1)
    ranks, classes = torch.zeros_like(queries), torch.zeros_like(queries)
    rows = max(1, block_entries // max(1, len(among)))
    places = torch.arange(len(among), device=among.device)
    for first in range(0, len(queries), rows):
        asked = queries[first : first + rows]
        nearness = points[asked] @ candidates.T  # (block, gallery)
        if distance == "euclidean":
            nearness = 2 * nearness - squares  # minus the squared distance, up to a constant
        is_self = asked[:, None] == among
        nearness.masked_fill_(is_self, -torch.inf)
        is_alike = labels[asked][:, None] == labels[among]
        wanted = is_alike & usable[among] & ~is_self & usable[asked][:, None]
        best = nearness.masked_fill(~wanted, -torch.inf).max(dim=1)  # the first among equals
        nearer = nearness > best.values[:, None]
        nearer |= (nearness == best.values[:, None]) & (places < best.indices[:, None])
        found = wanted.any(dim=1)
        ranks[first : first + rows] = torch.where(found, nearer.sum(dim=1) + 1, 0)
        classes[first : first + rows] = _count_labels(nearer & ~is_alike, labels[among])
    return FirstHits(ranks, classes)


def _count_labels(
    chosen: Bool[Tensor, "block gallery"], labels: Int[Tensor, " gallery"]
) -> Int[Tensor, " block"]:
    """Number of distinct labels among the chosen columns of each row."""
    has_any = torch.zeros(len(chosen), int(labels.max()) + 1, dtype=torch.uint8)
    has_any = has_any.to(labels.device)
    has_any.scatter_reduce_(1, labels.expand(chosen.shape), chosen.to(torch.uint8), "amax")
    return has_any.sum(dim=1)


def _search(
    queries: Float[Tensor, "block dim"],
    among: Float[Tensor, "m dim"],
    k: int,
    distance: Distance,
    index: faiss.Index | None = None,
) -> Int[Tensor, "block k"]:
    """Indices in ``among`` of the ``k`` nearest points, best first; ``index`` indexes ``among``."""
    if index is not None:
        faiss.omp_set_num_threads(torch.get_num_threads())
        _, indexed = index.search(queries.contiguous().numpy(), k)
        found = torch.from_numpy(indexed.astype(np.int64, copy=False))
        short = (found < 0).any(dim=1)  # too few points in the cells, or hidden by equal ones
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
    """Build an approximate index of points in host memory, set up to find ``k`` neighbours.

    Deterministic: faiss uses fixed seeds of its own.

    Source:
        IVF: Jégou et al., TPAMI 2011. HNSW: Malkov and Yashunin, TPAMI 2020, arXiv:1603.09320.
    """
    count, dim = among.shape
    points = among.contiguous().numpy()
    metric = faiss.METRIC_INNER_PRODUCT if distance == "cosine" else faiss.METRIC_L2
    if search == "hnsw":
        links = faiss.IndexHNSWFlat(dim, LINKS, metric)
        links.hnsw.efSearch = max(FOLLOWED, 2 * k)
        faiss.omp_set_num_threads(1)  # with several threads, links depend on their timing
        links.add(points)
        return links
    cells = max(1, min(int(CELLS * math.sqrt(count)), count // FEWEST_OF_A_CELL))
    quantizer = faiss.IndexFlat(dim, metric)
    lists = faiss.IndexIVFFlat(quantizer, dim, cells, metric)
    lists.nprobe = min(cells, max(PROBED, math.ceil(4 * k * cells / count)))
    lists.cp.min_points_per_centroid = 1  # no warning for the few points of a test
    faiss.omp_set_num_threads(torch.get_num_threads())
    lists.train(points)
    lists.add(points)
    return lists
