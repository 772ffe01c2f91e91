"""Compute how far the pseudo-labels of a trial's seeds agree, in the table ``label_agreement``.

A run never changes once it is done, so only pairs that are not there yet are computed. Of long runs
not every clustering is compared, to keep the driver free for its runs.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator, Mapping
from functools import partial

import duckdb

from harness.stats.mutual_information import adjusted_mutual_information
from harness.store.tables.bulk_rows import Row, insert_rows

MOST_EPOCHS = 50
"""Number of clusterings, evenly spaced and with the last one, that two runs are compared at."""
Labels = Mapping[int, Mapping[int, int]]
"""Epoch -> image -> cluster."""

_MISSING = """
WITH labelled AS (
    SELECT member.trial_id, member.seed, member.run_id
    FROM trial
    JOIN member USING (trial_id)
    JOIN run USING (run_id)
    WHERE trial.study = $1 AND run.state = 'done'
        AND member.run_id IN (SELECT run_id FROM clusters WHERE len(members) > 0)
)
SELECT one.run_id, other.run_id
FROM labelled AS one
JOIN labelled AS other ON other.trial_id = one.trial_id AND other.seed > one.seed
ANTI JOIN label_agreement AS known
    ON known.run_id = one.run_id AND known.other_run = other.run_id
ORDER BY ALL
"""
_LABELS = """
SELECT run_id, epoch, cluster, unnest(members) AS image FROM clusters
WHERE run_id IN (SELECT unnest($1::VARCHAR[])) ORDER BY run_id, epoch, image
"""


def refresh_label_agreement(con: duckdb.DuckDBPyConnection, study: str) -> None:
    """Compute the pairs of finished runs of ``study`` that are not there yet.

    Runs inside the caller's transaction.
    """
    pairs = con.execute(_MISSING, [study]).fetchall()
    if not pairs:
        return
    labels = _labels(con, sorted({run_id for pair in pairs for run_id in pair}))
    rows = [row for one, other in pairs for row in _rows(one, other, labels)]
    insert_rows(con, "label_agreement", rows)


def _labels(con: duckdb.DuckDBPyConnection, run_ids: list[str]) -> Mapping[str, Labels]:
    found: defaultdict[str, defaultdict[int, dict[int, int]]]
    found = defaultdict(partial(defaultdict, dict))
    for run_id, epoch, cluster, image in con.execute(_LABELS, [run_ids]).fetchall():
        found[run_id][epoch][image] = cluster
    return found


def _rows(one: str, other: str, labels: Mapping[str, Labels]) -> Iterator[Row]:
    epochs = sorted(labels[one].keys() & labels[other].keys())
    stride = max(1, math.ceil(len(epochs) / MOST_EPOCHS))
    for epoch in epochs[::-stride]:
        mine, theirs = labels[one][epoch], labels[other][epoch]
        if shared := sorted(mine.keys() & theirs.keys()):
            ami = adjusted_mutual_information(
                [mine[image] for image in shared], [theirs[image] for image in shared]
            )
            fixed: Row = {"run_id": one, "other_run": other, "epoch": epoch}
            yield {**fixed, "images": len(shared), "ami": ami}
