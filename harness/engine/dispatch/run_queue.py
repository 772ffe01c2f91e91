"""Which runs this driver starts next, and which of them in one process.

Runs that start again and retries come first, then those that another driver had when they were
next, then the scheduler's. Only the scheduler's runs share a process: what has failed, was lost, or
may be stopped early by how others went is trained alone.
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
"""How often a run is started again that was lost with what it ran on."""


@dataclass
class RunQueue:
    """Hands out the runs that this driver has still to start; those are claimed."""

    schedule: Scheduler
    runs: RunTable
    leases: Leases
    packing: Packing
    executor: Executor
    _has_asked: bool = field(default=False, init=False)

    def __bool__(self) -> bool:
        """Whether a run waits for something else than a free worker."""
        return self.runs.has("leased", "waiting", "elsewhere")

    @property
    def most_active(self) -> int:
        """How many processes may be active at once, after runs that ran out of memory."""
        return int(min(self.executor.slots, self.runs.most_active))

    @property
    def free(self) -> int:
        """How many more of them there may be."""
        return self.most_active - len({each.job.process for each in self.runs.active})

    def rounds(self, runs: int) -> int:
        """How often the workers must be filled for so many runs."""
        return math.ceil(runs / self.most_active)

    def requeue_lost(self, row: RunRow) -> bool:
        """Start a run again whose worker or spool was lost; False once that was too often."""
        if row.losses == _MOST_LOSSES:
            return False
        row.losses += 1
        self.runs.set_status(row.task.run_id, "leased")
        return True

    def take(self) -> list[RunRow]:
        """The runs of the next process, while one is free; none where nothing can start now.

        Runs that could share a process are divided among all that are free.
        """
        if not self._has_asked:  # while nothing runs: the workload may measure
            self._has_asked = True
            for row in self.runs.having("queued"):
                self.packing.capacity(row.task)
        if (own := self.runs.take_own()) is not None:
            return [own]
        first = self._next()
        return [] if first is None else [first, *self._pack(first)]

    def collect_finished_elsewhere(self) -> bool:
        """Take over what other drivers have finished; whether there was any."""
        rows = self.runs.having("elsewhere")
        return sum(self.runs.finish_if_trained(row.task.run_id) for row in rows) > 0

    def _next(self) -> RunRow | None:
        """The next run that nobody else has."""
        for row in self.runs.having("elsewhere"):
            if self._claim(row):
                return row
        while (task := self.schedule.next_run(self.runs.finished)) is not None:
            if self._claim(row := self.runs[task.run_id]):
                return row
        return None

    def _pack(self, first: RunRow) -> list[RunRow]:
        """The runs that a process trains along with ``first``."""
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
        """Take a run for this driver; False where another one has it, or has finished it."""
        run_id = row.task.run_id
        if not self.leases.claim(run_id):
            if row.status != "elsewhere":  # else it keeps its place
                self.runs.set_status(run_id, "elsewhere")
            return False
        if self.runs.finish_if_trained(run_id):
            self.leases.release(run_id)
            return False
        self.runs.set_status(run_id, "leased")
        return True
