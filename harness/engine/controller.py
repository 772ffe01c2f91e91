"""One call's loop over the runs of a study: start, watch, note the end, try again, store."""

from __future__ import annotations

import math
import shutil
import signal
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from harness.engine.dispatch.attempt import Attempt
from harness.engine.dispatch.leases import Leases
from harness.engine.dispatch.metric_check import check_metric
from harness.engine.dispatch.packing import Packing
from harness.engine.dispatch.retry_policy import RetryQueue
from harness.engine.dispatch.run_queue import RunQueue
from harness.engine.dispatch.run_states import RunStates
from harness.engine.dispatch.time_budget import TimeBudget
from harness.engine.outlook import find_shortage, seconds_left
from harness.engine.progress import ProgressListener, RunCounts, RunLine, Snapshot
from harness.engine.signals import SignalGuard
from harness.errors import StoreBusyError, StoreError
from harness.executors.interface import Ended, Executor, Job, in_one_process
from harness.executors.worker.run_attempt import (
    STATUS_NOT_WRITABLE,
    STATUS_OUTRUN,
    finished_by_death,
)
from harness.executors.worker.run_log import log_size, why_not_writable
from harness.records.folders import run_dir, spool_path, work_dir
from harness.records.run_state import RunState
from harness.search.scheduler import ScheduledRun, Scheduler
from harness.study.plan import Plan

_TICK_S = 0.5
_RECORD_EVERY_S = 30.0
_TERMINATED_GRACE_S = 60.0
"""How long runs may go on with their epoch when the driver gets SIGTERM: nobody watches then."""


