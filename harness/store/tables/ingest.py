"""Ingest study records, run events and the workload's files into the database.

Ingesting the same input twice is harmless. All functions work inside the caller's transaction (see
``harness.store.database.connect``).
"""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

import duckdb

from harness.records.event_log import read_spool
from harness.records.events import MOST_COUNT, Damaged, Entry, EpochReported, Finished, Started
from harness.records.folders import run_dir, spool_path, work_dir
from harness.records.run_files import Left
from harness.records.run_state import RunState, State, advance
from harness.records.studies.study_record import StudyRecord
from harness.store.tables.bulk_rows import (
    Row,
    delete_runs,
    insert_rows,
    tables_of_runs,
    update_rows,
)
from harness.store.tables.claims import write_claims
from harness.store.tables.workload_files import read_facts, write_tables
from harness.workload import JsonValue

_UNFINISHED = "the run counts as unfinished and is trained again when its study is next run"
_RECALL = re.compile(r"recall@([1-9]\d{0,8})")


class _Known(NamedTuple):
    """A run as stored in the database."""

    attempts: int = 0
    state: State = "queued"
    started: str | None = None
    """Start of the newest attempt, in the format of ``_timestamp``."""


class _Change(NamedTuple):
    """Changes to one run's rows that follow from its new events."""

    state: RunState
    started: Started | None
    """Start of the newest attempt among the events, if any."""
    damage: int | None
    """Damaged line of the spool, if that is why the run counts as unfinished."""
    end: Finished | None
    """Last end among the events; the run may have been restarted since."""
    first_epochs: dict[int, int]
    """Attempt -> smallest epoch it reported; it supersedes earlier attempts from that epoch on."""
    epochs: dict[tuple[int, str], tuple[int, float]]
    """(epoch, name) -> (attempt, value)."""

    @property
    def finished(self) -> Finished | None:
        """The end of the run, if the run is over."""
        return self.end if self.state.is_over else None


def write_study(con: duckdb.DuckDBPyConnection, record: StudyRecord) -> None:
    """Insert or update the study's row, and replace its trials and members."""
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
            "test_set": record.test_sets.get(trial.trial_id),
        }
        for trial in record.trials
    }
    members: dict[tuple[str, int, int], Row] = {
        member.key: member._asdict() for member in record.members
    }
    insert_rows(con, "trial", list(trials.values()))
    insert_rows(con, "member", list(members.values()))
    write_forecasts(con, record)
    write_claims(con, study, record.claims, [_timestamp(note.noted) for note in record.claims])


def write_forecasts(con: duckdb.DuckDBPyConnection, record: StudyRecord) -> None:
    """Replace the forecasts of a study."""
    con.execute("DELETE FROM forecast WHERE study = $1", [record.study])
    rows: dict[str, Row] = {
        (at := _timestamp(each.planned_at)): {
            "study": record.study,
            "planned_at": at,
            "runs": each.runs,
            "low_hours": each.low_s / 3600,
            "high_hours": each.high_s / 3600,
            "took_hours": None if each.took_s is None else each.took_s / 3600,
        }
        for each in record.forecasts
    }
    insert_rows(con, "forecast", list(rows.values()))


def ingest_all(
    con: duckdb.DuckDBPyConnection, results: Path, entries: Mapping[str, Sequence[Entry]]
) -> tuple[str, ...]:
    """Update the rows of runs from ``entries`` (run id -> its events, in order).

    The entries may be all events so far or only those since the last call. When a run is done, the
    tables and facts in its work folder are ingested as well. If a spool is damaged or does not
    match the database (its folder was removed and the run trained again), the run is ingested again
    from its whole spool. Pass all runs of a tick in one call: fewer calls are faster.

    Returns:
        A line for each thing that could not be ingested: an unusable file, an end without a start,
        a damaged line. Show these lines to the user; everything else was ingested.
    """
    known = _known(con, entries)
    replaced = {}
    for run_id, items in entries.items():
        if run_id in known and _is_doubtful(items, known[run_id]):
            whole = read_spool(spool_path(run_dir(results, run_id)))
            if whole and (_contradicts(whole, known[run_id]) or not _starts(whole)):
                replaced[run_id] = whole
    forget(con, replaced)
    for run_id in replaced:
        del known[run_id]
    changes = {
        run_id: _fold(items, known.get(run_id, _Known()))
        for run_id, items in {**entries, **replaced}.items()
    }
    notices = []
    for run_id, change in changes.items():
        path = spool_path(run_dir(results, run_id))
        if change.damage is not None:
            notices.append(f"{path}:{change.damage}: a damaged line; {_UNFINISHED}")
        elif change.end is not None and change.started is None and run_id not in known:
            notices.append(
                f"run {run_id}: attempt {change.state.attempts} ended without a start event; "
                "left out"
            )
        elif change.state.damage is not None:
            notices.append(f"{path}: {change.state.damage}; {_UNFINISHED}")
    changes = {key: it for key, it in changes.items() if key in known or it.started is not None}
    ended = {key: it.finished for key, it in changes.items() if it.finished is not None}
    facts = {
        run_id: read_facts(work_dir(run_dir(results, run_id)), end.files, notices)
        for run_id, end in ended.items()
    }
    _write_runs(con, changes, facts)
    _write_epochs(con, changes)
    done = {run_id: end for run_id, end in ended.items() if end.state == "done"}
    if done:
        _write_results(con, {run_id: end.results for run_id, end in done.items()})
        left = {
            run_id: Left(work_dir(run_dir(results, run_id)), end.files)
            for run_id, end in done.items()
        }
        write_tables(con, left, notices)
    return tuple(notices)


