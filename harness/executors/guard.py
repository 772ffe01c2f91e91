"""A small process between the driver and a command, which kills everything the command leaves.

It runs as a separate script, without this package, and starts the command given in its environment.
Every process that the command leaves behind, in whatever session, becomes its child (on Linux; on
other systems commands are started without a guard). It kills them when the command ends, on
SIGUSR1, and one second after the driver has ended for any reason, even if the command is busy
importing. It passes SIGTERM on to the command, and exits as the command did.
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
"""Environment variable that holds the command, as a JSON list of its words."""
_LOOK_EVERY_S = 0.5
_GRACE_S = 1.0
"""Grace period for the command to end by itself once the driver is gone."""
PR_SET_PDEATHSIG = 1
PR_SET_CHILD_SUBREAPER = 36


def main() -> NoReturn:
    """Start the command and watch over it."""
    words = json.loads(os.environ.pop(COMMAND))
    driver, prctl = os.getppid(), ctypes.CDLL(None).prctl
    prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    ours = (signal.SIGTERM, signal.SIGUSR1, signal.SIGCHLD)
    signal.pthread_sigmask(signal.SIG_BLOCK, ours)  # until the handlers are installed
    guard = os.getpid()
    pid = os.fork()
    if pid == 0:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, ours)
        prctl(PR_SET_PDEATHSIG, signal.SIGKILL.value, 0, 0, 0)
        if os.getppid() == guard:
            os.execv(words[0], words)
        os._exit(1)
    empty = os.open(os.devnull, os.O_WRONLY)
    os.dup2(empty, 1)  # or the driver would not notice that the command closed its output
    watcher = _Guard(pid, driver)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, ours)
    _end_as(watcher.watch())


def stay_without_guard() -> None:
    """Let this process, the guarded command, outlive its guard."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, 0, 0, 0, 0)


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
        poll.register(0, 0)  # notices when the driver closes it, without reading from it
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
    import resource  # late: single_run imports this file on systems without the module

    code = os.waitstatus_to_exitcode(status)
    if code >= 0:
        os._exit(code)
    faulthandler.disable()
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # keep the command's core dump, not ours
    if -code != signal.SIGKILL:
        signal.signal(-code, signal.SIG_DFL)
    os.kill(os.getpid(), -code)
    os._exit(128 - code)


if __name__ == "__main__":
    main()
