"""Leases on runs, so that several drivers can share one results folder.

Every driver keeps a file below ``drivers/`` with its identity, a heartbeat counter and the runs
that it has leased. Leases of a living driver are respected; those of a dead one lapse. All these
files are read and written under one lock, which is only ever held briefly.

If a machine sleeps, its driver may be considered dead. It then wakes to find its file gone, and
must not write anything about its studies: see ``Leases.check`` and ``Leases.holding``.
"""

from __future__ import annotations

import fcntl
import json
import os
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple, Self

from harness.errors import HarnessError, StoreError
from harness.records.plain_file import open_no_follow, read_no_follow, unwritable, writing
from harness.records.provenance import host_name

BEAT_S = 10.0
SILENCE_S = 120.0
"""A driver on another machine counts as dead after this long without a heartbeat."""
_LOCK = ".leases"


class Owner(NamedTuple):
    """The identity of a driver, as stored in its file."""

    host: str
    boot: str
    """Boot id of the machine; process ids are comparable only within one host and boot."""
    pid: int
    beat: int
    runs: tuple[str, ...]

    def __str__(self) -> str:
        """Return the process and host, for messages."""
        return f"process {self.pid} on {self.host}"


class LeasesLostError(HarnessError):
    """This driver has lost its leases, and must not write anything about its studies."""


