"""How well embeddings retrieve and cluster their classes."""

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from sklearn.metrics import adjusted_mutual_info_score, normalized_mutual_info_score
from torch import Tensor

from gcudml.config import EvaluateConfig
from gcudml.config.fields import Distance, Search
from gcudml.neighbours.kmeans import euclidean_kmeans, spherical_kmeans
from gcudml.neighbours.search import Found, is_approximate, search_in_blocks, usable_rows


class Hits(NamedTuple):
    """What some queries found. Shape letters: ``block`` queries, ``depth`` neighbours."""

    rows: Int[Tensor, " block"]
    """Indices of the queries."""
    nearest: Int[Tensor, "block depth"]
    """Indices of their neighbours, best first."""
    hits: Bool[Tensor, "block depth"]
    """Which of these have the query's class."""


Keep = Callable[[Hits], None]
"""Takes what a block of queries has found."""
FEWEST_KEPT = 8  # neighbours of each query, where somebody keeps them


class Retrieval(NamedTuple):
    """How well one set of embeddings retrieves."""

    recall: dict[int, float]
    """K -> share of the counted queries with a hit among their K nearest neighbours."""
    map_at_r: float
    r"""Mean over queries of :math:`\tfrac1R \sum_{i \le R} h_i \cdot \tfrac1i \sum_{j \le i} h_j`,
    where R images are relevant and :math:`h_i` says whether the i-th neighbour is one of them; 0
    where it was not asked for."""
    r_precision: float
    """Share of hits among the R nearest, averaged over queries; 0 where not asked for."""
    queries: int
    """Queries that count."""
    dropped: int
    """Queries left out because no other image, or no gallery image, has their class."""


def retrieve(
    embeddings: Float[Tensor, "n dim"],
    labels: Int[Tensor, " n"],
    *,
    k: Sequence[int],
    map_at_r: bool = True,
    distance: Distance = "cosine",
    search: Search = "exact",
    is_query: Bool[Tensor, " n"] | None = None,
    keep: Keep | None = None,
) -> Retrieval:
    """Recall@K, MAP@R and R-precision, a block of queries at a time.

    A query without a relevant image cannot succeed: it is dropped and counted. An embedding that
    is not finite, or too long to be squared, finds nothing and is never found. With no query left
    everything is 0.

    Args:
        embeddings: ``(n, dim)``; compared by ``distance``.
        labels: ``(n,)`` class indices, >= 0.
        k: Each K >= 1; a K above the number of neighbours looks at all of them.
        map_at_r: Whether to look for R neighbours, which are many for large classes.
        distance: What near means.
        search: How neighbours are found; all numbers are approximate where that is.
        is_query: Which images are queries; the others are the gallery they are compared with
            (In-Shop). None: every image is a query against all others.
        keep: Given what each block of queries found, ``FEWEST_KEPT`` neighbours or more.

    Source:
        Recall@K: Jégou et al., TPAMI 2011, as metric learning uses it (libraries differ on dropped
        queries: some score them 0, some 1). MAP@R: Musgrave et al., ECCV 2020, arXiv:2003.08505.
    """
    who = _select_queries(labels, is_query)
    if not len(who.queries):
        return Retrieval(dict.fromkeys(k, 0.0), 0.0, 0.0, 0, who.dropped)

    depth = max(*k, int(who.relevant.max()) if map_at_r else 1, FEWEST_KEPT if keep else 1)
    usable = usable_rows(embeddings)
    hit_at = dict.fromkeys(k, 0)
    average = precision = 0.0
    done = 0
    for found in _find(who, embeddings, depth, distance=distance, search=search):
        hits = _hits(found, labels, usable)  # (block, depth)
        if keep:
            keep(Hits(found.rows, found.nearest, hits))
        for each in hit_at:
            hit_at[each] += int(hits[:, :each].any(dim=1).sum())
        if map_at_r:
            at_r = _precision_at_r(hits, who.relevant[done : done + len(hits)])
            average, precision = average + at_r.average, precision + at_r.plain
        done += len(hits)
    return Retrieval(
        recall={each: count / done for each, count in hit_at.items()},
        map_at_r=average / done,
        r_precision=precision / done,
        queries=done,
        dropped=who.dropped,
    )


def _hits(
    found: Found, labels: Int[Tensor, " n"], usable: Bool[Tensor, " n"]
) -> Bool[Tensor, "block depth"]:
    """Which neighbours have their query's class, both being usable."""
    is_alike: Tensor = labels[found.nearest] == labels[found.rows][:, None]
    return is_alike & usable[found.nearest] & usable[found.rows][:, None]


def remarks_on_search(search: Search, device: torch.device) -> list[str]:
    """What every report has to say of scores on a device: that they are approximate, or nothing."""
    if not is_approximate(search, device):
        return []
    return [
        f"Recall@K, MAP@R and R-precision are approximate (evaluate.search: {search}): the index "
        "misses some of the nearest images. Compare such runs with one another only."
    ]


