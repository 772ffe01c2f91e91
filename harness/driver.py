"""The loop that takes a study from its file to finished runs in the store.

Everything that must survive is in spools before it is anywhere else, so the driver may be killed
at any moment: the next call reads the spools and goes on with what is missing.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from harness.errors import HarnessError, InputError, StoreBusyError
from harness.events import utc_now
from harness.executors import THREAD_VARIABLES, ExecutorName, Placement, make_executor
from harness.executors.gpus import visible_gpus
from harness.interruption import Interruption
from harness.ledger import Ledger
from harness.lock import only_writer
from harness.plan import Plan, make_plan
from harness.progress import Watcher
from harness.provenance import code_version, library_versions
from harness.schedule import Schedule
from harness.session import Session
from harness.spec import Loaded, load_study
from harness.spool import StudyRecord, read_study_records
from harness.store import Rebuilt, rebuild
from harness.trial import Run, Trial
from harness.workload import load_workload

MOST_WORKERS = 8
_FLUSH_WAIT_S = 60.0
_FLUSH_WAIT_INTERRUPTED_S = 5.0


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
    runs_per_gpu: int = 1
    """Runs at once on one GPU."""
    address: str | None = None
    """Of a Ray cluster; None starts one on this machine."""


class Outcome(NamedTuple):
    """How a call ended."""

    study: str
    total: int
    done: int
    failed: int
    trained: int
    """Runs that this call has trained to an end, whichever."""
    signal: int | None
    """What stopped the call, if anything did."""
    is_stored: bool
    """Whether the database has everything; False only after an interruption."""

    @property
    def exit_status(self) -> int:
        """0 all done, 1 some run failed, 128 + signal when interrupted."""
        if self.signal is not None:
            return 128 + self.signal
        return 1 if self.failed else 0


class PlannedRun(NamedTuple):
    """A run in a preview."""

    trial: str
    seed: int
    run_id: str
    state: str
    """``done``, ``failed`` (which stays so), or ``to do``."""


class Preview(NamedTuple):
    """What a call would do."""

    study: str
    question: str
    runs: tuple[PlannedRun, ...]
    """In the order in which they would start."""
    proposed_later: int
    """Trials that a search has still to propose; an upper bound."""


def run_study(
    path: Path, overrides: tuple[str, ...], options: RunOptions, watcher: Watcher
) -> Outcome:
    """Train every run of a study that is not trained yet, and bring the store up to date.

    A first SIGINT or SIGTERM stops the workers and ends the call in order; see ``Outcome``.

    Args:
        path: The study file.
        overrides: ``KEY=VALUE`` each, over the file.
        options: Where and how.
        watcher: Is told what happens.

    Raises:
        InputError: the study, its data or an option is wrong, or the results folder has a driver.
        StoreError: the results are not writable or not readable.
        HarnessError: the workers were lost.
    """
    loaded = load_study(path, overrides)
    gpus = visible_gpus(os.environ) if options.executor in ("process", "spawn") else ()
    workers, threads = _division_of_cores(options, len(gpus))
    with ExitStack() as stack:
        if options.executor == "local":
            stack.enter_context(_thread_limit(threads))
        # First of all, because it imports the workload while we do the same.
        executor = make_executor(
            options.executor,
            loaded.spec.workload,
            slots=workers,
            threads=threads,
            placement=Placement(gpus, options.runs_per_gpu, options.address),
        )
        stack.callback(executor.close)
        plan = _plan(loaded)
        schedule = Schedule(plan, _identifier(plan))
        stack.enter_context(only_writer(options.results))
        ledger = Ledger(options.results)
        ledger.prepare()
        interruption = stack.enter_context(Interruption(is_abrupt=options.executor == "local"))
        session = Session(
            plan=plan,
            schedule=schedule,
            ledger=ledger,
            executor=executor,
            watcher=watcher,
            threads=threads,
            write_record=_record_writer(plan, schedule, ledger, options),
        )
        try:
            session.run(options.results, interruption)
        except BaseException:
            executor.stop()
            session.collect()
            with suppress(HarnessError):  # what went wrong first is what the user must hear
                _flush_patiently(ledger, watcher, plan.spec.study, _FLUSH_WAIT_INTERRUPTED_S)
            raise
        return _finish(session, ledger, watcher, interruption.signal)


def preview(path: Path, overrides: tuple[str, ...], results: Path) -> Preview:
    """What ``run_study`` would do. Nothing is trained and nothing written.

    Raises:
        InputError: the study or its data is wrong.
    """
    loaded = load_study(path, overrides)
    plan = _plan(loaded)
    schedule = Schedule(plan, _identifier(plan))
    ledger = Ledger(results)
    ledger.take_up(schedule.tasks)
    while schedule.grow(ledger.settled):
        ledger.take_up(schedule.tasks)
    runs = []
    while (task := schedule.take({})) is not None:
        state = ledger.settled.get(task.run_id)
        shown = "to do" if state is None else state.state
        runs.append(PlannedRun(task.trial.label, task.run.seed, task.run_id, shown))
    later = schedule.total - len(schedule.tasks)
    spec = plan.spec
    return Preview(spec.study, spec.question, tuple(runs), later // len(spec.seed_list))


def study_name(argument: str) -> str:
    """The name of a study that is given as its file or as its name.

    Raises:
        InputError: the file is not a study.
    """
    path = Path(argument)
    is_file = path.suffix in (".yaml", ".yml") or path.is_file()
    return load_study(path).spec.study if is_file else argument


def rebuild_results(results: Path, on_wait: Callable[[str], None]) -> Rebuilt:
    """Make the database anew from the spools, while no driver is at work on them.

    Args:
        results: The results folder.
        on_wait: Called once with a sentence when a reader has to be waited for.

    Raises:
        InputError: nothing there, or a driver is at work.
        StoreError: the folder is not writable, or a study record is damaged.
    """
    if not results.is_dir():  # the lock must not make it
        raise InputError(f"{results}: no such results folder; give one with --results")
    with only_writer(results):
        return rebuild(results, wait_s=10.0, on_wait=on_wait)


def _finish(session: Session, ledger: Ledger, watcher: Watcher, signal: int | None) -> Outcome:
    """Bring the database up to date for good, and say how the call ended."""
    study = session.plan.spec.study
    wait_s = _FLUSH_WAIT_S if signal is None else _FLUSH_WAIT_INTERRUPTED_S
    busy = _flush_patiently(ledger, watcher, study, wait_s)
    if busy is not None and signal is None:
        raise busy
    snapshot = session.snapshot()
    watcher.tick(snapshot)
    return Outcome(
        study=study,
        total=snapshot.total,
        done=snapshot.done,
        failed=snapshot.failed,
        trained=session.trained,
        signal=signal,
        is_stored=busy is None,
    )


def _division_of_cores(options: RunOptions, gpus: int) -> tuple[int | None, int]:
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


@contextmanager
def _thread_limit(threads: int) -> Iterator[None]:
    """Limit the arithmetic threads of libraries that are imported in the ``with`` block."""
    before = {name: os.environ.get(name) for name in THREAD_VARIABLES}
    os.environ.update(dict.fromkeys(THREAD_VARIABLES, str(threads)))
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def _plan(loaded: Loaded) -> Plan:
    """The study's plan, of which the ends of every axis fit the data."""
    plan = make_plan(loaded, load_workload(loaded.spec.workload))
    for trial in plan.ends:  # a range that the data cannot serve would cost a search trials
        _fingerprint(plan, trial)
    return plan