class Leases:
    """The leases of this driver, and those of the others."""

    def __init__(
        self,
        results: Path,
        *,
        beat_s: float = BEAT_S,
        silence_s: float = SILENCE_S,
        clock: Callable[[], float] = time.monotonic,
        own_clock: Callable[[], float] | None = None,
    ) -> None:
        """Prepare the leases; the driver is registered in the ``with`` block.

        Args:
            results: The results folder, which must exist.
            beat_s: Seconds between two heartbeats.
            silence_s: See ``SILENCE_S``.
            clock: A monotonic clock; the clocks of two machines need not agree.
            own_clock: A clock that counts while this machine sleeps; None uses the system's.
        """
        self._folder = results / "drivers"
        self._lock = results / _LOCK
        self._beat_s, self._silence_s, self._clock = beat_s, silence_s, clock
        self._place = (host_name(), _boot_id())
        self._path = self._folder / f"{host_name()}-{os.getpid()}-{uuid.uuid4().hex[:8]}.json"
        self._mine: set[str] = set()
        self._beat = 0
        self._file: int | None = None
        self._own_clock = own_clock or _clock_that_never_sleeps
        self._beaten = self._own_clock()
        self._loss: str | None = None
        # File of a driver on another machine -> its last heartbeat, and when that was first seen.
        self._seen: dict[Path, tuple[int, float]] = {}
        self._guard = threading.Lock()
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._keep_beating, name="leases", daemon=True)

    def __enter__(self) -> Self:
        """Register the driver.

        Raises:
            StoreError: the results folder is not writable.
        """
        try:
            self._folder.mkdir(exist_ok=True)
            with self._exclusive():
                self._file = open_no_follow(self._path, os.O_RDWR | os.O_CREAT | os.O_EXCL)
                # The system releases the lock when this process ends, however it ends.
                fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                self._write()
        except OSError as error:
            self._close()
            raise unwritable(self._path, error) from None
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Release all leases and remove the driver's file."""
        self._end.set()
        self._thread.join()
        with suppress(OSError, StoreError), self._exclusive():
            self._path.unlink(missing_ok=True)
            self._taken()  # removes the files of dead drivers
        self._close()

    def claim(self, run_id: str) -> bool:
        """Lease a run. Returns False if a living driver has it. Reread its spool after a claim.

        Raises:
            LeasesLostError: see ``check``.
            StoreError: the results folder is not writable.
        """
        with self.holding(), writing(self._path):
            if run_id in self._taken():
                return False
            self._mine.add(run_id)
            self._write()
        self.check()
        return True

    def release(self, run_id: str) -> None:
        """Release a run that is finished, with its end in the spool."""
        with self._guard:
            self._mine.discard(run_id)
        with suppress(OSError, StoreError), self._exclusive():  # the next claim tries again
            self._write()

    def taken(self) -> Mapping[str, Owner]:
        """Return run id -> driver for the runs leased by other living drivers."""
        with self._exclusive():
            return self._taken()

    def check(self) -> None:
        """Check, by its file, that no other driver considers this one dead.

        Raises:
            LeasesLostError: its leases are lost; other drivers may have taken the runs.
        """
        if self._loss is None and self._file is not None and _is_gone(self._path):
            self._lose()
        if self._loss is not None:
            raise LeasesLostError(self._loss)

    @contextmanager
    def holding(self) -> Iterator[None]:
        """Hold the lock of the folder, so that the leases cannot be lost; keep the block short.

        Only one driver of the folder can hold it at a time.

        Raises:
            LeasesLostError: see ``check``.
            StoreError: the results folder is not writable.
        """
        self.check()
        with writing(self._lock), self._exclusive():
            self.check()
            yield

    def _taken(self) -> dict[str, Owner]:
        """Implement ``taken`` under the lock, and remove the files of dead drivers."""
        found: dict[str, Owner] = {}
        for path in self._folder.glob("*.json"):
            if path == self._path or (path.is_dir() and not path.is_symlink()):
                continue
            owner = _read(path)
            if owner is None or not self._is_alive(path, owner):
                path.unlink(missing_ok=True)  # removes a symlink, not its target
                self._seen.pop(path, None)
                continue
            found |= dict.fromkeys(owner.runs, owner)
        return found

    def _is_alive(self, path: Path, owner: Owner) -> bool:
        if (owner.host, owner.boot) == self._place:
            return _is_locked(path)
        now = self._clock()
        beat, since = self._seen.get(path, (None, now))
        if beat != owner.beat:
            self._seen[path] = (owner.beat, now)
            return True
        return now - since <= self._silence_s

    def _keep_beating(self) -> None:
        while not self._end.wait(self._beat_s):
            self._beat += 1
            with suppress(OSError, StoreError), self._exclusive():
                self._write()

    def _write(self) -> None:
        """Rewrite the driver's own file; call it inside ``_exclusive``."""
        assert self._file is not None
        if self._loss is not None or _is_gone(self._path):
            self._lose()
            return
        text = json.dumps([*self._place, os.getpid(), self._beat, sorted(self._mine)]).encode()
        os.pwrite(self._file, text, 0)
        os.ftruncate(self._file, len(text))
        self._beaten = self._own_clock()

    def _lose(self) -> None:
        """Record why the driver's file is gone."""
        if self._loss is not None:
            return
        if not self._folder.is_dir():
            what = f"{self._folder}: the folder was deleted or moved while this process used it"
        elif self._own_clock() - self._beaten < self._silence_s / 2:
            what = f"{self._path}: the file was deleted while this process used it"
        else:
            what = (
                f"nothing was heard of this process for over {self._silence_s:.0f} s, as when a "
                "machine sleeps, and another one has taken its runs over"
            )
        self._loss = f"{what}; run the same command again"

    @contextmanager
    def _exclusive(self) -> Iterator[None]:
        """Lock the files of all drivers against other threads and processes."""
        with self._guard:
            descriptor = open_no_follow(self._lock, os.O_RDWR | os.O_CREAT)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX)
                yield
            finally:
                os.close(descriptor)

    def _close(self) -> None:
        if self._file is not None:
            os.close(self._file)
            self._file = None


def _read(path: Path) -> Owner | None:
    """Read a driver's file; None if it is unreadable, such as after a crash."""
    try:
        host, boot, pid, beat, runs = json.loads(read_no_follow(path))
        return Owner(str(host), str(boot), int(pid), int(beat), tuple(map(str, runs)))
    except (OSError, StoreError, ValueError, TypeError, RecursionError):
        return None


def _is_gone(path: Path) -> bool:
    """Whether the file does not exist; other disk errors do not count as missing."""
    try:
        path.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return True
    except OSError:
        return False
    return False


def _is_locked(path: Path) -> bool:
    """Whether a process of this machine holds a lock on the file."""
    try:
        descriptor = open_no_follow(path, os.O_RDWR)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False


def _boot_id() -> str:
    """Return an id that changes with every boot; empty if the system has none."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="utf-8").strip()
    except OSError:
        return ""


def _clock_that_never_sleeps() -> float:
    """Return seconds that include the machine's sleep, if the system counts it."""
    if hasattr(time, "CLOCK_BOOTTIME"):
        return time.clock_gettime(time.CLOCK_BOOTTIME)
    return time.monotonic()
