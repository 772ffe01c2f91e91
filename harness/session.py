"""One call's loop over the runs of a study: start, watch, note the end, store."""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from harness.errors import InputError, StoreBusyError, StoreError
from harness.executors import Ended, Executor, Job
from harness.executors.worker import STATUS_NOT_WRITABLE, finished_by_death, log_size
from harness.interruption import Interruption
from harness.ledger import Ledger
from harness.plan import Plan
from harness.progress import RunLine, Snapshot, Watcher
from harness.schedule import Schedule, Task
from harness.spec import nearest
from harness.spool import RunState, run_dir

_TICK_S = 0.5
_MOST_LOSSES = 3
"""How often a run is started again that was lost with what it ran on."""


class _Active(NamedTuple):
    task: Task
    job: Job
    began: float
    """By the monotonic clock."""
    log_start: int
    """Bytes that earlier attempts have left in the log."""


@dataclass
class Session:
    """What a call knows while it runs; the results themselves are in spools."""

    plan: Plan
    schedule: Schedule
    ledger: Ledger
    executor: Executor
    watcher: Watcher
    threads: int
    write_record: Callable[[], None]
    trained: int = field(default=0, init=False)
    _active: dict[str, _Active] = field(default_factory=dict, init=False)
    _counted: set[str] = field(default_factory=set, init=False)
    _done: int = field(default=0, init=False)
    _trained_done: int = field(default=0, init=False)
    _training_seconds: float = field(default=0.0, init=False)
    _reused: int = field(default=0, init=False)
    _is_metric_known: bool = field(default=False, init=False)
    _last_tick: float = field(default=0.0, init=False)
    _lost: deque[Task] = field(default_factory=deque, init=False)
    _losses: Counter[str] = field(default_factory=Counter, init=False)

    def run(self, results: Path, interruption: Interruption) -> None:
        """Train what is missing, until there is nothing left or the user interrupts.

        Raises:
            InputError: the study's metric is none that its runs report.
            StoreError: the disk is full.
            HarnessError: the workers were lost.
        """
        self._take_up()
        self._grow()
        self.write_record()
        self._reused = len(self.ledger.settled)
        self._tick()
        try:
            while interruption.signal is None:
                self._fill(results)
                if not self._active:
                    return
                ended = self.executor.poll(_TICK_S)
                for each in ended:
                    self._note_end(each)
                if ended and self._grow():
                    self.write_record()
                if time.monotonic() - self._last_tick >= _TICK_S:
                    self._tick()
        except KeyboardInterrupt:
            if interruption.signal is None:
                raise
        self.executor.stop()
        self.collect()

    def collect(self) -> None:
        """Read what the active runs have spooled, after the workers were stopped."""
        for run_id in list(self._active):
            state = self.ledger.read(run_id)
            if state.is_over:
                self._settle(self._active.pop(run_id).task)

    def snapshot(self) -> Snapshot:
        """Where the study stands now."""
        spec = self.plan.spec
        return Snapshot(
            study=spec.study,
            question=spec.question,
            metric=spec.metric,
            total=self.schedule.total,
            done=self._done,
            failed=len(self._counted) - self._done,
            reused=self._reused,
            running=tuple(self._line(active.task) for active in self._active.values()),
            seconds_left=self._seconds_left(),
        )

    def _grow(self) -> bool:
        """Add trials until the next proposal has to wait; whether there were any."""
        has_grown = False
        while self.schedule.grow(self.ledger.settled):
            has_grown = True
            self._take_up()
        return has_grown

    def _take_up(self) -> None:
        """Count the runs that earlier calls have trained."""
        self.ledger.take_up(self.schedule.tasks)
        for run_id in self.ledger.settled.keys() - self._counted:
            self._count(self.schedule.tasks[run_id], self.ledger.settled[run_id])
            self._check_metric(self.schedule.tasks[run_id])

    def _fill(self, results: Path) -> None:
        """Give every free worker a run."""
        while len(self._active) < self.executor.slots:
            task = self._lost.popleft() if self._lost else self.schedule.take(self.ledger.settled)
            if task is None:
                return
            job = Job(
                run=task.run,
                run_id=task.run_id,
                directory=run_dir(results, task.run_id),
                attempt=self.ledger.state(task.run_id).attempts + 1,
                threads=self.threads,
            )
            active = _Active(task, job, time.monotonic(), log_size(job))
            self.executor.submit(job)
            self._active[task.run_id] = active
            self.watcher.started(self._line(task), self.snapshot())

    def _note_end(self, ended: Ended) -> None:
        active = self._active.pop(ended.run_id)
        state = self.ledger.read(ended.run_id)
        if ended.exit_code == STATUS_NOT_WRITABLE:
            raise StoreError(
                f"{active.job.directory}: a worker cannot write its results there; "
                "free some space, then run the same command again"
            )
        if state.attempts < active.job.attempt or not state.is_over:
            if ended.is_lost and self._losses[ended.run_id] < _MOST_LOSSES:
                self._start_again(active.task)
                return
            seconds = time.monotonic() - active.began
            event = finished_by_death(
                active.job, ended, seconds=seconds, log_start=active.log_start
            )
            self.ledger.write_end(ended.run_id, event)
        self._settle(active.task)
        self.watcher.ended(self._line(active.task), self.snapshot())
        self._check_metric(active.task)

    def _start_again(self, task: Task) -> None:
        """Queue a run that was lost: no failure of its own, so that nothing is noted of it."""
        self._losses[task.run_id] += 1
        self._lost.append(task)
        self.watcher.say(
            f"{task.trial.label}, seed {task.run.seed}: what it ran on is gone; it starts again"
        )

    def _settle(self, task: Task) -> None:
        self._count(task, self.ledger.settle(task.run_id))
        self.trained += 1

    def _count(self, task: Task, state: RunState) -> None:
        self._counted.add(task.run_id)
        if state.state != "done":
            return
        self._done += 1
        if task.trial.role != "control":  # one that trains nothing says nothing about the others
            self._trained_done += 1
            self._training_seconds += state.seconds or 0.0

    def _check_metric(self, task: Task) -> None:
        """Refuse a study whose metric does not exist, as soon as a run shows which do."""
        state = self.ledger.state(task.run_id)
        if self._is_metric_known or state.state != "done":
            return
        if task.trial.role == "control":  # it need not have the metric, but shows which splits are
            if not self.plan.spec.is_fixed and "val" not in _splits(state):
                raise InputError(
                    f"{self.plan.loaded.source.where(('sampler',))}: sampler: a search is scored "
                    "on validation classes, and these data have none; give them a validation "
                    "split, or set sampler to grid"
                )
            return
        metric = self.plan.spec.metric
        splits = ("val", "test") if task.trial.phase == "confirm" else ("val",)
        if not any(f"{split}/{metric}" in state.results for split in splits):
            names = {name.partition("/")[2] for name in state.results} - {"", "queries", "dropped"}
            raise InputError(
                f"{self.plan.loaded.source.where(('metric',))}: metric: no run reports "
                f"{' or '.join(f'{split}/{metric}' for split in splits)}; "
                f"{nearest(metric, sorted(names))}; finished runs are kept"
            )
        self._is_metric_known = True

    def _tick(self) -> None:
        """Look at the runs, bring the database up to date if nobody reads it, and say so."""
        for run_id in self._active:
            self.ledger.read(run_id)
        with suppress(StoreBusyError):  # the next tick tries again
            for notice in self.ledger.flush():
                self.watcher.say(notice)
        self.watcher.tick(self.snapshot())
        self._last_tick = time.monotonic()

    def _line(self, task: Task) -> RunLine:
        return RunLine(task.run_id, task.trial.label, task.run.seed, self.ledger.state(task.run_id))

    def _seconds_left(self) -> float | None:
        """What finished runs took on average, for all that is left, shared among the workers."""
        if not self._trained_done:
            return None
        mean = self._training_seconds / self._trained_done
        now = time.monotonic()
        waiting = self.schedule.total - len(self._counted) - len(self._active)
        work = waiting * mean + sum(
            max(0.0, mean - (now - active.began)) for active in self._active.values()
        )
        return work / max(1, min(self.executor.slots, waiting + len(self._active)))


def _splits(state: RunState) -> set[str]:
    """The splits on which a run was scored."""
    return {name.partition("/")[0] for name in state.results}
