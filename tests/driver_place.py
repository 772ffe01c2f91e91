"""A folder in which tests of the driver run small studies, and a watcher that remembers."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path

import toy_workload

from harness.engine.progress import RunLine, Snapshot
from harness.engine.run_options import RunOptions
from harness.engine.run_study import Outcome, run_study
from harness.executors.interface import ExecutorName
from harness.store.database import query

GRID = """
study: quality
question: Does quality matter?
workload: toy_workload
base: {epochs: 1, clusters: 2}
search:
  quality: {grid: [0.2, 0.5]}
seeds: 2
"""
SEARCH = """
study: best
question: What is best?
workload: toy_workload
base: {epochs: 1, clusters: 2, quality: 0.1}
search:
  quality: {uniform: [0.0, 1.0]}
  method.teacher_momentum: {choice: [0.0, 0.5]}
sampler: tpe
trials: 14
seeds: 2
"""
RECALL = "SELECT run_id, split, k, recall, queries, dropped FROM recall ORDER BY ALL"


class Witness:
    """A watcher that keeps what it is told, and can do something at every end."""

    def __init__(self, at_end: Callable[[int], None] | None = None) -> None:
        self.started_lines: list[RunLine] = []
        self.ended_lines: list[RunLine] = []
        self.snapshots: list[Snapshot] = []
        self.said: list[str] = []
        self.at_end = at_end
        self.at_say: Callable[[str], None] | None = None

    def started(self, line: RunLine, snapshot: Snapshot) -> None:
        self.started_lines.append(line)
        self.snapshots.append(snapshot)

    def ended(self, line: RunLine, snapshot: Snapshot) -> None:
        self.ended_lines.append(line)
        self.snapshots.append(snapshot)
        if self.at_end is not None:
            self.at_end(len(self.ended_lines))

    def tick(self, snapshot: Snapshot) -> None:
        self.snapshots.append(snapshot)

    def say(self, text: str) -> None:
        self.said.append(text)
        if self.at_say is not None:
            self.at_say(text)


class Place:
    """A folder with a study, its results and a count of what was trained."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.results = folder / "results"

    def write(self, text: str, name: str = "study.yaml") -> Path:
        path = self.folder / name
        path.write_text(text, encoding="utf-8")
        return path

    def run(
        self,
        text: str = GRID,
        *overrides: str,
        executor: ExecutorName = "local",
        workers: int | None = None,
        watcher: Witness | None = None,
        results: Path | None = None,
        extend: bool = False,
    ) -> Outcome:
        folder = results or self.results
        options = RunOptions(folder, executor, workers, threads=1, extend=extend)
        return run_study(self.write(text), overrides, options, watcher or Witness())

    def calls(self) -> int:
        return len(toy_workload.calls(self.folder))

    def ask(self, sql: str, results: Path | None = None) -> list[tuple[object, ...]]:
        return query(results or self.results, sql).rows


def interrupt(number: int) -> Callable[[int], None]:
    def at_end(count: int) -> None:
        if count == number:
            os.kill(os.getpid(), signal.SIGINT)

    return at_end
