"""The executor that gives every run a process of its own, forked from a warm fork server.

This is the driver's side; ``harness.executors.worker.fork_server`` is the other. A crash, a leak or
an out-of-memory kill affects one run only, and no run outlives the driver. A guard process stands
between the two sides, see ``harness.executors.guard``. A fork server that dies is replaced; the
runs that died with it are reported as lost, and the caller must start them again.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from typing import Any

from harness.errors import HarnessError
from harness.executors.gpu_slots import LOOK_EVERY_S, Starts
from harness.executors.interface import GRACE_S, Ended, Job, Placement
from harness.executors.run_process import environment, guarded, signal_group
from harness.workload import JsonValue

_MOST_RESTARTS = 3


class ProcessExecutor:
    """Executes up to ``slots`` runs at once, each in a forked process of its own."""

    def __init__(self, workload: str, slots: int, threads: int, placement: Placement) -> None:
        """Start the fork server, which imports ``workload`` in the background."""
        self._workload = workload
        self.slots = slots
        self._threads = threads
        self._active: set[str] = set()
        self._pids: dict[str, int] = {}
        self._lost: list[Ended] = []
        self._restarts = 0
        self._starts = Starts(placement.gpus, placement.runs_per_gpu)
        self._is_stopping = False
        self._is_ready = False
        self._unread = b""
        self._stderr = tempfile.TemporaryFile()  # noqa: SIM115 - lives as long as the server
        try:
            self._server = self._start_server()
        except BaseException:
            self._stderr.close()
            raise

    def submit(self, job: Job) -> None:
        """Start ``job``; on a machine with GPUs, wait until one is free for it.

        Raises:
            HarnessError: the fork server has died too often.
        """
        self._active.add(job.run_id)
        self._starts.add(job)
        self._start_due()

    def poll(self, timeout_s: float) -> list[Ended]:
        """Wait up to ``timeout_s`` for a run to end; return the runs that ended since last time.

        Raises:
            HarnessError: the fork server has died too often, or cannot import the workload.
        """
        self._start_due()
        if self._starts.is_holding:
            timeout_s = min(timeout_s, LOOK_EVERY_S)
        ended, self._lost = self._lost, []
        while select.select([self._replies], [], [], 0.0 if ended else timeout_s)[0]:
            chunk = os.read(self._replies, 1 << 16)
            if not chunk:
                self._replace_server()
                ended += self._lost
                self._lost = []
                break
            *lines, self._unread = (self._unread + chunk).split(b"\n")
            replies = [json.loads(line) for line in lines]
            ended += [self._note_end(reply) for reply in replies if "ended" in reply]
            for reply in replies:
                if "error" in reply:
                    raise HarnessError(reply["error"])
                self._is_ready = self._is_ready or "ready" in reply
                if "started" in reply:
                    self._pids[reply["started"]] = reply["pid"]
            if not ended:
                timeout_s = 0.0  # the reply was no end of a run; do not wait the full time again
        return ended

    def cancel(self, run_id: str, *, grace_s: float | None = GRACE_S) -> None:
        """Send SIGTERM to the run's process, and after ``grace_s`` SIGKILL to its process group."""
        if self._starts.drop(run_id):  # it has not started yet
            self._active.discard(run_id)
            self._lost.append(Ended(run_id, None, signal.SIGTERM))
        elif run_id in self._active:
            with contextlib.suppress(HarnessError):  # if the server is dead, so are its runs
                self._request({"cancel": {"run_id": run_id, "grace_s": grace_s}})

    def stop(self) -> None:
        """Send SIGKILL to the process groups of all active runs, and wait for them to end."""
        self._is_stopping = True  # from here on, do not replace a server that dies
        self._starts.clear()
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
        self._is_stopping = False

    def close(self) -> None:
        """Kill all active runs and end the fork server."""
        assert self._server.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            self._server.stdin.close()  # the server exits when its input ends
        self._server.terminate()  # ends an import of the workload; ignored after that
        self._await_server()
        self._stderr.close()

    @property
    def _replies(self) -> int:
        assert self._server.stdout is not None
        return self._server.stdout.fileno()

    def _start_server(self) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "harness.executors.worker.fork_server", self._workload]
        words, variables = guarded(command, environment(self._threads))
        return subprocess.Popen(
            words,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._stderr,
            bufsize=0,
            env=variables,
            start_new_session=True,  # only the driver receives Ctrl-C, and it ends runs in order
        )

    def _await_server(self) -> None:
        assert self._server.stdin is not None
        assert self._server.stdout is not None
        self._server.stdin.close()
        try:
            self._server.wait(GRACE_S)
        except subprocess.TimeoutExpired:
            self._server.kill()
            self._server.wait()
        self._server.stdout.close()

    def _replace_server(self) -> None:
        """Start a new server in place of one that died, and note the runs that were lost with it.

        Raises:
            HarnessError: the server has died too often.
        """
        if self._is_stopping or self._restarts == _MOST_RESTARTS:
            raise self._death()
        self._restarts += 1
        self._await_server()
        for pid in self._pids.values():  # not every system kills them along with the server
            signal_group(pid, signal.SIGKILL)
        self._lost += [Ended(run_id, None, None, is_lost=True) for run_id in sorted(self._active)]
        self._active.clear()
        self._pids.clear()
        self._starts.clear()
        self._unread = b""
        self._is_ready = False
        self._server = self._start_server()

    def _start_due(self) -> None:
        for job in self._starts.due():
            if job.run_id in self._active:  # if not, it was just lost with the server
                self._request({"job": job.to_json()})

    def _note_end(self, reply: Mapping[str, Any]) -> Ended:
        ended = Ended(reply["ended"], reply.get("exit_code"), reply.get("signal"))
        self._active.discard(ended.run_id)
        self._pids.pop(ended.run_id, None)
        self._starts.note_end(ended.run_id)
        return ended

    def _request(self, request: Mapping[str, Mapping[str, JsonValue]]) -> None:
        assert self._server.stdin is not None
        line = memoryview(json.dumps(request).encode() + b"\n")
        try:
            while line:
                line = line[self._server.stdin.write(line) :]
        except BrokenPipeError:
            self._replace_server()

    def _death(self) -> HarnessError:
        """Make the error for a dead server, quoting the last lines of its output."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._server.wait(GRACE_S)
        self._active.clear()
        self._stderr.seek(0)
        said = self._stderr.read().decode(errors="replace").strip().splitlines()
        last = f"; it said: {' | '.join(said[-3:])}" if said else ""
        return HarnessError(
            f"the fork server died (status {self._server.returncode}){last}; "
            "finished runs are kept: run the same command again"
        )
