"""Several runs in one process: how they are executed there, and how the process is seen as runs.

Whoever asks for the runs sees each of them begin and end; what lies between knows one job and one
process, that of the first run. What ends the process ends all of them.
"""

from __future__ import annotations

from harness.executors.interface import GRACE_S, Ended, Executor, Job


class TogetherExecutor:
    """An executor whose jobs may have others beside them, over one of a process a job."""

    def __init__(self, processes: Executor) -> None:
        """Nothing is started yet.

        Args:
            processes: Executes each job, with what is beside it, in a process of its own. It is
                closed with this one.
        """
        self._processes = processes
        # First run of a process -> all its runs, and each of them -> that first one.
        self._runs: dict[str, tuple[str, ...]] = {}
        self._first: dict[str, str] = {}

    @property
    def slots(self) -> int:
        """How many processes may be active at once."""
        return self._processes.slots

    def submit(self, job: Job) -> None:
        """Start ``job`` and what is beside it, in one process.

        Raises:
            HarnessError: no run can be started any more.
        """
        self._runs[job.run_id] = (job.run_id, *(each.run_id for each in job.beside))
        self._first |= dict.fromkeys(self._runs[job.run_id], job.run_id)
        self._processes.submit(job)

    def poll(self, timeout_s: float) -> list[Ended]:
        """Wait until a process ends, for ``timeout_s`` at most; all runs of those that ended.

        Raises:
            HarnessError: the runs were lost, with the reason.
        """
        return [
            ended._replace(run_id=run_id)
            for ended in self._processes.poll(timeout_s)
            for run_id in self._forget(ended.run_id)
        ]

    def cancel(self, run_id: str, *, grace_s: float | None = GRACE_S) -> None:
        """Ask the process of a run to let all its runs save and end; see ``Executor``."""
        if run_id in self._first:
            self._processes.cancel(self._first[run_id], grace_s=grace_s)

    def stop(self) -> None:
        """Kill all active runs at once."""
        self._processes.stop()
        self._runs.clear()
        self._first.clear()

    def close(self) -> None:
        """Give back every process; active runs are killed."""
        self._processes.close()

    def _forget(self, first: str) -> tuple[str, ...]:
        """The runs of a process that has ended."""
        runs = self._runs.pop(first, ())
        for run_id in runs:
            del self._first[run_id]
        return runs
