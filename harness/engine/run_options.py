"""How a study is to be run: workers, threads, GPUs."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from harness.errors import InputError
from harness.executors.gpu_slots import visible_gpus
from harness.executors.interface import PROCESS_EXECUTORS, ExecutorName

MOST_WORKERS = 8
"""Unless more are asked for."""
MOST_AT_ONCE = 1024
"""Workers, threads of one, or runs on a GPU: each is a process or a thread."""


@dataclass(frozen=True, slots=True)
class RunOptions:
    """How a study is run; none of it changes what it finds out."""

    results: Path
    executor: ExecutorName = "process"
    workers: int | None = None
    """Most runs at once; None is ``runs_per_gpu`` a GPU and, where there is none, one a core, eight
    at most. With ``ray`` it is as many as fit on the cluster."""
    threads: int | None = None
    """Arithmetic threads of each run; None divides the cores among the workers. With ``ray`` it is
    one, and each run takes so many CPUs of its node."""
    command: str = ""
    """What the user typed, for the record."""
    extend: bool = False
    """Whether a study that has results may have grown since; see ``harness.study.spec_diff``."""
    again: frozenset[str] = frozenset()
    """Classes of failure that are trained again, also where they are final."""
    reuse: bool = True
    """Whether to reuse finished runs; otherwise they are trained again and the results compared."""
    runs_per_gpu: int = 1
    """Runs at once on one GPU."""
    profile: bool = False
    """Whether runs that are trained say where their time goes, at some cost on a GPU."""
    address: str | None = None
    """Of a Ray cluster; None starts one on this machine."""

    def __post_init__(self) -> None:
        """Refuse numbers that no machine has a use for.

        Raises:
            InputError: naming the option.
        """
        for name in ("workers", "threads", "runs_per_gpu"):
            number = getattr(self, name)
            is_whole = isinstance(number, int) and not isinstance(number, bool)
            if number is not None and not (is_whole and 1 <= number <= MOST_AT_ONCE):
                raise InputError(
                    f"--{name.replace('_', '-')} {number!r}: give a whole number from 1 to "
                    f"{MOST_AT_ONCE}"
                )


def gpus_for(options: RunOptions) -> tuple[str, ...]:
    """The GPUs of this machine that the executor gives to runs."""
    return visible_gpus(os.environ) if options.executor in PROCESS_EXECUTORS else ()


def division_of_cores(options: RunOptions, gpus: int) -> tuple[int | None, int]:
    """Workers, None for as many as a cluster has room for, and threads of each."""
    cores = _core_count()
    if options.executor == "local":
        return 1, options.threads or cores
    if options.executor == "ray":
        return options.workers, options.threads or 1
    most = gpus * options.runs_per_gpu or options.workers or min(cores, MOST_WORKERS)
    workers = min(most, options.workers or most)
    return workers, options.threads or max(1, cores // workers)


def _core_count() -> int:
    """Cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
