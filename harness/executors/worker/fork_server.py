"""The process from which runs are forked: ``python -m harness.executors.fork_server WORKLOAD``.

It imports the workload once, so that a run starts in milliseconds, and stays single-threaded, so
that forking is safe. Requests come as JSON lines on standard input and replies leave on standard
output; when its input ends, because the driver ended in whatever way, it kills all runs and goes.
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
from harness.executors.guard import stay_without_guard
from harness.executors.interface import Job
from harness.executors.worker import stop_request
from harness.executors.worker.packed_runs import execute_all
from harness.executors.worker.run_attempt import failed_status, warm_up
from harness.executors.worker.run_log import open_log
from harness.workload import JsonValue, Workload, load_workload

_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36
_FIRST_SIGNALS = {signal.SIGTERM}
"""What a run that was just forked must neither miss nor die of."""


def main() -> int:
    """Serve requests until the input ends; 1 when the workload cannot be imported."""
    replies = os.dup(sys.stdout.fileno())
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # a print in the workload is no reply
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
    # From here on there may be children to kill first: only the end of the input ends the server.
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    gc.collect()
    gc.freeze()  # or a collection in a child would copy every page that holds an object
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
        """Answer until the driver's end of the pipe is closed."""
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
        for pid in self._run_ids:  # only then are the processes that it left behind ours
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
        # Blocked, a signal waits until the run has said what it shall do.
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
        # The run alone: without its data loaders it could not finish its epoch.
        os.kill(pid, signal.SIGTERM)
        if grace_s is not None:
            at = time.monotonic() + grace_s
            self._kill_at[pid] = min(at, self._kill_at.get(pid, at))

    def _until_next_kill(self) -> float | None:
        """Seconds; None where none is due."""
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
            os.setsid()  # a group of its own: it is signalled with all that it starts
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            stop_request.listen()
            signal.pthread_sigmask(signal.SIG_UNBLOCK, _FIRST_SIGNALS)
            self._set_death_signal()
            _connect_to_log(job)
            for pipe in (self._replies, self._woken, self._waker):
                os.close(pipe)
            faulthandler.enable()
            if job.device is not None:  # CUDA is initialised in runs only, and looks here then
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
            os._exit(status)  # nothing that the server set up for its own end may run here

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
            if not self._run_ids:  # else it could be that of another run
                _kill_strays()
            code = os.waitstatus_to_exitcode(status)
            how = {"exit_code": code} if code >= 0 else {"signal": -code}
            _reply(self._replies, {"ended": run_id, **how})

    def _kill_all(self) -> None:
        for pid in self._run_ids:
            _signal_group(pid, signal.SIGKILL)


def _connect_to_log(job: Job) -> None:
    """Make the run's log its standard output and error, and its input empty."""
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
        # Gone, or so young that it has no group of its own yet.
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, which)
    except PermissionError:  # macOS says so of a group that has only a zombie left
        pass


def _kill_strays() -> None:
    """Kill the processes that ended runs have left outside their groups, while no run is active.

    They are children of this process since their parents ended, see ``_death_signal_setter``;
    each may leave children in turn. Where the system does not list them, none is found.
    """
    listing = Path(f"/proc/self/task/{os.getpid()}/children")
    while pids := [int(text) for text in listing.read_text().split()] if listing.exists() else []:
        for pid in pids:
            os.kill(pid, signal.SIGKILL)
        for pid in pids:
            os.waitpid(pid, 0)


def _death_signal_setter() -> Callable[[], None]:
    """What a child calls to be killed when the server is; does nothing where there is no such.

    From here on the server also becomes the parent of all that a run leaves behind. The library
    is loaded here, in the server, so that a fork does not pay for it.
    """
    server = os.getpid()
    prctl = ctypes.CDLL(None).prctl if sys.platform == "linux" else None
    if prctl is not None:
        prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
        stay_without_guard()  # now the end of its input is enough, and takes more with it

    def set_death_signal() -> None:
        if prctl is not None:
            prctl(_PR_SET_PDEATHSIG, signal.SIGKILL.value, 0, 0, 0)
        if os.getppid() != server:  # it died before the line above
            os._exit(1)

    return set_death_signal


def _reply(replies: int, message: Mapping[str, JsonValue]) -> None:
    # A pipe without a reader means that the driver is gone; the end of the input follows.
    with contextlib.suppress(BrokenPipeError):
        os.write(replies, json.dumps(message).encode() + b"\n")


if __name__ == "__main__":
    sys.exit(main())
