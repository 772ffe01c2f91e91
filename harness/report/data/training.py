"""Read training curves and cluster sizes from the store with SQL.

Curves average the seeds of a trial, finished and running ones; a failed run would distort the mean
where it stops. Both are read for a few trials only: nobody reads a page of two hundred.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from harness.report.data.study_data import StudyTables, TrialRow
from harness.store.database import Connection
from harness.store.typed_rows import read_rows

MOST_TRIALS = 7
"""Maximum number of trials with curves: as many as there are distinguishable colours."""

_RUNS = (
    "SELECT member.trial_id, member.seed, member.run_id"
    " FROM member JOIN trial USING (trial_id) JOIN run USING (run_id)"
    " WHERE trial.study = ? AND run.state IN ('done', 'running')"
    " AND list_contains(?, member.trial_id)"
)


@dataclass(frozen=True, slots=True)
class CurvePoint:
    """One epoch of a trial: mean and range over its seeds."""

    epoch: int
    mean: float
    low: float
    high: float
    n: int


@dataclass(frozen=True, slots=True)
class Curve:
    """A quantity of one trial over the epochs."""

    name: str
    trial: TrialRow
    points: tuple[CurvePoint, ...]


@dataclass(frozen=True, slots=True)
class ClusterSizes:
    """Sizes of the clusters of a trial at an epoch, largest first, averaged over seeds by rank."""

    trial: TrialRow
    epoch: int
    sizes: tuple[float, ...]
    borders: tuple[float, ...] = ()
    """Rank after which each group of clusters but the last ends, averaged over seeds; empty if
    clusters have no groups, or if groups overlap in size."""


@dataclass(frozen=True, slots=True)
class PurityBySize:
    """Purity of the clusters of a trial that have a certain size, in their last clustering."""

    trial: TrialRow
    from_size: int
    """The smallest size; the next class begins at twice as many images."""
    clusters: int
    purity: float


@dataclass(frozen=True, slots=True)
class Training:
    """Everything that a report shows of a study's training."""

    trials: tuple[TrialRow, ...]
    """The trials shown, in the order of the study."""
    left_out: int
    """Number of further trials with runs that could be shown."""
    curves: tuple[Curve, ...]
    """Loss, its terms, validation, other quantities, then the clusters."""
    sizes: tuple[ClusterSizes, ...]
    """First, middle and last epoch of the baseline and of the best other trial."""
    purities: tuple[PurityBySize, ...] = ()
    """Of the trials shown, by size."""


def read_training(con: Connection, tables: StudyTables) -> Training:
    """Read the curves of the baseline and the best trials."""
    shown = _shown_trials(tables)
    return Training(
        trials=tuple(shown),
        left_out=len(tables.contenders) - len(shown),
        curves=(
            *_read_curves(con, tables, shown),
            *_read_cluster_curves(con, tables, shown),
            *_read_label_agreement(con, tables, shown),
        ),
        sizes=_read_sizes(con, tables, _compared_trials(tables)),
        purities=_read_purities(con, tables, shown),
    )


def _shown_trials(tables: StudyTables) -> list[TrialRow]:
    """Return the baseline and the best trials, then unfinished ones, up to the limit."""
    first = [tables.baseline] if tables.baseline else []
    wanted = dict.fromkeys([*first, *tables.ranked(tables.primary), *tables.contenders])
    return sorted(list(wanted)[:MOST_TRIALS], key=lambda trial: trial.number)


def _compared_trials(tables: StudyTables) -> list[TrialRow]:
    """Return the baseline and the best other trial, as far as they exist."""
    others = [t for t in tables.ranked(tables.primary) or tables.contenders if not t.is_baseline]
    return [*([tables.baseline] if tables.baseline else []), *others[:1]]


