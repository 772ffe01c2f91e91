"""Which driver trains which run, so that several drivers can share one results folder.

Every driver has a file below ``drivers/`` in which it says who it is, counts its heartbeats and
lists the runs that it trains. A run that is listed by a living driver is left to it; what a dead
one lists is free again. All files are read and written under one lock that is held for moments.
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

from harness.errors import HarnessError
from harness.provenance import host_name
from harness.spool import unwritable

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


class Leases:
    """The runs of this driver, and what others have taken."""

    def __init__(
        self,
        results: Path,
        *,
        beat_s: float = BEAT_S,
        silence_s: float = SILENCE_S,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Prepare; the driver is announced in the ``with`` block.

        Args:
            results: The results folder, which exists.
            beat_s: Time between two heartbeats.
            silence_s: See ``SILENCE_S``.
            clock: Seconds that never jump; calendars of two machines need not agree.
        """
        self._folder = results / "drivers"
        self._lock = results / _LOCK
        self._beat_s, self._silence_s, self._clock = beat_s, silence_s, clock
        self._place = (host_name(), _boot_id())
        self._path = self._folder / f"{host_name()}-{os.getpid()}-{uuid.uuid4().hex[:8]}.json"
        self._mine: set[str] = set()
        self._beat = 0
        self._file: int | None = None
        self._is_lost = False
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
                self._file = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o666)
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
        with suppress(OSError), self._exclusive():
            if not self._is_lost:
                self._path.unlink(missing_ok=True)
        self._close()

    def claim(self, run_id: str) -> bool:
        """Take a run; False where a living driver has it. Read its spool again after a claim.

        Raises:
            HarnessError: see ``check``.
            StoreError: the results folder is not writable.
        """
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
        with suppress(OSError), self._exclusive():  # a full disk: the next claim writes it
            self._write()

    def taken(self) -> Mapping[str, Owner]:
        """Run id -> driver, of the runs that other living drivers have."""
        with self._exclusive():
            return self._taken()

    def check(self) -> None:
        """Make sure that nobody has taken this driver for dead.

        Raises:
            HarnessError: it stood still for so long that another one has taken its runs over.
        """
        if self._is_lost:
            raise HarnessError(
                f"this process stood still for over {self._silence_s:.0f} s and another one has "
                "taken its runs over; run the same command again"
            )

    def _taken(self) -> dict[str, Owner]:
        """What ``taken`` says; the files of dead drivers are removed."""
        found: dict[str, Owner] = {}
        for path in self._folder.glob("*.json"):
            if path == self._path:
                continue
            owner = _read(path)
            if owner is None or not self._is_alive(path, owner):
                path.unlink(missing_ok=True)
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
            with suppress(OSError), self._exclusive():
                self._write()

    def _write(self) -> None:
        """Replace the content of the driver's own file, inside ``_exclusive``."""
        assert self._file is not None
        if self._is_lost or not self._path.exists():
            self._is_lost = True  # another driver has removed it
            return
        text = json.dumps([*self._place, os.getpid(), self._beat, sorted(self._mine)]).encode()
        os.pwrite(self._file, text, 0)
        os.ftruncate(self._file, len(text))

    @contextmanager
    def _exclusive(self) -> Iterator[None]:
        """Nobody else reads or writes such files, in this process or another."""
        with self._guard:
            descriptor = os.open(self._lock, os.O_RDWR | os.O_CREAT, 0o666)
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
        host, boot, pid, beat, runs = json.loads(path.read_text(encoding="utf-8"))
        return Owner(str(host), str(boot), int(pid), int(beat), tuple(map(str, runs)))
    except (OSError, ValueError, TypeError):
        return None


def _is_locked(path: Path) -> bool:
    """Whether a process of this machine holds the file."""
    try:
        descriptor = os.open(path, os.O_RDWR)
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
    """A text that changes when the machine starts anew; empty where the system has none."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="utf-8").strip()
    except OSError:
        return ""
