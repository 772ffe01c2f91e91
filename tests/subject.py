"""A study that is started as a user starts it, so that tests and benchmarks can do it harm.

It trains ``quadratic``; what must not change is ``tables``.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from waiting import DEADLINE_S, is_alive, wait_until

from harness.records.event_log import read_spool
from harness.records.events import Finished, Started
from harness.store.database import query

ROOT = Path(__file__).resolve().parent.parent
GRID = """
study: hill
question: Where is the top?
workload: quadratic
base: {epochs: 30}
search:
  x: {grid: [0.0, 0.25]}
baseline: {x: 0.0}
metric: height
seeds: 4
"""
SEARCH = """
study: hill
question: Where is the top?
workload: quadratic
base: {epochs: 15}
search:
  x: {uniform: [-1.0, 1.0]}
  y: {uniform: [-1.0, 1.0]}
metric: height
sampler: tpe
trials: 10
seeds: 1
"""
TABLES = (
    "SELECT study, trial_id, number, label, varied FROM trial ORDER BY ALL",
    "SELECT * FROM member ORDER BY ALL",
    "SELECT run_id, state, failure FROM run ORDER BY ALL",
    "SELECT run_id, epoch, name, value FROM epoch ORDER BY ALL",
    "SELECT * FROM score ORDER BY ALL",
    "SELECT * FROM comparisons ORDER BY ALL",
    "SELECT * FROM trials ORDER BY ALL",
)
MOST_CALLS = 6


class Subject:
    """A folder with a study and its results, and the process that runs it."""

    def __init__(self, folder: Path, study: str = GRID, results: str = "results") -> None:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "study.yaml").write_text(study, encoding="utf-8")
        self.folder = folder
        self.results = folder / results

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        """The command, two workers at once."""
        paths = [ROOT, ROOT / "tests", ROOT / "tests" / "workloads", self.folder]
        options = ["--results", str(self.results), "--workers", "2", "--threads", "1"]
        return subprocess.Popen(
            [sys.executable, "-m", "harness", "run", "study.yaml", *options, *arguments],
            cwd=self.folder,
            env=os.environ | {"PYTHONPATH": os.pathsep.join(map(str, paths))},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def finish(self, *arguments: str) -> int:
        """Give the same command until it ends with every run done; how often that was."""
        for call in range(1, MOST_CALLS + 1):
            process = self.start(*arguments)
            _, error = process.communicate(timeout=4 * DEADLINE_S)
            assert "Traceback" not in error, error
            assert process.returncode in (0, 1, 2), error
            if process.returncode == 0:
                return call
        raise AssertionError(f"still not done after {MOST_CALLS} calls: {error}")

    def lines(self) -> int:
        """How many lines all spools have by now: how far the study is."""
        return sum(path.read_bytes().count(b"\n") for path in self.spools())

    def spools(self) -> list[Path]:
        return sorted(self.results.glob("runs/*/spool.jsonl"))

    def active(self) -> list[int]:
        """The processes of runs that have started and not ended."""
        pids = []
        for path in self.spools():
            events = read_spool(path)
            if events and not isinstance(events[-1], Finished):
                last = [event for event in events if isinstance(event, Started)][-1]
                pids += [last.pid] if is_alive(last.pid) else []
        return pids

    def tables(self) -> list[list[tuple[object, ...]]]:
        """All that the study found out."""
        return [query(self.results, sql).rows for sql in TABLES]

    def harm(self, at_line: int, whom: Callable[[Subject, int], list[int]]) -> bool:
        """Start the command, and kill what ``whom`` names when the spools have so many lines.

        Whether there was anything left to kill by then.
        """
        process = self.start()
        victims: list[int] = []

        def is_time() -> bool:
            if self.lines() >= at_line:
                victims[:] = whom(self, process.pid)
            return bool(victims) or process.poll() is not None

        wait_until(is_time, 4 * DEADLINE_S)  # as long as the study itself may take
        for pid in victims:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        _, error = process.communicate(timeout=4 * DEADLINE_S)
        assert "Traceback" not in error, error
        return bool(victims)


def driver(subject: Subject, pid: int) -> list[int]:
    """The process that the user started."""
    return [pid]


def worker(subject: Subject, pid: int) -> list[int]:
    """One process that trains."""
    return subject.active()[:1]


def fork_server(subject: Subject, pid: int) -> list[int]:
    """The process from which runs are forked."""
    try:
        below = [each for child in children(pid) for each in children(child)]  # there is a guard
        commands = {each: Path(f"/proc/{each}/cmdline").read_bytes() for each in below}
    except (FileNotFoundError, ProcessLookupError):  # the study has ended meanwhile
        return []
    return [each for each, command in commands.items() if b"fork_server" in command]


def children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


VICTIMS: dict[str, Callable[[Subject, int], list[int]]] = {
    "driver": driver,
    "worker": worker,
    "fork server": fork_server,
}
