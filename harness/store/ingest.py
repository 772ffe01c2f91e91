"""From study records, events and the workload's files to rows of the database.

Everything may be given again: what is there already stays as it is. All functions work inside the
caller's transaction (see ``harness.store.connect``).
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
from harness.records.study_record import StudyRecord
from harness.store.bulk_rows import Row, delete_runs, insert_rows, tables_of_runs, update_rows
from harness.store.workload_files import read_facts, write_tables
from harness.workload import JsonValue

_UNFINISHED = "the run counts as unfinished, and the next run of its study trains it anew"
_RECALL = re.compile(r"recall@([1-9]\d{0,8})")


class _Known(NamedTuple):
    """A run as the database has it."""

    attempts: int = 0
    state: State = "queued"
    started: str | None = None
    """When the newest attempt began, as ``_timestamp`` writes it."""


class _Change(NamedTuple):
    """What the events of one run add to what the database knows of it."""

    state: RunState
    started: Started | None
    """The attempt that is new to the database."""
    damage: int | None
    """The line of its spool that is damaged, where that is why the run counts as unfinished."""
    end: Finished | None
    """The last end among them; the run may have gone on since."""
    first_epochs: dict[int, int]
    """Attempt -> smallest epoch reported: what earlier attempts said from there on is void."""
    epochs: dict[tuple[int, str], tuple[int, float]]
    """(epoch, name) -> (attempt, value)."""

    @property
    def finished(self) -> Finished | None:
        """The end that counts."""
        return self.end if self.state.is_over else None


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
    con: duckdb.DuckDBPyConnection, results: Path, run_id: str, entries: Sequence[Entry]
) -> tuple[str, ...]:
    """``ingest_all`` for one run."""
    return ingest_all(con, results, {run_id: entries})


def ingest_all(
    con: duckdb.DuckDBPyConnection, results: Path, entries: Mapping[str, Sequence[Entry]]
) -> tuple[str, ...]:
    """Bring the rows of runs up to date with ``entries`` (run id -> its events, in order).

    They may be all so far or only those since the last call. When a run gets done, the tables and
    facts in its work folder are read as well. A run whose spool is not the one that the database
    knows, because its folder was removed and it was trained again or because it is damaged, is
    taken over anew from all of its spool. The fewer calls, the faster: give all runs of a tick at
    once.

    Returns:
        A line for each thing that could not be taken over: an unusable file, an end without a
        start, a damaged line. Show them; nothing else was left out.
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
                f"run {run_id}: attempt {change.state.attempts} ended before it told what it runs; "
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
    """Remove all that the database has of runs, but for which studies they belong to."""
    if run_ids:
        for table in tables_of_runs(con):
            delete_runs(con, table, run_ids)


def _known(con: duckdb.DuckDBPyConnection, run_ids: Iterable[str]) -> dict[str, _Known]:
    """The runs that have a row."""
    rows = con.execute(
        "SELECT run_id, attempts, state, started::VARCHAR FROM run "
        "WHERE run_id IN (SELECT unnest($1::VARCHAR[]))",
        [list(run_ids)],
    ).fetchall()
    return {run_id: _Known(*values) for run_id, *values in rows}


def _starts(entries: Sequence[Entry]) -> list[Started]:
    return [entry for entry in entries if isinstance(entry, Started)]


def _is_doubtful(entries: Sequence[Entry], known: _Known) -> bool:
    """Whether all of a spool must be looked at before some of it is added to what is known.

    An end says nothing about damage before it, nor whether its start is still there.
    """
    is_bare_end = any(isinstance(entry, Finished) for entry in entries) and not _starts(entries)
    return is_bare_end or _contradicts(entries, known)


def _contradicts(entries: Sequence[Entry], known: _Known) -> bool:
    """Whether a spool is damaged, or tells of other attempts than the one that is known."""
    if any(isinstance(entry, Damaged) for entry in entries):
        return True
    starts = _starts(entries)
    return any(start.attempt <= known.attempts for start in starts) and not any(
        start.attempt == known.attempts and same_time(start.time, known.started) for start in starts
    )


def same_time(time: str | None, stored: object) -> bool:
    """Whether an event's time is the one that is stored in a column."""
    if time is None or stored is None:
        return time is stored
    return datetime.fromisoformat(_timestamp(time)) == datetime.fromisoformat(str(stored))


def _fold(entries: Sequence[Entry], known: _Known) -> _Change:
    """What those of ``entries`` add that count (see ``harness.records.run_state.replay``)."""
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
        "seconds": _finite(event.seconds),
        "peak_mib": _finite(event.peak_mib),
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


def _finite(number: float | None) -> float | None:
    return None if number is None or not math.isfinite(number) else number


def _timestamp(time: str) -> str:
    """ISO-8601 ``time`` as DuckDB's TIMESTAMP, in UTC."""
    return datetime.fromisoformat(time).astimezone(UTC).replace(tzinfo=None).isoformat(sep=" ")
