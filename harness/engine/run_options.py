"""Options of ``harness run``: workers, threads, GPUs."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from harness.errors import InputError
from harness.executors.gpu_slots import visible_gpus
from harness.executors.interface import PROCESS_EXECUTORS, ExecutorName

MOST_WORKERS = 8
"""Default upper limit of workers; ``--workers`` can raise it."""
MOST_AT_ONCE = 1024
"""Upper limit of workers, threads per worker and runs per GPU, each a process or a thread."""


@dataclass(frozen=True, slots=True)
class RunOptions:
    """How a study is run; no option changes its results."""

    results: Path
    executor: ExecutorName = "process"
    workers: int | None = None
    """Maximum number of concurrent runs; None means ``runs_per_gpu`` per GPU or, without a GPU, one
    per core up to eight. With ``ray``, None means as many as fit on the cluster."""
    threads: int | None = None
    """Compute threads per run; None divides the cores among the workers. With ``ray``, None means
    one, and each run reserves this many CPUs of its node."""
    command: str = ""
    """The command line as typed, for the study record."""
    extend: bool = False
    """Whether a study with results may have been extended; see ``harness.study.spec_diff``."""
    again: frozenset[str] = frozenset()
    """Failure classes to retry, even those that are final."""
    reuse: bool = True
    """Whether to keep runs that earlier calls have finished; if not, retrain and compare them."""
    runs_per_gpu: int = 1
    """Concurrent runs per GPU."""
    profile: bool = False
    """Whether runs report where their time goes, which slows them a little on a GPU."""
    address: str | None = None
    """Address of a Ray cluster; None starts one on this machine."""

    def __post_init__(self) -> None:
        """Check that the numbers are in range.

        Raises:
            InputError: an option is out of range; the message names it.
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
    """Return the GPUs of this machine that the executor assigns to runs."""
    return visible_gpus(os.environ) if options.executor in PROCESS_EXECUTORS else ()


def division_of_cores(options: RunOptions, gpus: int) -> tuple[int | None, int]:
    """Return the number of workers (None: as many as the cluster fits) and threads per worker."""
    cores = _core_count()
    if options.executor == "local":
        return 1, options.threads or cores
    if options.executor == "ray":
        return options.workers, options.threads or 1
    most = gpus * options.runs_per_gpu or options.workers or min(cores, MOST_WORKERS)
    workers = min(most, options.workers or most)
    return workers, options.threads or max(1, cores // workers)


def _core_count() -> int:
    """Return the number of cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