class _PrecisionAtR(NamedTuple):
    """Sums over some queries."""

    average: float
    plain: float


def _precision_at_r(
    hits: Bool[Tensor, "block depth"], relevant: Int[Tensor, " block"]
) -> _PrecisionAtR:
    wanted = relevant[:, None]
    place = torch.arange(1, hits.shape[1] + 1, device=hits.device)
    useful = (hits & (place <= wanted)).double()
    average = useful * useful.cumsum(dim=1) / place
    return _PrecisionAtR(float((average / wanted).sum()), float((useful / wanted).sum()))


class _Asked(NamedTuple):
    """Who searches among whom."""

    queries: Int[Tensor, " queries"]
    """Those that count."""
    relevant: Int[Tensor, " queries"]
    """How many images each should find, at least one."""
    gallery: Int[Tensor, " gallery"] | None
    """None: all images but the query."""
    dropped: int
    """Queries that have nothing to find."""


def _select_queries(labels: Int[Tensor, " n"], is_query: Bool[Tensor, " n"] | None) -> _Asked:
    gallery = None
    if is_query is None:
        queries = torch.arange(len(labels), device=labels.device)
        relevant = torch.bincount(labels)[labels] - 1
    else:
        queries, gallery = is_query.nonzero()[:, 0], (~is_query).nonzero()[:, 0]
        counts = torch.bincount(labels[gallery], minlength=int(labels.max()) + 1)
        relevant = counts[labels[queries]]
    has_any = relevant > 0
    dropped = len(queries) - int(has_any.sum())
    return _Asked(queries[has_any], relevant[has_any], gallery, dropped)


def _find(
    who: _Asked,
    embeddings: Float[Tensor, "n dim"],
    depth: int,
    *,
    distance: Distance,
    search: Search,
) -> Iterator[Found]:
    """The ``depth`` neighbours of all who ask, a block at a time."""
    return search_in_blocks(
        embeddings,
        depth,
        distance=distance,
        queries=who.queries,
        gallery=who.gallery,
        search=search,
    )


class ClusterScores(NamedTuple):
    """How well k-means of embeddings finds the classes."""

    nmi: float
    """Normalised mutual information in [0, 1], by the arithmetic mean of the entropies."""
    ami: float
    """Adjusted mutual information: at most 1, and 0 on average for a random clustering."""


def score_clusters(
    embeddings: Float[Tensor, "n dim"],
    labels: Int[Tensor, " n"],
    *,
    seed: int,
    distance: Distance = "cosine",
) -> ClusterScores:
    """k-means with the true number of classes against the classes, one start.

    Spherical for cosine, else Euclidean. Queries and gallery are clustered together. Embeddings
    that are not finite, or too long to be squared, form a cluster of their own.

    Source:
        As in the field's tables (Oh Song et al., CVPR 2016, arXiv:1511.06452); AMI: Vinh et al.,
        JMLR 2010.
    """
    usable = usable_rows(embeddings)
    found = torch.full_like(labels, -1)
    classes = min(len(labels.unique()), int(usable.sum()))
    if classes:
        kmeans = spherical_kmeans if distance == "cosine" else euclidean_kmeans
        found[usable] = kmeans(embeddings[usable], classes, seed=seed).labels
    both = labels.cpu().numpy(), found.cpu().numpy()
    return ClusterScores(
        float(normalized_mutual_info_score(*both)), float(adjusted_mutual_info_score(*both))
    )


def evaluate(
    embeddings: Float[Tensor, "n dim"],
    labels: Int[Tensor, " n"],
    config: EvaluateConfig,
    *,
    seed: int,
    distance: Distance = "cosine",
    is_query: Bool[Tensor, " n"] | None = None,
    keep: Keep | None = None,
) -> dict[str, float]:
    """All metrics of one split by name.

    ``recall@1``, ``map@r``, ``r_precision``, ``nmi``, ``ami``, ``queries``, ``dropped``; those that
    the configuration leaves out are missing.
    """
    retrieval = retrieve(
        embeddings,
        labels,
        k=config.k,
        map_at_r=config.map_at_r,
        distance=distance,
        search=config.search,
        is_query=is_query,
        keep=keep,
    )
    metrics = {f"recall@{k}": value for k, value in retrieval.recall.items()}
    if config.map_at_r:
        metrics |= {"map@r": retrieval.map_at_r, "r_precision": retrieval.r_precision}
    if config.nmi or config.ami:
        scores = score_clusters(embeddings, labels, seed=seed, distance=distance)
        metrics |= {"nmi": scores.nmi} if config.nmi else {}
        metrics |= {"ami": scores.ami} if config.ami else {}
    return metrics | {"queries": retrieval.queries, "dropped": retrieval.dropped}
