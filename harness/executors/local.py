"""The executor that runs in this very process: for tests and for debugging a workload.

A breakpoint in the workload works here. A crash of the interpreter takes the driver with it.
"""

from __future__ import annotations

import contextlib
import os
from collections import deque

from harness.executors import Ended, Job
from harness.executors.worker import execute, open_log
from harness.workload import Workload


class LocalExecutor:
    """Executes one run inside each call of ``poll``."""

    slots = 1

    def __init__(self, workload: Workload) -> None:
        self._workload = workload
        self._waiting: deque[Job] = deque()

    def submit(self, job: Job) -> None:
        """Take up ``job`` for the next ``poll``."""
        self._waiting.append(job)

    def poll(self, timeout_s: float) -> list[Ended]:
        """Execute the next run to its end, however long it takes; ``timeout_s`` is not used."""
        if not self._waiting:
            return []
        job = self._waiting.popleft()
        # Standard output is left alone, or a debugger could not talk.
        with (
            os.fdopen(open_log(job), "w", encoding="utf-8") as log,
            contextlib.redirect_stderr(log),
        ):
            execute(job, self._workload)
        return [Ended(job.run_id, 0, None)]

    def stop(self) -> None:
        """Forget what was not started; nothing is ever active between calls."""
        self._waiting.clear()

    def close(self) -> None:
        """Nothing to give back."""
        self._waiting.clear()
