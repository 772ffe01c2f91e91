"""Pictures of a few clusters of the last clustering: the purest and the least pure ones.

``tables/cluster_pictures.jsonl`` has one row per cluster, with thumbnails in ``images/`` of some of
its ``members`` in ``tables/clusters.jsonl``. A resumed run reads and writes the same.
"""

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from gcudml.data.datasets import ImageSet
from gcudml.evaluation.run_files import write_rows
from gcudml.evaluation.thumbnails import write_thumbnail

SHOWN_CLUSTERS = 3
"""Number of purest clusters, and of least pure ones."""
SHOWN_IMAGES = 8
FEWEST_IMAGES = 4
"""Listed images of a cluster that is shown: of one or two images, any purity is chance."""


def write_cluster_pictures(workdir: Path, training: ImageSet) -> None:
    """Write the table and the pictures; nothing without clusters, or if images have no classes.

    If they cannot be written, for example on a full disk, say so on stderr and go on without them.
    """
    rows = [
        row
        for row in _last_clustering(workdir / "tables" / "clusters.jsonl")
        if row["purity"] is not None and len(row["members"]) >= FEWEST_IMAGES
    ]
    ranked = sorted(rows, key=lambda row: (-row["purity"], row["cluster"]))
    shown = ranked
    if len(ranked) > 2 * SHOWN_CLUSTERS:
        shown = [*ranked[:SHOWN_CLUSTERS], *ranked[-SHOWN_CLUSTERS:]]
    if shown:
        try:
            drawn = [_drawn(row, training, workdir / "images") for row in shown]
        except OSError as error:
            said = f"pictures of clusters: not written ({error.strerror or error}); continuing"
            print(said, file=sys.stderr)
            return
        write_rows(workdir, "cluster_pictures", drawn)


def _last_clustering(path: Path) -> Sequence[Mapping[str, Any]]:
    if not path.exists():
        return ()
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    return [row for row in rows if row["epoch"] == rows[-1]["epoch"]]


def _drawn(row: Mapping[str, Any], training: ImageSet, folder: Path) -> Mapping[str, object]:
    members = row["members"]
    shown = min(SHOWN_IMAGES, len(members))
    # Evenly spaced: images are sorted by class, and the first ones would look too pure.
    images = [members[place * len(members) // shown] for place in range(shown)]
    names = [write_thumbnail(folder, training.images[image]) for image in images]
    return {
        **{key: row[key] for key in ("epoch", "cluster", "size", "purity")},
        "images": images,
        "labels": [training.class_names[training.labels[image]] for image in images],
        "pictures": [f"{folder.name}/{name}" for name in names],
    }
