"""A process that was started for one run, from the side of whoever started it."""

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
    """A run in a process of its own, which ends when this one does, in whatever way."""

    def __init__(
        self, job: Job, *, workload: str, threads: int, git: GitState | None = None
    ) -> None:
        """Start ``job``; its output goes to the run's log.

        Args:
            job: What to run.
            workload: Importable module name.
            threads: Arithmetic threads.
            git: The commit of the workload's code, where this is not known from its folder.

        Raises:
            StoreError: the run's directory is not writable.
        """
        self._run_id = job.run_id
        # -P: the modules that this process finds, and not what lies in the folder it is in.
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
                start_new_session=True,  # a group of its own, which Ctrl-C does not reach
            )
        finally:
            os.close(log)
        assert self._process.stdin is not None
        order = json.dumps({"job": job.to_json(), "git": git}, default=dict) + "\n"
        with contextlib.suppress(BrokenPipeError):  # it has died already; ``wait`` says how
            self._process.stdin.write(order.encode())

    def wait(self) -> Ended:
        """Wait for the end of the run; what it has left behind is killed."""
        assert self._process.stdin is not None
        code = self._process.wait()
        signal_group(self._process.pid, signal.SIGKILL)
        self._process.stdin.close()
        return Ended(self._run_id, *((code, None) if code >= 0 else (None, -code)))

    def terminate(self) -> None:
        """Send SIGTERM to the run alone: without its data loaders it could not save anything."""
        self._process.terminate()

    def kill(self) -> None:
        """Kill the run, with all that it has started."""
        if self._process.poll() is not None:
            return
        if IS_GUARDED:  # the guard finds more than the group
            self._process.send_signal(signal.SIGUSR1)
            return
        signal_group(self._process.pid, signal.SIGKILL)
        self._process.kill()  # it may be so young that it has no group, or have changed it


def guarded(command: list[str], variables: dict[str, str]) -> tuple[list[str], dict[str, str]]:
    """The command and environment that start ``command`` under ``harness.executors.guard``."""
    if not IS_GUARDED:
        return command, variables
    # Without the modules of the installation it starts in ten milliseconds.
    return [sys.executable, "-I", "-S", guard.__file__], variables | {
        guard.COMMAND: json.dumps(command)
    }


def signal_group(pid: int, which: signal.Signals) -> None:
    """Send a signal to the process group ``pid``, if there is one and the system knows groups."""
    if hasattr(os, "killpg"):
        # macOS refuses for a group that has only a zombie left.
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(pid, which)


def environment(threads: int) -> dict[str, str]:
    """This process's environment, with its module search path and the number of threads."""
    path = [os.path.abspath(entry) for entry in sys.path]  # noqa: PTH100 - '' is the folder we are in
    return {
        **os.environ,
        **dict.fromkeys(THREAD_VARIABLES, str(threads)),
        "PYTHONPATH": os.pathsep.join(path),
    }
