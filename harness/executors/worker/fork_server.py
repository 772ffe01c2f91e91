"""The process that runs are forked from.

Started as ``python -m harness.executors.worker.fork_server WORKLOAD``. It imports the workload
once, so that a run starts in milliseconds, and stays single-threaded, so that forking is safe. It
reads requests as JSON lines from standard input and writes replies to standard output. When its
input ends, because the driver has ended for any reason, it kills all runs and exits.
"""

from __future__ import annotations

import contextlib
import ctypes
import faulthandler
import gc
import json
import os
import select
import signal
import sys
import time
import traceback
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NoReturn, cast

from harness.errors import HarnessError
from harness.executors.guard import (
    PR_SET_CHILD_SUBREAPER,
    PR_SET_PDEATHSIG,
    stay_without_guard,
)
from harness.executors.interface import Job
from harness.executors.worker import stop_request
from harness.executors.worker.packed_runs import execute_all
from harness.executors.worker.run_attempt import failed_status, warm_up
from harness.executors.worker.run_log import open_log
from harness.workload import JsonValue, Workload, load_workload

_FIRST_SIGNALS = {signal.SIGTERM}
"""Signals that a newly forked run must neither miss nor die from."""


def main() -> int:
    """Serve requests until the input ends; return 1 if the workload cannot be imported."""
    replies = os.dup(sys.stdout.fileno())
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # keep the workload's prints out of replies
    name = sys.argv[1]
    try:
        workload = load_workload(name)
        warm_up(name)
    except HarnessError as error:
        _reply(replies, {"error": str(error)})
        return 1
    except Exception as error:
        traceback.print_exc()
        text = " ".join(f"{type(error).__name__}: {error}".split())
        _reply(replies, {"error": f"workload {name!r} cannot be imported: {text}"})
        return 1
    # From here on there may be children to kill first, so only the end of the input ends us.
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    gc.collect()
    gc.freeze()  # or garbage collection in a child would copy every page that holds an object
    _reply(replies, {"ready": os.getpid()})
    _Server(workload, replies).serve()
    return 0


class _Server:
    """The forked runs by process id, and the two pipes to the driver."""

    def __init__(self, workload: Workload, replies: int) -> None:
        self._workload = workload
        self._requests = sys.stdin.fileno()
        self._replies = replies
        self._run_ids: dict[int, str] = {}
        self._kill_at: dict[int, float] = {}
        self._set_death_signal = _death_signal_setter()
        self._woken, self._waker = os.pipe()
        os.set_blocking(self._waker, False)
        os.set_blocking(self._woken, False)
        signal.set_wakeup_fd(self._waker, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)  # only a handled signal wakes the select

    def serve(self) -> None:
        """Handle requests until the driver's end of the pipe is closed."""
        unfinished = b""
        while True:
            readable, _, _ = select.select(
                [self._requests, self._woken], [], [], self._until_next_kill()
            )
            self._kill_overdue()
            if self._woken in readable:
                with contextlib.suppress(BlockingIOError):
                    os.read(self._woken, 4096)
                self._reap()
            if self._requests in readable:
                chunk = os.read(self._requests, 1 << 16)
                if not chunk:
                    break
                *lines, unfinished = (unfinished + chunk).split(b"\n")
                for line in lines:
                    self._obey(json.loads(line))
        self._kill_all()
        for pid in self._run_ids:  # once it is reaped, the processes it left become our children
            os.waitpid(pid, 0)
        _kill_strays()

    def _obey(self, request: Mapping[str, Mapping[str, JsonValue]]) -> None:
        if "job" in request:
            self._start(Job.from_json(request["job"]))
        elif "cancel" in request:
            grace_s = cast("float | None", request["cancel"]["grace_s"])
            self._cancel(str(request["cancel"]["run_id"]), grace_s)
        else:
            self._kill_all()

    def _start(self, job: Job) -> None:
        # Block signals until the run has installed its handlers.
        signal.pthread_sigmask(signal.SIG_BLOCK, _FIRST_SIGNALS)
        pid = os.fork()
        if pid == 0:
            self._be_child(job)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _FIRST_SIGNALS)
        self._run_ids[pid] = job.run_id
        _reply(self._replies, {"started": job.run_id, "pid": pid})

    def _cancel(self, run_id: str, grace_s: float | None) -> None:
        pid = next((pid for pid, each in self._run_ids.items() if each == run_id), None)
        if pid is None:  # it has just ended
            return
        # Only the run, because it needs its data loaders to finish its epoch.
        os.kill(pid, signal.SIGTERM)
        if grace_s is not None:
            at = time.monotonic() + grace_s
            self._kill_at[pid] = min(at, self._kill_at.get(pid, at))

    def _until_next_kill(self) -> float | None:
        """Return the seconds until the next kill is due; None if none is scheduled."""
        if not self._kill_at:
            return None
        return max(0.0, min(self._kill_at.values()) - time.monotonic())

    def _kill_overdue(self) -> None:
        for pid in [pid for pid, at in self._kill_at.items() if at <= time.monotonic()]:
            del self._kill_at[pid]
            _signal_group(pid, signal.SIGKILL)

    def _be_child(self, job: Job) -> NoReturn:
        status = 1
        try:
            os.setsid()  # a group of its own, so that its children can be signalled along with it
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            stop_request.listen()
            signal.pthread_sigmask(signal.SIG_UNBLOCK, _FIRST_SIGNALS)
            self._set_death_signal()
            _connect_to_log(job)
            for pipe in (self._replies, self._woken, self._waker):
                os.close(pipe)
            faulthandler.enable()
            if job.device is not None:  # read when CUDA is initialised, which only runs do
                os.environ["CUDA_VISIBLE_DEVICES"] = job.device
            status = execute_all(job, self._workload)
        except HarnessError as error:
            status = failed_status(error)
            print(f"error: {error}", file=sys.stderr)
        except BaseException:
            traceback.print_exc()
        finally:
            with contextlib.suppress(Exception):
                sys.stdout.flush()
                sys.stderr.flush()
            os._exit(status)  # skip exit handlers that the server has registered

    def _reap(self) -> None:
        while self._run_ids:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if pid == 0:
                return
            run_id = self._run_ids.pop(pid, None)
            if run_id is None:
                continue
            self._kill_at.pop(pid, None)
            _signal_group(pid, signal.SIGKILL)  # data loaders that the run left behind
            if not self._run_ids:  # or a stray could belong to another run
                _kill_strays()
            code = os.waitstatus_to_exitcode(status)
            how = {"exit_code": code} if code >= 0 else {"signal": -code}
            _reply(self._replies, {"ended": run_id, **how})

    def _kill_all(self) -> None:
        for pid in self._run_ids:
            _signal_group(pid, signal.SIGKILL)


