"""Executes one attempt at one run, from ``Started`` to ``Finished``, for every executor.

Whatever the workload does is recorded in the run's spool as ``done``, ``pruned`` or a kind of
failure. Only two ends leave no ``Finished``: an interruption, after which the run counts as not
trained, and the death of the process, for which the driver writes ``finished_by_death``.
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
from harness.executors.interface import PROFILE, Ended, Job
from harness.executors.worker import stop_request
from harness.executors.worker.environment import variables_set
from harness.executors.worker.run_log import last_lines, log_path, log_size, make_work_dir
from harness.records.early_stopping import EarlyStop, first_violation
from harness.records.event_log import SpoolReader, SpoolWriter, read_spool
from harness.records.events import (
    MOST_COUNT,
    Damaged,
    Entry,
    EpochReported,
    Failure,
    Finished,
    Started,
    utc_now,
)
from harness.records.folders import spool_path
from harness.records.provenance import GitState, git_state, host_name, library_versions
from harness.records.run_files import digests_below
from harness.records.run_state import LimitExceeded, RunState, replay
from harness.workload import Report, Workload
from harness.workload.loaded_code import expecting

STATUS_NOT_WRITABLE = 74
"""Exit status of a worker that cannot write to its run's files (EX_IOERR of sysexits.h)."""
STATUS_INTERRUPTED = 75
"""Exit status of a worker that was asked to end and has saved its state (EX_TEMPFAIL)."""
STATUS_OUTRUN = 76
"""Exit status of a worker whose run another driver has begun to train."""
COLLAPSED = "collapsed"
"""Metric by which a workload reports that its run has collapsed, if above 0."""
_MEMORY_TEXTS = ("out of memory", "cudamalloc", "can't allocate memory", "cannot allocate memory")


class OutrunError(HarnessError):
    """Another driver has begun to train this run, because it considered this attempt dead."""


def execute(job: Job, workload: Workload) -> int:
    """Execute ``job`` in this process and record its progress and result in the run's spool.

    The ``work`` folder keeps the files of earlier attempts, so that the workload can resume from a
    checkpoint. ``sys.stderr`` should be redirected to the run's log (see ``open_log``).

    Returns:
        Exit status for the process: 0, or ``STATUS_INTERRUPTED`` if the run was asked to end (see
        ``stop_request``) and ended after its epoch, without ``Finished``.

    Raises:
        KeyboardInterrupt: the run was interrupted. It has no ``Finished``, and the next call of the
            study resumes it.
        OutrunError: another driver trains the run by now.
        StoreError: the spool cannot be written.
    """
    work = make_work_dir(job)
    log_start = log_size(job)
    started = _started(job)
    spool = SpoolWriter(spool_path(job.directory))
    spool.append(started)
    epochs = _EpochWriter(job, _state_before(job), started, spool)
    epochs.refuse_if_outrun()
    began = time.monotonic()
    results: Mapping[str, float] = {}
    failure: _Failed | None = None
    try:
        with expecting(job.code) as code:
            # If already cut, an earlier attempt was interrupted after its last epoch.
            if epochs.cut is None and code.violation is None:
                results = _run(job, workload, work, epochs)
        failure = epochs.failed or _failure_in("the result", results)
    except (KeyboardInterrupt, HarnessError):  # HarnessError is ours: the spool failed
        raise
    except BaseException as error:  # SystemExit too: a workload must not end this process silently
        traceback.print_exc()
        failure = epochs.failed or _classify(error)
    sys.stderr.flush()
    cut = epochs.cut
    if code.violation is not None:  # its results are void, since they involve other code
        failure, cut = _Failed("crash", code.violation), None
    elif cut is not None:  # ignore what the workload did after it was told to stop
        failure = None
    elif epochs.is_interrupted and epochs.failed is None:
        return STATUS_INTERRUPTED
    seconds = (time.monotonic() - began) / job.together
    finished = Finished(
        attempt=job.attempt,
        time=utc_now(),
        state="pruned" if cut else "failed" if failure else "done",
        failure=failure.failure if failure else None,
        message=cut.reason if cut else failure.message if failure else None,
        seconds=seconds,
        peak_mib=_peak_mib(),
        results=results if failure is None and cut is None else {},
        stderr=last_lines(log_path(job), log_start),
        files=digests_below(work) if failure is None and cut is None else {},
    )
    epochs.refuse_if_outrun()
    spool.append(finished)
    return 0


