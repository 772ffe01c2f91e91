"""The executor interface: jobs to run, where to place them, and how runs end."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal, NamedTuple, Protocol, cast

from pydantic import TypeAdapter

from harness.records.early_stopping import StoppingThresholds
from harness.records.trial import Run
from harness.workload import JsonValue
from harness.workload.loaded_code import Table

ExecutorName = Literal["process", "spawn", "local", "ray"]
PROCESS_EXECUTORS: tuple[ExecutorName, ...] = ("process", "spawn")
"""Executors that give each job a process on this machine, with a GPU if there are any. They accept
jobs that train several runs in one process (``Job.beside``)."""
THREAD_VARIABLES = (
    "OMP_NUM_THREADS",
    "MKL_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "NUMEXPR_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
)
"""Variables that limit the threads of arithmetic libraries, if set before these are imported."""
PROFILE = "HARNESS_PROFILE"
"""Environment variable; 1 asks the workload to record where a run's time goes."""
GRACE_S = 5.0
"""Grace period for a run to end by itself before it is killed."""


@dataclass(frozen=True, slots=True)
class Placement:
    """Where an executor may place runs."""

    gpus: tuple[str, ...] = ()
    """GPUs of this machine, as ``CUDA_VISIBLE_DEVICES`` names them; each run gets one."""
    runs_per_gpu: int = 1
    """Maximum number of runs at once on one GPU, >= 1."""
    address: str | None = None
    """Address of a Ray cluster; None starts one on this machine."""


HERE = Placement()
"""Placement on this machine, without a GPU."""


@dataclass(frozen=True, slots=True)
class Job:
    """One attempt at one run."""

    run: Run
    run_id: str
    directory: Path
    """The run's own directory; it may not exist yet."""
    attempt: int
    """Number of the attempt, from 1."""
    threads: int
    """Number of threads that the run may use for arithmetic."""
    thresholds: StoppingThresholds | None = None
    """Thresholds for stopping the run early; None if it must not be."""
    device: str | None = None
    """The run's GPU, as ``CUDA_VISIBLE_DEVICES`` names it; filled in by the executor."""
    profile: bool = False
    """Whether the workload should record where its time goes; see ``PROFILE``."""
    user: str | None = None
    """Who asked for the run."""
    command: str | None = None
    """The command line that asked for it."""
    code: Table = field(default_factory=dict)
    """Code of the workload that the run may use; see ``harness.workload.loaded_code``."""
    together: int = 1
    """Number of runs that its process executes at once, including this one."""
    beside: tuple[Job, ...] = ()
    """For the first run of a process: the other runs; see ``in_one_process``."""
    is_anew: bool = False
    """Whether to start from scratch, because the files of earlier attempts cannot be used."""
    first: Path | None = None
    """For the other runs of a process: directory of the first run, which holds the shared log."""

    @property
    def process(self) -> Path:
        """The directory of the first run in the process; runs that share a process share it."""
        return self.first or self.directory

    def to_json(self) -> dict[str, JsonValue]:
        """Convert the job to plain values, to send it to another process."""
        return cast("dict[str, JsonValue]", _JOB.dump_python(self, mode="json"))

    @staticmethod
    def from_json(document: Mapping[str, JsonValue]) -> Job:
        """Restore a job from the output of ``to_json``."""
        return _JOB.validate_python(document)


_JOB = TypeAdapter(Job)


def in_one_process(jobs: Sequence[Job]) -> tuple[Job, ...]:
    """Return the jobs arranged for one process: the first has all others ``beside`` it."""
    first, *others = jobs
    if not others:
        return (first,)
    beside = tuple(replace(job, together=len(jobs), first=first.directory) for job in others)
    return (replace(first, together=len(jobs), beside=beside), *beside)


class Ended(NamedTuple):
    """A run that is no longer active. The result is in its spool."""

    run_id: str
    exit_code: int | None
    """Exit code of its process; None if a signal ended it."""
    signal: int | None
    is_lost: bool = False
    """Whether the run ended only because its host failed: the node that it ran on, or the fork
    server that it came from."""


class Executor(Protocol):
    """Executes runs. Not thread-safe."""

    @property
    def slots(self) -> int:
        """How many runs may be active at once."""
        ...

    def submit(self, job: Job) -> None:
        """Start ``job``, or queue it for the next ``poll``.

        Raises:
            HarnessError: no more runs can be started.
        """
        ...

    def poll(self, timeout_s: float) -> list[Ended]:
        """Wait up to ``timeout_s`` for a run to end; return the runs that ended since last time.

        Raises:
            HarnessError: the runs were lost; the message gives the reason.
        """
        ...

    def cancel(self, run_id: str, *, grace_s: float | None = GRACE_S) -> None:
        """Ask a run to save its state and end; return at once.

        The next ``report`` of the run returns False, and it ends with ``STATUS_INTERRUPTED`` and
        without ``Finished``. A run that is not active is ignored.

        Args:
            run_id: The run to end.
            grace_s: Seconds after which the run is killed, including every process that it has
                started. None means never.
        """
        ...

    def stop(self) -> None:
        """Kill all active runs at once, including every process that they have started."""
        ...

    def close(self) -> None:
        """Kill active runs and release all resources."""
        ...
