"""Intervals of each trial's difference that cover another draw of test classes, in one table."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import duckdb
import numpy as np
from numpy.typing import NDArray

from harness.stats.variance.crossed import crossed_interval
from harness.store.tables.bulk_rows import Row, insert_rows

_SPLIT = "test"  # the table queries holds queries of test classes


class _Scored(NamedTuple):
    """What a run found, class by class. Shape letters: ``classes``, ``ks`` values of K."""

    classes: NDArray[np.uint64]
    """``(classes,)``: digests of the labels, ascending."""
    queries: NDArray[np.float64]
    """``(classes,)``: queries that count."""
    hits: NDArray[np.float64]
    """``(classes, ks)``: those with a hit among the K nearest."""

    def covers(self, other: _Scored) -> bool:
        """Whether both have the same queries of the same classes."""
        return bool(
            np.array_equal(self.classes, other.classes)
            and np.array_equal(self.queries, other.queries)
        )


BySeed = dict[int, _Scored]


def refresh_class_intervals(
    con: duckdb.DuckDBPyConnection, study: str, baselines: Mapping[str, str]
) -> None:
    """Recompute the table ``comparison_over_classes`` of ``study``, for every Recall@K.

    Trials whose runs have written no queries, or on other data than their baseline's, get no row.

    Args:
        con: The database, in the caller's transaction.
        study: Name of the study.
        baselines: Trial -> its baseline.
    """
    con.execute("DELETE FROM comparison_over_classes WHERE study = $1", [study])
    found = con.execute(
        """
        SELECT DISTINCT k FROM recall JOIN member USING (run_id) JOIN trial USING (trial_id)
        WHERE study = $1 AND split = $2 ORDER BY k
        """,
        [study, _SPLIT],
    ).fetchall()
    ks = [int(k) for (k,) in found]
    if not ks or not baselines:
        return
    scored = _scored(con, study, ks)
    rows: list[Row] = []
    for trial_id, baseline in baselines.items():
        rows += _rows(trial_id, scored.get(trial_id, {}), scored.get(baseline, {}), ks)
    insert_rows(con, "comparison_over_classes", [{**row, "study": study} for row in rows])


def _rows(trial_id: str, trial: BySeed, baseline: BySeed, ks: Sequence[int]) -> Iterator[Row]:
    """Yield a row per K; none if the runs' classes differ."""
    seeds = sorted(trial.keys() & baseline.keys())
    pairs = [(trial[seed], baseline[seed]) for seed in seeds]
    if not pairs or not all(one.covers(pairs[0][0]) for pair in pairs for one in pair):
        return
    queries = pairs[0][0].queries
    table = np.stack([(mine.hits - theirs.hits) / queries[:, None] for mine, theirs in pairs])
    for place, k in enumerate(ks):
        if (interval := crossed_interval(table[:, :, place], queries)) is not None:
            fixed = {"trial_id": trial_id, "split": _SPLIT, "metric": f"recall@{k}"}
            yield {**fixed, **interval._asdict()}


def _scored(con: duckdb.DuckDBPyConnection, study: str, ks: Sequence[int]) -> dict[str, BySeed]:
    """Return trial -> seed -> what its run found."""
    counts = ", ".join(f"count(*) FILTER (first_hit <= {k}) AS hits_{k}" for k in ks)
    columns = con.execute(
        f"""
        WITH mine AS (
            SELECT trial_id, member.seed, run_id
            FROM trial JOIN member USING (trial_id) JOIN run USING (run_id)
            WHERE study = $1 AND run.state = 'done' AND trial.pruned IS NULL
        ),
        scored AS (
            SELECT run_id, hash(label) AS class, count(*) AS queries, {counts}
            FROM queries
            WHERE NOT dropped AND run_id IN (SELECT run_id FROM mine)
            GROUP BY run_id, class
        )
        SELECT * FROM mine JOIN scored USING (run_id) ORDER BY trial_id, seed, class
        """,
        [study],
    ).fetchnumpy()
    hits = np.stack([np.asarray(columns[f"hits_{k}"], dtype=np.float64) for k in ks], axis=1)
    trials, seeds = np.asarray(columns["trial_id"]), np.asarray(columns["seed"])
    is_new = (trials[1:] != trials[:-1]) | (seeds[1:] != seeds[:-1])
    edges = [0, *(np.flatnonzero(is_new) + 1).tolist(), len(trials)] if len(trials) else [0]
    found: dict[str, BySeed] = {}
    for start, end in itertools.pairwise(edges):
        found.setdefault(str(trials[start]), {})[int(seeds[start])] = _Scored(
            np.asarray(columns["class"][start:end], dtype=np.uint64),
            np.asarray(columns["queries"][start:end], dtype=np.float64),
            hits[start:end],
        )
    return found
