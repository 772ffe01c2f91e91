"""Read a study's runs with their curves and results, for exports that work run by run."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

from harness.store import database
from harness.store.typed_rows import integer, number, read_object, text_or_none
from harness.workload import JsonValue

_WAIT_S = 10.0
_RUNS_AT_ONCE = 200
_MEMBERS = """
    SELECT
        run.run_id, trial_id, trial.number, label, phase, role, varied, member.seed,
        CASE WHEN is_pruned THEN 'pruned' ELSE state END, failure, started, finished, seconds,
        host, git_commit, run.params
    FROM trial JOIN member USING (trial_id) JOIN run USING (run_id)
    WHERE study = $study
    ORDER BY trial.number, trial_id, member.seed
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
    state: str
    """``running``, ``done``, ``failed`` or ``pruned``."""
    failure: str | None
    started: datetime
    """In UTC."""
    finished: datetime | None
    seconds: float | None
    host: str | None
    commit: str | None
    params: Mapping[str, JsonValue]
    curve: Sequence[Point]
    """By epoch, then name."""
    results: Mapping[str, float]
    """By name, such as ``test/recall@1``; empty unless the run is done."""


def exported_runs(results: Path, study: str) -> Iterator[ExportedRun]:
    """Yield the runs of ``study`` by trial and seed, read in batches.

    Raises:
        InputError: there are no results yet.
        StoreError: the database cannot be read.
    """
    rows = database.query(results, _MEMBERS, {"study": study}, wait_s=_WAIT_S).rows
    for start in range(0, len(rows), _RUNS_AT_ONCE):
        some = rows[start : start + _RUNS_AT_ONCE]
        ids = {"runs": [str(row[0]) for row in some]}
        curves: defaultdict[str, list[Point]] = defaultdict(list)
        for run_id, epoch, name, value in database.query(
            results, _CURVES, ids, wait_s=_WAIT_S
        ).rows:
            curves[str(run_id)].append(Point(integer(epoch), str(name), number(value)))
        found: defaultdict[str, dict[str, float]] = defaultdict(dict)
        for run_id, name, value in database.query(results, _RESULTS, ids, wait_s=_WAIT_S).rows:
            found[str(run_id)][str(name)] = number(value)
        for row in some:
            yield _run(row, curves[str(row[0])], found[str(row[0])])


def as_utc(time: object) -> datetime | None:
    """Mark a TIMESTAMP of the database as UTC; None for anything else."""
    return time.replace(tzinfo=UTC) if isinstance(time, datetime) else None


def _run(
    row: Sequence[object], curve: Sequence[Point], results: Mapping[str, float]
) -> ExportedRun:
    return ExportedRun(
        run_id=str(row[0]),
        trial_id=str(row[1]),
        number=integer(row[2]),
        label=str(row[3]),
        phase=str(row[4]),
        role=str(row[5]),
        varied=read_object(row[6]),
        seed=integer(row[7]),
        state=str(row[8]),
        failure=text_or_none(row[9]),
        started=as_utc(row[10]) or datetime.fromtimestamp(0, UTC),
        finished=as_utc(row[11]),
        seconds=None if row[12] is None else number(row[12]),
        host=text_or_none(row[13]),
        commit=text_or_none(row[14]),
        params=read_object(row[15]),
        curve=curve,
        results=results,
    )
