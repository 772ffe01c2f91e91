"""What each sampler finds on a hill of two dimensions, by the rules of a search before and now.

    python tests/benchmarks/samplers.py [--trials 40] [--seeds 5] [--write]

Each search goes through a plan and a schedule as ``harness run`` does it, over ``tests/fixtures/workloads/quadratic.py`` (x and
y in [-1, 1], best 0.94), two trials at once and a baseline that names no axis; only that no file is written. Its name,
from which its proposals follow, is its seed. Printed are the mean of the trials after the ten of the start and the
best, each averaged over the seeds; standard deviations over the seeds are kept as well. Rules: see
``harness.search.rules``. Takes five minutes on two cores with nothing else to do, nearly all of them ``gp``.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

from kept import ROOT, keep

from harness.records.run_state import RunState
from harness.records.trial import Run, Trial
from harness.search.sampler import STARTUP_TRIALS
from harness.search.scheduler import ScheduledRun, Scheduler
from harness.study.loading import load_study
from harness.study.trials.plan import make_plan
from harness.workload import JsonValue, load_workload

SAMPLERS = ("random", "qmc", "tpe", "gp", "cmaes")
RULES = (1, 2)


class Row(NamedTuple):
    """A sampler by one set of rules."""

    sampler: str
    rules: int
    mean: float
    """Of the trials after the start."""
    mean_sd: float
    best: float
    best_sd: float
    seconds: float
    """Of one search."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, default=40)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--write", action="store_true")
    arguments = parser.parse_args()
    sys.path.insert(0, str(ROOT / "tests" / "fixtures" / "workloads"))
    rows = []
    print("| sampler | rules | mean after the start | best | seconds a search |")
    print("| --- | --- | --- | --- | --- |")
    for sampler in SAMPLERS:
        for rules in RULES:
            row = measure(sampler, rules, arguments.trials, arguments.seeds)
            rows.append(row)
            print(
                f"| {sampler} | {rules} | {row.mean:.2f} ± {row.mean_sd:.2f} | "
                f"{row.best:.3f} ± {row.best_sd:.3f} | {row.seconds:.1f} |",
                flush=True,
            )
    if arguments.write:
        keep("samplers", trials=arguments.trials, seeds=arguments.seeds, rows=[*map(dict_of, rows)])


def dict_of(row: Row) -> dict[str, JsonValue]:
    return dict(row._asdict())


def measure(sampler: str, rules: int, trials: int, seeds: int) -> Row:
    began = time.perf_counter()
    found = [search(sampler, rules, trials, seed) for seed in range(seeds)]
    means = [statistics.fmean(heights[STARTUP_TRIALS:]) for heights in found]
    bests = [max(heights) for heights in found]
    return Row(
        sampler,
        rules,
        statistics.fmean(means),
        statistics.stdev(means),
        statistics.fmean(bests),
        statistics.stdev(bests),
        (time.perf_counter() - began) / seeds,
    )


def search(sampler: str, rules: int, trials: int, seed: int) -> list[float]:
    """What each trial of a search reached, in the order of their numbers."""
    study: dict[str, JsonValue] = {
        "study": f"hill-{seed}",
        "question": "Where is the top?",
        "workload": "quadratic",
        "search": {"x": {"uniform": [-1, 1]}, "y": {"uniform": [-1, 1]}},
        "metric": "height",
        "sampler": sampler,
        "trials": trials,
        "seeds": 1,
    }
    schedule = Scheduler(make_plan(load_study(study), load_workload("quadratic")), identify)
    schedule.keep_rules(rules)
    finished: dict[str, RunState] = {}
    heights: dict[int, float] = {}
    while schedule.propose_more(finished) or any(
        run_id not in finished for run_id in schedule.tasks
    ):
        while (task := schedule.next_run(finished)) is not None:
            height = train(task)
            heights[task.trial.number] = height
            finished[task.run_id] = RunState("done", results={"val/height": height})
    return [heights[number] for number in sorted(heights)]


def identify(trial: Trial, seed: int, fold: int = 0) -> Run:
    return Run("quadratic", trial.params, seed, test=False, code="", data="")


def train(task: ScheduledRun) -> float:
    with tempfile.TemporaryDirectory() as folder:
        results = load_workload("quadratic").run(
            task.trial.params,
            seed=task.run.seed,
            workdir=Path(folder),
            report=lambda epoch, metrics: True,
            test=False,
        )
    return results["val/height"]


if __name__ == "__main__":
    main()
