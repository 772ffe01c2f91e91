"""Run a study from its file to finished runs in the store.

Everything that must survive is written to the spools first, so the driver may be killed at any
moment: the next call reads the spools and trains what is missing.
"""

from __future__ import annotations

from contextlib import ExitStack, suppress
from pathlib import Path
from typing import NamedTuple

from harness.engine.budget import TimeBudget
from harness.engine.controller import Controller
from harness.engine.database_repair import mend
from harness.engine.dispatch.attempt_ends import AttemptEnds
from harness.engine.dispatch.attempt_starts import AttemptStarts
from harness.engine.dispatch.leases import Leases
from harness.engine.dispatch.packing import Packing
from harness.engine.dispatch.run_queue import RunQueue
from harness.engine.dispatch.run_states import RunTable
from harness.engine.dispatch.store_writer import StoreWriter
from harness.engine.forecast.notes import ForecastNotes
from harness.engine.progress import ProgressListener
from harness.engine.record_writer import (
    RecordWriter,
    StudyRecorder,
    name_damage,
    take_up_record,
)
from harness.engine.run_options import RunOptions, division_of_cores, gpus_for
from harness.engine.signals import SignalGuard
from harness.engine.study_state import RunIdentity, plan_of, restore_search_end, watched
from harness.errors import HarnessError, StoreBusyError, StoreDamagedError, StoreError
from harness.executors import make_executor
from harness.executors.interface import PROCESS_EXECUTORS, THREAD_VARIABLES, Executor, Placement
from harness.executors.packed import TogetherExecutor
from harness.executors.worker import stop_request
from harness.executors.worker.environment import variables_set
from harness.records.studies.forecasts import NotedForecast
from harness.search.scheduler import Scheduler
from harness.store.results_lock import sharing
from harness.study.claim_changes import refuse_changed_claims
from harness.study.loading import load_study
from harness.study.spec_diff import refuse_incompatible
from harness.workload import Params

_SYNC_WAIT_S = 60.0
_SYNC_WAIT_INTERRUPTED_S = 5.0


class Outcome(NamedTuple):
    """The outcome of one ``harness run``."""

    study: str
    total: int
    done: int
    failed: int
    trained: int
    """Runs that this call has trained to their end, whether done, pruned or failed."""
    signal: int | None
    """The signal that interrupted the call, if any."""
    is_stored: bool
    """Whether the database is up to date; False only after an interruption."""
    pruned: int = 0
    """Runs that were stopped early, or never started because their trial was pruned."""
    budget_message: str | None = None
    """A sentence on what the budget did not cover; None if it covered everything."""
    forecast: NotedForecast | None = None
    """What was forecast for the runs that this call has finished, and what they took."""

    @property
    def exit_status(self) -> int:
        """0 if all runs are done, 1 if any failed, 128 + signal if interrupted."""
        if self.signal is not None:
            return 128 + self.signal
        return 1 if self.failed else 0


def run_study(
    study: Path | Params, overrides: tuple[str, ...], options: RunOptions, watcher: ProgressListener
) -> Outcome:
    """Train the missing runs of a study, and update the store.

    The first SIGINT or SIGTERM lets the workers finish their epoch and then ends the call; a second
    one stops them at once; see ``Outcome``. A damaged database is rebuilt, whenever it is found,
    provided that no other driver is using the folder; the study then continues.

    Args:
        study: The study file, or its content.
        overrides: ``KEY=VALUE`` settings that override the study.
        options: How to run it, and the results folder.
        watcher: Receives progress events.

    Raises:
        InputError: the study, its data or an option is invalid, or a rebuild is in progress.
        StoreError: the results cannot be written or read.
        HarnessError: the workers were lost.
    """
    try:
        return _run_once(study, overrides, options, watcher)
    except StoreDamagedError as error:
        mend(options.results, error, watcher.say)
    return _run_once(study, overrides, options, watcher)


