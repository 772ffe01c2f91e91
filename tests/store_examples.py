"""Small studies for tests of the store: trials, runs and events without a workload."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import duckdb

from harness.records.event_log import append
from harness.records.events import EpochReported, Event, Failure, Finished, Started
from harness.records.folders import run_dir, spool_path, work_dir
from harness.records.study_record import Member, StudyRecord, write_study_record
from harness.records.trial import Phase, Role, Run, Trial
from harness.store import database

TIME = "2026-03-01T12:00:00.250000+00:00"


def a_trial(number: int, role: Role = "trial", phase: Phase = "confirm", study: str = "s") -> Trial:
    label = "raw pixels" if role == "control" else f"m={number}"
    varied = {} if role == "control" else {"method.m": number / 10}
    return Trial(
        study, number, label, phase, role, None, varied, {"method": {"m": number}, "role": role}
    )


def a_run(trial: Trial, seed: int) -> Run:
    return Run("toy", trial.params, seed, trial.phase == "confirm", "code", "data")


def start(run: Run, attempt: int = 1, *, is_anew: bool = False) -> Started:
    versions = {"numpy": "2"}
    return Started(attempt, TIME, run, "host", 42, 2, "abc", False, versions, is_anew=is_anew)


def reported(epoch: int, attempt: int = 1, **metrics: float) -> EpochReported:
    return EpochReported(attempt, TIME, epoch, metrics or {"loss": 1.0 / (epoch + 1)})


def done(attempt: int = 1, **results: float) -> Finished:
    named = {name.replace("__", "/").replace("_at_", "@"): value for name, value in results.items()}
    return Finished(attempt, TIME, "done", seconds=2.5, peak_mib=100.0, results=named)


def failed(failure: Failure = "crash", attempt: int = 1) -> Finished:
    return Finished(
        attempt, TIME, "failed", failure, "it broke", seconds=1.0, stderr="line 1\nline 2"
    )


def a_record(
    trials: Sequence[Trial], seeds: Sequence[int], metric: str = "recall@1"
) -> StudyRecord:
    members = tuple(
        Member(trial.trial_id, seed, a_run(trial, seed).run_id)
        for trial in trials
        for seed in seeds
    )
    return StudyRecord(
        study=trials[0].study,
        question="Does it matter?",
        metric=metric,
        sampler="grid",
        spec={"study": trials[0].study, "base": {"lr": 1e-4, "layers": [1, 2]}},
        fingerprint="0123456789ab",
        created=TIME,
        updated=TIME,
        command="harness run s.yaml",
        versions={"python": "3.11"},
        trials=tuple(trials),
        members=members,
    )


def write(
    results: Path,
    trials: Sequence[Trial],
    values: Mapping[int, Sequence[float]],
    metric: str = "recall@1",
) -> None:
    """A study whose trial ``number`` got ``values[number]``, one for each seed, as its metric."""
    seeds = range(max(len(row) for row in values.values()))
    record = a_record(trials, seeds, metric)
    write_study_record(results, record)
    events: dict[str, Sequence[Event]] = {}
    for trial in trials:
        split = "test" if trial.phase == "confirm" else "val"
        for seed, value in enumerate(values.get(trial.number, ())):
            run = a_run(trial, seed)
            found = {f"{split}/{metric}": value, f"{split}/nmi": value / 2}
            events[run.run_id] = [start(run), reported(0), Finished(1, TIME, "done", results=found)]
    for run_id, items in events.items():
        for event in items:
            append(spool_path(run_dir(results, run_id)), event)
    with database.connect(results, read_only=False) as con:
        database.write_study(con, record)
        database.ingest_all(con, results, events)
        database.refresh_comparisons(con, record.study)


def ask(results: Path, sql: str) -> list[tuple[object, ...]]:
    return database.query(results, sql).rows


TRIAL = a_trial(0, "baseline")
RUN = a_run(TRIAL, 0)
ID = RUN.run_id


def ingest(results: Path, *events: Event, run_id: str = ID) -> tuple[str, ...]:
    with database.connect(results, read_only=False) as con:
        return database.ingest(con, results, run_id, events)


def damage_rows(results: Path, table: str) -> None:
    """Flip a bit where the rows of a table lie; the database still opens."""
    path = database.database_path(results)
    with duckdb.connect(str(path), read_only=True) as con:
        (block,) = con.execute(
            f"SELECT max(block_id) FROM pragma_storage_info('{table}')"
        ).fetchall()[0]
    data = bytearray(path.read_bytes())
    data[_HEADERS + block * _BLOCK + _BLOCK // 2] ^= 1
    path.write_bytes(data)


_HEADERS, _BLOCK = 3 * 4096, 1 << 18  # of a DuckDB file


def everything(results: Path) -> dict[str, list[tuple[object, ...]]]:
    """Every table and view, columns by name and rows in a fixed order."""
    content = {}
    with database.connect(results, read_only=True) as con:
        names = con.execute(
            "SELECT table_name FROM duckdb_tables() WHERE table_name <> 't_quantile' UNION ALL "
            "SELECT view_name FROM duckdb_views() WHERE NOT internal"
        ).fetchall()
        for (name,) in names:
            found = con.execute(f'FROM "{name}"')
            columns = [column[0] for column in found.description]
            order = sorted(range(len(columns)), key=lambda i: columns[i])
            rows = [tuple(row[i] for i in order) for row in found.fetchall()]
            content[name] = [tuple(sorted(columns)), *sorted(rows, key=repr)]
    return content


HOLDER = """
import sys, duckdb
con = duckdb.connect(sys.argv[1], read_only=sys.argv[2] == "read")
print("open", flush=True)
sys.stdin.read()
"""


@contextmanager
def held(results: Path, mode: str = "write") -> Iterator[subprocess.Popen[str]]:
    """Another process has the database open."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(database.database_path(results)), mode],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "open\n"
    try:
        yield process
    finally:
        process.communicate()


CLUSTER = '{"epoch": 0, "cluster": 1, "size": 30, "purity": 0.5, "group": null}\n'


def put(results: Path, name: str, text: str, run_id: str = ID) -> None:
    path = work_dir(run_dir(results, run_id)) / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


LIFE: list[Event] = [
    start(RUN),
    reported(0, loss=1.0),
    reported(1, loss=0.9),
    reported(2, loss=0.8),
    failed("oom"),
    start(RUN, 2),
    reported(1, 2, loss=0.7),
    reported(2, 2, loss=0.6),
    done(2, test__recall_at_1=0.5, val__recall_at_1=0.4, val__nmi=0.3),
]
