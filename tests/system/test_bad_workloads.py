"""Workloads that misbehave: each costs its own run, in a line that says why, and no other."""

from __future__ import annotations

from pathlib import Path

import pytest

import harness
from harness.executors.interface import ExecutorName

SOURCE = """
import os, sys, threading

def schema():
    return {}

def check(params):
    return {"does": "nothing wrong"} | dict(params)

class Unpicklable(Exception):
    def __init__(self):
        super().__init__("held by a lock")
        self.lock, self.self = threading.Lock(), lambda: self

class Textless(Exception):
    def __str__(self):
        raise RuntimeError("no text either")

def run(params, *, seed, workdir, report, test):
    does = params["does"]
    report(0, {"val/height": 0.5})
    if does == "prints 100 MB":
        for _ in range(100):
            print("x" * 79 + "\\n", end="") or sys.stdout.write(("y" * 79 + "\\n") * 12_500)
            sys.stderr.write("the last line\\n")
    if does == "exits":
        os._exit(0)
    if does == "raises what cannot be pickled":
        raise Unpicklable
    if does == "raises what has no text":
        raise Textless
    return {
        "returns NaN": {"val/height": float("nan")},
        "returns text": "0.5",
        "returns text for a number": {"val/height": "high"},
        "returns nothing": None,
        "returns a number": 0.5,
        "returns a list": ["val/height"],
        "names no text": {7: 0.5},
    }.get(does, {"val/height": 0.5})
"""
FAILURES = {
    "exits": ("crash", "the worker exited with status 0 before it finished"),
    "raises what cannot be pickled": ("crash", "Unpicklable: held by a lock"),
    "raises what has no text": ("crash", "Textless: its text cannot be made"),
    "returns NaN": ("diverged", "val/height is nan in the result"),
    "returns text": (
        "crash",
        "TypeError: run: a mapping of names to numbers is needed, got str '0.5'",
    ),
    "returns text for a number": (
        "crash",
        "TypeError: run: 'val/height': a number is needed, got str 'high'",
    ),
    "returns nothing": (
        "crash",
        "TypeError: run: a mapping of names to numbers is needed, got None",
    ),
    "returns a number": ("crash", "a mapping of names to numbers is needed, got float 0.5"),
    "returns a list": ("crash", "a mapping of names to numbers is needed, got list ['val/height']"),
    "names no text": ("crash", "TypeError: run: a name is needed, got int 7"),
}
FINE = ("nothing wrong", "prints 100 MB")


@pytest.mark.process
@pytest.mark.timeout(60)
@pytest.mark.parametrize("executor", ["process", "local"])
def test_a_bad_workload_costs_its_own_run_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, executor: ExecutorName
) -> None:
    (tmp_path / "bad_workload.py").write_text(SOURCE)
    monkeypatch.syspath_prepend(tmp_path)
    expected = {
        does: FAILURES[does] for does in FAILURES if executor == "process" or does != "exits"
    }
    study = {
        "study": "bad",
        "question": "What survives?",
        "workload": "bad_workload",
        "search": {"does": {"grid": [*expected, *FINE]}},
        "baseline": {"does": "nothing wrong"},
        "metric": "height",
        "seeds": 1,
    }
    outcome, results = harness.run(
        study, results=tmp_path / "results", executor=executor, workers=2, threads=1
    )
    assert (outcome.exit_status, outcome.done, outcome.failed) == (1, len(FINE), len(expected))
    rows = results.failures.set_index("trial")
    for does, (failure, message) in expected.items():
        row = rows.loc[f"does={does}"]
        assert row["failure"] == failure
        assert message in row["message"]
        assert "\n" not in row["message"]
    (log,) = [path for path in tmp_path.rglob("stderr.log") if path.stat().st_size > 1000_000] or [
        None
    ]
    if executor == "process":
        assert log is not None
        assert log.stat().st_size > 100_000_000
        log.unlink()  # not to be kept by pytest
