"""Decides which runs this driver starts next, and which of them share a process.

Restarts and retries come first, then runs that another driver held when their turn came, then the
scheduler's. Only the scheduler's runs share a process: a run that has failed, was lost, or may be
stopped early by comparison with others is trained alone.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from harness.engine.dispatch.leases import Leases
from harness.engine.dispatch.packing import Packing
from harness.engine.dispatch.run_states import RunRow, RunTable
from harness.executors.interface import Executor
from harness.search.scheduler import Scheduler

_MOST_LOSSES = 3
"""How often a run is restarted after its worker or spool was lost."""


@dataclass
class RunQueue:
    """Leases the runs that this driver starts next."""

    schedule: Scheduler
    runs: RunTable
    leases: Leases
    packing: Packing
    executor: Executor
    _has_asked: bool = field(default=False, init=False)

    def __bool__(self) -> bool:
        """Whether any run is leased, waiting for a retry, or held by another driver."""
        return self.runs.has("leased", "waiting", "elsewhere")

    @property
    def most_active(self) -> int:
        """The maximum number of concurrent processes, lowered when runs run out of memory."""
        return int(min(self.executor.slots, self.runs.most_active))

    @property
    def free(self) -> int:
        """The number of processes that may be started now."""
        return self.most_active - len({each.job.process for each in self.runs.active})

    def rounds(self, runs: int) -> int:
        """Return how many rounds of the workers this many runs take."""
        return math.ceil(runs / self.most_active)

    def requeue_lost(self, row: RunRow) -> bool:
        """Requeue a run whose worker or spool was lost. Returns False after too many losses."""
        if row.losses == _MOST_LOSSES:
            return False
        row.losses += 1
        self.runs.set_status(row.task.run_id, "leased")
        return True

    def take(self) -> list[RunRow]:
        """Lease the runs of the next process; empty if no run can start now.

        Call it only while a process is free. Compatible runs are spread over all free processes.
        """
        if not self._has_asked:  # before any run starts, since the workload may measure
            self._has_asked = True
            for row in self.runs.having("queued"):
                self.packing.capacity(row.task)
        if (own := self.runs.take_own()) is not None:
            return [own]
        first = self._next()
        return [] if first is None else [first, *self._pack(first)]

    def collect_finished_elsewhere(self) -> bool:
        """Mark runs that other drivers have finished. Returns whether there were any."""
        rows = self.runs.having("elsewhere")
        return sum(self.runs.finish_if_trained(row.task.run_id) for row in rows) > 0

    def _next(self) -> RunRow | None:
        """Lease the next run that no other driver has."""
        for row in self.runs.having("elsewhere"):
            if self._claim(row):
                return row
        while (task := self.schedule.next_run(self.runs.finished)) is not None:
            if self._claim(row := self.runs[task.run_id]):
                return row
        return None

    def _pack(self, first: RunRow) -> list[RunRow]:
        """Lease the runs that share a process with ``first``."""
        capacity, free = self.packing.capacity(first.task), self.free
        if capacity < 2 or first.has_failed:
            return []
        compatible = self.schedule.next_compatible(
            lambda task: (
                self.packing.are_compatible(first.task, task)
                and not self.runs[task.run_id].has_failed
            ),
            capacity * free - 1,
            self.runs.finished,
        )
        share = min(capacity, math.ceil((1 + len(compatible)) / free)) - 1
        for task in compatible[share:]:
            self.schedule.requeue(task)
        rows = [self.runs[task.run_id] for task in compatible[:share]]
        return [row for row in rows if self._claim(row)]

    def _claim(self, row: RunRow) -> bool:
        """Lease a run. Returns False if another driver has it, or has finished it."""
        run_id = row.task.run_id
        if not self.leases.claim(run_id):
            if row.status != "elsewhere":  # otherwise it keeps its place
                self.runs.set_status(run_id, "elsewhere")
            return False
        if self.runs.finish_if_trained(run_id):
            self.leases.release(run_id)
            return False
        self.runs.set_status(run_id, "leased")
        return True