def _run(job: Job, workload: Workload, work: Path, report: Report) -> Mapping[str, float]:
    """Call the workload for ``job`` and return its results as numbers."""
    # Set the variable only for this run: the process may execute others later.
    with variables_set({PROFILE: "1"} if job.profile else {}):
        returned = workload.run(
            job.run.params, seed=job.run.seed, workdir=work, report=report, test=job.run.test
        )
    results = _numbers("run", returned)
    _refuse_test_scores(job, results)
    return results


def failed_status(error: HarnessError) -> int:
    """Return the exit status for a run that an error of the harness has ended."""
    return STATUS_OUTRUN if isinstance(error, OutrunError) else STATUS_NOT_WRITABLE


def finished_by_death(
    job: Job,
    ended: Ended,
    *,
    seconds: float,
    log_start: int,
    exceeded: LimitExceeded | None = None,
) -> Finished:
    """Make the ``Finished`` of an attempt whose process died without writing one.

    SIGKILL counts as ``oom``, because it nearly always comes from the out-of-memory killer.

    Args:
        job: The attempt.
        ended: How its process ended.
        seconds: How long it lived.
        log_start: Size of the run's log when it began, in bytes.
        exceeded: The limit that it exceeded, if it was ended for that.
    """
    stderr = last_lines(log_path(job), log_start)
    failure: Failure = "crash"
    if exceeded is not None:
        failure, message = exceeded
    elif ended.exit_code == STATUS_INTERRUPTED:
        message = "something other than the driver asked the worker to end (SIGTERM)"
    elif ended.is_lost:
        message = "the worker was lost repeatedly, with its node or the process it was forked from"
    elif ended.signal is None:
        message = f"the worker exited with status {ended.exit_code} before it finished"
    else:
        message = f"the worker was ended by {_signal_name(ended.signal)}"
        if ended.signal == signal.SIGKILL:
            failure = "oom"
            message += "; most likely the machine ran out of memory: use fewer --workers"
    if exceeded is None and stderr and _is_about_memory(stderr):
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
    """Cache the provenance that every ``Started`` event of this workload's runs contains."""
    _provenance(workload)


def know_git(workload: str, state: GitState) -> None:
    """Set the commit of a workload whose code was copied to this machine without its repository."""
    _known_git[workload] = state


class _Failed(NamedTuple):
    failure: Failure
    message: str


@dataclass
class _EpochWriter:
    """The ``report`` callback of a run: spools each epoch and decides whether the run must end.

    It must end after a non-finite metric, after a collapse, when it was asked to, and when it
    misses a threshold of its job (see ``harness.search.pruners``).
    """

    job: Job
    state: RunState
    """Progress of a run that may be stopped early, including what earlier attempts reported."""
    started: Started
    """The event with which this attempt began."""
    spool: SpoolWriter
    failed: _Failed | None = field(default=None, init=False)
    is_interrupted: bool = field(default=False, init=False)
    """Whether the run was told to end because of a stop request."""
    _others: SpoolReader = field(init=False)
    _is_begun: bool = field(default=False, init=False)

    def __post_init__(self) -> None:
        self._others = SpoolReader(spool_path(self.job.directory))

    @property
    def cut(self) -> EarlyStop | None:
        """Where and why the run is stopped early; None if it is not."""
        if self.job.thresholds is None:
            return None
        return first_violation(list(self.state.curve.values()), self.job.thresholds)

    def __call__(self, step: int, metrics: Mapping[str, float]) -> bool:
        """Record one epoch; return False once the run must end.

        Raises:
            OutrunError: another driver trains the run by now.
            TypeError: a metric or an epoch is not a number.
            ValueError: test classes were scored in a run that may not use them.
        """
        if not isinstance(step, int) or abs(step) > MOST_COUNT:
            raise TypeError(f"report: an epoch must be a whole number, got {_shown(step)}")
        numbers = _numbers(f"report of epoch {step}", metrics)
        _refuse_test_scores(self.job, metrics)
        self.refuse_if_outrun()
        event = EpochReported(self.job.attempt, utc_now(), step, numbers)
        self.spool.append(event)
        self.failed = self.failed or _failure_in(f"epoch {step}", numbers)
        if self.job.thresholds is not None:
            self.state = replay([event], self.state, watched=self.job.thresholds.metric)
        self.is_interrupted = self.is_interrupted or stop_request.is_set()
        return self.failed is None and self.cut is None and not self.is_interrupted

    def refuse_if_outrun(self) -> None:
        """Raise an error if the spool has a newer attempt, or an earlier one with this number.

        Two drivers use the same attempt number if the second considered the first dead before its
        worker began. The attempt that comes first in the spool keeps the run.

        Raises:
            OutrunError: there is such an attempt.
        """
        if self._is_begun and self.spool.is_last:
            return
        for event in self._others.read().entries:
            if isinstance(event, Damaged):
                continue
            is_ours = self._is_begun or self._is_start(event)
            if event.attempt > self.job.attempt or (
                event.attempt == self.job.attempt and not is_ours
            ):
                raise OutrunError(
                    f"run {self.job.run_id}: another driver now trains it; this attempt ends"
                )
            self._is_begun = self._is_begun or event.attempt == self.job.attempt

    def _is_start(self, event: Entry) -> bool:
        """Return whether ``event`` is the start of this attempt."""
        begun = self.started
        return isinstance(event, Started) and (event.time, event.host, event.pid) == (
            begun.time,
            begun.host,
            begun.pid,
        )


