"""Read a study's runs with their curves and results, for exports that work run by run."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

from harness.store.database import reading
from harness.store.typed_rows import read_rows
from harness.workload import JsonValue

_RUNS_AT_ONCE = 200
_MEMBERS = """
    SELECT
        run.run_id, trial_id, trial.number, label, phase, role, varied, member.seed,
        member.fold,
        CASE WHEN is_pruned THEN 'pruned' ELSE state END, failure, seconds, host, git_commit,
        run.params, coalesce(started, TIMESTAMP 'epoch'), finished
    FROM trial JOIN member USING (trial_id) JOIN run USING (run_id)
    WHERE study = $study
    ORDER BY trial.number, trial_id, member.seed, member.fold
"""
_CURVES = """
    SELECT run_id, epoch, name, value FROM epoch
    WHERE run_id IN (SELECT unnest($runs::VARCHAR[])) AND isfinite(value)
    ORDER BY run_id, epoch, name
"""
_RESULTS = """
    SELECT run_id, concat_ws('/', nullif(split, ''), 'recall@' || k) AS name, recall
    FROM recall WHERE run_id IN (SELECT unnest($runs::VARCHAR[])) AND isfinite(recall)
    UNION ALL
    SELECT run_id, concat_ws('/', nullif(split, ''), name) AS name, value
    FROM score WHERE run_id IN (SELECT unnest($runs::VARCHAR[])) AND isfinite(value)
    ORDER BY ALL
"""


class Point(NamedTuple):
    """A number that a run reported after an epoch."""

    epoch: int
    name: str
    value: float


@dataclass(frozen=True, slots=True)
class ExportedRun:
    """A run of a study, started at least once."""

    run_id: str
    trial_id: str
    number: int
    """Number of its trial."""
    label: str
    phase: str
    role: str
    varied: Mapping[str, JsonValue]
    seed: int
    fold: int
    """Fold of the training data that it holds out; 0 if they are not cut."""
    state: str
    """``running``, ``done``, ``failed`` or ``pruned``."""
    failure: str | None
    seconds: float | None
    host: str | None
    commit: str | None
    params: Mapping[str, JsonValue]
    started: datetime
    """In UTC."""
    finished: datetime | None
    curve: Sequence[Point]
    """By epoch, then name."""
    results: Mapping[str, float]
    """By name, such as ``test/recall@1``; empty unless the run is done."""

    @property
    def points(self) -> list[Point]:
        """The curve, then the results at the last epoch."""
        last = self.curve[-1].epoch if self.curve else 0
        return [*self.curve, *(Point(last, name, value) for name, value in self.results.items())]


def exported_runs(results: Path, study: str) -> Iterator[ExportedRun]:
    """Yield the runs of ``study`` by trial and seed, read in batches.

    Raises:
        InputError: there are no results yet.
        StoreError: the database cannot be read.
    """
    with reading(results) as con:
        members = read_rows(con, _MEMBERS, {"study": study})
    for start in range(0, len(members), _RUNS_AT_ONCE):
        some = members[start : start + _RUNS_AT_ONCE]
        ids = {"runs": [row[0] for row in some]}
        curves: defaultdict[str, list[Point]] = defaultdict(list)
        found: defaultdict[str, dict[str, float]] = defaultdict(dict)
        with reading(results) as con:  # closed while the caller writes
            for run_id, *point in read_rows(con, _CURVES, ids):
                curves[run_id].append(Point(*point))
            for run_id, name, value in read_rows(con, _RESULTS, ids):
                found[run_id][name] = value
        for *row, started, finished in some:
            times = (started.replace(tzinfo=UTC), as_utc(finished))
            yield ExportedRun(*(*row, *times, curves[row[0]], found[row[0]]))


def as_utc(time: datetime | None) -> datetime | None:
    """Mark a TIMESTAMP of the database as UTC."""
    return None if time is None else time.replace(tzinfo=UTC)
