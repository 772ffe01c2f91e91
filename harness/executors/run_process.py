"""Starts and ends a fresh process for one run; this is the side of the parent process."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys

from harness.executors import guard
from harness.executors.interface import THREAD_VARIABLES, Ended, Job
from harness.executors.worker.run_log import open_log
from harness.records.provenance import GitState

IS_GUARDED = sys.platform == "linux"


class RunProcess:
    """A run in a process of its own, which ends when this process does, however it ends."""

    def __init__(
        self, job: Job, *, workload: str, threads: int, git: GitState | None = None
    ) -> None:
        """Start ``job``; its output goes to the run's log.

        Args:
            job: What to run.
            workload: Importable module name.
            threads: Arithmetic threads.
            git: The commit of the workload's code, if its folder does not tell.

        Raises:
            StoreError: the run's directory is not writable.
        """
        self._run_id = job.run_id
        # -P: find the modules that this process finds, not those in the current folder.
        command = [sys.executable, "-P", "-m", "harness.executors.worker.single_run", workload]
        words, variables = guarded(command, environment(threads))
        log = open_log(job)
        try:
            self._process = subprocess.Popen(
                words,
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                bufsize=0,
                env=variables,
                start_new_session=True,  # its own process group, which Ctrl-C does not reach
            )
        finally:
            os.close(log)
        assert self._process.stdin is not None
        order = json.dumps({"job": job.to_json(), "git": git}) + "\n"
        with contextlib.suppress(BrokenPipeError):  # it is already dead; ``wait`` reports how
            self._process.stdin.write(order.encode())

    def wait(self) -> Ended:
        """Wait for the run to end, then kill the processes that it has left behind."""
        assert self._process.stdin is not None
        code = self._process.wait()
        signal_group(self._process.pid, signal.SIGKILL)
        self._process.stdin.close()
        return Ended(self._run_id, *((code, None) if code >= 0 else (None, -code)))

    def terminate(self) -> None:
        """Send SIGTERM to the run only: it needs its data loaders to finish its epoch and save."""
        self._process.terminate()

    def kill(self) -> None:
        """Kill the run and every process that it has started."""
        if self._process.poll() is not None:
            return
        if IS_GUARDED:  # the guard also finds processes outside the group
            self._process.send_signal(signal.SIGUSR1)
            return
        signal_group(self._process.pid, signal.SIGKILL)
        self._process.kill()  # it may not have a group yet, or may have changed it


def guarded(command: list[str], variables: dict[str, str]) -> tuple[list[str], dict[str, str]]:
    """Return the command and environment that start ``command`` under a guard process."""
    if not IS_GUARDED:
        return command, variables
    # -I -S skip installed packages, so that the guard starts in ten milliseconds.
    return [sys.executable, "-I", "-S", guard.__file__], variables | {
        guard.COMMAND: json.dumps(command)
    }


def signal_group(pid: int, which: signal.Signals) -> None:
    """Send a signal to the process group ``pid``, if it exists and the system has groups."""
    if hasattr(os, "killpg"):
        # macOS raises PermissionError for a group that consists only of zombies.
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(pid, which)


def environment(threads: int) -> dict[str, str]:
    """Return this process's environment plus its module search path and the thread limits."""
    path = [os.path.abspath(entry) for entry in sys.path]  # noqa: PTH100 - '' is the current folder
    return {
        **os.environ,
        **dict.fromkeys(THREAD_VARIABLES, str(threads)),
        "PYTHONPATH": os.pathsep.join(path),
    }
