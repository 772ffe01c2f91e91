"""Log of what each test query retrieves: the tables and pictures behind the scores.

``tables/queries.jsonl`` has one row per query; ``tables/projection.jsonl`` one row per image of a
sample, on a map of two principal components (or UMAP); ``images/`` holds thumbnails of that sample,
of a few queries and of their neighbours. Samples depend only on the data, so that all runs on the
same data show the same images.
"""

import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from gcudml.config import DataConfig, EvaluateConfig
from gcudml.config.fields import Distance
from gcudml.data.datasets import ImageSet, load
from gcudml.evaluation.class_counts import Row, class_rows, first_in_list, with_late_hits
from gcudml.evaluation.retrieval import FEWEST_KEPT, Hits
from gcudml.evaluation.run_files import write_facts, write_rows
from gcudml.evaluation.thumbnails import write_thumbnail
from gcudml.neighbours.search import FirstHits, as_compared, is_approximate
from gcudml.runtime.seeding import generator

NEIGHBOURS = FEWEST_KEPT
SHOWN_QUERIES = 48
"""Queries with pictures: enough that some are right in one run and wrong in another."""
MAP_IMAGES = 600
FEWEST_FOR_UMAP = 8
FEWEST_OF_A_CLASS = 10
"""Least images of a class on the map, if it has that many: with single images of many classes the
map would show no classes."""
ROWS_AT_ONCE = 4096  # table rows held as Python objects: a million would take gigabytes
MOST_PRODUCTS = 1 << 22  # numbers held at a time when computing similarities


class _Block(NamedTuple):
    """Results of a block of queries, in host memory.

    Shape letters: ``block`` queries, ``kept`` neighbours of each.
    """

    rows: Int[Tensor, " block"]
    ranks: Int[Tensor, " block"]
    """Rank of the first hit, from 1; 0 if it is not among the first ``depth``."""
    classes: Int[Tensor, " block"]
    """Other classes before it, or among the first ``depth``."""
    nearest: Int[Tensor, "block kept"]
    depth: int


@dataclass
class QueryLog:
    """Collects what test queries retrieve while they are scored, then writes it to files."""

    workdir: Path
    data: DataConfig
    config: EvaluateConfig = field(default_factory=EvaluateConfig)
    """Determines the search method and the layout of the map."""
    blocks: list[_Block] = field(default_factory=list)
    class_counts: Sequence[Row] = ()
    """What ``class_rows`` says of the written queries; empty if the search was approximate."""

    def keep(self, found: Hits) -> None:
        """Keep the results of a block of queries."""
        ranks, classes = first_in_list(found)
        nearest = found.nearest[:, :NEIGHBOURS].contiguous().clone()  # frees the rest
        depth = found.hits.shape[1]
        self.blocks.append(
            _Block(found.rows.cpu(), ranks.cpu(), classes.cpu(), nearest.cpu(), depth)
        )

    def write(
        self,
        embeddings: Float[Tensor, "n dim"],
        labels: Int[Tensor, " n"],
        *,
        distance: Distance,
    ) -> None:
        """Write the tables and pictures of the kept results, and discard the results.

        Args:
            embeddings: Embeddings of all test images, as they were searched.
            labels: Their classes.
            distance: How they were compared.
        """
        source = load(self.data, "test")
        found = _join(self.blocks, embeddings, distance=distance)
        self.blocks = []
        pictures = _Pictures(self.workdir / "images", source)
        places = _shown_queries(len(found.rows))
        is_query = None if source.is_query is None else torch.from_numpy(source.is_query)
        is_exact = not is_approximate(self.config.search, embeddings.device)
        # Counting exact ranks takes as long as the exact search that a user may have opted out of.
        asked = (
            torch.arange(len(found.rows)) if is_exact else torch.tensor(places, dtype=torch.int64)
        )
        hits = with_late_hits(
            FirstHits(found.ranks[asked], found.classes[asked]),
            embeddings,
            labels,
            queries=found.rows[asked],
            depth=found.depth,
            distance=distance,
            is_query=is_query,
        )
        found.ranks[asked], found.classes[asked] = hits
        if is_exact:
            self.class_counts = class_rows("test", hits, labels, is_query=is_query)
        shown = {int(found.rows[place]) for place in places}
        rows = _query_rows(found, source, shown, pictures, with_classes=is_exact)
        write_rows(self.workdir, "queries", rows)
        chosen = map_images(source.labels)
        points = lay_out(as_compared(embeddings[chosen], distance), by=self.config.map)
        if self.config.map == "umap":
            write_facts(self.workdir, map="UMAP")
        write_rows(self.workdir, "projection", _map_rows(chosen, points, source, pictures))


