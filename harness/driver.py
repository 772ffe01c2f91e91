"""The loop that takes a study from its file to finished runs in the store.

Everything that must survive is in spools before it is anywhere else, so the driver may be killed
at any moment: the next call reads the spools and goes on with what is missing.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from harness.budget import Spending
from harness.changes import changes_of, refuse_changes
from harness.errors import HarnessError, InputError, StoreBusyError, StoreDamagedError, StoreError
from harness.executors import (
    PROCESS_EXECUTORS,
    THREAD_VARIABLES,
    Executor,
    ExecutorName,
    Placement,
    ending,
    make_executor,
)
from harness.executors.environment import variables_set
from harness.executors.gpus import visible_gpus
from harness.executors.together import TogetherExecutor
from harness.interruption import Interruption
from harness.leases import Leases
from harness.ledger import Ledger
from harness.lock import alone, sharing
from harness.progress import Watcher
from harness.record_writer import RecordWriter, name_damage, recording, take_up_record
from harness.repair import mend
from harness.schedule import Schedule
from harness.session import Session
from harness.spec import load_study
from harness.store import Rebuilt, rebuild
from harness.survey import identifier, plan_of, survey, take_up_decisions, watched
from harness.turns import Company
from harness.workload import Params

Study = Path | Params
"""A study file, or what stands in one."""
MOST_WORKERS = 8
"""Unless more are asked for."""
MOST_AT_ONCE = 1024
"""Workers, threads of one, or runs on a GPU: each is a process or a thread."""
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
    extend: bool = False
    """Whether a study that has results may have grown since; see ``harness.changes``."""
    again: frozenset[str] = frozenset()
    """Classes of failure that are trained again, also where they are final."""
    reuse: bool = True
    """Whether what earlier calls have finished counts; else it is trained anew, and compared."""
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
    pruned: int = 0
    """Runs that were stopped early, and those that were spared because their trial was given up."""
    shortage: str | None = None
    """What the budget had no room for, in a sentence."""

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
    """``done``, ``failed`` (which stays so), ``pruned``, or ``to do``."""


class Preview(NamedTuple):
    """What a call would do."""

    study: str
    question: str
    runs: tuple[PlannedRun, ...]
    """In the order in which they would start."""
    proposed_later: int
    """Trials that a search has still to propose; an upper bound."""
    changes: tuple[str, ...]
    """What differs from the study of this name that is in the results; see ``harness.changes``."""
    is_open: bool = False
    """Whether a budget alone will say how many there are."""


def run_study(
    study: Study, overrides: tuple[str, ...], options: RunOptions, watcher: Watcher
) -> Outcome:
    """Train every run of a study that is not trained yet, and bring the store up to date.

    A first SIGINT or SIGTERM lets the workers finish their epoch and ends the call in order, a
    second one stops them at once; see ``Outcome``. A damaged database, whenever it is found, is
    made anew if nobody else is at work in the folder, and the study goes on.

    Args:
        study: The study file, or its content.
        overrides: ``KEY=VALUE`` each, over the study.
        options: Where and how.
        watcher: Is told what happens.

    Raises:
        InputError: the study, its data or an option is wrong, or a rebuild is at work.
        StoreError: the results are not writable or not readable.
        HarnessError: the workers were lost.
    """
    try:
        return _run_once(study, overrides, options, watcher)
    except StoreDamagedError as error:
        mend(options.results, error, watcher.say)
    return _run_once(study, overrides, options, watcher)


def _run_once(
    study: Study, overrides: tuple[str, ...], options: RunOptions, watcher: Watcher
) -> Outcome:
    loaded = load_study(study, overrides)
    with ExitStack() as stack:
        # First of all, because it imports the workload while we do the same.
        executor, threads = _start_executor(options, loaded.spec.workload, stack)
        plan = plan_of(loaded)
        schedule = Schedule(plan, identifier(plan))
        stack.enter_context(sharing(options.results))
        leases = stack.enter_context(Leases(options.results))
        name_damage(options.results, plan.spec.study, watcher.say)
        before = take_up_record(options.results, plan.spec.study, leases, watcher.say)
        refuse_changes(plan, before, options.results, extend=options.extend)
        take_up_decisions(schedule, plan, before)
        spending = Spending(plan.spec, before.spent_seconds if before else 0.0)
        ledger = Ledger(
            options.results,
            watched=watched(plan),
            again=options.again,
            is_anew=not options.reuse,
            check=leases.check,
        )
        ledger.prepare()
        # The loop has no say while a run is executed in this process: the run looks itself.
        at_first = ending.ask if options.executor == "local" else None
        interruption = stack.enter_context(Interruption(at_first))
        writer = RecordWriter(options.results, plan.spec, leases, before, watcher.say)
        session = Session(
            plan=plan,
            schedule=schedule,
            ledger=ledger,
            leases=leases,
            executor=executor,
            watcher=watcher,
            threads=threads,
            spending=spending,
            write_record=recording(writer, plan, schedule, ledger, spending, options.command),
            look_at_record=writer.look,
            company=Company(plan, is_possible=options.executor in PROCESS_EXECUTORS),
            profile=options.profile,
        )
        try:
            _train(session, options.results, interruption)
            return _finish(session, ledger, watcher, interruption.signal)
        except StoreDamagedError as error:
            if interruption.signal is None:
                raise
            raise StoreError(str(error)) from None  # who wants to stop now waits for no repair


def _start_executor(options: RunOptions, workload: str, stack: ExitStack) -> tuple[Executor, int]:
    """What executes the runs, until the stack unwinds, and the threads of each run."""
    gpus = gpus_for(options)
    workers, threads = division_of_cores(options, len(gpus))
    if options.executor == "local":
        # For libraries that are imported from here on.
        stack.enter_context(variables_set(dict.fromkeys(THREAD_VARIABLES, str(threads))))
    executor = make_executor(
        options.executor,
        workload,
        slots=workers,
        threads=threads,
        placement=Placement(gpus, options.runs_per_gpu, options.address),
    )
    if options.executor in PROCESS_EXECUTORS:
        executor = TogetherExecutor(executor)
    stack.callback(executor.close)
    return executor, threads


def _train(session: Session, results: Path, interruption: Interruption) -> None:
    """Let the session train; whatever ends it, what its runs have spooled is kept."""
    try:
        session.run(results, interruption)
    except BaseException:
        session.executor.stop()
        session.collect()
        study = session.plan.spec.study
        with suppress(HarnessError):  # what went wrong first is what the user must hear
            session.write_record()
            _flush_patiently(session.ledger, session.watcher, study, _FLUSH_WAIT_INTERRUPTED_S)
        raise


def preview(study: Study, overrides: tuple[str, ...], results: Path) -> Preview:
    """What ``run_study`` would do. Nothing is trained and nothing written.

    Raises:
        InputError: the study or its data is wrong.
    """
    plan, schedule, ledger = survey(study, overrides, results)
    spared = {member.run_id for member in schedule.members if member.is_pruned}
    runs = []
    for task in schedule.planned:
        state = ledger.settled.get(task.run_id)
        shown = "pruned" if task.run_id in spared else "to do" if state is None else state.state
        runs.append(PlannedRun(task.trial.label, task.run.seed, task.run_id, shown))
    later = schedule.total - len(runs)
    spec = plan.spec
    return Preview(
        study=spec.study,
        question=spec.question,
        runs=tuple(runs),
        proposed_later=later // len(spec.seed_list),
        is_open=schedule.is_open,
        changes=tuple(str(change) for change in changes_of(plan, results)),
    )


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
        StoreError: the folder is not writable.
    """
    if not results.is_dir():  # the lock must not make it
        raise InputError(f"{results}: no such results folder; give one with --results")
    with alone(results):
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
    if session.repeats:
        same = sum(session.repeats)
        watcher.say(
            f"{len(session.repeats)} runs that were finished are trained anew: {same} with the "
            f"very same results, {len(session.repeats) - same} with others"
        )
    return Outcome(
        study=study,
        total=snapshot.total,
        done=snapshot.done,
        failed=snapshot.failed,
        trained=session.trained,
        signal=signal,
        is_stored=busy is None,
        pruned=snapshot.pruned,
        shortage=session.shortage(),
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
