"""Main loop of one ``harness run``: start runs, watch them, retry failures, update the store."""

from __future__ import annotations

import signal
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field

from harness.engine.budget import TimeBudget, find_shortage, seconds_left
from harness.engine.dispatch.attempt import Attempt
from harness.engine.dispatch.attempt_ends import AttemptEnds
from harness.engine.dispatch.attempt_starts import AttemptStarts
from harness.engine.dispatch.leases import Leases
from harness.engine.dispatch.metric_check import check_metric
from harness.engine.dispatch.run_queue import RunQueue
from harness.engine.dispatch.run_states import RunRow, RunTable
from harness.engine.dispatch.store_writer import StoreWriter
from harness.engine.progress import ProgressListener, RunLine, Snapshot
from harness.engine.record_writer import StudyRecorder
from harness.engine.signals import SignalGuard
from harness.engine.study_state import StudyState
from harness.errors import StoreBusyError
from harness.executors.interface import Ended, Executor
from harness.search.scheduler import Scheduler
from harness.study.trials.plan import Plan

_TICK_S = 0.5
_TERMINATED_GRACE_S = 60.0
"""Seconds that runs get to finish their epoch after a SIGTERM, when no user can stop them."""


@dataclass
class Controller:
    """Trains the missing runs of a study. Holds no results; those are in the spools."""

    plan: Plan
    schedule: Scheduler
    runs: RunTable
    queue: RunQueue
    starts: AttemptStarts
    ends: AttemptEnds
    store: StoreWriter
    leases: Leases
    executor: Executor
    watcher: ProgressListener
    budget: TimeBudget
    recorder: StudyRecorder
    interruption: SignalGuard
    _reused: int = field(default=0, init=False)
    _is_metric_known: bool = field(default=False, init=False)
    _last_tick: float = field(default=0.0, init=False)
    _is_interrupted: bool = field(default=False, init=False)
    _is_spent: bool = field(default=False, init=False)

    def run(self) -> None:
        """Train the missing runs until none is left, the budget is spent or the user interrupts.

        Raises:
            InputError: the runs do not report the study's metric.
            StoreError: the disk is full.
            HarnessError: the workers were lost.
        """
        self._load()
        self._grow()
        self._forecast()
        self.recorder.save()
        self._reused = len(self.runs.finished)
        self._tick()
        try:
            while self._go_on():
                ended = self._wait()
                for each in ended:
                    self._note_end(each)
                has_news = self.queue.collect_finished_elsewhere() or bool(ended)
                has_grown = has_news and not self._is_ending and self._grow()
                if self._forecast() or has_grown:
                    self.recorder.save()
                if time.monotonic() - self._last_tick >= _TICK_S:
                    self._tick()
        except KeyboardInterrupt:
            if self.interruption.signal is None:
                raise
            self.executor.stop()
            self.collect()
        for row in self.runs.waiting:  # the call ends: no further attempts
            self._finish(row)
        self.budget.stop()
        if not self._is_ending and not self.runs.unfinished:
            self.recorder.forecasts.close(self.budget.seconds)
        self.recorder.save()

    def collect(self) -> None:
        """Finish the active runs whose spools show an end, after the workers were stopped."""
        for attempt in self.runs.active:
            state = self.runs.read(attempt.job.run_id)
            if state.is_over and state.attempts >= attempt.job.attempt:
                self._finish(self.runs[attempt.job.run_id])

    def budget_message(self) -> str | None:
        """Return a sentence on what the budget did not cover; None if it covered everything."""
        return find_shortage(self.plan, self.schedule, self.runs.finished, is_spent=self._is_spent)

    def snapshot(self) -> Snapshot:
        """Return the current progress of the study."""
        spec, counts, now = self.plan.spec, self.runs.counts, time.monotonic()
        return Snapshot(
            study=spec.study,
            question=spec.question,
            metric=spec.metric,
            total=self.schedule.total,
            done=counts.done,
            failed=counts.failed,
            pruned=counts.pruned + self.schedule.skipped,
            reused=self._reused,
            running=tuple(map(_line, self.runs.having("active"))),
            seconds_left=seconds_left(
                self.schedule,
                counts,
                [(now - each.began) / each.job.together for each in self.runs.active],
                slots=self.queue.most_active,
                left_s=self.budget.left_s,
            ),
        )

    @property
    def _is_ending(self) -> bool:
        """Whether the call is ending, so that no more runs are started."""
        return self._is_interrupted or self._is_spent

    def _load(self) -> None:
        """Load new runs of the schedule, with the results of earlier calls."""
        for row in self.runs.load(self.schedule.tasks.values()):
            self._check_metric(row)

    def _grow(self) -> bool:
        """Add trials until the next proposal must wait. Returns whether the record has changed."""
        changes = self.schedule.changes
        while self.schedule.propose_more(self.runs.finished):
            self._load()
        return self.schedule.changes != changes

    def _go_on(self) -> bool:
        """Start as many runs as possible. Returns whether there is anything to wait for."""
        self.leases.check()
        if self.interruption.signal is not None and not self._is_interrupted:
            self._is_interrupted = True
            is_watched = self.interruption.signal == signal.SIGINT
            self._finish_epochs(grace_s=None if is_watched else _TERMINATED_GRACE_S)
            if self.runs.has("active"):
                self.watcher.say("finishing the running epochs; Ctrl-C again stops at once")
        if not self._is_ending:
            self._keep_budget()
        if not self._is_ending:
            self._fill()
        return self.runs.has("active") or (bool(self.queue) and not self._is_ending)

    def _finish_epochs(self, *, grace_s: float | None) -> None:
        """Ask the active runs to stop after their epoch; stop them at once if none has begun."""
        jobs = [attempt.job for attempt in self.runs.active]
        if all(self.runs.read(job.run_id).attempts < job.attempt for job in jobs):
            self.executor.stop()
            for job in jobs:
                self.runs.stop(job.run_id)
        for job in jobs:
            self.executor.cancel(job.run_id, grace_s=grace_s)

    def _keep_budget(self) -> None:
        """End the search in time for its confirmation, and the study when the budget is spent."""
        left_s, mean_s = self.budget.left_s, self.runs.counts.mean_s
        if self.budget.is_over(is_confirming=self.schedule.is_confirming):
            self._is_spent = self.runs.unfinished > 0 or self.schedule.is_searching
            self._finish_epochs(grace_s=None)
        elif (
            left_s is not None
            and mean_s is not None
            and self.schedule.is_searching
            and (later := self.schedule.confirm_runs())
            and left_s <= mean_s * self.queue.rounds(later + self.runs.unfinished)
        ):
            self.schedule.end_search()
            self._grow()
            self.recorder.save()

    def _fill(self) -> None:
        """Start runs until no worker is free."""
        while self.queue.free > 0:
            finished = len(self.runs.finished)
            if rows := self.queue.take():
                self._start(rows)
            elif len(self.runs.finished) > finished and self._grow():
                self.recorder.save()  # other drivers have finished runs that a proposal waited for
            else:
                return

    def _start(self, rows: Sequence[RunRow]) -> None:
        self.budget.start()
        self.starts.start(rows)
        for row in rows:
            self.watcher.started(_line(row), self.snapshot())

    def _wait(self) -> list[Ended]:
        """Return the attempts that end within one tick."""
        if self.runs.has("active"):
            return self.executor.poll(_TICK_S)
        time.sleep(min(_TICK_S, self.runs.wait_s))
        return []

    def _note_end(self, ended: Ended) -> None:
        """Finish the run of an ended attempt, unless the run is restarted or retried."""
        row = self.ends.take(ended, is_ending=self._is_ending)
        if row is not None:
            self._finish(row)
            self.watcher.ended(_line(row), self.snapshot())
            self._check_metric(row)

    def _finish(self, row: RunRow) -> None:
        self.runs.finish(row.task.run_id, is_trained=True)
        self.leases.release(row.task.run_id)

    def _check_metric(self, row: RunRow) -> None:
        """Refuse an unknown metric as soon as a finished run shows which metrics exist."""
        if not self._is_metric_known and row.state.state == "done":
            check_metric(self.plan.loaded, row.task.trial, row.state)
            self._is_metric_known = row.task.trial.role != "control"

    def _tick(self) -> None:
        """Check the active runs, sync the database unless it is in use, and report progress."""
        for attempt in self.runs.active:
            self._watch(attempt)
        self.recorder.save_if_due()
        with suppress(StoreBusyError):  # the next tick tries again
            for notice in self.store.sync_if_due():
                self.watcher.say(notice)
        self.watcher.tick(self.snapshot())
        self._last_tick = time.monotonic()

    def _forecast(self) -> bool:
        """Note how long the runs will take, once it is known. Returns whether that is new."""
        return self.recorder.forecasts.note(
            StudyState(self.plan, self.schedule, self.runs),
            self.runs.active,
            workers=self.queue.most_active,
            spent_s=self.budget.seconds,
        )

    def _watch(self, attempt: Attempt) -> None:
        """Read what a run has reported, and cancel it if it has exceeded a limit."""
        run_id, now = attempt.job.run_id, time.monotonic()
        state = self.runs.read(run_id)
        attempt.note_progress(self.runs[run_id].reader.offset, attempts=state.attempts, now=now)
        if not state.is_over and attempt.exceeds_limit(self.plan.spec.limits, now):
            for each in self.runs.active:  # cancelling ends all runs of the process
                if each.job.process == attempt.job.process:
                    each.exceeded = each.exceeded or attempt.exceeded
            self.executor.cancel(run_id)


def _line(row: RunRow) -> RunLine:
    task = row.task
    return RunLine(task.run_id, task.trial.label, task.run.seed, row.newest, task.fold)
