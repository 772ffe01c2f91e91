"""Small studies for tests of the store: trials, runs and events without a workload."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from harness import store
from harness.events import EpochReported, Event, Failure, Finished, Started
from harness.spool import (
    Member,
    StudyRecord,
    append,
    run_dir,
    spool_path,
    write_study_record,
)
from harness.trial import Phase, Role, Run, Trial

TIME = "2026-03-01T12:00:00.250000+00:00"


def a_trial(number: int, role: Role = "trial", phase: Phase = "confirm", study: str = "s") -> Trial:
    label = "raw pixels" if role == "control" else f"m={number}"
    varied = {} if role == "control" else {"method.m": number / 10}
    return Trial(
        study, number, label, phase, role, None, varied, {"method": {"m": number}, "role": role}
    )


def a_run(trial: Trial, seed: int) -> Run:
    return Run("toy", trial.params, seed, trial.phase == "confirm", "code", "data")


def start(run: Run, attempt: int = 1) -> Started:
    return Started(attempt, TIME, run, "host", 42, 2, "abc", False, {"numpy": "2"})


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
    with store.connect(results, read_only=False) as con:
        store.write_study(con, record)
        store.ingest_all(con, results, events)
        store.refresh_comparisons(con, record.study)


def ask(results: Path, sql: str) -> list[tuple[object, ...]]:
    return store.query(results, sql).rows