def _identifier(plan: Plan) -> Callable[[Trial, int], Run]:
    """What turns a trial and a seed into a run.

    The workload is asked once a trial for the fingerprint of its data, which is also when it
    refuses parameters that do not fit them. A trial that a search proposed must not end the
    study: its runs start, and fail as invalid.
    """
    code = code_version(plan.spec.workload)
    fingerprints: dict[str, str] = {}

    def identify(trial: Trial, seed: int) -> Run:
        key = trial.trial_id
        if key not in fingerprints:
            try:
                fingerprints[key] = _fingerprint(plan, trial)
            except InputError:
                if plan.spec.is_fixed or trial.role != "trial":
                    raise
                fingerprints[key] = "refused"
        return Run(
            workload=plan.spec.workload,
            params=trial.params,
            seed=seed,
            test=trial.phase == "confirm",
            code=code,
            data=fingerprints[key],
        )

    return identify


def _fingerprint(plan: Plan, trial: Trial) -> str:
    try:
        return plan.workload.data_fingerprint(trial.params)
    except ValueError as error:
        line = " ".join(str(error).split())
        where = _place(plan.loaded, trial.varied, line.partition(":")[0])
        raise InputError(f"{where}: {line}") from None


def _place(loaded: Loaded, varied: Mapping[str, object], dotted: str) -> str:
    """Where the parameter ``dotted`` of a trial was set."""
    for key in varied:
        if dotted == key or dotted.startswith(f"{key}."):
            return loaded.source.where(("search", key))
    return loaded.source.where(("base", *dotted.split(".")))


def _record_writer(
    plan: Plan, schedule: Schedule, ledger: Ledger, options: RunOptions
) -> Callable[[], None]:
    """What writes down which trials and runs the study has by now."""
    spec = plan.spec
    known = [record for record in read_study_records(options.results) if record.study == spec.study]
    created = known[0].created if known else utc_now()
    versions = library_versions()

    def write() -> None:
        ledger.write_study(
            StudyRecord(
                study=spec.study,
                question=spec.question,
                metric=spec.metric,
                sampler=spec.sampler,
                spec=spec.model_dump(mode="json"),
                fingerprint=spec.fingerprint,
                created=created,
                updated=utc_now(),
                command=options.command,
                versions=versions,
                trials=schedule.trials,
                members=schedule.members,
            )
        )

    return write


def _flush_patiently(
    ledger: Ledger, watcher: Watcher, study: str, wait_s: float
) -> StoreBusyError | None:
    """Bring the database up to date for good; the error to raise where a reader prevents it."""
    try:
        notices = ledger.flush(compare=study, wait_s=wait_s, on_wait=watcher.say)
    except StoreBusyError as error:
        busy = StoreBusyError(
            f"{error}; no result is lost: then make the database anew with `harness rebuild`"
        )
        watcher.say(str(busy))
        return busy
    for notice in notices:
        watcher.say(notice)
    return None
