"""Counts of the classes before each query's first hit, from which Recall@1 with fewer follows.

If ``m`` of the other ``C - 1`` classes have an image before the first hit of a query, then among
``c`` classes drawn at random, its own included, the query succeeds if none of the ``m`` is drawn:
with probability ``binom(C - 1 - m, c - 1) / binom(C - 1, c - 1)``. So scores of parts of the data
with different numbers of classes can be compared without drawing any.
"""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from gcudml.config import EvaluateConfig
from gcudml.config.fields import Distance
from gcudml.evaluation.retrieval import Hits, retrieve
from gcudml.evaluation.run_files import write_rows
from gcudml.neighbours.search import FirstHits, first_hits, is_approximate

Row = Mapping[str, object]


def write_class_counts(workdir: Path, *parts: Sequence[Row]) -> None:
    """Write ``tables/class_counts.jsonl``, unless no part has rows."""
    if rows := [row for part in parts for row in part]:
        write_rows(workdir, "class_counts", rows)


def count_classes(
    split: str,
    embeddings: Float[Tensor, "n dim"],
    labels: Int[Tensor, " n"],
    config: EvaluateConfig,
    *,
    distance: Distance,
    is_query: Bool[Tensor, " n"] | None = None,
) -> list[Row]:
    """Search once more and return ``class_rows``; none if the search is approximate."""
    if is_approximate(config.search, embeddings.device):
        return []
    blocks: list[Hits] = []
    retrieve(
        embeddings,
        labels,
        k=config.k,
        map_at_r=config.map_at_r,
        distance=distance,
        is_query=is_query,
        keep=blocks.append,
    )
    if not blocks:
        return []
    listed = [first_in_list(block) for block in blocks]
    found = FirstHits(*(torch.cat(each) for each in zip(*listed, strict=True)))
    found = with_late_hits(
        found,
        embeddings,
        labels,
        queries=torch.cat([block.rows for block in blocks]),
        depth=blocks[0].hits.shape[1],
        distance=distance,
        is_query=is_query,
    )
    return class_rows(split, found, labels, is_query=is_query)


def first_in_list(found: Hits) -> FirstHits:
    """Return each query's first hit in its list; rank 0, and all its classes, if it has none."""
    ranks = torch.where(found.hits.any(dim=1), found.hits.int().argmax(dim=1) + 1, 0)
    return FirstHits(ranks, found.classes)


def with_late_hits(
    found: FirstHits,
    embeddings: Float[Tensor, "n dim"],
    labels: Int[Tensor, " n"],
    *,
    queries: Int[Tensor, " queries"],
    depth: int,
    distance: Distance,
    is_query: Bool[Tensor, " n"] | None = None,
) -> FirstHits:
    """Fill in the first hits that are beyond the first ``depth`` neighbours; rank 0 where none is.

    Where rounding disagrees with the list, the list is right.
    """
    late = (found.ranks == 0).nonzero()[:, 0]
    if not len(late):
        return found
    device = found.ranks.device
    counted = first_hits(
        embeddings,
        labels,
        queries=queries[late].to(labels.device),
        gallery=None if is_query is None else (~is_query).nonzero()[:, 0].to(labels.device),
        distance=distance,
    )
    ranks, classes = found.ranks.clone(), found.classes.clone()
    beyond = counted.ranks.to(device)
    ranks[late] = torch.where(beyond > 0, beyond.clamp(min=depth + 1), 0)
    classes[late] = counted.classes.to(device).maximum(classes[late])
    return FirstHits(ranks, classes)


def class_rows(
    split: str,
    found: FirstHits,
    labels: Int[Tensor, " n"],
    *,
    is_query: Bool[Tensor, " n"] | None = None,
) -> list[Row]:
    """Return one row per number of classes before the first hit, with the number of its queries.

    Queries without any hit are counted in a row without that number.
    """
    candidates = labels if is_query is None else labels[~is_query.to(labels.device)]
    fixed = {"split": split, "classes": len(candidates.unique())}
    return [{**fixed, **row} for row in _counts(found)]


def _counts(found: FirstHits) -> Iterator[Row]:
    is_found = found.ranks > 0
    values, counts = found.classes[is_found].unique(return_counts=True)
    for value, count in zip(values.tolist(), counts.tolist(), strict=True):
        yield {"classes_before_hit": value, "queries": count}
    if not is_found.all():
        yield {"queries": int((~is_found).sum())}
