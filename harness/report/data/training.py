"""Read training curves and cluster sizes from the store with SQL.

Curves average the seeds of a trial, finished and running ones; a failed run would distort the mean
where it stops. Both are read for a few trials only: nobody reads a page of two hundred.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from harness.report.data.study_data import StudyTables, TrialRow
from harness.store.typed_rows import integer, number, number_or_none, read_rows

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


def load_training(results: Path, tables: StudyTables) -> Training:
    """Read the curves of the baseline and the best trials.

    Raises:
        StoreError: the database cannot be read.
    """
    shown = _shown_trials(tables)
    curves = [*_read_curves(results, tables, shown), *_read_cluster_curves(results, tables, shown)]
    return Training(
        trials=tuple(shown),
        left_out=len(tables.contenders) - len(shown),
        curves=tuple(curves),
        sizes=_read_sizes(results, tables, _compared_trials(tables)),
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


def _read_curves(results: Path, tables: StudyTables, trials: Sequence[TrialRow]) -> list[Curve]:
    metric = tables.study.metric
    watched = [
        *(f"{split}/{metric}" for split in ("val", "hindsight", "teacher", "student")),
        *("teacher_distance", "teacher_momentum", "learning_rate"),
        *("clusters/nmi", "clusters/changed"),
    ]
    rows = read_rows(
        results,
        f"WITH chosen AS ({_RUNS})"
        " SELECT name, trial_id, epoch, avg(value ORDER BY seed), min(value), max(value), count(*)"
        " FROM chosen JOIN epoch USING (run_id)"
        " WHERE isfinite(value) AND (name = 'loss' OR starts_with(name, 'loss/')"
        " OR list_contains(?, name))"
        " GROUP BY name, trial_id, epoch"
        " ORDER BY list_position(?, name) NULLS FIRST, name, trial_id, epoch",
        [tables.study.name, _ids(trials), watched, watched],
    )
    return _curves(rows, trials)


def _read_cluster_curves(
    results: Path, tables: StudyTables, trials: Sequence[TrialRow]
) -> list[Curve]:
    # The Gini coefficient of sizes x in ascending order: 2 sum(i x_i) / (n sum(x)) - (n + 1) / n.
    rows = read_rows(
        results,
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
        [tables.study.name, _ids(trials)],
    )
    return _curves(rows, trials)


def _curves(rows: Sequence[tuple[object, ...]], trials: Sequence[TrialRow]) -> list[Curve]:
    points: dict[tuple[str, str], list[CurvePoint]] = {}
    for name, trial_id, epoch, mean, low, high, n in rows:
        points.setdefault((str(name), str(trial_id)), []).append(
            CurvePoint(integer(epoch), number(mean), number(low), number(high), integer(n))
        )
    names = dict.fromkeys(name for name, _ in points)
    return [
        Curve(name, trial, tuple(points[name, trial.trial_id]))
        for name in names
        for trial in trials
        if (name, trial.trial_id) in points
    ]


def _read_sizes(
    results: Path, tables: StudyTables, trials: Sequence[TrialRow]
) -> tuple[ClusterSizes, ...]:
    rows = read_rows(
        results,
        f"WITH chosen AS ({_RUNS}), ranked AS ("
        " SELECT trial_id, seed, epoch, size, row_number() OVER ("
        " PARTITION BY run_id, epoch ORDER BY size DESC, cluster) AS rank"
        " FROM chosen JOIN clusters USING (run_id) WHERE cluster >= 0),"
        # Running seeds have fewer epochs: the last one is the last that every seed has reached.
        " shared AS (SELECT trial_id, epoch FROM ranked WHERE rank = 1 GROUP BY trial_id, epoch"
        " QUALIFY count(*) = max(count(*)) OVER (PARTITION BY trial_id)),"
        " placed AS (SELECT *, row_number() OVER (PARTITION BY trial_id ORDER BY epoch) AS place,"
        " count(*) OVER (PARTITION BY trial_id) AS places FROM shared)"
        " SELECT trial_id, epoch, rank, avg(size ORDER BY seed)"
        " FROM ranked JOIN placed USING (trial_id, epoch)"
        " WHERE place IN (1, (places + 1) // 2, places)"
        " GROUP BY trial_id, epoch, rank ORDER BY trial_id, epoch, rank",
        [tables.study.name, _ids(trials)],
    )
    sizes: dict[tuple[str, int], list[float]] = {}
    for trial_id, epoch, _, size in rows:
        sizes.setdefault((str(trial_id), integer(epoch)), []).append(number_or_none(size) or 0.0)
    borders = _read_borders(results, tables, trials)
    return tuple(
        ClusterSizes(trial, epoch, tuple(found), borders.get((trial_id, epoch), ()))
        for trial in trials
        for (trial_id, epoch), found in sizes.items()
        if trial_id == trial.trial_id
    )


def _read_borders(
    results: Path, tables: StudyTables, trials: Sequence[TrialRow]
) -> dict[tuple[str, int], tuple[float, ...]]:
    """Map trial and epoch to the ranks after which groups end, largest clusters first."""
    rows = read_rows(
        results,
        f"WITH chosen AS ({_RUNS})"
        " SELECT trial_id, epoch, seed, count(*), min(size), max(size)"
        " FROM chosen JOIN clusters USING (run_id)"
        ' WHERE cluster >= 0 AND "group" IS NOT NULL'
        ' GROUP BY trial_id, epoch, seed, "group"'
        ' ORDER BY trial_id, epoch, seed, max(size) DESC, min(size) DESC, "group"',
        [tables.study.name, _ids(trials)],
    )
    groups: dict[tuple[str, int], dict[int, list[_Group]]] = {}
    for trial_id, epoch, seed, members, low, high in rows:
        by_seed = groups.setdefault((str(trial_id), integer(epoch)), {})
        group = _Group(integer(members), number(low), number(high))
        by_seed.setdefault(integer(seed), []).append(group)
    return {key: _borders(list(by_seed.values())) for key, by_seed in groups.items()}


class _Group(NamedTuple):
    members: int
    low: float
    """Size of its smallest cluster."""
    high: float


def _borders(seeds: Sequence[Sequence[_Group]]) -> tuple[float, ...]:
    """Average borders over seeds; empty if seeds differ in groups, or groups overlap in size."""
    fits = len({len(groups) for groups in seeds}) == 1 and all(
        after.high <= before.low for groups in seeds for before, after in itertools.pairwise(groups)
    )
    if not fits:
        return ()
    ends = [list(itertools.accumulate(group.members for group in groups)) for groups in seeds]
    return tuple(sum(at) / len(seeds) for at in list(zip(*ends, strict=True))[:-1])


def _ids(trials: Sequence[TrialRow]) -> list[str]:
    return [trial.trial_id for trial in trials]
