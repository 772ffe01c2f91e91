"""Which runs this driver starts next, and which of them in one process.

Runs that wait for another attempt come first, then those that other drivers had when it was their
turn, then the schedule's. Only runs of the schedule have company: what has failed, was lost, or may
be stopped early by how others went is trained alone.
"""

from __future__ import annotations

import math
from collections import Counter, deque
from collections.abc import Callable

from harness.leases import Leases
from harness.ledger import Ledger
from harness.plan import Plan
from harness.policy import Retries
from harness.schedule import Schedule, Task
from harness.spool import RunState

_MOST_LOSSES = 3
"""How often a run is started again that was lost with what it ran on."""


class Company:
    """With which runs of a study, and with how many, a run may share a process."""

    def __init__(self, plan: Plan, *, is_possible: bool) -> None:
        """Nothing is asked of the workload yet.

        Args:
            plan: The study.
            is_possible: Whether the executor can give a process to several runs.
        """
        self._workload = plan.workload
        self._name = plan.spec.workload
        self._setting = plan.spec.train_together if is_possible else "off"
        # Trial -> its key, and the most runs of it in one process.
        self._known: dict[str, tuple[object, int]] = {}
        # Key -> the most runs that memory seems to suffice for, where it did not.
        self._room: dict[object, int] = {}

    def most(self, task: Task) -> int:
        """How many runs a process that trains this one may have at most.

        Raises:
            HarnessError: the workload gives no answer that can be used.
        """
        key, most = self._of(task)
        return min(most, self._room.get(key, most))

    def note_memory(self, task: Task, together: int) -> None:
        """Memory did not suffice for so many runs, of which this was one: try half of them next."""
        key, _ = self._of(task)
        self._room[key] = min(together // 2, self._room.get(key, together))

    def is_alike(self, one: Task, other: Task) -> bool:
        """Whether two runs that may have company may have each other's.

        Raises:
            HarnessError: as ``most``.
        """
        return min(self.most(one), self.most(other)) > 1 and self._of(one)[0] == self._of(other)[0]

    def _of(self, task: Task) -> tuple[object, int]:
        if self._setting == "off" or task.thresholds is not None:
            return (None, 1)
        found = self._known.get(task.trial.trial_id)
        if found is None:
            found = self._known[task.trial.trial_id] = self._ask(task)
        return found

    def _ask(self, task: Task) -> tuple[object, int]:
        try:
            answer = self._workload.together(task.run.params)
        except ValueError:  # parameters that cannot be: the run will say so
            return (None, 1)
        if answer is None:
            return (None, 1)
        key, worth = answer
        most = worth if self._setting == "auto" else int(self._setting)
        return ((str(key), task.run.test), most)


class Turns:
    """The runs that this driver has still to start."""

    def __init__(
        self,
        schedule: Schedule,
        ledger: Ledger,
        leases: Leases,
        company: Company,
        *,
        retries: Retries,
        count: Callable[[Task, RunState], None],
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
        self._again: deque[Task] = deque()
        # Runs that other drivers were training when it was their turn here.
        self._elsewhere: dict[str, Task] = {}

    def __bool__(self) -> bool:
        """Whether a run waits for something else than a free worker."""
        return bool(self._again or self._retries or self._elsewhere)

    def start_again(self, task: Task) -> None:
        """Give a run that this driver has started another turn, alone."""
        self._again.append(task)

    def lose(self, task: Task) -> bool:
        """Give a run that was lost another turn; False where that has happened too often."""
        if self._losses[task.run_id] == _MOST_LOSSES:
            return False
        self._losses[task.run_id] += 1
        self._again.append(task)
        return True

    def take(self, free: int) -> tuple[Task, ...]:
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

    def look_elsewhere(self) -> bool:
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

    def _next(self) -> Task | None:
        """The next run that nobody else has."""
        waiting = list(self._elsewhere.values())
        while (
            task := waiting.pop(0) if waiting else self._schedule.take(self._ledger.settled)
        ) is not None:
            if self._claim(task):
                return task
        return None

    def _beside(self, first: Task, free: int) -> tuple[Task, ...]:
        """The runs that a process trains along with ``first``."""
        most = self._company.most(first)
        if most < 2 or self._has_failed(first):
            return ()
        alike = self._schedule.take_like(
            lambda task: self._company.is_alike(first, task) and not self._has_failed(task),
            most * free - 1,
            self._ledger.settled,
        )
        share = min(most, math.ceil((1 + len(alike)) / free)) - 1
        for task in alike[share:]:
            self._schedule.put_back(task)
        return tuple(task for task in alike[:share] if self._claim(task))

    def _has_failed(self, task: Task) -> bool:
        """Whether an earlier call has seen the run fail."""
        return self._ledger.state(task.run_id).failure is not None

    def _claim(self, task: Task) -> bool:
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
