"""The executor that gives every run a process of its own, forked from a warm fork server.

This is the driver's end; ``fork_server`` is the other. A crash, a leak or an out-of-memory kill
takes one run with it, and no run outlives the driver.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping

from harness.errors import HarnessError, InputError
from harness.executors import GRACE_S, THREAD_VARIABLES, Ended, Job
from harness.workload import JsonValue


class ProcessExecutor:
    """Up to ``slots`` runs at once, each in its own process."""

    def __init__(self, workload: str, *, slots: int, threads: int) -> None:
        """Start the fork server; it imports ``workload`` while the caller goes on.

        Raises:
            InputError: this platform cannot fork.
        """
        if not hasattr(os, "fork"):
            raise InputError(
                "--executor process needs a system that can fork; use --executor local"
            )
        self._slots = slots
        self._active: set[str] = set()
        self._is_ready = False
        self._unread = b""
        self._stderr = tempfile.TemporaryFile()  # noqa: SIM115 - lives as long as the server
        try:
            self._server = subprocess.Popen(
                [sys.executable, "-m", "harness.executors.fork_server", workload],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._stderr,
                bufsize=0,
                env=_environment(threads),
                start_new_session=True,  # Ctrl-C is for the driver, which ends runs in order
            )
        except BaseException:
            self._stderr.close()
            raise

    @property
    def slots(self) -> int:
        """How many runs may be active at once."""
        return self._slots

    def submit(self, job: Job) -> None:
        """Start ``job``.

        Raises:
            HarnessError: the fork server is gone.
        """
        self._active.add(job.run_id)
        self._request({"job": job.to_json()})

    def poll(self, timeout_s: float) -> list[Ended]:
        """Wait until a run ends, for ``timeout_s`` at most; the runs that ended since last time.

        Raises:
            HarnessError: the fork server died, or cannot import the workload.
        """
        assert self._server.stdout is not None
        pipe = self._server.stdout.fileno()
        ended: list[Ended] = []
        while select.select([pipe], [], [], 0.0 if ended else timeout_s)[0]:
            chunk = os.read(pipe, 1 << 16)
            if not chunk:
                raise self._death()
            *lines, self._unread = (self._unread + chunk).split(b"\n")
            replies = [json.loads(line) for line in lines]
            ended += [self._note_end(reply) for reply in replies if "ended" in reply]
            for reply in replies:
                if "error" in reply:
                    raise HarnessError(reply["error"])
                self._is_ready = self._is_ready or "ready" in reply
            if not ended:
                timeout_s = 0.0  # it was the greeting: no reason to wait the whole time again
        return ended

    def cancel(self, run_id: str, *, grace_s: float | None = GRACE_S) -> None:
        """Send SIGTERM to the run's process, and after ``grace_s`` SIGKILL to its whole group."""
        if run_id in self._active:
            with contextlib.suppress(HarnessError):  # a dead server has taken its runs with it
                self._request({"cancel": {"run_id": run_id, "grace_s": grace_s}})

    def stop(self) -> None:
        """Send SIGKILL to the groups of all active runs, and wait for them to be gone."""
        with contextlib.suppress(HarnessError):
            self.poll(0.0)
        if not self._is_ready:  # it is still importing and has started nothing
            self._server.terminate()
            self._active.clear()
        deadline = time.monotonic() + GRACE_S
        with contextlib.suppress(HarnessError):
            if self._active:
                self._request({"kill": {}})
            while self._active and (left := deadline - time.monotonic()) > 0:
                self.poll(left)

    def close(self) -> None:
        """Kill what is active and end the fork server."""
        assert self._server.stdin is not None
        assert self._server.stdout is not None
        with contextlib.suppress(BrokenPipeError):
            self._server.stdin.close()  # the server takes the end of its input as the order to go
        self._server.terminate()  # or it would import the workload first; later this does nothing
        try:
            self._server.wait(GRACE_S)
        except subprocess.TimeoutExpired:
            self._server.kill()
            self._server.wait()
        self._server.stdout.close()
        self._stderr.close()

    def _note_end(self, reply: Mapping[str, str | int | None]) -> Ended:
        ended = Ended(
            str(reply["ended"]), *(_number(reply, key) for key in ("exit_code", "signal"))
        )
        self._active.discard(ended.run_id)
        return ended

    def _request(self, request: Mapping[str, Mapping[str, JsonValue]]) -> None:
        assert self._server.stdin is not None
        line = memoryview(json.dumps(request, default=dict).encode() + b"\n")
        try:
            while line:
                line = line[self._server.stdin.write(line) :]
        except BrokenPipeError:
            raise self._death() from None

    def _death(self) -> HarnessError:
        """The error for a server that is gone; its own words, where it left some, come first."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._server.wait(GRACE_S)
        self._active.clear()
        self._stderr.seek(0)
        said = self._stderr.read().decode(errors="replace").strip().splitlines()
        last = f"; it said: {' | '.join(said[-3:])}" if said else ""
        return HarnessError(
            f"the fork server died (status {self._server.returncode}){last}; "
            "what is finished is kept: run the same command again"
        )


def _number(reply: Mapping[str, str | int | None], key: str) -> int | None:
    value = reply.get(key)
    return None if value is None else int(value)


def _environment(threads: int) -> dict[str, str]:
    """This process's environment, with its module search path and the number of threads."""
    path = [os.path.abspath(entry) for entry in sys.path]  # noqa: PTH100 - '' is the folder we are in
    return {
        **os.environ,
        **dict.fromkeys(THREAD_VARIABLES, str(threads)),
        "PYTHONPATH": os.pathsep.join(path),
    }
