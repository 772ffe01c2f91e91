"""One attempt at one run, from ``Started`` to ``Finished``: what every executor executes.

Whatever the workload does ends up in the run's spool as ``done``, ``pruned`` or a class of failure.
Two ends leave no ``Finished``: an interruption, after which the run counts as not trained, and the
death of the process, which ``finished_by_death`` puts into words for the driver.
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
from harness.records.event_log import SpoolReader, append, read_spool
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
"""With what a worker exits that cannot write what happens to its run (EX_IOERR of sysexits.h)."""
STATUS_INTERRUPTED = 75
"""With what it exits when it was asked to end, and has saved what it had (EX_TEMPFAIL there)."""
STATUS_OUTRUN = 76
"""With what it exits when another driver has begun to train its run."""
COLLAPSED = "collapsed"
"""The metric by which a workload says that its run has collapsed: above 0 it has."""
_MEMORY_TEXTS = ("out of memory", "cudamalloc", "can't allocate memory", "cannot allocate memory")


class OutrunError(HarnessError):
    """Another driver has begun to train this run, since it took ours for dead."""


def execute(job: Job, workload: Workload) -> int:
    """Run ``workload`` for ``job`` in this process and write how it went to the run's spool.

    The run's ``work`` folder is left as an earlier attempt left it, so that the workload can go on
    from a checkpoint there. ``sys.stderr`` is expected to go to the run's log (see ``open_log``).

    Returns:
        The exit status of a process that does nothing else: 0, or ``STATUS_INTERRUPTED`` where the
        run was asked to end (see ``ending``) and ended with its epoch. It has no ``Finished`` then.

    Raises:
        KeyboardInterrupt: the run was interrupted; it has no ``Finished`` and the next call of the
            study goes on with it.
        OutrunError: the run is another driver's by now.
        StoreError: the spool cannot be written.
    """
    work = make_work_dir(job)
    log_start = log_size(job)
    started = _started(job)
    append(spool_path(job.directory), started)
    epochs = _EpochWriter(job, _state_before(job), started)
    epochs.refuse_if_outrun()
    began = time.monotonic()
    results: Mapping[str, float] = {}
    failure: _Failed | None = None
    try:
        with expecting(job.code) as code:
            # Else it was interrupted between its last epoch and its end.
            if epochs.cut is None and code.violation is None:
                results = _run(job, workload, work, epochs)
        failure = epochs.failed or _failure_in("the result", results)
    except (KeyboardInterrupt, HarnessError):  # the latter is our own, of the spool
        raise
    except BaseException as error:  # SystemExit too: no workload may end this process unheard
        traceback.print_exc()
        failure = epochs.failed or _classify(error)
    sys.stderr.flush()
    cut = epochs.cut
    if code.violation is not None:  # whatever it reported: other code has a part in it
        failure, cut = _Failed("crash", code.violation), None
    elif cut is not None:  # whatever a workload does once it was told to stop
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
    append(spool_path(job.directory), finished)
    return 0


def _run(job: Job, workload: Workload, work: Path, report: Report) -> Mapping[str, float]:
    """What the workload returns for ``job``, as numbers."""
    # This process may run others later.
    with variables_set({PROFILE: "1"} if job.profile else {}):
        returned = workload.run(
            job.run.params, seed=job.run.seed, workdir=work, report=report, test=job.run.test
        )
    results = _numbers("run", returned)
    _refuse_test_scores(job, results)
    return results


def failed_status(error: HarnessError) -> int:
    """With what a process exits whose run was ended by an error of our own."""
    return STATUS_OUTRUN if isinstance(error, OutrunError) else STATUS_NOT_WRITABLE


def finished_by_death(
    job: Job,
    ended: Ended,
    *,
    seconds: float,
    log_start: int,
    exceeded: LimitExceeded | None = None,
) -> Finished:
    """The end of an attempt whose process died without a word.

    SIGKILL counts as ``oom``: the kernel's out-of-memory killer uses it, and hardly anyone else.

    Args:
        job: The attempt.
        ended: How its process ended.
        seconds: How long it lived.
        log_start: Size of the run's log when it began, in bytes.
        exceeded: The limit for which it was ended.
    """
    stderr = last_lines(log_path(job), log_start)
    failure: Failure = "crash"
    if exceeded is not None:
        failure, message = exceeded
    elif ended.exit_code == STATUS_INTERRUPTED:
        message = "somebody else than the driver asked the worker to end (SIGTERM)"
    elif ended.is_lost:
        message = "the worker was lost time and again, with its node or the process it came from"
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
    """Find out now what every ``Started`` of runs of the module ``workload`` repeats."""
    _provenance(workload)


def know_git(workload: str, state: GitState) -> None:
    """Say what commit the code of the module ``workload`` is at: it was copied to this machine."""
    _known_git[workload] = state


class _Failed(NamedTuple):
    failure: Failure
    message: str


@dataclass
class _EpochWriter:
    """The ``report`` of a run: spools each epoch, and says when the run has to end.

    It has to at a number that is not finite, when it has collapsed, when it was asked to, and when
    it does not reach what the job asks of it, see ``harness.search.pruners``.
    """

    job: Job
    state: RunState
    """Where a run that may be stopped early stands, by what earlier attempts reported as well."""
    started: Started
    """How this attempt has begun, as its spool says."""
    failed: _Failed | None = field(default=None, init=False)
    is_interrupted: bool = field(default=False, init=False)
    """Whether the run was told to end because it was asked to."""
    _spool: SpoolReader = field(init=False)
    _is_begun: bool = field(default=False, init=False)

    def __post_init__(self) -> None:
        """Nothing of the spool is read yet."""
        self._spool = SpoolReader(spool_path(self.job.directory))

    @property
    def cut(self) -> EarlyStop | None:
        """Where the run is stopped early, once it is."""
        if self.job.thresholds is None:
            return None
        return first_violation(list(self.state.curve.values()), self.job.thresholds)

    def __call__(self, step: int, metrics: Mapping[str, float]) -> bool:
        """Record one epoch; False once the run has to end.

        Raises:
            OutrunError: the run is another driver's by now.
            TypeError: a metric or an epoch is no number.
            ValueError: test classes were scored, and the run may not open them.
        """
        if not isinstance(step, int) or abs(step) > MOST_COUNT:
            raise TypeError(f"report: an epoch is a whole number, got {_shown(step)}")
        numbers = _numbers(f"report of epoch {step}", metrics)
        _refuse_test_scores(self.job, metrics)
        self.refuse_if_outrun()
        event = EpochReported(self.job.attempt, utc_now(), step, numbers)
        append(spool_path(self.job.directory), event)
        self.failed = self.failed or _failure_in(f"epoch {step}", numbers)
        if self.job.thresholds is not None:
            self.state = replay([event], self.state, watched=self.job.thresholds.metric)
        self.is_interrupted = self.is_interrupted or stop_request.is_set()
        return self.failed is None and self.cut is None and not self.is_interrupted

    def refuse_if_outrun(self) -> None:
        """Stop where the spool has a newer attempt, or one of this number that began before.

        Two drivers give an attempt the same number where the first was taken for dead before its
        worker began. The order of the lines decides which of them it is.

        Raises:
            OutrunError: there is one.
        """
        for event in self._spool.read().entries:
            if isinstance(event, Damaged):
                continue
            is_ours = self._is_begun or self._is_start(event)
            if event.attempt > self.job.attempt or (
                event.attempt == self.job.attempt and not is_ours
            ):
                raise OutrunError(
                    f"run {self.job.run_id}: another driver trains it by now; this attempt ends"
                )
            self._is_begun = self._is_begun or event.attempt == self.job.attempt

    def _is_start(self, event: Entry) -> bool:
        """Whether this attempt has begun with ``event``."""
        begun = self.started
        return isinstance(event, Started) and (event.time, event.host, event.pid) == (
            begun.time,
            begun.host,
            begun.pid,
        )


def _state_before(job: Job) -> RunState:
    """Where the run stood when this attempt began; read only where it may be stopped early."""
    if job.thresholds is None:
        return RunState()
    return replay(read_spool(spool_path(job.directory)), watched=job.thresholds.metric)


def _numbers(where: str, values: object) -> dict[str, float]:
    """The metrics that a workload hands over, as numbers.

    Raises:
        TypeError: they are not what the border says.
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
    """A value in an error: None, or its type and the beginning of it."""
    return "None" if value is None else f"{type(value).__name__} {value!r:.40}"


def _refuse_test_scores(job: Job, scores: Mapping[str, float]) -> None:
    """Refuse scores on test classes from a run that is part of a search."""
    name = next((name for name in scores if name.startswith("test/")), None)
    if name is not None and not job.run.test:
        raise ValueError(f"{name}: test classes were scored in a search, which may not open them")


def _failure_in(where: str, numbers: Mapping[str, float]) -> _Failed | None:
    for name, value in numbers.items():
        if not math.isfinite(value):
            return _Failed("diverged", f"{name} is {value} in {where}")
    if numbers.get(COLLAPSED, 0.0) > 0:
        return _Failed("collapsed", f"the workload says so ({COLLAPSED} is above 0) in {where}")
    return None


def _classify(error: BaseException) -> _Failed:
    try:
        text = " ".join(str(error).split())
    except Exception:  # an exception may be as broken as what raised it
        text = "its text cannot be made"
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
        together=job.together,
        is_anew=job.is_anew,
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
