"""Retrieval and clustering metrics: Recall@K, MAP@R, R-precision, NMI and AMI."""

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
    """Results of a block of queries. Shape letters: ``block`` queries, ``depth`` neighbours."""

    rows: Int[Tensor, " block"]
    """Indices of the queries."""
    nearest: Int[Tensor, "block depth"]
    """Indices of their neighbours, best first."""
    hits: Bool[Tensor, "block depth"]
    """Which of these have the query's class."""
    classes: Int[Tensor, " block"]
    """Number of other classes before the first hit; in the whole list if there is none."""


Keep = Callable[[Hits], None]
"""Callback that receives the results of a block of queries."""
FEWEST_KEPT = 8  # neighbours of each query, if a callback keeps them


class Retrieval(NamedTuple):
    """Retrieval scores of one set of embeddings."""

    recall: dict[int, float]
    """K -> fraction of the counted queries with a hit among their K nearest neighbours."""
    map_at_r: float
    r"""Mean over queries of :math:`\tfrac1R \sum_{i \le R} h_i \cdot \tfrac1i \sum_{j \le i} h_j`,
    where R images are relevant and :math:`h_i` is 1 if the i-th neighbour is one of them, else 0.
    0 if not requested."""
    r_precision: float
    """Fraction of hits among the R nearest, averaged over queries; 0 if not requested."""
    queries: int
    """Number of counted queries."""
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
    """Compute Recall@K, MAP@R and R-precision, a block of queries at a time.

    A query without a relevant image cannot succeed: it is left out and counted as dropped. An
    embedding that is not finite, or too long to be squared, retrieves nothing and is never
    retrieved. If no query is left, all scores are 0.

    Args:
        embeddings: ``(n, dim)``; compared by ``distance``.
        labels: ``(n,)`` class indices, >= 0.
        k: Each K >= 1; a K above the number of neighbours uses all of them.
        map_at_r: Whether to search for R neighbours, which is many for large classes.
        distance: How embeddings are compared.
        search: How neighbours are found; with an approximate search all scores are approximate.
        is_query: Mask of the queries; the other images are the gallery (In-Shop). None: every
            image is a query against all others.
        keep: Called with the results of each block, with at least ``FEWEST_KEPT`` neighbours.

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
            keep(Hits(found.rows, found.nearest, hits, _classes_before(found, labels, hits)))
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
    """Mask of the neighbours with their query's class, where both embeddings are usable."""
    is_alike: Tensor = labels[found.nearest] == labels[found.rows][:, None]
    return is_alike & usable[found.nearest] & usable[found.rows][:, None]


def _classes_before(
    found: Found, labels: Int[Tensor, " n"], hits: Bool[Tensor, "block depth"]
) -> Int[Tensor, " block"]:
    """Number of other classes before the first hit; in the whole list if there is none."""
    count = torch.zeros_like(found.rows)
    asked = (~hits[:, 0]).nonzero()[:, 0]
    own, others = labels[found.rows[asked]][:, None], labels[found.nearest[asked]]
    # An unusable image of the query's class is no hit, and no other class either.
    is_other = (hits[asked].cumsum(dim=1) == 0) & (others != own)
    listed = others.where(is_other, -1).sort(dim=1).values
    is_new = listed[:, 1:] != listed[:, :-1]
    count[asked] = is_new.sum(dim=1) + (listed[:, 0] >= 0)
    return count


def remarks_on_search(search: Search, device: torch.device) -> list[str]:
    """Note for reports that scores are approximate; empty for an exact search."""
    if not is_approximate(search, device):
        return []
    return [
        f"Recall@K, MAP@R and R-precision are approximate (evaluate.search: {search}): the index "
        "misses some of the nearest images. Compare such runs only with one another."
    ]


class _PrecisionAtR(NamedTuple):
    """Sums over a block of queries."""

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
    """The queries, and the gallery they are compared with."""

    queries: Int[Tensor, " queries"]
    """Counted queries: those with a relevant image."""
    relevant: Int[Tensor, " queries"]
    """Number of relevant images of each query, at least one."""
    gallery: Int[Tensor, " gallery"] | None
    """None: all images except the query itself."""
    dropped: int
    """Queries without a relevant image."""


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
    """Find the ``depth`` nearest neighbours of all queries, a block at a time."""
    return search_in_blocks(
        embeddings,
        depth,
        distance=distance,
        queries=who.queries,
        gallery=who.gallery,
        search=search,
    )


class ClusterScores(NamedTuple):
    """Agreement of k-means clusters with the classes."""

    nmi: float
    """Normalised mutual information in [0, 1] (arithmetic mean of the entropies)."""
    ami: float
    """Adjusted mutual information: at most 1; 0 on average for a random clustering."""


def score_clusters(
    embeddings: Float[Tensor, "n dim"],
    labels: Int[Tensor, " n"],
    *,
    seed: int,
    distance: Distance = "cosine",
) -> ClusterScores:
    """Compare k-means clusters, as many as there are classes, with the classes.

    k-means is run once: spherical for cosine, else Euclidean. Queries and gallery are clustered
    together. Embeddings that are not finite, or too long to be squared, form an extra cluster.

    Source:
        The usual protocol in metric learning (Oh Song et al., CVPR 2016, arXiv:1511.06452); AMI:
        Vinh et al., JMLR 2010.
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
    """Compute all configured metrics of one split, by name.

    The names are ``recall@1`` (and so on), ``map@r``, ``r_precision``, ``nmi``, ``ami``,
    ``queries`` and ``dropped``; metrics that the configuration turns off are missing.
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
