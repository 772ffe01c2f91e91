"""A small process between a driver and what it starts, which kills everything left behind.

It is run as a script of its own, without this package, and starts the command that is in its
environment. All that the command leaves behind, in whatever session, becomes its child (Linux; on
other systems commands are started without it). It kills all of that when the command ends, when it
is told to by SIGUSR1, and a second after the driver has ended in whatever way, however busy the
command is with its imports. SIGTERM is passed on, and the command's end becomes its own.
"""

from __future__ import annotations

import contextlib
import ctypes
import faulthandler
import json
import os
import select
import signal
import time
from pathlib import Path
from typing import NoReturn

COMMAND = "HARNESS_GUARDED"
"""The variable that holds the command, as JSON: a list of its words."""
_LOOK_EVERY_S = 0.5
_GRACE_S = 1.0
"""Grace period for the command to end by itself once the driver is gone."""
_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36


def main() -> NoReturn:
    """Start the command and watch over it."""
    words = json.loads(os.environ.pop(COMMAND))
    driver, prctl = os.getppid(), ctypes.CDLL(None).prctl
    prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    ours = (signal.SIGTERM, signal.SIGUSR1, signal.SIGCHLD)
    signal.pthread_sigmask(signal.SIG_BLOCK, ours)  # until it is clear whose they are
    guard = os.getpid()
    pid = os.fork()
    if pid == 0:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, ours)
        prctl(_PR_SET_PDEATHSIG, signal.SIGKILL.value, 0, 0, 0)
        if os.getppid() == guard:
            os.execv(words[0], words)
        os._exit(1)
    empty = os.open(os.devnull, os.O_WRONLY)
    os.dup2(empty, 1)  # or nobody would see the command close it
    watcher = _Guard(pid, driver)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, ours)
    _end_as(watcher.watch())


def stay_without_guard() -> None:
    """Let this process, the guarded command, outlive its guard."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, 0, 0, 0, 0)


class _Guard:
    """State of the guard: the command, its driver, and the signals received."""

    def __init__(self, pid: int, driver: int) -> None:
        self._pid, self._driver = pid, driver
        self._status: int | None = None
        self._must_kill = False
        self._woken, waker = os.pipe()
        for end in (self._woken, waker):
            os.set_blocking(end, False)
        signal.set_wakeup_fd(waker, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)  # only a handled signal wakes the poll
        signal.signal(signal.SIGTERM, self._pass_on)
        signal.signal(signal.SIGUSR1, self._note)

    def watch(self) -> int:
        """Wait for the command to end, killing it where it must, and return its status."""
        poll = select.poll()
        poll.register(self._woken, select.POLLIN)
        poll.register(0, 0)  # tells when the driver closes it, and takes none of what it sends
        kill_at: float | None = None
        while self._status is None and not self._must_kill:
            wait_s = _LOOK_EVERY_S if kill_at is None else kill_at - time.monotonic()
            if wait_s <= 0.0:
                break
            found = dict(poll.poll(1000 * wait_s))
            if self._woken in found:
                with contextlib.suppress(BlockingIOError):
                    os.read(self._woken, 4096)
                self._reap()
            if kill_at is None and (0 in found or os.getppid() != self._driver):
                kill_at = time.monotonic() + _GRACE_S
                poll.unregister(0)
        self._kill_all()
        assert self._status is not None
        return self._status

    def _pass_on(self, *_: object) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(self._pid, signal.SIGTERM)

    def _note(self, *_: object) -> None:
        self._must_kill = True

    def _reap(self) -> None:
        with contextlib.suppress(ChildProcessError):
            while (ended := os.waitpid(-1, os.WNOHANG))[0]:
                self._take(*ended)

    def _take(self, pid: int, status: int) -> None:
        if pid == self._pid:
            self._status = status

    def _kill_all(self) -> None:
        """Kill all children, including those adopted while killing."""
        listing = Path(f"/proc/self/task/{os.getpid()}/children")
        while True:
            left = {} if self._status is not None else {self._pid: None}
            if listing.exists():
                left |= dict.fromkeys(map(int, listing.read_text().split()))
            if not left:
                return
            for pid in left:
                os.kill(pid, signal.SIGKILL)
            for pid in left:
                self._take(*os.waitpid(pid, 0))


def _end_as(status: int) -> NoReturn:
    """Exit as the command did: with its status, or by the same signal."""
    import resource  # not where there is no such module: one_run needs only a part of this one

    code = os.waitstatus_to_exitcode(status)
    if code >= 0:
        os._exit(code)
    faulthandler.disable()
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # its core is of interest, not this one
    if -code != signal.SIGKILL:
        signal.signal(-code, signal.SIG_DFL)
    os.kill(os.getpid(), -code)
    os._exit(128 - code)


if __name__ == "__main__":
    main()