def forget(con: duckdb.DuckDBPyConnection, run_ids: Collection[str]) -> None:
    """Delete all rows of the given runs, except their membership in studies."""
    if run_ids:
        for table in tables_of_runs(con):
            delete_runs(con, table, run_ids)


def _known(con: duckdb.DuckDBPyConnection, run_ids: Iterable[str]) -> dict[str, _Known]:
    """Return those of the runs that have a row in the database."""
    rows = con.execute(
        "SELECT run_id, attempts, state, started::VARCHAR FROM run "
        "WHERE run_id IN (SELECT unnest($1::VARCHAR[]))",
        [list(run_ids)],
    ).fetchall()
    return {run_id: _Known(*values) for run_id, *values in rows}


def _starts(entries: Sequence[Entry]) -> list[Started]:
    return [entry for entry in entries if isinstance(entry, Started)]


def _is_doubtful(entries: Sequence[Entry], known: _Known) -> bool:
    """Whether the whole spool must be read before ``entries`` can be added to the known run.

    An end alone does not show whether earlier lines are damaged or its start is missing.
    """
    is_bare_end = any(isinstance(entry, Finished) for entry in entries) and not _starts(entries)
    return is_bare_end or _contradicts(entries, known)


def _contradicts(entries: Sequence[Entry], known: _Known) -> bool:
    """Whether the entries are damaged or their attempts do not match the known ones."""
    if any(isinstance(entry, Damaged) for entry in entries):
        return True
    starts = _starts(entries)
    return any(start.attempt <= known.attempts for start in starts) and not any(
        start.attempt == known.attempts and same_time(start.time, known.started) for start in starts
    )


def same_time(time: str | None, stored: object) -> bool:
    """Whether an event's time equals the timestamp stored in a column."""
    if time is None or stored is None:
        return time is stored
    return datetime.fromisoformat(_timestamp(time)) == datetime.fromisoformat(str(stored))


def _fold(entries: Sequence[Entry], known: _Known) -> _Change:
    """Fold the valid ``entries`` into one change (see ``harness.records.run_state.replay``)."""
    state = RunState(known.state, attempts=known.attempts, started=known.started)
    started: Started | None = None
    end: Finished | None = None
    damage: int | None = None
    first_epochs: dict[int, int] = {}
    epochs: dict[tuple[int, str], tuple[int, float]] = {}
    for entry in entries:
        before, state = state, advance(state, entry)
        if state is before:
            continue
        if isinstance(entry, Damaged):
            damage = damage or entry.line
        elif isinstance(entry, Finished):
            end = entry
        elif isinstance(entry, EpochReported):
            if entry.epoch < first_epochs.get(entry.attempt, entry.epoch + 1):
                first_epochs[entry.attempt] = entry.epoch
                for key in [key for key, (by, _) in epochs.items() if by < entry.attempt]:
                    if key[0] >= entry.epoch:
                        del epochs[key]
            for name, value in entry.metrics.items():
                if math.isfinite(value):
                    epochs[entry.epoch, name] = entry.attempt, value
        else:
            started = entry
            if entry.is_anew and entry.attempt > before.attempts:
                damage = None
                epochs.clear()
                first_epochs[entry.attempt] = -MOST_COUNT
    return _Change(state, started, damage, end, first_epochs, epochs)


def _write_runs(
    con: duckdb.DuckDBPyConnection,
    changes: Mapping[str, _Change],
    facts: Mapping[str, JsonValue],
) -> None:
    """Replace the rows of runs that started; update the rows of runs that only ended."""
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
    """Return the columns of ``run`` that are known at the start of a run."""
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
        "username": event.user,
        "command": event.command,
    }


def _end_row(event: Finished) -> dict[str, JsonValue]:
    """Return the columns of ``run`` that are known at the end of a run."""
    return {
        "state": event.state,
        "failure": event.failure,
        "message": event.message,
        "attempts": event.attempt,
        "finished": _timestamp(event.time),
        "seconds": _finite(event.seconds),
        "peak_mib": _finite(event.peak_mib),
        "stderr": event.stderr,
    }


def _write_epochs(con: duckdb.DuckDBPyConnection, changes: Mapping[str, _Change]) -> None:
    """Insert the reported metrics, and delete what they supersede from earlier attempts."""
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
    """Write the results of each run (``split/metric`` -> value) to ``recall`` and ``score``."""
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
    """Return K of a result named ``split/recall@K``; None for any other."""
    found = _RECALL.fullmatch(full_name.rpartition("/")[2])
    return int(found[1]) if found else None


def _finite(number: float | None) -> float | None:
    return None if number is None or not math.isfinite(number) else number


def _timestamp(time: str) -> str:
    """Convert an ISO-8601 ``time`` to a DuckDB TIMESTAMP in UTC."""
    return datetime.fromisoformat(time).astimezone(UTC).replace(tzinfo=None).isoformat(sep=" ")
