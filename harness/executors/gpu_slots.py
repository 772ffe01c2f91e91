"""When a run may start, and on which GPU: each gets one, and on each one run starts at a time.

A run takes its memory in its first steps. Another one that started meanwhile would make readings of
what is free untrue for both, so it waits until the first has reported an epoch.
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
"""How often to ask again whether a run that is held back may start."""
_LONGEST_START_S = 120.0
"""A run with an epoch longer than this does not hold others back any further."""


class Starts:
    """Runs that wait for a GPU, and which runs are on which. Without GPUs none ever waits."""

    def __init__(self, gpus: Sequence[str], runs_per_gpu: int) -> None:
        self._gpus = tuple(gpus)
        self._runs_per_gpu = runs_per_gpu
        self._waiting: deque[Job] = deque()
        self._running: dict[str, _Running] = {}

    @property
    def is_holding(self) -> bool:
        """Whether a run waits."""
        return bool(self._waiting)

    def add(self, job: Job) -> None:
        """Take up a run."""
        self._waiting.append(job)

    def due(self) -> list[Job]:
        """The runs that may start now, each with its GPU; from here on they count as started."""
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
        """Forget a run that waits; False where it does not."""
        left = [job for job in self._waiting if job.run_id != run_id]
        was_waiting = len(left) < len(self._waiting)
        self._waiting = deque(left)
        return was_waiting

    def note_end(self, run_id: str) -> None:
        """A run has ended: its place on a GPU is free."""
        self._running.pop(run_id, None)

    def clear(self) -> None:
        """Forget all runs."""
        self._waiting.clear()
        self._running.clear()

    def _next_gpu(self) -> str | None:
        """The GPU with the fewest runs, of those that can take one now."""
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
    """A run on a GPU, and how far its spool was read."""

    job: Job
    began: float
    """By the monotonic clock."""
    has_reported: bool = False
    spool: SpoolReader = field(init=False)

    def __post_init__(self) -> None:
        """Read nothing yet."""
        self.spool = SpoolReader(spool_path(self.job.directory))

    def is_starting(self) -> bool:
        """Whether it has still to report its first epoch."""
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
    """The GPUs that a process with ``environment`` may use, as ``CUDA_VISIBLE_DEVICES`` names them.

    That variable decides where it is set, and an empty one means none. Otherwise the driver's
    folder is counted and, where there is no such folder, the driver's command is asked.

    Args:
        environment: Of the process.
        driver_folder: Has one entry a GPU.
        command: Prints a line for each GPU, given ``-L``.
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
    """What a list names; CUDA ignores all from the first entry on that names nothing."""
    found: list[str] = []
    for name in (part.strip() for part in listed.split(",")):
        if not (name.isdecimal() or name.startswith(("GPU-", "MIG-"))) or name in found:
            break
        found.append(name)
    return tuple(found)


def _count_asked(command: str) -> int:
    """How many GPUs the driver's command lists; 0 where there is none, or it fails or hangs."""
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
