"""Presents a process that trains several runs as separate runs.

The caller sees each run start and end. The executor below knows only one job and one process, that
of the first run; when the process ends, all its runs end.
"""

from __future__ import annotations

from harness.executors.interface import GRACE_S, Ended, Executor, Job


class TogetherExecutor:
    """Runs each job, with the jobs beside it, in one process of another executor."""

    def __init__(self, processes: Executor) -> None:
        """Wrap an executor.

        Args:
            processes: Executes each job and the jobs beside it in one process. It is closed along
                with this executor.
        """
        self._processes = processes
        # First run of a process -> all its runs; and each run -> that first run.
        self._runs: dict[str, tuple[str, ...]] = {}
        self._first: dict[str, str] = {}

    @property
    def slots(self) -> int:
        """How many processes may be active at once."""
        return self._processes.slots

    def submit(self, job: Job) -> None:
        """Start ``job`` and the jobs beside it, in one process.

        Raises:
            HarnessError: no more runs can be started.
        """
        self._runs[job.run_id] = (job.run_id, *(each.run_id for each in job.beside))
        self._first |= dict.fromkeys(self._runs[job.run_id], job.run_id)
        self._processes.submit(job)

    def poll(self, timeout_s: float) -> list[Ended]:
        """Wait up to ``timeout_s`` for a process to end; return all runs of those that ended.

        Raises:
            HarnessError: the runs were lost; the message gives the reason.
        """
        return [
            ended._replace(run_id=run_id)
            for ended in self._processes.poll(timeout_s)
            for run_id in self._forget(ended.run_id)
        ]

    def cancel(self, run_id: str, *, grace_s: float | None = GRACE_S) -> None:
        """Ask a run's process to save and end all its runs; see ``Executor``."""
        if run_id in self._first:
            self._processes.cancel(self._first[run_id], grace_s=grace_s)

    def stop(self) -> None:
        """Kill all active runs at once."""
        self._processes.stop()
        self._runs.clear()
        self._first.clear()

    def close(self) -> None:
        """Kill active runs and close the wrapped executor."""
        self._processes.close()

    def _forget(self, first: str) -> tuple[str, ...]:
        """Forget a process that has ended, and return its runs."""
        runs = self._runs.pop(first, ())
        for run_id in runs:
            del self._first[run_id]
        return runs