def _run_once(
    study: Path | Params, overrides: tuple[str, ...], options: RunOptions, watcher: ProgressListener
) -> Outcome:
    loaded = load_study(study, overrides)
    with ExitStack() as stack:
        # First, so that the executor imports the workload while this process does.
        executor, threads = _start_executor(options, loaded.spec.workload, stack)
        plan = plan_of(loaded)
        identity = RunIdentity(plan)
        schedule = Scheduler(plan, identity)
        stack.enter_context(sharing(options.results))
        leases = stack.enter_context(Leases(options.results))
        name_damage(options.results, plan.spec.study, watcher.say)
        before = take_up_record(options.results, plan.spec.study, leases, watcher.say)
        refuse_incompatible(plan, before, options.results, extend=options.extend)
        refuse_changed_claims(plan.loaded, before.claims if before else ())
        restore_search_end(schedule, plan, before)
        budget = TimeBudget(plan.spec, before.spent_seconds if before else 0.0)
        store = StoreWriter(options.results, check=leases.check)
        store.prepare()
        runs = RunTable(
            options.results,
            store,
            watched=watched(plan),
            again=options.again,
            is_anew=not options.reuse,
        )
        # A run executed in this process blocks the loop, so the run checks for the signal itself.
        at_first = stop_request.set if options.executor == "local" else None
        interruption = stack.enter_context(SignalGuard(at_first))
        writer = RecordWriter(options.results, plan.spec, leases, before, watcher.say)
        packing = Packing(plan, is_possible=options.executor in PROCESS_EXECUTORS)
        queue = RunQueue(schedule, runs, leases, packing, executor)
        controller = Controller(
            plan=plan,
            schedule=schedule,
            runs=runs,
            queue=queue,
            starts=AttemptStarts(
                plan.code, runs, executor, threads, options.profile, options.command
            ),
            ends=AttemptEnds(runs, queue, leases, watcher.say),
            store=store,
            leases=leases,
            executor=executor,
            watcher=watcher,
            budget=budget,
            recorder=StudyRecorder(
                writer,
                plan,
                schedule,
                runs,
                store,
                budget,
                options.command,
                identity.test_sets,
                ForecastNotes(before.forecasts if before else ()),
            ),
            interruption=interruption,
        )
        try:
            _train(controller)
            return _finish(controller)
        except StoreDamagedError as error:
            if interruption.signal is None:
                raise
            raise StoreError(str(error)) from None  # an interrupted call must not wait for a repair


def _start_executor(options: RunOptions, workload: str, stack: ExitStack) -> tuple[Executor, int]:
    """Start the executor, which the stack closes. Returns it and the threads per run."""
    gpus = gpus_for(options)
    workers, threads = division_of_cores(options, len(gpus))
    if options.executor == "local":
        # Read by libraries when they are imported, which happens later.
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


def _train(controller: Controller) -> None:
    """Run the controller; on any error, keep what its runs have spooled."""
    try:
        controller.run()
    except BaseException:
        controller.executor.stop()
        controller.collect()
        with suppress(HarnessError):  # the first error is the one to report
            controller.recorder.save()
            _sync_patiently(controller, _SYNC_WAIT_INTERRUPTED_S)
        raise


def _finish(controller: Controller) -> Outcome:
    """Sync the database a last time, and return the outcome of the call."""
    watcher, signal = controller.watcher, controller.interruption.signal
    busy = _sync_patiently(controller, _SYNC_WAIT_S if signal is None else _SYNC_WAIT_INTERRUPTED_S)
    if busy is not None and signal is None:
        raise busy
    snapshot = controller.snapshot()
    watcher.tick(snapshot)
    trained = controller.runs.trained
    again = [(row.previous.results, row.newest.results) for row in trained if row.previous]
    if again:
        same = sum(before == now for before, now in again)
        watcher.say(
            f"{len(again)} finished runs were trained again: {same} with identical results, "
            f"{len(again) - same} with different ones"
        )
    return Outcome(
        study=snapshot.study,
        total=snapshot.total,
        done=snapshot.done,
        failed=snapshot.failed,
        trained=len(trained),
        signal=signal,
        is_stored=busy is None,
        pruned=snapshot.pruned,
        budget_message=controller.budget_message(),
        forecast=controller.recorder.forecasts.last,
    )


def _sync_patiently(controller: Controller, wait_s: float) -> StoreBusyError | None:
    """Sync the database a last time. Returns the error to raise if a reader prevents it."""
    study, say = controller.plan.spec.study, controller.watcher.say
    try:
        notices = controller.store.sync(compare=study, wait_s=wait_s, on_wait=say)
    except StoreBusyError as error:
        busy = StoreBusyError(
            f"{error}; no result is lost: then rebuild the database with `harness rebuild`"
        )
        say(str(busy))
        return busy
    for notice in notices:
        say(notice)
    return None
