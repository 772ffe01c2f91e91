"""From study records, events and the workload's files to rows of the database.

Everything may be given again: what is there already stays as it is. All functions work inside the
caller's transaction (see ``harness.store.connect``).
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

import duckdb

from harness.events import EpochReported, Event, Finished, Started
from harness.rows import Row, delete_runs, insert_rows, update_rows
from harness.spool import StudyRecord, run_dir, work_dir
from harness.workload import JsonValue
from harness.workload_files import read_facts, write_tables

_RECALL = re.compile(r"recall@([1-9]\d{0,8})")


class _Change(NamedTuple):
    """What the events of one run add to what the database knows of it."""

    attempts: int
    started: Started | None
    """The attempt that is new to the database."""
    finished: Finished | None
    first_epochs: dict[int, int]
    """Attempt -> smallest epoch reported: what earlier attempts said from there on is void."""
    epochs: dict[tuple[int, str], tuple[int, float]]
    """(epoch, name) -> (attempt, value)."""


def write_study(con: duckdb.DuckDBPyConnection, record: StudyRecord) -> None:
    """Put the study's row in place, and replace its trials and members."""
    study = record.study
    row: dict[str, JsonValue] = {
        "study": study,
        "question": record.question,
        "metric": record.metric,
        "sampler": record.sampler,
        "spec": dict(record.spec),
        "fingerprint": record.fingerprint,
        "created": _timestamp(record.created),
        "updated": _timestamp(record.updated),
        "command": record.command,
        "versions": dict(record.versions),
    }
    insert_rows(con, "study", [row])
    of_study = "(SELECT trial_id FROM trial WHERE study = $1)"
    con.execute(f"DELETE FROM member WHERE trial_id IN {of_study}", [study])
    con.execute("DELETE FROM trial WHERE study = $1", [study])
    trials: dict[str, Row] = {
        trial.trial_id: {
            "trial_id": trial.trial_id,
            "study": study,
            "number": trial.number,
            "label": trial.label,
            "phase": trial.phase,
            "role": trial.role,
            "variant": trial.variant,
            "varied": dict(trial.varied),
            "params": dict(trial.params),
            "is_baseline": trial.role == "baseline",
            "pruned": record.pruned.get(trial.trial_id),
        }
        for trial in record.trials
    }
    members: dict[tuple[str, int], Row] = {
        (trial_id, seed): {
            "trial_id": trial_id,
            "seed": seed,
            "run_id": run_id,
            "is_pruned": is_pruned,
        }
        for trial_id, seed, run_id, is_pruned in record.members
    }
    insert_rows(con, "trial", list(trials.values()))
    insert_rows(con, "member", list(members.values()))


def ingest(
    con: duckdb.DuckDBPyConnection, results: Path, run_id: str, events: Sequence[Event]
) -> tuple[str, ...]:
    """``ingest_all`` for one run."""
    return ingest_all(con, results, {run_id: events})


def ingest_all(
    con: duckdb.DuckDBPyConnection, results: Path, events: Mapping[str, Sequence[Event]]
) -> tuple[str, ...]:
    """Bring the rows of runs up to date with ``events`` (run id -> its events, in order).

    The events may be all so far or only those since the last call. When a run gets done, the
    tables and facts in its work folder are read as well. The fewer calls, the faster: give all
    runs of a tick at once.

    Returns:
        A line for each thing that could not be taken over: an unusable file, an end without a
        start. Show them; nothing else was left out.
    """
    known = _known(con, events)
    changes = {
        run_id: _fold(items, *known.get(run_id, (0, "queued"))) for run_id, items in events.items()
    }
    notices = [
        f"run {run_id}: attempt {change.attempts} ended before it told what it runs; left out"
        for run_id, change in changes.items()
        if run_id not in known and change.started is None and change.finished is not None
    ]
    changes = {key: it for key, it in changes.items() if key in known or it.started is not None}
    facts = {
        run_id: read_facts(work_dir(run_dir(results, run_id)), notices)
        for run_id, change in changes.items()
        if change.finished is not None
    }
    _write_runs(con, changes, facts)
    _write_epochs(con, changes)
    done = {
        run_id: change.finished.results
        for run_id, change in changes.items()
        if change.finished is not None and change.finished.state == "done"
    }
    if done:
        _write_results(con, done)
        directories = {run_id: work_dir(run_dir(results, run_id)) for run_id in done}
        write_tables(con, directories, notices)
    return tuple(notices)


def _known(con: duckdb.DuckDBPyConnection, run_ids: Iterable[str]) -> dict[str, tuple[int, str]]:
    """Run id -> (attempts, state), of the runs that have a row."""
    rows = con.execute(
        "SELECT run_id, attempts, state FROM run WHERE run_id IN (SELECT unnest($1::VARCHAR[]))",
        [list(run_ids)],
    ).fetchall()
    return {run_id: (attempts, state) for run_id, attempts, state in rows}


