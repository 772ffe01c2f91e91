"""What an executor is given and gives."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Literal, NamedTuple, Protocol, cast

from harness.records.early_stopping import StoppingThresholds
from harness.records.trial import Run
from harness.workload import JsonValue
from harness.workload.loaded_code import Table

ExecutorName = Literal["process", "spawn", "local", "ray"]
PROCESS_EXECUTORS: tuple[ExecutorName, ...] = ("process", "spawn")
"""Those that give each job a process of this machine, with a GPU where there is one. They take jobs
that have others beside them."""
THREAD_VARIABLES = (
    "OMP_NUM_THREADS",
    "MKL_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "NUMEXPR_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
)
"""What limits the threads of arithmetic libraries, if it is set before they are imported."""
GRACE_S = 5.0
"""What a run gets to end by itself before it is killed."""


@dataclass(frozen=True, slots=True)
class Placement:
    """Where an executor may put runs."""

    gpus: tuple[str, ...] = ()
    """GPUs of this machine, as ``CUDA_VISIBLE_DEVICES`` names them; each run gets one of them."""
    runs_per_gpu: int = 1
    """Runs at once on one GPU, >= 1."""
    address: str | None = None
    """Of a Ray cluster; None starts one on this machine."""


HERE = Placement()
"""On this machine, without a GPU."""


PROFILE = "HARNESS_PROFILE"
"""1 in the environment of a run that shall say where its time goes."""


@dataclass(frozen=True, slots=True)
class Job:
    """One attempt at one run."""

    run: Run
    run_id: str
    directory: Path
    """The run's own directory; it may not exist yet."""
    attempt: int
    """From 1."""
    threads: int
    """Threads that the run may use for arithmetic."""
    thresholds: StoppingThresholds | None = None
    """By what the run is stopped early, if it may be."""
    device: str | None = None
    """The GPU that the run gets, as ``CUDA_VISIBLE_DEVICES`` names it; the executor fills it in."""
    profile: bool = False
    """Whether the workload shall say where its time goes; see ``PROFILE``."""
    code: Table = field(default_factory=dict)
    """Files of the workload's code that the run may use; see ``harness.workload.loaded_code``."""
    together: int = 1
    """How many runs its process executes at once, this one included."""
    beside: tuple[Job, ...] = ()
    """The others, where this is the first of them; see ``in_one_process``."""
    is_anew: bool = False
    """Whether it starts from nothing, because what earlier attempts have left cannot be used."""
    first: Path | None = None
    """Where this is not the first of them: its directory, which has their log."""

    @property
    def process(self) -> Path:
        """The directory of the first run of its process: equal for runs that share one."""
        return self.first or self.directory

    def to_json(self) -> dict[str, JsonValue]:
        """The job as plain values, for the way to another process."""
        return asdict(replace(self, beside=())) | {
            "directory": str(self.directory),
            "first": None if self.first is None else str(self.first),
            "beside": [each.to_json() for each in self.beside],
        }

    @staticmethod
    def from_json(document: Mapping[str, JsonValue]) -> Job:
        """The job that ``to_json`` made ``document`` from."""
        values = cast("dict[str, str]", dict(document))  # whatever it is: to_json wrote it
        run = Run(**cast("dict[str, str]", document["run"]))  # type: ignore[arg-type]
        given = cast("dict[str, JsonValue] | None", document.get("thresholds"))
        thresholds = None if given is None else StoppingThresholds.from_json(given)
        first = values.get("first")
        beside = cast("list[dict[str, JsonValue]]", document.get("beside", []))
        plain: dict[str, object] = {
            "run": run,
            "directory": Path(values["directory"]),
            "thresholds": thresholds,
            "first": None if first is None else Path(first),
            "beside": tuple(map(Job.from_json, beside)),
        }
        return Job(**values | plain)  # type: ignore[arg-type]


def in_one_process(jobs: Sequence[Job]) -> tuple[Job, ...]:
    """The same jobs, of which the first has all others ``beside`` it."""
    first, *others = jobs
    if not others:
        return (first,)
    beside = tuple(replace(job, together=len(jobs), first=first.directory) for job in others)
    return (replace(first, together=len(jobs), beside=beside), *beside)


class Ended(NamedTuple):
    """A run that is no longer active. Its spool says how it went."""

    run_id: str
    exit_code: int | None
    """None when a signal ended it."""
    signal: int | None
    is_lost: bool = False
    """Whether the run ended for no reason of its own, because what it ran on is gone: its node, or
    the process that it was forked from."""


class Executor(Protocol):
    """Where runs are executed. Not for use from several threads."""

    @property
    def slots(self) -> int:
        """How many runs may be active at once."""
        ...

    def submit(self, job: Job) -> None:
        """Start ``job``, or take it up for the next ``poll``.

        Raises:
            HarnessError: no run can be started any more.
        """
        ...

    def poll(self, timeout_s: float) -> list[Ended]:
        """Wait until a run ends, for ``timeout_s`` at most; the runs that ended since last time.

        Raises:
            HarnessError: the runs were lost, with the reason.
        """
        ...

    def cancel(self, run_id: str, *, grace_s: float | None = GRACE_S) -> None:
        """Ask a run to save what it has and to end; returns at once.

        The next ``report`` of the run returns False, and it ends with ``STATUS_INTERRUPTED`` and
        without ``Finished``. A run that is not active is passed over.

        Args:
            run_id: Which.
            grace_s: A run that is still there after so many seconds is killed, with every process
                that it has started. None waits for it however long.
        """
        ...

    def stop(self) -> None:
        """Kill all active runs at once, with every process that they have started."""
        ...

    def close(self) -> None:
        """Give back every process; active runs are killed."""
        ...
