"""Which driver trains which run, so that several drivers can share one results folder.

Every driver has a file below ``drivers/`` in which it says who it is, counts its heartbeats and
lists the runs that it trains. A run that is listed by a living driver is left to it; what a dead
one lists is free again. All files are read and written under one lock that is held for moments.

A driver that was taken for dead, because its machine slept, wakes without its file, and must not
write anything of its studies any more: see ``Leases.check`` and ``Leases.holding``.
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
from harness.records.plain_file import open_no_follow, read_no_follow, unwritable
from harness.records.provenance import host_name

BEAT_S = 10.0
SILENCE_S = 120.0
"""After so long without a heartbeat the driver of another machine counts as dead."""
_LOCK = ".leases"


class Owner(NamedTuple):
    """A driver, as its file describes it."""

    host: str
    boot: str
    """Of the machine's current uptime: with the host's name, where a process id means something."""
    pid: int
    beat: int
    runs: tuple[str, ...]

    def __str__(self) -> str:
        """Who it is, for a message."""
        return f"process {self.pid} on {self.host}"


class LeasesLostError(HarnessError):
    """This driver has lost its runs to others, and may write nothing of its studies any more."""


class Leases:
    """The runs of this driver, and what others have taken."""

    def __init__(
        self,
        results: Path,
        *,
        beat_s: float = BEAT_S,
        silence_s: float = SILENCE_S,
        clock: Callable[[], float] = time.monotonic,
        own_clock: Callable[[], float] | None = None,
    ) -> None:
        """Prepare; the driver is announced in the ``with`` block.

        Args:
            results: The results folder, which exists.
            beat_s: Time between two heartbeats.
            silence_s: See ``SILENCE_S``.
            clock: Seconds that never jump; calendars of two machines need not agree.
            own_clock: Seconds that go on while this machine sleeps; None takes the system's.
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
        # Of drivers on other machines: the heartbeat that was seen last, and when it was new.
        self._seen: dict[Path, tuple[int, float]] = {}
        self._guard = threading.Lock()
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._keep_beating, name="leases", daemon=True)

    def __enter__(self) -> Self:
        """Announce the driver.

        Raises:
            StoreError: the results folder is not writable.
        """
        try:
            self._folder.mkdir(exist_ok=True)
            with self._exclusive():
                self._file = open_no_follow(self._path, os.O_RDWR | os.O_CREAT | os.O_EXCL)
                # Dropped by the system when this process ends, in whatever way.
                fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                self._write()
        except OSError as error:
            self._close()
            raise unwritable(self._path, error) from None
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Give everything back."""
        self._end.set()
        self._thread.join()
        with suppress(OSError, StoreError), self._exclusive():
            self._path.unlink(missing_ok=True)
            self._taken()  # for the files of those that died meanwhile
        self._close()

    def claim(self, run_id: str) -> bool:
        """Take a run; False where a living driver has it. Read its spool again after a claim.

        Raises:
            LeasesLostError: see ``check``.
            StoreError: the results folder is not writable.
        """
        self.check()
        try:
            with self._exclusive():
                if run_id in self._taken():
                    return False
                self._mine.add(run_id)
                self._write()
        except OSError as error:
            raise unwritable(self._path, error) from None
        self.check()
        return True

    def release(self, run_id: str) -> None:
        """Give a run back, whose end is in its spool."""
        with self._guard:
            self._mine.discard(run_id)
        with suppress(OSError, StoreError), self._exclusive():  # a full disk: the next claim will
            self._write()

    def taken(self) -> Mapping[str, Owner]:
        """Run id -> driver, of the runs that other living drivers have."""
        with self._exclusive():
            return self._taken()

    def check(self) -> None:
        """Make sure that nobody has taken this driver for dead, by a look at its file.

        Raises:
            LeasesLostError: its runs may be others' by now.
        """
        if self._loss is None and self._file is not None and _is_gone(self._path):
            self._lose()
        if self._loss is not None:
            raise LeasesLostError(self._loss)

    @contextmanager
    def holding(self) -> Iterator[None]:
        """A ``with`` block during which nobody can take this driver for dead; keep it short.

        No other driver of the folder is in such a block at the same time.

        Raises:
            LeasesLostError: as ``check``.
            StoreError: the results folder is not writable.
        """
        self.check()
        try:
            with self._exclusive():
                self.check()
                yield
        except OSError as error:
            raise unwritable(self._lock, error) from None

    def _taken(self) -> dict[str, Owner]:
        """What ``taken`` says; the files of dead drivers are removed."""
        found: dict[str, Owner] = {}
        for path in self._folder.glob("*.json"):
            if path == self._path or (path.is_dir() and not path.is_symlink()):
                continue
            owner = _read(path)
            if owner is None or not self._is_alive(path, owner):
                path.unlink(missing_ok=True)  # of a link: the link
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
        """Replace the content of the driver's own file, inside ``_exclusive``."""
        assert self._file is not None
        if self._loss is not None or _is_gone(self._path):
            self._lose()
            return
        text = json.dumps([*self._place, os.getpid(), self._beat, sorted(self._mine)]).encode()
        os.pwrite(self._file, text, 0)
        os.ftruncate(self._file, len(text))
        self._beaten = self._own_clock()

    def _lose(self) -> None:
        """Note why the driver's file is gone."""
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
        """Nobody else reads or writes such files, in this process or another."""
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
    """The driver whose file this is; None where a crash has torn it."""
    try:
        host, boot, pid, beat, runs = json.loads(read_no_follow(path))
        return Owner(str(host), str(boot), int(pid), int(beat), tuple(map(str, runs)))
    except (OSError, StoreError, ValueError, TypeError, RecursionError):
        return None


def _is_gone(path: Path) -> bool:
    """Whether there is no such file; a disk that does not answer is no reason to say so."""
    try:
        path.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return True
    except OSError:
        return False
    return False


def _is_locked(path: Path) -> bool:
    """Whether a process of this machine holds the file."""
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
    """Return an id that changes at every boot; empty if the system provides none."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="utf-8").strip()
    except OSError:
        return ""


def _clock_that_never_sleeps() -> float:
    """Seconds that go on while this machine sleeps, where the system counts them."""
    if hasattr(time, "CLOCK_BOOTTIME"):
        return time.clock_gettime(time.CLOCK_BOOTTIME)
    return time.monotonic()