def _read_curves(con: Connection, tables: StudyTables, trials: Sequence[TrialRow]) -> list[Curve]:
    metric = tables.study.metric
    watched = [
        *(f"{split}/{metric}" for split in ("val", "hindsight", "teacher", "student")),
        *("teacher_distance", "teacher_momentum", "learning_rate"),
        *("clusters/nmi", "clusters/changed"),
    ]
    rows = read_rows(
        con,
        f"WITH chosen AS ({_RUNS})"
        " SELECT name, trial_id, epoch, avg(value ORDER BY seed), min(value), max(value), count(*)"
        " FROM chosen JOIN epoch USING (run_id)"
        " WHERE isfinite(value) AND (name = 'loss' OR starts_with(name, 'loss/')"
        " OR list_contains(?, name))"
        " GROUP BY name, trial_id, epoch"
        " ORDER BY list_position(?, name) NULLS FIRST, name, trial_id, epoch",
        [*_chosen(tables, trials), watched, watched],
    )
    return _curves(rows, trials)


def _read_cluster_curves(
    con: Connection, tables: StudyTables, trials: Sequence[TrialRow]
) -> list[Curve]:
    # The Gini coefficient of sizes x in ascending order: 2 sum(i x_i) / (n sum(x)) - (n + 1) / n.
    rows = read_rows(
        con,
        f"WITH chosen AS ({_RUNS}), ranked AS ("
        " SELECT *, row_number() OVER (PARTITION BY run_id, epoch ORDER BY size, cluster) AS rank"
        " FROM chosen JOIN clusters USING (run_id) WHERE cluster >= 0),"
        " one_run AS (SELECT trial_id, seed, epoch,"
        " 2 * sum(rank * size) / (count(*) * sum(size)) - (count(*) + 1) / count(*) AS gini,"
        " sum(purity * size) / sum(size) FILTER (purity IS NOT NULL) AS purity"
        " FROM ranked GROUP BY trial_id, seed, run_id, epoch HAVING sum(size) > 0),"
        " long AS (SELECT 'gini' AS name, trial_id, seed, epoch, gini AS value FROM one_run"
        " UNION ALL SELECT 'purity', trial_id, seed, epoch, purity FROM one_run)"
        " SELECT name, trial_id, epoch, avg(value ORDER BY seed), min(value), max(value), count(*)"
        " FROM long WHERE value IS NOT NULL GROUP BY name, trial_id, epoch"
        " ORDER BY name, trial_id, epoch",
        _chosen(tables, trials),
    )
    return _curves(rows, trials)


def _read_label_agreement(
    con: Connection, tables: StudyTables, trials: Sequence[TrialRow]
) -> list[Curve]:
    """Read how far the clusters of seeds agree: mean and range over pairs of seeds."""
    rows = read_rows(
        con,
        "SELECT 'agreement', trial_id, epoch, avg(ami ORDER BY seed, other_seed), min(ami),"
        " max(ami), count(*)"
        " FROM agreement WHERE study = ? AND list_contains(?, trial_id)"
        " GROUP BY trial_id, epoch ORDER BY trial_id, epoch",
        _chosen(tables, trials),
    )
    return _curves(rows, trials)


def _curves(rows: Sequence[tuple[Any, ...]], trials: Sequence[TrialRow]) -> list[Curve]:
    found: dict[str, dict[str, list[CurvePoint]]] = {}
    for name, trial_id, *point in rows:
        found.setdefault(name, {}).setdefault(trial_id, []).append(CurvePoint(*point))
    return [
        Curve(name, trial, tuple(points[trial.trial_id]))
        for name, points in found.items()
        for trial in trials
        if trial.trial_id in points
    ]


