"""Load what single queries retrieve in the runs of the baseline and of the best trial."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from harness.report.data.images.compared_runs import ShownRun, ShownRuns
from harness.report.data.images.thumbnails import Pictures, ShownImage
from harness.store.database import Connection
from harness.store.typed_rows import finite_or_none, read_rows

MOST_QUERIES = 6
"""Per group of the gallery."""
MOST_NEIGHBOURS = 8
MOST_CLASSES = 5
"""Best and worst classes per trial, this many of each."""
_MOST_CANDIDATES = 500

_QUERIES = """
SELECT image, label, first_hit, picture, neighbour_labels, similarities, neighbour_pictures
FROM queries
WHERE run_id = $run_id AND NOT dropped
ORDER BY picture IS NULL, image
LIMIT $most
"""
_COUNTS = """
SELECT
    count(*), count_if(ours AND theirs), count_if(ours AND NOT theirs),
    count_if(theirs AND NOT ours)
FROM (
    SELECT
        coalesce(one.first_hit = 1, false) AS ours,
        coalesce(other.first_hit = 1, false) AS theirs
    FROM queries AS one JOIN queries AS other USING (image)
    WHERE one.run_id = $one AND other.run_id = $other AND NOT one.dropped
)
"""
_FLIPS = """
SELECT image, seeds, wins, losses FROM flips
WHERE study = $study AND trial_id = $trial AND wins <> losses
"""
_CLASSES = """
SELECT label, trial_id, max(queries), avg(recall ORDER BY seed)
FROM classes
WHERE study = $study AND list_contains($trials, trial_id) AND list_contains($seeds, seed)
GROUP BY label, trial_id
ORDER BY label
"""


@dataclass(frozen=True, slots=True)
class Neighbour:
    """An image that a query retrieved."""

    label: str
    is_right: bool
    """Whether it has the query's class."""
    similarity: float | None
    picture: str | None
    """Name of its picture in the page."""


@dataclass(frozen=True, slots=True)
class Finds:
    """What one run retrieves for a query."""

    first_hit: int | None
    """Rank of the first image of its class; None if there is none."""
    neighbours: tuple[Neighbour, ...]

    @property
    def is_right(self) -> bool:
        """Whether the nearest image has the query's class."""
        return self.first_hit == 1


class Flips(NamedTuple):
    """How a query fares over the seeds that two trials share."""

    seeds: int
    wins: int
    """Seeds with which the second trial is right and the first is wrong."""
    losses: int
    """Seeds with which it is the other way round."""


@dataclass(frozen=True, slots=True)
class Query(ShownImage):
    """A query, and what each of the runs retrieves for it."""

    finds: tuple[Finds, ...]
    flips: Flips | None
    """None with a single run, and for a query that is right as often with both trials."""


@dataclass(frozen=True, slots=True)
class Group:
    """Queries that have something in common."""

    title: str
    queries: tuple[Query, ...]
    left_out: int
    """Number of further queries of the kind."""


@dataclass(frozen=True, slots=True)
class Counts:
    """How many queries both runs get right, by Recall@1."""

    queries: int
    both: int
    only_first: int
    only_second: int


@dataclass(frozen=True, slots=True)
class ClassRecall:
    """Recall@1 of one class."""

    label: str
    queries: int
    recall: tuple[float | None, ...]
    """Per trial, the mean over the shared seeds."""


@dataclass(frozen=True, slots=True)
class Gallery:
    """The whole gallery; with a single run it has one group and no counts."""

    shown: ShownRuns
    groups: tuple[Group, ...]
    counts: Counts | None
    classes: tuple[ClassRecall, ...]
    """The best and the worst of each trial, best first by the mean over the trials."""
    all_classes: int


class _Found(NamedTuple):
    """A query of one run, as its table has it."""

    label: str
    first_hit: int | None
    picture: str | None
    labels: list[str | None] | None
    similarities: list[float | None] | None
    pictures: list[str | None] | None


def read_gallery(
    con: Connection, study: str, shown: ShownRuns | None, pictures: Pictures
) -> Gallery | None:
    """Read the queries to show, the same for all runs; None if none was written.

    Args:
        con: The database.
        study: The study's name.
        shown: The runs to show.
        pictures: Collects the pictures that the gallery shows.
    """
    if shown is None:
        return None
    of_each = [_read_queries(con, run) for run in shown.runs]
    shared = [
        image
        for image, one in of_each[0].items()
        if all(image in found and found[image].label == one.label for found in of_each)
    ]
    if not shared:
        return None
    groups = []
    flips = _read_flips(con, study, shown)
    for title, images, chosen in _groups(shown, sorted(shared), flips):
        queries = tuple(
            _query(image, shown, [found[image] for found in of_each], pictures, flips.get(image))
            for image in chosen
        )
        groups.append(Group(title, queries, len(images) - len(queries)))
    classes = _read_classes(con, study, shown)
    return Gallery(shown, tuple(groups), _count(con, shown), _extremes(classes), len(classes))