def _connect_to_log(job: Job) -> None:
    """Redirect standard output and error to the run's log, and make standard input empty."""
    empty = os.open(os.devnull, os.O_RDONLY)
    log = open_log(job)
    for source, target in ((empty, 0), (log, 1), (log, 2)):
        os.dup2(source, target)
    os.close(empty)
    os.close(log)


def _signal_group(pid: int, which: signal.Signals) -> None:
    try:
        os.killpg(pid, which)
    except ProcessLookupError:
        # It is gone, or does not have its own group yet.
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, which)
    except PermissionError:  # macOS raises it for a group that consists only of zombies
        pass


def _kill_strays() -> None:
    """Kill processes that ended runs have left outside their groups; call it with no active run.

    They became children of this process when their parents ended (see ``_death_signal_setter``),
    and each may leave children in turn. On systems that do not list children, none are found.
    """
    listing = Path(f"/proc/self/task/{os.getpid()}/children")
    while pids := [int(text) for text in listing.read_text().split()] if listing.exists() else []:
        for pid in pids:
            os.kill(pid, signal.SIGKILL)
        for pid in pids:
            os.waitpid(pid, 0)


def _death_signal_setter() -> Callable[[], None]:
    """Return a function that a child calls to be killed if the server dies (Linux only).

    From here on, the server also becomes the parent of processes that a run leaves behind. The C
    library is loaded here, in the server, so that forked runs need not load it.
    """
    server = os.getpid()
    prctl = ctypes.CDLL(None).prctl if sys.platform == "linux" else None
    if prctl is not None:
        prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
        stay_without_guard()  # from here on the end of the input suffices, and kills strays, too

    def set_death_signal() -> None:
        if prctl is not None:
            prctl(PR_SET_PDEATHSIG, signal.SIGKILL.value, 0, 0, 0)
        if os.getppid() != server:  # the server died before the line above
            os._exit(1)

    return set_death_signal


def _reply(replies: int, message: Mapping[str, JsonValue]) -> None:
    # A broken pipe means that the driver is gone; the end of the input follows.
    with contextlib.suppress(BrokenPipeError):
        os.write(replies, json.dumps(message).encode() + b"\n")


if __name__ == "__main__":
    sys.exit(main())
