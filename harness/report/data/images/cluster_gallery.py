"""Load the purest and the least pure clusters of the runs shown, with their pictures."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import zip_longest
from typing import NamedTuple

from harness.report.data.images.compared_runs import ShownRun, ShownRuns
from harness.report.data.images.thumbnails import Pictures
from harness.store.database import Connection
from harness.store.typed_rows import read_rows

MOST_CLUSTERS = 6
MOST_IMAGES = 8

_CLUSTERS = """
SELECT epoch, size, purity, labels, pictures FROM cluster_pictures
WHERE run_id = ? AND isfinite(purity) ORDER BY purity DESC, cluster LIMIT ?
"""


class ClusterImage(NamedTuple):
    """An image of a cluster."""

    label: str
    picture: str | None
    """Name of its picture in the page."""


@dataclass(frozen=True, slots=True)
class ShownCluster:
    """A cluster with a few of its images."""

    epoch: int
    size: int
    purity: float
    images: tuple[ClusterImage, ...]

    @property
    def majority(self) -> str:
        """The most frequent class of the images shown."""
        return Counter(one.label for one in self.images).most_common(1)[0][0]


@dataclass(frozen=True, slots=True)
class ClusteredRun:
    """Clusters of one run, the purest first."""

    run: ShownRun
    clusters: tuple[ShownCluster, ...]


def read_clusters(
    con: Connection, shown: ShownRuns | None, pictures: Pictures
) -> tuple[ClusteredRun, ...]:
    """Read the clusters of the runs shown; runs without any are left out.

    Args:
        con: The database.
        shown: The runs.
        pictures: Collects the pictures of the page.
    """
    found = []
    for run in () if shown is None else shown.runs:
        rows = read_rows(con, _CLUSTERS, [run.run_id, MOST_CLUSTERS])
        clusters = tuple(
            ShownCluster(epoch, size, purity, _images(run, labels, files, pictures))
            for epoch, size, purity, labels, files in rows
            if labels
        )
        if clusters:
            found.append(ClusteredRun(run, clusters))
    return tuple(found)


def _images(
    run: ShownRun, labels: Sequence[str], files: Sequence[str], pictures: Pictures
) -> tuple[ClusterImage, ...]:
    shown = labels[:MOST_IMAGES]
    return tuple(
        ClusterImage(label, pictures.add(run.run_id, path))
        for label, path in zip_longest(shown, files[: len(shown)])
    )