@dataclass
class Controller:
    """What a call knows while it runs; the results themselves are in spools."""

    plan: Plan
    schedule: Scheduler
    ledger: RunStates
    leases: Leases
    executor: Executor
    watcher: ProgressListener
    threads: int
    spending: TimeBudget
    write_record: Callable[[], None]
    look_at_record: Callable[[], None]
    """Raises where another driver has written a record that must stay."""
    company: Packing
    profile: bool = False
    trained: int = field(default=0, init=False)
    repeats: list[bool] = field(default_factory=list, init=False)
    """Of each run that was finished and is trained anew: whether its results are the same."""
    _active: dict[str, Attempt] = field(default_factory=dict, init=False)
    _tally: RunCounts = field(default_factory=RunCounts, init=False)
    _reused: int = field(default=0, init=False)
    _is_metric_known: bool = field(default=False, init=False)
    _last_tick: float = field(default=0.0, init=False)
    _last_record: float = field(default=0.0, init=False)
    _retries: RetryQueue = field(default_factory=RetryQueue, init=False)
    _is_interrupted: bool = field(default=False, init=False)
    _is_spent: bool = field(default=False, init=False)

    def __post_init__(self) -> None:
        """Queue up the runs, of which none has started."""
        self._turns = RunQueue(
            self.schedule,
            self.ledger,
            self.leases,
            self.company,
            retries=self._retries,
            count=self._tally.add,
        )

    def run(self, results: Path, interruption: SignalGuard) -> None:
        """Train what is missing, until there is nothing left or the user interrupts.

        Raises:
            InputError: the study's metric is none that its runs report.
            StoreError: the disk is full.
            HarnessError: the workers were lost.
        """
        self._take_up()
        self._grow()
        self._record()
        self._reused = len(self.ledger.settled)
        self._tick()
        try:
            while self._go_on(results, interruption):
                ended = self._wait()
                for each in ended:
                    self._note_end(each)
                has_news = self._turns.collect_finished_elsewhere() or bool(ended)
                if has_news and not self._is_ending and self._grow():
                    self._record()
                if time.monotonic() - self._last_tick >= _TICK_S:
                    self._tick()
        except KeyboardInterrupt:
            if interruption.signal is None:
                raise
            self.executor.stop()
            self.collect()
        for run_id in self._retries.waiting:  # no time is left for another attempt
            self._settle(self.schedule.tasks[run_id])
        self.spending.stop()
        self._record()

    def collect(self) -> None:
        """Read what the active runs have spooled, after the workers were stopped."""
        for run_id in list(self._active):
            state = self.ledger.read(run_id)
            if state.is_over and state.attempts >= self._active[run_id].job.attempt:
                self._settle(self._active.pop(run_id).task)

    def budget_message(self) -> str | None:
        """What the budget had no room for, in a sentence; None where it had for everything."""
        return find_shortage(self.plan, self.schedule, self.ledger.settled, is_spent=self._is_spent)

    def snapshot(self) -> Snapshot:
        """Where the study stands now."""
        spec = self.plan.spec
        return Snapshot(
            study=spec.study,
            question=spec.question,
            metric=spec.metric,
            total=self.schedule.total,
            done=self._tally.done,
            failed=self._tally.failed,
            pruned=self._tally.pruned + self.schedule.skipped,
            reused=self._reused,
            running=tuple(self._line(active.task) for active in self._active.values()),
            seconds_left=self._seconds_left(),
        )

    @property
    def _is_ending(self) -> bool:
        """Whether no run is started any more."""
        return self._is_interrupted or self._is_spent

    def _go_on(self, results: Path, interruption: SignalGuard) -> bool:
        """Start what can be started; whether there is something to wait for."""
        self.leases.check()
        if interruption.signal is not None and not self._is_interrupted:
            self._is_interrupted = True
            is_watched = interruption.signal == signal.SIGINT
            self._finish_epochs(grace_s=None if is_watched else _TERMINATED_GRACE_S)
            if self._active:
                self.watcher.say("finishing the running epochs; Ctrl-C again stops at once")
        if not self._is_ending:
            self._keep_budget()
        if not self._is_ending:
            self._fill(results)
        return bool(self._active or (self._turns and not self._is_ending))

    def _finish_epochs(self, *, grace_s: float | None) -> None:
        """Let the active runs save and end, or end them at once where none has begun."""
        states = [self.ledger.read(run_id) for run_id in self._active]
        jobs = [active.job for active in self._active.values()]
        if all(state.attempts < job.attempt for state, job in zip(states, jobs, strict=True)):
            self.executor.stop()
            self._active.clear()
        for job in jobs:
            self.executor.cancel(job.run_id, grace_s=grace_s)

    def _keep_budget(self) -> None:
        """End the search while there is time for its confirmation, and all when there is none."""
        left_s = self.spending.left_s
        if self.spending.is_over(is_confirming=self.schedule.is_confirming):
            unsettled = self.schedule.tasks.keys() - self.ledger.settled.keys()
            self._is_spent = bool(unsettled) or self.schedule.is_searching
            self._finish_epochs(grace_s=None)
        elif (
            left_s is not None
            and (mean_s := self._tally.mean_s) is not None
            and self.schedule.is_searching
            and (later := self.schedule.confirm_runs())
        ):
            runs = later + len(self.schedule.tasks) - len(self._tally.counted)
            if left_s <= mean_s * math.ceil(runs / self._most_active):
                self.schedule.end_search()
                self._grow()
                self._record()

    @property
    def _most_active(self) -> int:
        """How many processes may be active at once, after runs that ran out of memory."""
        return int(min(self.executor.slots, self._retries.most_active))

    def _wait(self) -> list[Ended]:
        """The runs that end within a moment."""
        if self._active:
            return self.executor.poll(_TICK_S)
        time.sleep(min(_TICK_S, self._retries.wait_s) if self._retries else _TICK_S)
        return []

    def _record(self) -> None:
        self.write_record()
        self._last_record = time.monotonic()

    def _grow(self) -> bool:
        """Add trials until the next proposal has to wait; whether the record has changed."""
        before = self.schedule.changes
        while self.schedule.propose_more(self.ledger.settled):
            self._take_up()
        return self.schedule.changes != before

    def _take_up(self) -> None:
        """Count the runs that earlier calls have trained."""
        self.ledger.load(self.schedule.thresholds)
        for run_id in self.ledger.settled.keys() - self._tally.counted:
            self._tally.add(self.schedule.tasks[run_id], self.ledger.settled[run_id])
            self._check_metric(self.schedule.tasks[run_id])

    def _fill(self, results: Path) -> None:
        """Give every free worker a run."""
        while (free := self._most_active - self._processes) > 0:
            over = len(self._tally.counted)
            if tasks := self._turns.take(free):
                self._start(tasks, results)
            elif len(self._tally.counted) > over and self._grow():
                self._record()  # others have finished what a proposal waited for
            else:
                return

    @property
    def _processes(self) -> int:
        """How many are active now."""
        return len({active.job.process for active in self._active.values()})

    def _start(self, tasks: Sequence[ScheduledRun], results: Path) -> None:
        """Give runs to a worker, which trains them together."""
        jobs = in_one_process([self._job(task, results) for task in tasks])
        for job in jobs:
            if job.is_anew:  # its files would end it at once, or go on from what is damaged
                shutil.rmtree(work_dir(job.directory), ignore_errors=True)
        now = time.monotonic()
        attempts = [
            Attempt(task, job, now, log_size(job), self.ledger.heard(task.run_id), now)
            for task, job in zip(tasks, jobs, strict=True)
        ]
        self.spending.start()
        self.executor.submit(jobs[0])
        self._active |= {each.job.run_id: each for each in attempts}
        for task in tasks:
            self.watcher.started(self._line(task), self.snapshot())

    def _job(self, task: ScheduledRun, results: Path) -> Job:
        state = self.ledger.state(task.run_id)
        return Job(
            run=task.run,
            run_id=task.run_id,
            directory=run_dir(results, task.run_id),
            attempt=state.attempts + 1,
            threads=self.threads,
            thresholds=task.thresholds,
            profile=self.profile,
            is_anew=state.damage is not None or self.ledger.before(task.run_id) is not None,
            code=self.plan.code.table(task.run.code),
        )

    def _note_end(self, ended: Ended) -> None:
        active, state = self._active.pop(ended.run_id), self.ledger.read(ended.run_id)
        if ended.exit_code == STATUS_NOT_WRITABLE:
            raise why_not_writable(active.job)
        if state.attempts < active.job.attempt or not state.is_over:
            has_company = active.job.together > 1
            if self._is_ending and (has_company or active.exceeded is None):
                return  # it was asked to end: the next call goes on with it
            if has_company:  # whatever it was: it need not have been for this run's sake
                is_memory = ended.signal == signal.SIGKILL and active.exceeded is None
                self._start_alone(active, is_memory=is_memory)
                return
            if ended.exit_code == STATUS_OUTRUN:  # by a worker of a driver that is dead, or of ours
                self.leases.check()
                self._turns.requeue_alone(active.task)
                return
            if ended.is_lost and self._turns.requeue_lost(active.task):
                task = active.task  # no failure of its own, so that nothing else is noted of it
                self.watcher.say(f"{task.name}: what it ran on is gone; it starts again")
                return
            if state.damage is not None and not self._is_ending:
                self._start_anew(active, state.damage)
                return
            event = finished_by_death(
                active.job,
                ended,
                seconds=time.monotonic() - active.began,
                log_start=active.log_start,
                exceeded=active.exceeded,
            )
            with self.leases.holding():  # a run that is another's by now has not ended
                state = self.ledger.write_end(ended.run_id, event)
        if self._is_tried_again(active, state):
            return
        self._settle(active.task)
        self.watcher.ended(self._line(active.task), self.snapshot())
        self._check_metric(active.task)

    def _is_tried_again(self, active: Attempt, state: RunState) -> bool:
        """Take a failed run up for another attempt where its class has one."""
        if state.failure is None or self._is_ending:
            return False
        if state.failure == "oom" and active.job.together > 1:  # they all have used the memory
            self._start_alone(active, is_memory=True)
            return True
        task = active.task
        retry = self._retries.note(task.run_id, state.failure, active=self._most_active)
        if retry is None:
            return False
        when = f" in {retry.wait_s:g} s" if retry.wait_s else ""
        if retry.takes_slot:
            when += f", with at most {self._most_active} at once from now on"
        self.watcher.say(
            f"{task.name}: {state.failure}: {state.message}; "
            f"retry {retry.number} of {retry.most}{when}"
        )
        return True

    def _start_anew(self, active: Attempt, damage: str) -> None:
        """Queue a run whose spool was damaged or taken away while it was trained.

        Raises:
            StoreError: that has happened too often.
        """
        path = spool_path(active.job.directory)
        if not self._turns.requeue_lost(active.task):
            raise StoreError(f"{path}: {damage}, once more; check the disk, and who writes there")
        self.watcher.say(f"{path}: {damage}; the run starts anew")

    def _start_alone(self, active: Attempt, *, is_memory: bool) -> None:
        """Queue a run whose process has ended before it, with others: nothing is noted of it."""
        self._turns.requeue_alone(active.task)
        if is_memory:
            self.company.halve_after_oom(active.task, active.job.together)
        task, reason = (
            active.task,
            "" if active.exceeded is None else f" ({active.exceeded.message})",
        )
        self.watcher.say(
            f"{task.name}: the worker that trained it with "
            f"{active.job.together - 1} others has ended{reason}; it starts again, alone"
        )

    def _settle(self, task: ScheduledRun) -> None:
        state = self.ledger.settle(task.run_id, task.thresholds)
        self._tally.add(task, state)
        if (before := self.ledger.before(task.run_id)) is not None:
            self.repeats.append(before.results == state.results)
        self.leases.release(task.run_id)
        self.trained += 1

    def _check_metric(self, task: ScheduledRun) -> None:
        """Refuse a study whose metric does not exist, as soon as a run shows which do."""
        state = self.ledger.state(task.run_id)
        if not self._is_metric_known and state.state == "done":
            check_metric(self.plan.loaded, task.trial, state)
            self._is_metric_known = task.trial.role != "control"

    def _tick(self) -> None:
        """Look at the runs, bring the database up to date if nobody reads it, and say so."""
        for active in self._active.values():
            self._watch(active)
        if self.spending.left_s is not None and time.monotonic() - self._last_record > (
            _RECORD_EVERY_S
        ):
            self._record()
        self.look_at_record()
        with suppress(StoreBusyError):  # the next tick tries again
            for notice in self.ledger.sync_if_due():
                self.watcher.say(notice)
        self.watcher.tick(self.snapshot())
        self._last_tick = time.monotonic()

    def _watch(self, active: Attempt) -> None:
        """Read what a run has reported, and cancel it where it has broken a limit."""
        state, now = self.ledger.read(active.job.run_id), time.monotonic()
        active.note_progress(self.ledger.heard(active.job.run_id), attempts=state.attempts, now=now)
        if not state.is_over and active.exceeds_limit(self.plan.spec.limits, now):
            for each in self._active.values():  # with the process all of its runs end
                if each.job.process == active.job.process:
                    each.exceeded = each.exceeded or active.exceeded
            self.executor.cancel(active.job.run_id)

    def _line(self, task: ScheduledRun) -> RunLine:
        state = self.ledger.settled.get(task.run_id) or self.ledger.state(task.run_id)
        return RunLine(task.run_id, task.trial.label, task.run.seed, state)

    def _seconds_left(self) -> float | None:
        """What finished runs took on average, for all that is left, shared among the workers."""
        now = time.monotonic()
        ages = [(now - each.began) / each.job.together for each in self._active.values()]
        return seconds_left(
            self.schedule, self._tally, ages, slots=self._most_active, left_s=self.spending.left_s
        )
