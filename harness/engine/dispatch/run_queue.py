"""Which runs this driver starts next, and which of them in one process.

Runs that wait for another attempt come first, then those that other drivers had when it was their
turn, then the schedule's. Only runs of the schedule have company: what has failed, was lost, or may
be stopped early by how others went is trained alone.
"""

from __future__ import annotations

import math
from collections import Counter, deque
from collections.abc import Callable

from harness.engine.dispatch.leases import Leases
from harness.engine.dispatch.packing import Packing
from harness.engine.dispatch.retry_policy import RetryQueue
from harness.engine.dispatch.run_states import RunStates
from harness.records.run_state import RunState
from harness.search.scheduler import ScheduledRun, Scheduler

_MOST_LOSSES = 3
"""How often a run is started again that was lost with what it ran on."""


class RunQueue:
    """The runs that this driver has still to start."""

    def __init__(
        self,
        schedule: Scheduler,
        ledger: RunStates,
        leases: Leases,
        company: Packing,
        *,
        retries: RetryQueue,
        count: Callable[[ScheduledRun, RunState], None],
    ) -> None:
        """Nobody has had a turn yet.

        Args:
            schedule: The runs of the study.
            ledger: What is known of them.
            leases: Of this driver; runs that are given out are claimed.
            company: Which runs may share a process.
            retries: The runs that wait for their next attempt.
            count: Is told of runs that others have finished meanwhile.
        """
        self._schedule, self._ledger, self._leases = schedule, ledger, leases
        self._company, self._retries, self._count = company, retries, count
        self._has_asked = False
        self._losses: Counter[str] = Counter()
        # Runs that start again through no fault of their own, whose leases were kept.
        self._again: deque[ScheduledRun] = deque()
        # Runs that other drivers were training when it was their turn here.
        self._elsewhere: dict[str, ScheduledRun] = {}

    def __bool__(self) -> bool:
        """Whether a run waits for something else than a free worker."""
        return bool(self._again or self._retries or self._elsewhere)

    def requeue_alone(self, task: ScheduledRun) -> None:
        """Give a run that this driver has started another turn, alone."""
        self._again.append(task)

    def requeue_lost(self, task: ScheduledRun) -> bool:
        """Give a run that was lost another turn; False where that has happened too often."""
        if self._losses[task.run_id] == _MOST_LOSSES:
            return False
        self._losses[task.run_id] += 1
        self._again.append(task)
        return True

    def take(self, free: int) -> tuple[ScheduledRun, ...]:
        """The runs of the next process; none where nothing can be started now.

        Args:
            free: How many more processes there may be, this one included, >= 1. Runs that could
                share one are divided among them all, so that none stands idle.
        """
        if not self._has_asked:  # while nothing runs: the workload may measure
            self._has_asked = True
            for task in self._schedule.tasks.values():
                if task.run_id not in self._ledger.settled:
                    self._company.most(task)
        if self._again:
            return (self._again.popleft(),)
        if (run_id := self._retries.take()) is not None:  # its lease was kept, too
            return (self._schedule.tasks[run_id],)
        first = self._next()
        return () if first is None else (first, *self._beside(first, free))

    def collect_finished_elsewhere(self) -> bool:
        """Take over what other drivers have finished; whether there was any."""
        over = [
            task
            for task in self._elsewhere.values()
            if self._ledger.is_over(task.run_id, task.thresholds)
        ]
        for task in over:
            del self._elsewhere[task.run_id]
            self._count(task, self._ledger.settle(task.run_id, task.thresholds))
        return bool(over)

    def _next(self) -> ScheduledRun | None:
        """The next run that nobody else has."""
        waiting = list(self._elsewhere.values())
        while (
            task := waiting.pop(0) if waiting else self._schedule.take(self._ledger.settled)
        ) is not None:
            if self._claim(task):
                return task
        return None

    def _beside(self, first: ScheduledRun, free: int) -> tuple[ScheduledRun, ...]:
        """The runs that a process trains along with ``first``."""
        most = self._company.most(first)
        if most < 2 or self._has_failed(first):
            return ()
        alike = self._schedule.next_compatible(
            lambda task: self._company.are_compatible(first, task) and not self._has_failed(task),
            most * free - 1,
            self._ledger.settled,
        )
        share = min(most, math.ceil((1 + len(alike)) / free)) - 1
        for task in alike[share:]:
            self._schedule.requeue(task)
        return tuple(task for task in alike[:share] if self._claim(task))

    def _has_failed(self, task: ScheduledRun) -> bool:
        """Whether an earlier call has seen the run fail."""
        return self._ledger.state(task.run_id).failure is not None

    def _claim(self, task: ScheduledRun) -> bool:
        """Take a run for this driver; False where another one has it, or has finished it."""
        if not self._leases.claim(task.run_id):
            self._elsewhere[task.run_id] = task
            return False
        self._elsewhere.pop(task.run_id, None)
        if not self._ledger.is_over(task.run_id, task.thresholds):
            return True
        self._count(task, self._ledger.settle(task.run_id, task.thresholds))
        self._leases.release(task.run_id)
        return False
