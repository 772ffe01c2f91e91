"""What the engine costs, and whether its statistics keep their promise.

    python tests/benchmarks/engine.py [--only local process workers large claims] [--write]

``local``: 1,000 runs of 5 reports that do nothing, with spool and store, in turn with Optuna's
SQLite storage doing as much. ``process``: from ``submit`` to the first line of the spool, with the
fork server of ``gcudml.workload``. ``workers``: runs an hour of a training study with two workers
and with one, one thread each. ``large``: 10,000 runs of 50 epochs; they are run without syncing to
the disk, all else is as a user has it. ``claims``: studies without any effect. Prints a table;
``--write`` keeps it in ``tests/benchmarks/results/engine.json``.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from datetime import datetime
from pathlib import Path
from statistics import median

import numpy as np
import optuna
from kept import ROOT, keep

import harness
from harness.executors import make_executor
from harness.executors.interface import Job
from harness.records.event_log import read_spool
from harness.records.events import Finished, Started
from harness.records.folders import spool_path
from harness.records.trial import Run
from harness.stats.paired import holm, paired_difference
from harness.workload import JsonValue, load_workload

RUNS, REPORTS, ROUNDS = 1000, 5, 4
TRIALS, SEEDS, EPOCHS = 1000, 10, 50
NOTHING = """
def schema(): return {}
def check(params): return {"x": 0, "epochs": 5} | dict(params)
def run(params, *, seed, workdir, report, test):
    for epoch in range(params["epochs"]):
        report(epoch, {"loss": 1 / (epoch + 1), "val/recall@1": 0.5})
    return {"val/recall@1": 0.5 + params["x"] / 1e4, "test/recall@1": 0.5 + seed / 1e5}
"""
TRAINING = {
    "study": "training",
    "question": "How many runs an hour?",
    "workload": "gcudml.workload",
    "base": {
        "data": {"name": "strokes", "classes": 16, "images_per_class": 8},
        "model": {"width": 8, "embedding_dim": 8, "wide_dim": 12},
        "method": {"name": "gcudml", "clusters": 8, "groups": 2},
        "train": {
            "epochs": 6,
            "steps_per_epoch": 40,
            "batch_size": 16,
            "images_per_cluster": 4,
            "number_format": "fp32",
            "memory_layout": "contiguous",
        },
    },
    "search": {"method.teacher_momentum": {"grid": [0.5]}},
    "seeds": 12,
}
LARGE = """
import os, re, sys
from pathlib import Path
os.fsync = lambda descriptor: None  # half a million syncs would measure the disk
import harness
study = {
    "study": "large", "question": "Is it quick?", "workload": "nothing_workload",
    "base": {"epochs": %d}, "search": {"x": {"grid": list(range(%d))}}, "baseline": {"x": 0},
    "seeds": %d,
}
outcome, results = harness.run(study, results=sys.argv[1], executor="local")
results.report("large", sys.argv[1])
print(outcome.done)
# Not getrusage: it starts with the memory of the process that started this one.
print(int(re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1]) // 1024)
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", nargs="+", choices=SECTIONS, default=list(SECTIONS))
    parser.add_argument("--write", action="store_true")
    arguments = parser.parse_args()
    figures: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "nothing_workload.py").write_text(NOTHING, encoding="utf-8")
        sys.path.insert(0, name)
        for section in arguments.only:
            figures |= SECTIONS[section](folder)
    for figure, value in figures.items():
        goal = GOALS.get(figure, "")
        print(f"{figure:48} {value:10}  {goal}")
    if arguments.write:
        keep("engine", figures=figures, goals=GOALS)


