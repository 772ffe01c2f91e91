"""One attempt at one run, from ``Started`` to ``Finished``: what every executor executes.

Whatever the workload does ends up in the run's spool as ``done`` or as a class of failure. Two ends
leave no ``Finished``: an interruption, after which the run counts as not trained, and the death of
the process, which ``finished_by_death`` puts into words for the driver.
"""

from __future__ import annotations

import functools
import math
import os
import signal
import sys
import time
import traceback
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from harness.errors import HarnessError
from harness.events import EpochReported, Failure, Finished, Started, utc_now
from harness.executors import Ended, Job
from harness.provenance import GitState, git_state, host_name, library_versions
from harness.spool import append, spool_path, unwritable, work_dir
from harness.workload import Workload

STATUS_NOT_WRITABLE = 74
"""With what a worker exits that cannot write what happens to its run (EX_IOERR of sysexits.h)."""
_STDERR_LINES = 100
_MEMORY_TEXTS = ("out of memory", "cudamalloc", "can't allocate memory", "cannot allocate memory")


def execute(job: Job, workload: Workload) -> None:
    """Run ``workload`` for ``job`` in this process and write how it went to the run's spool.

    The run's ``work`` folder is left as an earlier attempt left it, so that the workload can go on
    from a checkpoint there. ``sys.stderr`` is expected to go to the run's log (see ``open_log``).

    Raises:
        KeyboardInterrupt: the run was interrupted; it has no ``Finished`` and the next call of the
            study goes on with it.
        StoreError: the spool cannot be written.
    """
    work = _make_work_dir(job)
    log_start = log_size(job)
    append(spool_path(job.directory), _started(job))
    epochs = _EpochWriter(job)
    began = time.monotonic()
    results: Mapping[str, float] = {}
    failure: _Failed | None = None
    try:
        returned = workload.run(
            job.run.params, seed=job.run.seed, workdir=work, report=epochs, test=job.run.test
        )
        _refuse_test_scores(job, returned)
        results = {name: float(value) for name, value in returned.items()}
        failure = epochs.diverged or _non_finite("the result", results)
    except (KeyboardInterrupt, HarnessError):  # the latter is our own: a spool that is not writable
        raise
    except BaseException as error:  # SystemExit too: no workload may end this process unheard
        traceback.print_exc()
        failure = epochs.diverged or _classify(error)
    sys.stderr.flush()
    finished = Finished(
        attempt=job.attempt,
        time=utc_now(),
        state="failed" if failure else "done",
        failure=failure.failure if failure else None,
        message=failure.message if failure else None,
        seconds=time.monotonic() - began,
        peak_mib=_peak_mib(),
        results=results if failure is None else {},
        stderr=last_lines(log_path(job), log_start),
    )
    append(spool_path(job.directory), finished)


def finished_by_death(job: Job, ended: Ended, *, seconds: float, log_start: int) -> Finished:
    """The end of an attempt whose process died without a word.

    SIGKILL counts as ``oom``: the kernel's out-of-memory killer uses it, and hardly anyone else.

    Args:
        job: The attempt.
        ended: How its process ended.
        seconds: How long it lived.
        log_start: Size of the run's log when it began, in bytes.
    """
    stderr = last_lines(log_path(job), log_start)
    failure: Failure = "crash"
    if ended.is_lost:
        message = "the worker was lost time and again, with its node or the process it came from"
    elif ended.signal is None:
        message = f"the worker exited with status {ended.exit_code} before it finished"
    else:
        message = f"the worker was ended by {_signal_name(ended.signal)}"
        if ended.signal == signal.SIGKILL:
            failure = "oom"
            message += "; most likely the machine ran out of memory: use fewer --workers"
    if stderr and _is_about_memory(stderr):
        failure = "oom"
    return Finished(
        attempt=job.attempt,
        time=utc_now(),
        state="failed",
        failure=failure,
        message=message,
        seconds=seconds,
        stderr=stderr,
    )


def warm_up(workload: str) -> None:
    """Find out now what every ``Started`` of runs of the module ``workload`` repeats."""
    _provenance(workload)


def know_git(workload: str, state: GitState) -> None:
    """Say what commit the code of the module ``workload`` is at: it was copied to this machine."""
    _known_git[workload] = state


