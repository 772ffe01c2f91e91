"""Decides which runs may share a process, and how many."""

from __future__ import annotations

from harness.search.scheduler import ScheduledRun
from harness.study.trials.plan import Plan


class Packing:
    """Decides how many and which runs of a study may share a process."""

    def __init__(self, plan: Plan, *, is_possible: bool) -> None:
        """Prepare; the workload is asked when a run is first looked up.

        Args:
            plan: The study.
            is_possible: Whether the executor can train several runs in one process.
        """
        self._workload = plan.workload
        self._name = plan.spec.workload
        # Stacking rounds differently, which would look like randomness of the machine.
        is_possible = is_possible and plan.spec.variance is None
        self._setting = plan.spec.train_together if is_possible else "off"
        # Trial id and fold -> its key, and the most runs of it in one process.
        self._known: dict[tuple[str, int], tuple[object, int]] = {}
        # Key -> the most runs to try at once, after a process ran out of memory.
        self._room: dict[object, int] = {}

    def capacity(self, task: ScheduledRun) -> int:
        """Return the most runs that a process training this one may have.

        Raises:
            HarnessError: the workload returns an invalid answer.
        """
        key, most = self._of(task)
        return min(most, self._room.get(key, most))

    def halve_after_oom(self, task: ScheduledRun, together: int) -> None:
        """Halve the capacity for such runs, after ``together`` of them ran out of memory."""
        key, _ = self._of(task)
        self._room[key] = min(together // 2, self._room.get(key, together))

    def are_compatible(self, one: ScheduledRun, other: ScheduledRun) -> bool:
        """Whether two runs may share a process.

        Raises:
            HarnessError: see ``capacity``.
        """
        return (
            min(self.capacity(one), self.capacity(other)) > 1
            and self._of(one)[0] == self._of(other)[0]
        )

    def _of(self, task: ScheduledRun) -> tuple[object, int]:
        if self._setting == "off" or task.thresholds is not None:
            return (None, 1)
        # Other folds are other data, so they may have another key.
        of = (task.trial.trial_id, task.fold)
        found = self._known.get(of)
        if found is None:
            found = self._known[of] = self._ask(task)
        return found

    def _ask(self, task: ScheduledRun) -> tuple[object, int]:
        try:
            answer = self._workload.together(task.run.params)
        except ValueError:  # invalid parameters: the run will report them
            return (None, 1)
        if answer is None:
            return (None, 1)
        key, worth = answer
        most = worth if self._setting == "auto" else int(self._setting)
        return ((str(key), task.run.test), most)
