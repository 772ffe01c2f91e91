"""Assigns a GPU to each run and staggers starts: on each GPU, one run starts at a time.

A run allocates its memory in its first steps. If another one started meanwhile, neither could trust
its reading of free memory, so the second waits until the first has reported an epoch.
"""

from __future__ import annotations

import shutil
import subprocess
import time
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from harness.executors.interface import Job
from harness.records.event_log import SpoolReader
from harness.records.events import EpochReported
from harness.records.folders import spool_path

LOOK_EVERY_S = 0.1
"""Interval for checking whether a waiting run may start."""
_LONGEST_START_S = 120.0
"""A run without a reported epoch stops delaying others after this time."""


class Starts:
    """The runs waiting for a GPU, and those on each GPU. Without GPUs, runs never wait."""

    def __init__(self, gpus: Sequence[str], runs_per_gpu: int) -> None:
        self._gpus = tuple(gpus)
        self._runs_per_gpu = runs_per_gpu
        self._waiting: deque[Job] = deque()
        self._running: dict[str, _Running] = {}

    @property
    def is_holding(self) -> bool:
        """Whether any run is waiting."""
        return bool(self._waiting)

    def add(self, job: Job) -> None:
        """Add a run to the queue."""
        self._waiting.append(job)

    def due(self) -> list[Job]:
        """Take from the queue the runs that may start now, each with its GPU."""
        jobs = []
        while self._waiting:
            if not self._gpus:
                jobs.append(self._waiting.popleft())
                continue
            gpu = self._next_gpu()
            if gpu is None:
                break
            job = replace(self._waiting.popleft(), device=gpu)
            self._running[job.run_id] = _Running(job, time.monotonic())
            jobs.append(job)
        return jobs

    def drop(self, run_id: str) -> bool:
        """Remove a run from the queue; return False if it is not waiting."""
        left = [job for job in self._waiting if job.run_id != run_id]
        was_waiting = len(left) < len(self._waiting)
        self._waiting = deque(left)
        return was_waiting

    def note_end(self, run_id: str) -> None:
        """Free the slot of a run that has ended."""
        self._running.pop(run_id, None)

    def clear(self) -> None:
        """Forget all runs."""
        self._waiting.clear()
        self._running.clear()

    def _next_gpu(self) -> str | None:
        """Return the least loaded GPU that can take a run now; None if there is none."""
        loads = dict.fromkeys(self._gpus, 0)
        for running in self._running.values():
            loads[str(running.job.device)] += 1
        starting = {each.job.device for each in self._running.values() if each.is_starting()}
        able = [
            gpu for gpu, load in loads.items() if load < self._runs_per_gpu and gpu not in starting
        ]
        return min(able, key=loads.__getitem__, default=None)


@dataclass
class _Running:
    """A run on a GPU, with a reader of its spool."""

    job: Job
    began: float
    """Start time by the monotonic clock."""
    has_reported: bool = False
    spool: SpoolReader = field(init=False)

    def __post_init__(self) -> None:
        self.spool = SpoolReader(spool_path(self.job.directory))

    def is_starting(self) -> bool:
        """Return whether it has yet to report its first epoch, up to a time limit."""
        if self.has_reported or time.monotonic() - self.began > _LONGEST_START_S:
            return False
        self.has_reported = any(
            isinstance(entry, EpochReported) and entry.attempt == self.job.attempt
            for entry in self.spool.read().entries
        )
        return not self.has_reported


_DRIVER_FOLDER = Path("/proc/driver/nvidia/gpus")
_TIMEOUT_S = 10.0


def visible_gpus(
    environment: Mapping[str, str],
    *,
    driver_folder: Path = _DRIVER_FOLDER,
    command: str = "nvidia-smi",
) -> tuple[str, ...]:
    """List the GPUs that a process with ``environment`` may use, named as in CUDA_VISIBLE_DEVICES.

    If that variable is set, it decides; an empty value means no GPU. Otherwise the entries of the
    NVIDIA driver's folder are counted or, if there is no such folder, the driver's command is run.

    Args:
        environment: Environment variables of the process.
        driver_folder: Folder with one entry per GPU.
        command: Command that prints a line per GPU when given ``-L``.
    """
    listed = environment.get("CUDA_VISIBLE_DEVICES")
    if listed is not None:
        return _named(listed)
    if driver_folder.is_dir():
        count = sum(1 for _ in driver_folder.iterdir())
    else:
        count = _count_asked(command)
    return tuple(str(number) for number in range(count))


def _named(listed: str) -> tuple[str, ...]:
    """Parse a list of GPUs; like CUDA, ignore the first invalid entry and everything after it."""
    found: list[str] = []
    for name in (part.strip() for part in listed.split(",")):
        if not (name.isdecimal() or name.startswith(("GPU-", "MIG-"))) or name in found:
            break
        found.append(name)
    return tuple(found)


def _count_asked(command: str) -> int:
    """Count the GPUs that the driver's command lists; 0 if it is missing, fails or hangs."""
    path = shutil.which(command)
    if path is None:
        return 0
    try:
        done = subprocess.run(
            [path, "-L"], capture_output=True, text=True, timeout=_TIMEOUT_S, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return 0
    return sum(line.startswith("GPU ") for line in done.stdout.splitlines())