def map_images(labels: np.ndarray) -> list[int]:
    """Choose the images on the map: all, or random images of randomly drawn classes.

    Of more than ``MAP_IMAGES`` images, the same number per class is drawn, at least
    ``FEWEST_OF_A_CLASS`` (or all that a class has), until the map is full.
    """
    classes, sizes = np.unique(labels, return_counts=True)
    if len(labels) <= MAP_IMAGES:
        return list(range(len(labels)))
    of_each = max(FEWEST_OF_A_CLASS, MAP_IMAGES // len(classes))
    randomness = generator(0, "map")
    chosen: list[int] = []
    starts = np.cumsum(sizes) - sizes
    by_class = np.argsort(labels, kind="stable")
    for place in torch.randperm(len(classes), generator=randomness).tolist():
        drawn = torch.randperm(int(sizes[place]), generator=randomness)[:of_each].tolist()
        if len(chosen) + len(drawn) > MAP_IMAGES:
            break
        chosen += [int(by_class[starts[place] + each]) for each in drawn]
    return sorted(chosen)


def lay_out(
    points: Float[Tensor, "n dim"], *, by: Literal["pca", "umap"]
) -> Float[np.ndarray, "n 2"]:
    """Project points to two dimensions.

    Args:
        points: Points in the space in which distances are measured.
        by: ``pca``, or ``umap`` (McInnes et al., arXiv:1802.03426) with 15 neighbours and a fixed
            seed; ``pca`` is used if there are too few points for UMAP.
    """
    if by == "pca" or len(points) < FEWEST_FOR_UMAP:
        return principal_plane(points)
    from umap import UMAP

    neighbours = min(15, len(points) - 1)
    layout = UMAP(n_neighbors=neighbours, random_state=0, n_jobs=1)
    with warnings.catch_warnings():
        warnings.simplefilter(
            "ignore", UserWarning
        )  # UMAP warns about classes that are far apart, which is welcome here
        found = layout.fit_transform(points.cpu().float().numpy())
    return np.asarray(found, dtype=np.float64)


def principal_plane(points: Float[Tensor, "n dim"]) -> Float[np.ndarray, "n 2"]:
    """Project points on their two principal components, the larger one first.

    Signs are fixed: on each axis, the coordinate farthest from 0 is positive.
    """
    centred = points.cpu() - points.cpu().mean(dim=0)
    products = (centred @ centred.T).double()  # (n, n): there may be far more dims than points
    values, vectors = np.linalg.eigh(products.numpy())
    plane = np.zeros((len(points), 2))
    for axis in range(min(2, len(points))):
        plane[:, axis] = vectors[:, -1 - axis] * np.sqrt(max(0.0, values[-1 - axis]))
        plane[:, axis] *= 1.0 if plane[np.abs(plane[:, axis]).argmax(), axis] >= 0 else -1.0
    return plane


class _Found(NamedTuple):
    """Results of all counted queries, in host memory; shape letters as in ``_Block``."""

    rows: Int[Tensor, " block"]
    ranks: Int[Tensor, " block"]
    """From 1; 0 if the hit is not among the first ``depth``, finally only if there is no hit."""
    classes: Int[Tensor, " block"]
    """Other classes before the first hit; meaningless if the search is approximate."""
    nearest: Int[Tensor, "block kept"]
    similarities: Float[Tensor, "block kept"]
    depth: int


def _join(
    blocks: Sequence[_Block],
    embeddings: Float[Tensor, "n dim"],
    *,
    distance: Distance,
) -> _Found:
    """Concatenate the blocks and compute the similarities."""
    if not blocks:
        nothing = torch.zeros(0, dtype=torch.int64)
        return _Found(nothing, nothing, nothing, nothing[:, None], torch.zeros(0, 1), 0)
    rows = torch.cat([block.rows for block in blocks])
    ranks = torch.cat([block.ranks for block in blocks])
    classes = torch.cat([block.classes for block in blocks])
    nearest = torch.cat([block.nearest for block in blocks])
    similarities = _similarities(as_compared(embeddings, distance), rows, nearest, distance)
    return _Found(rows, ranks, classes, nearest, similarities, blocks[0].depth)


def _similarities(
    points: Float[Tensor, "n dim"],
    rows: Int[Tensor, " block"],
    nearest: Int[Tensor, "block kept"],
    distance: Distance,
) -> Float[Tensor, "block kept"]:
    """Cosine similarity, or the negative Euclidean distance."""
    at_once = max(1, MOST_PRODUCTS // max(1, nearest.shape[1] * points.shape[1]))
    parts = []
    for asked, found in zip(rows.split(at_once), nearest.split(at_once), strict=True):
        query, others = points[asked.to(points.device)], points[found.to(points.device)]
        if distance == "cosine":
            parts.append((others * query[:, None]).sum(dim=2).cpu())
        else:
            parts.append(-(others - query[:, None]).norm(dim=2).cpu())
    return torch.cat(parts)


def _shown_queries(count: int) -> list[int]:
    """Choose the queries with pictures, as positions among the counted queries."""
    return torch.randperm(count, generator=generator(0, "shown"))[:SHOWN_QUERIES].tolist()


@dataclass(frozen=True)
class _Pictures:
    """Thumbnails of a data set's images in a run's folder."""

    folder: Path
    source: ImageSet

    def of(self, image: int) -> str:
        """Write the thumbnail of an image and return its path below the run's folder."""
        return f"{self.folder.name}/{write_thumbnail(self.folder, self.source.images[image])}"


def _query_rows(
    found: _Found,
    source: ImageSet,
    shown: set[int],
    pictures: _Pictures,
    *,
    with_classes: bool,
) -> Iterator[Mapping[str, object]]:
    """Yield one row per query, in the order of the images."""
    names = source.class_names
    asks = np.ones(len(source.labels), bool) if source.is_query is None else source.is_query
    place_of = torch.full((len(asks),), -1)
    place_of[found.rows] = torch.arange(len(found.rows))
    for images in torch.from_numpy(asks.nonzero()[0]).split(ROWS_AT_ONCE):
        places = place_of[images]
        counted = places[places >= 0]
        ranks, nearest = iter(found.ranks[counted].tolist()), iter(found.nearest[counted].tolist())
        classes = iter(found.classes[counted].tolist())
        similarities = iter(found.similarities[counted].tolist())
        for image, place in zip(images.tolist(), places.tolist(), strict=True):
            row = _named(image, source)
            row["dropped"] = place < 0
            if place >= 0:
                neighbours, before = next(nearest), next(classes)
                row["first_hit"] = next(ranks) or None
                if with_classes and row["first_hit"]:
                    row["classes_before_hit"] = before
                row["neighbours"] = neighbours
                row["neighbour_labels"] = [names[source.labels[each]] for each in neighbours]
                row["similarities"] = [round(each, 4) for each in next(similarities)]
                if image in shown:
                    row["picture"] = pictures.of(image)
                    row["neighbour_pictures"] = [pictures.of(each) for each in neighbours]
            yield row


def _map_rows(
    chosen: Sequence[int],
    points: Float[np.ndarray, "n 2"],
    source: ImageSet,
    pictures: _Pictures,
) -> Iterator[Mapping[str, object]]:
    for image, (x, y) in zip(chosen, points.tolist(), strict=True):
        place = {"x": float(f"{x:.5g}"), "y": float(f"{y:.5g}")}
        yield _named(image, source) | place | {"picture": pictures.of(image)}


def _named(image: int, source: ImageSet) -> dict[str, object]:
    """Index, class name and file of an image."""
    row: dict[str, object] = {"image": image, "label": source.class_names[source.labels[image]]}
    return row | ({"file": source.files[image]} if source.files else {})
