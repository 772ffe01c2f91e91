"""Intervals of each trial's difference that cover another draw of the folds' classes."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping

import duckdb

from harness.stats.variance.folds import fold_interval
from harness.store.tables.bulk_rows import Row, insert_rows

_DIFFERENCES = """
WITH complete AS (
    SELECT folds.*
    FROM folds JOIN results USING (trial_id, seed, split, name)  -- seeds whose folds have all ended
    WHERE folds.study = $study AND fold > 0
)
SELECT
    trial_id, mine.split, mine.name, mine.fold, avg(mine.value - theirs.value ORDER BY mine.seed)
FROM (SELECT unnest($trials::VARCHAR[]) AS trial_id, unnest($baselines::VARCHAR[]) AS other) AS pair
JOIN complete AS mine USING (trial_id)
JOIN complete AS theirs
    ON theirs.trial_id = other AND theirs.seed = mine.seed AND theirs.fold = mine.fold
    AND theirs.split = mine.split AND theirs.name = mine.name
GROUP BY ALL
ORDER BY ALL
"""


def refresh_fold_intervals(
    con: duckdb.DuckDBPyConnection, study: str, baselines: Mapping[str, str]
) -> None:
    """Add the rows of ``study`` to the table ``comparison_over_classes``, for every metric.

    The table holds no rows with folds of the study before.

    The difference in a fold is the mean over the seeds that trial and baseline have finished.

    Args:
        con: The database, in the caller's transaction.
        study: Name of the study.
        baselines: Trial -> its baseline.
    """
    pairs = {"trials": list(baselines), "baselines": list(baselines.values())}
    found = con.execute(_DIFFERENCES, {"study": study, **pairs}).fetchall()
    by_fold: defaultdict[tuple[str, str, str], list[float]] = defaultdict(list)
    for trial_id, split, metric, _, difference in found:
        by_fold[trial_id, split, metric].append(difference)
    rows: list[Row] = []
    for (trial_id, split, metric), differences in by_fold.items():
        if (interval := fold_interval(differences)) is not None:
            fixed = {"study": study, "trial_id": trial_id, "split": split, "metric": metric}
            rows.append({**fixed, **interval._asdict()})
    insert_rows(con, "comparison_over_classes", rows)
