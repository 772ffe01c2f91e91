"""The executor that runs in this very process: for tests and for debugging a workload.

A breakpoint in the workload works here. A crash of the interpreter takes the driver with it.
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
        """Take up ``job`` for the next ``poll``."""
        self._waiting.append(job)

    def poll(self, timeout_s: float) -> list[Ended]:
        """Execute the next run to its end, however long it takes; ``timeout_s`` is not used."""
        if self._cancelled or not self._waiting:
            cancelled, self._cancelled = self._cancelled, []
            return cancelled
        job = self._waiting.popleft()
        # Standard output is left alone, or a debugger could not talk.
        with (
            os.fdopen(open_log(job), "w", encoding="utf-8") as log,
            contextlib.redirect_stderr(log),
        ):
            status = execute(job, self._workload)
        return [Ended(job.run_id, status, None)]

    def cancel(self, run_id: str, *, grace_s: float | None = GRACE_S) -> None:
        """Forget a run that was not started; one that is being executed is out of reach.

        So limits do not hold here. ``executors.worker.stop_request.set`` ends what is executed.
        """
        kept = deque(job for job in self._waiting if job.run_id != run_id)
        if len(kept) < len(self._waiting):
            self._waiting = kept
            self._cancelled.append(Ended(run_id, STATUS_INTERRUPTED, None))

    def stop(self) -> None:
        """Forget what was not started; nothing is ever active between calls."""
        self._waiting.clear()
        self._cancelled.clear()

    def close(self) -> None:
        """Nothing to give back, but that this process was asked to end its run."""
        self._waiting.clear()
        stop_request.forget()
