"""The executor that runs in the driver's own process, for tests and for debugging a workload.

Breakpoints in the workload work here. A crash of the interpreter also ends the driver.
"""

from __future__ import annotations

import contextlib
import os
from collections import deque

from harness.executors.interface import GRACE_S, Ended, Job
from harness.executors.worker import stop_request
from harness.executors.worker.run_attempt import STATUS_INTERRUPTED, execute
from harness.executors.worker.run_log import open_log
from harness.workload import Workload


class LocalExecutor:
    """Executes one run inside each call of ``poll``."""

    slots = 1

    def __init__(self, workload: Workload) -> None:
        self._workload = workload
        self._waiting: deque[Job] = deque()
        self._cancelled: list[Ended] = []

    def submit(self, job: Job) -> None:
        """Queue ``job`` for the next ``poll``."""
        self._waiting.append(job)

    def poll(self, timeout_s: float) -> list[Ended]:
        """Execute the next run to its end, however long it takes; ``timeout_s`` is ignored."""
        if self._cancelled or not self._waiting:
            cancelled, self._cancelled = self._cancelled, []
            return cancelled
        job = self._waiting.popleft()
        # Do not redirect standard output, which a debugger needs.
        with (
            os.fdopen(open_log(job), "w", encoding="utf-8") as log,
            contextlib.redirect_stderr(log),
        ):
            status = execute(job, self._workload)
        return [Ended(job.run_id, status, None)]

    def cancel(self, run_id: str, *, grace_s: float | None = GRACE_S) -> None:
        """Remove a run that has not started; an executing run cannot be cancelled from here.

        Time limits therefore have no effect. ``executors.worker.stop_request.set`` ends a run.
        """
        kept = deque(job for job in self._waiting if job.run_id != run_id)
        if len(kept) < len(self._waiting):
            self._waiting = kept
            self._cancelled.append(Ended(run_id, STATUS_INTERRUPTED, None))

    def stop(self) -> None:
        """Remove all runs that have not started; no run is ever active between calls."""
        self._waiting.clear()
        self._cancelled.clear()

    def close(self) -> None:
        """Remove waiting runs, and clear a pending request to stop."""
        self._waiting.clear()
        stop_request.forget()