def _state_before(job: Job) -> RunState:
    """Read the run's progress before this attempt; skipped if it cannot be stopped early."""
    if job.thresholds is None:
        return RunState()
    return replay(read_spool(spool_path(job.directory)), watched=job.thresholds.metric)


def _numbers(where: str, values: object) -> dict[str, float]:
    """Convert the metrics that a workload reports or returns to floats.

    Raises:
        TypeError: they are not a mapping of names to numbers.
    """
    if not isinstance(values, Mapping):
        raise TypeError(f"{where}: a mapping of names to numbers is needed, got {_shown(values)}")
    for name, value in values.items():
        if not isinstance(name, str):
            raise TypeError(f"{where}: a name is needed, got {_shown(name)}")
        if not hasattr(value, "__float__"):
            raise TypeError(f"{where}: {name!r}: a number is needed, got {_shown(value)}")
    return {name: float(value) for name, value in values.items()}


def _shown(value: object) -> str:
    """Format a value for an error message: None, or its type and the start of its text."""
    return "None" if value is None else f"{type(value).__name__} {value!r:.40}"


def _refuse_test_scores(job: Job, scores: Mapping[str, float]) -> None:
    """Reject scores on test classes from a run that is part of a search."""
    name = next((name for name in scores if name.startswith("test/")), None)
    if name is not None and not job.run.test:
        raise ValueError(f"{name}: test classes were scored in a search, which may not use them")


def _failure_in(where: str, numbers: Mapping[str, float]) -> _Failed | None:
    for name, value in numbers.items():
        if not math.isfinite(value):
            return _Failed("diverged", f"{name} is {value} in {where}")
    if numbers.get(COLLAPSED, 0.0) > 0:
        return _Failed("collapsed", f"the workload reports it ({COLLAPSED} is above 0) in {where}")
    return None


def _classify(error: BaseException) -> _Failed:
    try:
        text = " ".join(str(error).split())
    except Exception:  # an exception's own __str__ may fail
        text = "its text cannot be shown"
    message = f"{type(error).__name__}: {text}" if text else type(error).__name__
    if isinstance(error, MemoryError) or _is_about_memory(text):
        return _Failed("oom", message)
    if isinstance(error, FloatingPointError):
        return _Failed("diverged", message)
    # The workload interface reserves ValueError for impossible parameters or data.
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
        together=job.together,
        user=job.user,
        command=job.command,
        is_anew=job.is_anew,
    )


_known_git: dict[str, GitState] = {}


class _Provenance(NamedTuple):
    git: GitState
    versions: Mapping[str, str]
    host: str


@functools.cache  # once per fork server: git and package metadata cost tens of milliseconds
def _provenance(workload: str) -> _Provenance:
    file = getattr(sys.modules.get(workload), "__file__", None)
    git = _known_git.get(workload)
    if git is None:
        git = git_state(Path(file).parent) if file else GitState(None, None)
    return _Provenance(git, library_versions(), host_name())


def _peak_mib() -> float | None:
    """Return the peak resident memory of this process; None if the system does not report it."""
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