def _read_sizes(
    con: Connection, tables: StudyTables, trials: Sequence[TrialRow]
) -> tuple[ClusterSizes, ...]:
    rows = read_rows(
        con,
        f"WITH chosen AS ({_RUNS}), ranked AS ("
        " SELECT trial_id, seed, epoch, size, row_number() OVER ("
        " PARTITION BY run_id, epoch ORDER BY size DESC, cluster) AS rank"
        " FROM chosen JOIN clusters USING (run_id) WHERE cluster >= 0),"
        # Running seeds have fewer epochs: the last one is the last that every seed has reached.
        " shared AS (SELECT trial_id, epoch FROM ranked WHERE rank = 1 GROUP BY trial_id, epoch"
        " QUALIFY count(*) = max(count(*)) OVER (PARTITION BY trial_id)),"
        " placed AS (SELECT *, row_number() OVER (PARTITION BY trial_id ORDER BY epoch) AS place,"
        " count(*) OVER (PARTITION BY trial_id) AS places FROM shared),"
        " averaged AS (SELECT trial_id, epoch, rank, avg(size ORDER BY seed) AS size"
        " FROM ranked JOIN placed USING (trial_id, epoch)"
        " WHERE place IN (1, (places + 1) // 2, places) GROUP BY trial_id, epoch, rank)"
        " SELECT trial_id, epoch, list(size ORDER BY rank) FROM averaged"
        " GROUP BY trial_id, epoch ORDER BY trial_id, epoch",
        _chosen(tables, trials),
    )
    borders = _read_borders(con, tables, trials)
    return tuple(
        ClusterSizes(trial, epoch, tuple(sizes), borders.get((trial_id, epoch), ()))
        for trial in trials
        for trial_id, epoch, sizes in rows
        if trial_id == trial.trial_id
    )


def _read_purities(
    con: Connection, tables: StudyTables, trials: Sequence[TrialRow]
) -> tuple[PurityBySize, ...]:
    rows = read_rows(
        con,
        "SELECT trial_id, from_size, clusters, purity FROM purity_by_size"
        " WHERE study = ? AND list_contains(?, trial_id) ORDER BY number, from_size",
        _chosen(tables, trials),
    )
    by_id = {trial.trial_id: trial for trial in trials}
    return tuple(PurityBySize(by_id[trial_id], *row) for trial_id, *row in rows)


def _read_borders(
    con: Connection, tables: StudyTables, trials: Sequence[TrialRow]
) -> dict[tuple[str, int], tuple[float, ...]]:
    """Map trial and epoch to the ranks after which groups end, largest clusters first.

    An epoch is left out if seeds differ in the number of groups, or if groups overlap in size.
    """
    rows = read_rows(
        con,
        f"WITH chosen AS ({_RUNS}), grouped AS ("
        ' SELECT trial_id, epoch, seed, "group", count(*) AS members,'
        " min(size) AS low, max(size) AS high"
        ' FROM chosen JOIN clusters USING (run_id) WHERE cluster >= 0 AND "group" IS NOT NULL'
        " GROUP BY ALL),"
        " ordered AS (SELECT trial_id, epoch, row_number() OVER largest_first AS place,"
        ' sum(members) OVER largest_first AS "end",'
        " coalesce(lag(low) OVER largest_first >= high, true) AS is_apart,"
        " count(*) OVER (PARTITION BY trial_id, epoch, seed) AS groups FROM grouped"
        " WINDOW largest_first AS (PARTITION BY trial_id, epoch, seed"
        ' ORDER BY high DESC, low DESC, "group")),'
        " alike AS (FROM ordered WINDOW seeds AS (PARTITION BY trial_id, epoch)"
        " QUALIFY bool_and(is_apart) OVER seeds"
        " AND min(groups) OVER seeds = max(groups) OVER seeds),"
        ' averaged AS (SELECT trial_id, epoch, place, avg("end") AS border FROM alike'
        " WHERE place < groups GROUP BY trial_id, epoch, place)"
        " SELECT trial_id, epoch, list(border ORDER BY place) FROM averaged GROUP BY ALL",
        _chosen(tables, trials),
    )
    return {(trial_id, epoch): tuple(borders) for trial_id, epoch, borders in rows}


def _chosen(tables: StudyTables, trials: Sequence[TrialRow]) -> list[object]:
    """Return the values for ``_RUNS``."""
    return [tables.study.name, [trial.trial_id for trial in trials]]