def _read_queries(con: Connection, run: ShownRun) -> dict[int, _Found]:
    """Map image to query, for queries with a picture; if none has one, for the first queries."""
    rows = read_rows(con, _QUERIES, {"run_id": run.run_id, "most": _MOST_CANDIDATES})
    found = {image: _Found(*query) for image, *query in rows}
    return {image: one for image, one in found.items() if one.picture is not None} or found


def _read_flips(con: Connection, study: str, shown: ShownRuns) -> dict[int, Flips]:
    """Map image to flips, over all shared seeds, for queries that favour one of the trials."""
    if len(shown.runs) < 2:
        return {}
    given = {"study": study, "trial": shown.runs[1].trial.trial_id}
    return {image: Flips(*counts) for image, *counts in read_rows(con, _FLIPS, given)}


def _groups(
    shown: ShownRuns, shared: list[int], flips: Mapping[int, Flips]
) -> Iterable[tuple[str, list[int], list[int]]]:
    """Yield title, images, and those to show: of the flips, the most consistent."""
    yield "A fixed sample", shared, _spread(shared, MOST_QUERIES)
    if len(shown.runs) < 2:
        return
    gain = {image: flips[image].wins - flips[image].losses for image in shared if image in flips}
    first, second = (run.role for run in shown.runs)
    wins = sorted((image for image in gain if gain[image] > 0), key=lambda image: -gain[image])
    yield f"More often right in the {second} trial", wins, wins[:MOST_QUERIES]
    losses = sorted((image for image in gain if gain[image] < 0), key=lambda image: gain[image])
    yield f"More often right in the {first}", losses, losses[:MOST_QUERIES]


def _spread(images: Sequence[int], most: int) -> list[int]:
    """Pick at most ``most`` images at even steps, so that they cover many classes."""
    if len(images) <= most:
        return list(images)
    return [images[place * len(images) // most] for place in range(most)]


def _query(
    image: int,
    shown: ShownRuns,
    found: Sequence[_Found],
    pictures: Pictures,
    flips: Flips | None,
) -> Query:
    of_each = list(zip((run.run_id for run in shown.runs), found, strict=True))
    drawn = [pictures.add(run_id, one.picture) for run_id, one in of_each]
    finds = tuple(_finds(run_id, one, found[0].label, pictures) for run_id, one in of_each)
    return Query(image, found[0].label, next((one for one in drawn if one), None), finds, flips)


def _finds(run_id: str, found: _Found, label: str, pictures: Pictures) -> Finds:
    near, drawn = found.similarities or [], found.pictures or []
    neighbours = tuple(
        Neighbour(
            label=each or "",
            is_right=each == label,
            similarity=finite_or_none(near[place]) if place < len(near) else None,
            picture=pictures.add(run_id, drawn[place]) if place < len(drawn) else None,
        )
        for place, each in enumerate((found.labels or [])[:MOST_NEIGHBOURS])
    )
    return Finds(found.first_hit, neighbours)


def _count(con: Connection, shown: ShownRuns) -> Counts | None:
    if len(shown.runs) < 2:
        return None
    one, other = (run.run_id for run in shown.runs)
    (row,) = read_rows(con, _COUNTS, {"one": one, "other": other})
    return Counts(*row)


def _read_classes(con: Connection, study: str, shown: ShownRuns) -> list[ClassRecall]:
    ids = [run.trial.trial_id for run in shown.runs]
    rows = read_rows(
        con, _CLASSES, {"study": study, "trials": ids, "seeds": list(shown.shared_seeds)}
    )
    found: dict[str, tuple[int, dict[str, float]]] = {}
    for label, trial_id, queries, recall in rows:
        found.setdefault(label, (queries, {}))[1][trial_id] = recall
    return [
        ClassRecall(label, queries, tuple(recall.get(trial_id) for trial_id in ids))
        for label, (queries, recall) in found.items()
    ]


def _extremes(classes: Sequence[ClassRecall]) -> tuple[ClassRecall, ...]:
    """Return the best and the worst classes of each trial; ties go to the earlier name."""
    chosen: set[str] = set()
    for place in range(len(classes[0].recall) if classes else 0):
        known = [(one.recall[place] or 0.0, one.label) for one in classes]
        best = sorted(known, key=lambda pair: (-pair[0], pair[1]))
        chosen |= {label for _, label in best[:MOST_CLASSES]}
        chosen |= {label for _, label in sorted(known)[:MOST_CLASSES]}
    kept = [one for one in classes if one.label in chosen]
    return tuple(sorted(kept, key=lambda one: (-sum(r or 0.0 for r in one.recall), one.label)))