def _fold(events: Sequence[Event], attempts: int, state: str) -> _Change:
    """What ``events`` add, by the rules of ``harness.spool.replay``."""
    started: Started | None = None
    finished: Finished | None = None
    first_epochs: dict[int, int] = {}
    epochs: dict[tuple[int, str], tuple[int, float]] = {}
    is_over = state in ("done", "failed", "pruned")
    for event in events:
        if event.attempt < attempts:
            continue
        if event.attempt > attempts:
            attempts, is_over, finished = event.attempt, False, None
            if isinstance(event, Started):
                started = event
        if is_over:
            continue
        if isinstance(event, EpochReported):
            if event.epoch < first_epochs.get(attempts, event.epoch + 1):
                first_epochs[attempts] = event.epoch
                for key in [key for key, (by, _) in epochs.items() if by < attempts]:
                    if key[0] >= event.epoch:
                        del epochs[key]
            for name, value in event.metrics.items():
                if math.isfinite(value):
                    epochs[event.epoch, name] = attempts, value
        elif isinstance(event, Finished):
            finished, is_over = event, True
    return _Change(attempts, started, finished, first_epochs, epochs)


def _write_runs(
    con: duckdb.DuckDBPyConnection,
    changes: Mapping[str, _Change],
    facts: Mapping[str, JsonValue],
) -> None:
    """Replace the rows of runs that started, and complete those of runs that only ended."""
    begun: list[Row] = []
    ended: list[Row] = []
    for run_id, change in changes.items():
        end: dict[str, JsonValue] = {}
        if change.finished is not None:
            end = _end_row(change.finished) | {"facts": facts[run_id]}
        if change.started is not None:
            begun.append({"run_id": run_id} | _start_row(change.started) | end)
        elif end:
            ended.append({"run_id": run_id} | end)
    insert_rows(con, "run", begun)
    update_rows(con, "run", "run_id", ended)


def _start_row(event: Started) -> dict[str, JsonValue]:
    """The columns of ``run`` that are known at its start."""
    return {
        "workload": event.run.workload,
        "seed": event.run.seed,
        "test": event.run.test,
        "state": "running",
        "attempts": event.attempt,
        "started": _timestamp(event.time),
        "host": event.host,
        "threads": event.threads,
        "code": event.run.code,
        "data": event.run.data,
        "git_commit": event.commit,
        "dirty": event.dirty,
        "versions": dict(event.versions),
        "params": dict(event.run.params),
    }


def _end_row(event: Finished) -> dict[str, JsonValue]:
    """The columns of ``run`` that are known at its end."""
    return {
        "state": event.state,
        "failure": event.failure,
        "message": event.message,
        "attempts": event.attempt,
        "finished": _timestamp(event.time),
        "seconds": event.seconds,
        "peak_mib": event.peak_mib,
        "stderr": event.stderr,
    }


def _write_epochs(con: duckdb.DuckDBPyConnection, changes: Mapping[str, _Change]) -> None:
    """Add what was reported, in place of what earlier attempts said of the same epochs on."""
    for run_id, change in changes.items():
        for attempt, epoch in change.first_epochs.items():
            if attempt > 1:
                con.execute(
                    "DELETE FROM epoch WHERE run_id = $1 AND epoch >= $2 AND attempt < $3",
                    [run_id, epoch, attempt],
                )
    rows: list[Row] = [
        {"run_id": run_id, "epoch": epoch, "name": name, "value": value, "attempt": attempt}
        for run_id, change in changes.items()
        for (epoch, name), (attempt, value) in change.epochs.items()
    ]
    insert_rows(con, "epoch", rows)


def _write_results(con: duckdb.DuckDBPyConnection, done: Mapping[str, Mapping[str, float]]) -> None:
    """Split ``split/metric`` -> value of each run into Recall@K and scores."""
    recalls: list[Row] = []
    scores: list[Row] = []
    for run_id, values in done.items():
        finite = {name: value for name, value in values.items() if math.isfinite(value)}
        scored_splits = {name.rpartition("/")[0] for name in finite if _recall_k(name) is not None}
        for full_name, value in finite.items():
            split, _, name = full_name.rpartition("/")
            k = _recall_k(full_name)
            if k is not None:
                counts: dict[str, JsonValue] = {
                    count: round(finite[f"{split}/{count}"])
                    for count in ("queries", "dropped")
                    if f"{split}/{count}" in finite
                }
                recalls.append(
                    {"run_id": run_id, "split": split, "k": k, "recall": value, **counts}
                )
            elif name not in ("queries", "dropped") or split not in scored_splits:
                scores.append({"run_id": run_id, "split": split, "name": name, "value": value})
    for table, rows in (("recall", recalls), ("score", scores)):
        delete_runs(con, table, done)
        insert_rows(con, table, rows)


def _recall_k(full_name: str) -> int | None:
    """K of a result named ``split/recall@K``; None for any other."""
    found = _RECALL.fullmatch(full_name.rpartition("/")[2])
    return int(found[1]) if found else None


def _timestamp(time: str) -> str:
    """ISO-8601 ``time`` as DuckDB's TIMESTAMP, in UTC."""
    return datetime.fromisoformat(time).astimezone(UTC).replace(tzinfo=None).isoformat(sep=" ")