def local_figures(folder: Path) -> dict[str, float]:
    """Milliseconds a run and a trial, in turn; each call of the harness is timed whole."""
    ours, theirs = [], []
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(storage=f"sqlite:///{folder / 'optuna.db'}")
    harness.run(nothing_study(-1, 1), results=folder / "local", executor="local")  # libraries load
    for number in range(ROUNDS):
        began = time.perf_counter()
        outcome, _ = harness.run(
            nothing_study(number, RUNS), results=folder / "local", executor="local"
        )
        ours.append(1000 * (time.perf_counter() - began) / RUNS)
        assert outcome.trained == RUNS
        began = time.perf_counter()
        for _ in range(RUNS // ROUNDS):
            trial = study.ask()
            for epoch in range(REPORTS):
                trial.report(1 / (epoch + 1), epoch)
            study.tell(trial, 0.5)
        theirs.append(1000 * (time.perf_counter() - began) / (RUNS // ROUNDS))
    return {
        "local: ms a run": round(median(ours), 2),
        "local: ms a trial of Optuna with SQLite": round(median(theirs), 2),
        "local: share of Optuna": round(median(ours) / median(theirs), 3),
    }


def nothing_study(number: int, seeds: int) -> dict[str, JsonValue]:
    return {
        "study": f"nothing{number + 1}",
        "question": "What does a run cost?",
        "workload": "nothing_workload",
        "base": {"x": number},
        "seeds": seeds,
    }


def process_figures(folder: Path) -> dict[str, float]:
    """Milliseconds from ``submit`` to the first line of the spool, in turn."""
    params = load_workload("gcudml.workload").check(
        TRAINING["base"] | {"method": {"name": "pixels"}}
    )
    executor = make_executor("process", "gcudml.workload", slots=1, threads=1)
    waits = []
    try:
        for seed in range(31):
            run = Run("gcudml.workload", params, seed, False, "code", "data")
            job = Job(run, run.run_id, folder / "process" / run.run_id, 1, threads=1)
            began = time.perf_counter()
            executor.submit(job)
            while not read_spool(spool_path(job.directory)):
                time.sleep(0.0005)
            waits.append(1000 * (time.perf_counter() - began))
            while not executor.poll(1.0):
                pass
    finally:
        executor.close()
    return {
        "process: ms to the first line, median": round(median(waits[1:]), 1),
        "process: ms to the first line, worst": round(max(waits[1:]), 1),
        "process: ms of the first, which waits for torch": round(waits[0], 0),
    }


def workers_figures(folder: Path) -> dict[str, float]:
    """Runs an hour of training, from the first start to the last end, in the order 1 2 2 1."""
    rates: dict[int, list[float]] = {1: [], 2: []}
    os.environ["GCUDML_CACHE"] = str(folder / "cache")
    for place, workers in enumerate((1, 2, 2, 1)):
        results = folder / f"workers{place}"
        harness.run(TRAINING, results=results, workers=workers, threads=1)
        events = [e for p in results.glob("runs/*/spool.jsonl") for e in read_spool(p)]
        starts = [when(event.time) for event in events if isinstance(event, Started)]
        ends = [when(event.time) for event in events if isinstance(event, Finished)]
        rates[workers].append(3600 * len(ends) / (max(ends) - min(starts)))
    one, two = (sum(rates[workers]) / 2 for workers in (1, 2))
    return {
        "workers: runs an hour, one": round(one),
        "workers: runs an hour, two": round(two),
        "workers: two over one": round(two / one, 2),
    }


def when(time_: str) -> float:
    return datetime.fromisoformat(time_).timestamp()


def large_figures(folder: Path) -> dict[str, float]:
    """A study of 10,000 runs: whole processes, from their start to their end."""
    results = folder / "large"
    program = LARGE % (EPOCHS, TRIALS, SEEDS)
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT), str(folder)])}

    def call(*command: str) -> tuple[float, str]:
        began = time.perf_counter()
        done = subprocess.run(
            [sys.executable, *command], env=environment, check=True, capture_output=True, text=True
        )
        return round(time.perf_counter() - began, 2), done.stdout

    def peak(said: str) -> int:
        done, mib = said.split()
        assert int(done) == TRIALS * SEEDS
        return int(mib)

    _, first = call("-c", program, str(results))
    again_s, again = call("-c", program, str(results))
    command = ("-m", "harness")
    to = ("--results", str(results))
    ls = median(call(*command, "ls", *to)[0] for _ in range(3))
    summary = (*command, "sql", "SELECT * FROM summary", *to)
    sql = median(call(*summary)[0] for _ in range(3))
    rebuild_s, _ = call(*command, "rebuild", *to)
    return {
        "large: s of harness ls": ls,
        "large: s of harness sql over summary": sql,
        "large: s of harness rebuild": rebuild_s,
        "large: s of a call that finds all done": again_s,
        "large: MiB of the driver that ran it": peak(first),
        "large: MiB of the driver that finds all done": peak(again),
    }


def claims_figures(folder: Path) -> dict[str, float]:
    """The share of studies without effect in which any trial is said to differ."""
    generator = np.random.default_rng(0)
    claims = {"as it is": 0, "without Holm": 0}
    for _ in range(1000):
        # Every trial shares the seeds' difficulty; the eighth is the baseline.
        values = generator.normal(0.6, 0.02, 10) + generator.normal(0, 0.01, (8, 10))
        baseline, *trials = [dict(enumerate(map(float, row))) for row in values]
        p = [found.p for trial in trials if (found := paired_difference(trial, baseline))]
        claims["as it is"] += min(holm(p)) < 0.05
        claims["without Holm"] += min(p) < 0.05
    return {
        "claims: % of 1,000 studies without effect": round(claims["as it is"] / 10, 1),
        "claims: % of them without Holm's correction": round(claims["without Holm"] / 10, 1),
    }


SECTIONS: Mapping[str, Callable[[Path], dict[str, float]]] = {
    "local": local_figures,
    "process": process_figures,
    "workers": workers_figures,
    "large": large_figures,
    "claims": claims_figures,
}
GOALS = {
    "local: ms a run": "under 5",
    "local: share of Optuna": "at most 0.2",
    "process: ms to the first line, median": "under 150",
    "workers: two over one": "at least 1.8",
    "large: s of harness ls": "under 1",
    "large: s of harness sql over summary": "under 1",
    "large: s of harness rebuild": "under 60",
    "large: MiB of the driver that ran it": "under 500",
    "claims: % of 1,000 studies without effect": "at most 5",
}


if __name__ == "__main__":
    main()
