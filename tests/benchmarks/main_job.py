"""What the main job costs: time, memory, the share of everything around the training.

    python tests/benchmarks/main_job.py [--study studies/momentum.yaml] [--write]

Runs the study as a user would, in a folder of its own, then 1,000 runs of a workload that does nothing.
Prints a table; ``--write`` keeps it in ``tests/benchmarks/results/main_job.json``.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from kept import keep

from harness.store.database import query

ROOT = Path(__file__).resolve().parent.parent.parent

NOTHING = """
def schema(): return {"type": "object"}
def check(params): return dict(params)
def controls(): return {}
def data_fingerprint(params): return "nothing"
def run(params, *, seed, workdir, report, test):
    report(0, {"loss": 0.0, "val/recall@1": 0.5})
    return {"val/recall@1": 0.5, "test/recall@1": 0.5}
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--study", type=Path, default=ROOT / "studies" / "momentum.yaml")
    parser.add_argument("--write", action="store_true")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        figures = study_figures(arguments.study, Path(folder))
        figures |= nothing_figures(Path(folder))
    figures["overhead_share_percent"] = round(
        100 * figures["nothing_ms_per_run"] / 1000 / figures["median_run_s"], 2
    )
    for name, value in figures.items():
        print(f"{name:32} {value}")
    if arguments.write:
        keep("main_job", figures=figures)


def run_study(study: Path, folder: Path, **environment: str) -> float:
    """Seconds that one call takes, from the start of the process to its end."""
    command = [sys.executable, "-m", "harness", "run", str(study)]
    command += ["--results", str(folder / "results"), "--reports", str(folder / "reports")]
    started = time.perf_counter()
    subprocess.run(command, check=True, cwd=ROOT, env=os.environ | environment)
    return time.perf_counter() - started


def study_figures(study: Path, folder: Path) -> dict[str, float]:
    """Wall time, memory and shares of a real study; the cache starts empty."""
    wall_s = run_study(study, folder, GCUDML_CACHE=str(folder / "cache"))

    def one(sql: str) -> float:
        (row,) = query(folder / "results", sql).rows
        return float(row[0])  # type: ignore[arg-type]

    trained = "run_id IN (SELECT run_id FROM epoch WHERE name = 'seconds/train')"
    parts = "sum(value) FILTER (name IN ('seconds/prepare', 'seconds/evaluate')) / sum(value)"
    return {
        "study_wall_s": round(wall_s, 1),
        "runs": one("SELECT count(*) FROM run WHERE state = 'done'"),
        "median_run_s": round(one(f"SELECT median(seconds) FROM run WHERE {trained}"), 2),
        "peak_mib_per_worker": round(one("SELECT max(peak_mib) FROM run"), 0),
        "cluster_and_evaluate_percent": round(
            100 * one(f"SELECT {parts} FROM epoch WHERE name LIKE 'seconds/%'"), 1
        ),
    }


def nothing_figures(folder: Path) -> dict[str, float]:
    """What the harness itself costs a run, from 1,000 runs that do nothing."""
    place = folder / "nothing"
    place.mkdir()
    (place / "nothing_workload.py").write_text(NOTHING, encoding="utf-8")
    study = place / "nothing.yaml"
    study.write_text(
        "study: nothing\nquestion: What does a run cost?\nworkload: nothing_workload\nseeds: 1000\n",
        encoding="utf-8",
    )
    wall_s = run_study(study, place, PYTHONPATH=str(place))
    single = place / "single.yaml"
    single.write_text(study.read_text(encoding="utf-8").replace("1000", "1"), encoding="utf-8")
    (place / "one").mkdir()
    start_s = run_study(single, place / "one", PYTHONPATH=str(place))
    # The start of the program and the report are paid once a call, not once a run.
    return {
        "nothing_1000_runs_s": round(wall_s, 2),
        "nothing_ms_per_run": round(1000 * (wall_s - start_s) / 999, 2),
    }


if __name__ == "__main__":
    main()
