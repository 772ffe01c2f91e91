"""Which runs share a process, and how many."""

from __future__ import annotations

from harness.search.scheduler import ScheduledRun
from harness.study.plan import Plan


class Packing:
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

    def capacity(self, task: ScheduledRun) -> int:
        """How many runs a process that trains this one may have at most.

        Raises:
            HarnessError: the workload gives no answer that can be used.
        """
        key, most = self._of(task)
        return min(most, self._room.get(key, most))

    def halve_after_oom(self, task: ScheduledRun, together: int) -> None:
        """Memory did not suffice for so many runs, of which this was one: try half of them next."""
        key, _ = self._of(task)
        self._room[key] = min(together // 2, self._room.get(key, together))

    def are_compatible(self, one: ScheduledRun, other: ScheduledRun) -> bool:
        """Whether two runs that may have company may have each other's.

        Raises:
            HarnessError: as ``capacity``.
        """
        return (
            min(self.capacity(one), self.capacity(other)) > 1
            and self._of(one)[0] == self._of(other)[0]
        )

    def _of(self, task: ScheduledRun) -> tuple[object, int]:
        if self._setting == "off" or task.thresholds is not None:
            return (None, 1)
        found = self._known.get(task.trial.trial_id)
        if found is None:
            found = self._known[task.trial.trial_id] = self._ask(task)
        return found

    def _ask(self, task: ScheduledRun) -> tuple[object, int]:
        try:
            answer = self._workload.together(task.run.params)
        except ValueError:  # parameters that cannot be: the run will say so
            return (None, 1)
        if answer is None:
            return (None, 1)
        key, worth = answer
        most = worth if self._setting == "auto" else int(self._setting)
        return ((str(key), task.run.test), most)