def open_log(job: Job) -> int:
    """A file descriptor that appends to the run's log; the run's directory is made.

    Raises:
        StoreError: the disk is full, or the place is not writable.
    """
    path = log_path(job)
    try:
        job.directory.mkdir(parents=True, exist_ok=True)
        return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
    except OSError as error:
        raise unwritable(path, error) from None


def log_path(job: Job) -> Path:
    """Where the output of the run's workers is kept, one attempt after the other."""
    return job.directory / "stderr.log"


def log_size(job: Job) -> int:
    """How many bytes earlier attempts have left in the run's log."""
    path = log_path(job)
    return path.stat().st_size if path.exists() else 0


def last_lines(path: Path, start: int) -> str | None:
    """The last hundred lines of the file from byte ``start`` on; None if there is nothing."""
    try:
        with path.open("rb") as stream:
            size = stream.seek(0, os.SEEK_END)
            stream.seek(max(start, size - (1 << 16)))
            text = stream.read().decode(errors="replace")
    except FileNotFoundError:
        return None
    return "\n".join(text.splitlines()[-_STDERR_LINES:]) or None


class _Failed(NamedTuple):
    failure: Failure
    message: str


@dataclass
class _EpochWriter:
    """The ``report`` of a run: spools each epoch, and ends the run at a non-finite number."""

    job: Job
    diverged: _Failed | None = field(default=None, init=False)

    def __call__(self, step: int, metrics: Mapping[str, float]) -> bool:
        """Record one epoch; False once a metric was not finite.

        Raises:
            ValueError: test classes were scored, and the run may not open them.
        """
        _refuse_test_scores(self.job, metrics)
        numbers = {name: float(value) for name, value in metrics.items()}
        event = EpochReported(self.job.attempt, utc_now(), step, numbers)
        append(spool_path(self.job.directory), event)
        self.diverged = self.diverged or _non_finite(f"epoch {step}", numbers)
        return self.diverged is None


def _refuse_test_scores(job: Job, scores: Mapping[str, float]) -> None:
    """Refuse scores on test classes from a run that is part of a search."""
    name = next((name for name in scores if name.startswith("test/")), None)
    if name is not None and not job.run.test:
        raise ValueError(f"{name}: test classes were scored in a search, which may not open them")


def _non_finite(where: str, numbers: Mapping[str, float]) -> _Failed | None:
    for name, value in numbers.items():
        if not math.isfinite(value):
            return _Failed("diverged", f"{name} is {value} in {where}")
    return None


def _classify(error: BaseException) -> _Failed:
    text = " ".join(str(error).split())
    message = f"{type(error).__name__}: {text}" if text else type(error).__name__
    if isinstance(error, MemoryError) or _is_about_memory(text):
        return _Failed("oom", message)
    if isinstance(error, FloatingPointError):
        return _Failed("diverged", message)
    # The border says that ValueError means parameters or data that cannot be.
    return _Failed("invalid" if isinstance(error, ValueError) else "crash", message)


def _is_about_memory(text: str) -> bool:
    return any(part in text.lower() for part in _MEMORY_TEXTS)


def _started(job: Job) -> Started:
    git, versions, host = _provenance(job.run.workload)
    return Started(
        attempt=job.attempt,
        time=utc_now(),
        run=job.run,
        host=host,
        pid=os.getpid(),
        threads=job.threads,
        commit=git.commit,
        dirty=git.dirty,
        versions=versions,
        device=job.device,
    )


_known_git: dict[str, GitState] = {}


class _Provenance(NamedTuple):
    git: GitState
    versions: Mapping[str, str]
    host: str


@functools.cache  # asked once per fork server: git and package metadata cost tens of milliseconds
def _provenance(workload: str) -> _Provenance:
    file = getattr(sys.modules.get(workload), "__file__", None)
    git = _known_git.get(workload)
    if git is None:
        git = git_state(Path(file).parent) if file else GitState(None, None)
    return _Provenance(git, library_versions(), host_name())


def _make_work_dir(job: Job) -> Path:
    work = work_dir(job.directory)
    try:
        work.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise unwritable(work, error) from None
    return work


def _peak_mib() -> float | None:
    """Largest resident memory of this process so far; None where the system does not say."""
    try:
        import resource
    except ImportError:  # Windows, where only the local executor works
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (1 << 20) if sys.platform == "darwin" else peak / (1 << 10)  # bytes there


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
