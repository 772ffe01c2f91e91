"""Which trials a study has by now, which runs that makes, and which run is next.

Runs are handed out controls first, then seed by seed, so that a study that is stopped early has
some seeds of every trial. An adaptive search, and one that time may end, goes trial by trial: its
proposals wait for whole trials. With a pruner the seeds of a trial go one after another, since each
may be its last.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, NamedTuple, TypeAlias

from harness.records.early_stopping import StoppingThresholds
from harness.records.study_record import Member
from harness.records.trial import Run, Trial
from harness.search.history import FinishedRuns, History, Proposal
from harness.study.budget import confirm_runs, goes_by_trials, search_trials
from harness.study.plan import Plan

if TYPE_CHECKING:
    from harness.search.sampler import Sampler


Order: TypeAlias = tuple[int, int, int]
"""Runs start from the least to the greatest."""


@dataclass(frozen=True, slots=True)
class ScheduledRun:
    """A run of a trial."""

    trial: Trial
    run: Run
    run_id: str
    order: Order
    thresholds: StoppingThresholds | None = None
    """By what it is stopped early, if it may be."""

    @property
    def name(self) -> str:
        """Such as ``quality=0.5, seed 3``."""
        return f"{self.trial.label}, seed {self.run.seed}"


@dataclass(slots=True)
class _Member:
    """A run of the study, and what the scheduler has decided about it."""

    task: ScheduledRun
    standing: Literal["held", "open", "stopped", "skipped"] = "held"
    """``held``: may not start yet. ``open``: may start, or has. ``stopped``: was stopped early, and
    its trial pruned. ``skipped``: never starts, since its trial was pruned."""


class _InFlight(NamedTuple):
    """A trial that may still be pruned."""

    tasks: list[ScheduledRun]
    """Its runs that are not finished, of which the first may start."""
    repeats: list[ScheduledRun]
    """Runs of later proposals of it, which start unless it is pruned."""


class Scheduler:
    """The trials and runs of a study; it grows while a search proposes."""

    def __init__(self, plan: Plan, identify: Callable[[Trial, int], Run]) -> None:
        """Take up the trials that are known beforehand.

        Args:
            plan: The study.
            identify: The run of a trial with a seed.
        """
        self._plan = plan
        self._identify = identify
        self._prunes = plan.spec.pruner != "none"
        self._trials: dict[str, Trial] = {}
        self._members: dict[tuple[str, int], _Member] = {}
        # A heap of the runs that may start.
        self._queue: list[tuple[Order, str, ScheduledRun]] = []
        self._history = History(plan)
        self._in_flight: dict[str, _InFlight] = {}
        self._skipped = 0
        self._changes = 0
        self._search: Sampler | None = None
        self._next_number = len(plan.fixed)
        self._most_trials = search_trials(plan.spec, controls=len(plan.controls))
        self._search_end: int | None = None
        # A search has as many trials as its budget has room for; a grid takes what there is.
        self._runs_left = plan.spec.budget.runs if plan.spec.is_fixed else None
        self._is_exhausted = plan.spec.is_fixed or self._has_all_trials
        for trial in plan.fixed:
            tasks = self._add(trial)
            self._history.add(Proposal(trial.number, trial, dict(trial.varied), _by_seed(tasks)))
        self._is_confirmed = plan.spec.confirm is None
        if self._is_confirmed:
            self._add_controls()

    @property
    def trials(self) -> tuple[Trial, ...]:
        """All trials so far, by number."""
        return tuple(sorted(self._trials.values(), key=lambda trial: trial.number))

    @property
    def members(self) -> tuple[Member, ...]:
        """Which run answers for which trial and seed."""
        return tuple(
            Member(*key, each.task.run_id, each.standing in ("stopped", "skipped"))
            for key, each in self._members.items()
        )

    @property
    def pruned(self) -> Mapping[str, str]:
        """Id of each trial that was given up -> why."""
        return self._history.pruned

    @property
    def changes(self) -> int:
        """How often trials, members or what is pruned have changed."""
        return self._changes

    @property
    def tasks(self) -> Mapping[str, ScheduledRun]:
        """Run id -> run, of those that may start or have started."""
        return {
            each.task.run_id: each.task
            for each in self._members.values()
            if each.standing in ("open", "stopped")
        }

    @property
    def planned(self) -> tuple[ScheduledRun, ...]:
        """The runs that the budget has room for so far, in the order in which they start."""
        tasks = [each.task for each in self._members.values()]
        ordered = sorted(tasks, key=lambda task: (task.order, task.run_id))
        spec = self._plan.spec
        return tuple(ordered[: spec.budget.runs] if spec.is_fixed else ordered)

    @property
    def skipped(self) -> int:
        """Runs that never start, because their trial was given up."""
        return self._skipped

    @property
    def total(self) -> int:
        """Runs of the whole study; an upper bound while trials are still to be proposed."""
        spec = self._plan.spec
        trials = self._next_number if self._most_trials is None else self._most_trials
        coming = 0 if self._is_exhausted else max(0, trials - self._next_number)
        return len(self._members) + coming * len(spec.seed_list) + self.confirm_runs(trials)

    @property
    def is_searching(self) -> bool:
        """Whether trials are still to be proposed."""
        return not self._is_exhausted

    @property
    def is_open(self) -> bool:
        """Whether only time will end the search."""
        return not self._is_exhausted and self._most_trials is None

    @property
    def _has_all_trials(self) -> bool:
        """Whether a search has as many trials as it may; its baseline alone can be too many."""
        return self._most_trials is not None and self._next_number >= self._most_trials

    def is_truncated(self, finished: FinishedRuns) -> bool:
        """Whether the budget of runs has left out what the study would have had."""
        spec = self._plan.spec
        if spec.is_fixed:
            return self._runs_left == 0 and any(
                run_id not in finished for _, run_id, _ in self._queue
            )
        return (
            spec.budget.runs is not None
            and self._next_number == self._most_trials != spec.trials
            and self._search_end is None
        )

    @property
    def is_confirming(self) -> bool:
        """Whether a search is over, and its winners are trained again."""
        return self._plan.spec.confirm is not None and self._is_confirmed

    @property
    def rules(self) -> int:
        """By which the study searches; see ``harness.search.rules``."""
        return self._history.rules

    def keep_rules(self, rules: int) -> None:
        """Search by the rules of an earlier call; before anything grows."""
        self._history.rules = rules

    @property
    def search_end(self) -> int | None:
        """At how many trials the search was ended for want of time."""
        return self._search_end

    def confirm_runs(self, trials: int | None = None) -> int:
        """Runs of the confirmation that are still to be added, after so many trials."""
        if self._is_confirmed:
            return 0
        trials = self._next_number if trials is None else trials
        return confirm_runs(self._plan.spec, trials=trials, controls=len(self._plan.controls))

    def end_search(self, at: int | None = None) -> None:
        """Propose no trial beyond ``at``, or none any more; a baseline and a trial remain."""
        most = max(2, at or self._next_number)
        self._search_end = most
        self._most_trials = most if self._most_trials is None else min(most, self._most_trials)
        self._is_exhausted = self._has_all_trials

    def propose_more(self, finished: FinishedRuns) -> bool:
        """Add the trials and seeds that can be added by now; whether there were any.

        Trial ``n`` sees the values of trials up to ``n - parallel_trials`` only, and is proposed
        when these are finished: which trials a study has never depends on timing. The same trials
        decide whether it is pruned.
        """
        has_grown = self._advance(finished)
        while not self._is_exhausted and self._can_propose(finished):
            if not self._propose(finished):
                self._is_exhausted = True
                break
            has_grown = True
            self._next_number += 1
            self._is_exhausted = self._has_all_trials
        return self._confirm(finished) or has_grown

    def next_run(self, finished: FinishedRuns) -> ScheduledRun | None:
        """The next run that is not finished, which is then no longer next.

        None if there is none, or the budget has no room for it.
        """
        while self._queue and self._runs_left != 0:
            if self._runs_left is not None:
                # For a finished run, too: which runs are trained never depends on timing.
                self._runs_left -= 1
            _, run_id, task = heapq.heappop(self._queue)
            if run_id not in finished:
                return task
        return None

    def next_compatible(
        self, fits: Callable[[ScheduledRun], bool], most: int, finished: FinishedRuns
    ) -> tuple[ScheduledRun, ...]:
        """The next runs, ``most`` at most, of those that ``next_run`` would give and that fit.

        The others stay where they are.
        """
        found: list[ScheduledRun] = []
        passed: list[ScheduledRun] = []
        while len(found) < most and (task := self.next_run(finished)) is not None:
            (found if fits(task) else passed).append(task)
        for task in passed:
            self.requeue(task)
        return tuple(found)

    def requeue(self, task: ScheduledRun) -> None:
        """Undo ``next_run``: the run is waiting again, at its place."""
        if self._runs_left is not None:
            self._runs_left += 1
        heapq.heappush(self._queue, (task.order, task.run_id, task))

    def _confirm(self, finished: FinishedRuns) -> bool:
        """Add the winners, once the whole search is finished; whether it did."""
        spec = self._plan.spec
        last = self._next_number
        if self._is_confirmed or not self._is_exhausted:
            return False
        if not self._history.are_finished(last, finished):
            return False
        self._is_confirmed = True
        ranked = [t for t in self._history.best(last, finished) if t.role == "trial"]
        if not ranked or spec.confirm is None:  # nothing was found that could be confirmed
            return False
        for trial in self._plan.confirmation(ranked[: spec.confirm.top]):
            self._add(trial)
        self._add_controls()
        return True

    def _add_controls(self) -> None:
        for trial in self._plan.controls:
            if trial.trial_id not in self._trials:  # a variant can be what a control is
                self._add(trial)

    def _add(self, trial: Trial) -> list[ScheduledRun]:
        """Add a trial that is never pruned; its runs may start."""
        self._trials[trial.trial_id] = trial
        tasks = self._make(trial, trial.number, self._plan.seeds_of(trial), {})
        self._let_start(tasks)
        return tasks

    def _make(
        self,
        trial: Trial,
        number: int,
        seeds: Sequence[int],
        thresholds: Mapping[int, StoppingThresholds],
    ) -> list[ScheduledRun]:
        """The runs of a trial with ``seeds``, as members of the study."""
        tasks = []
        for position, seed in enumerate(seeds):
            run = self._identify(trial, seed)
            order = (position, number)
            if goes_by_trials(self._plan.spec) or self._prunes:
                order = (number, position)
            is_later = int(trial.role != "control")
            task = ScheduledRun(trial, run, run.run_id, (is_later, *order), thresholds.get(seed))
            self._members[trial.trial_id, seed] = _Member(task)
            tasks.append(task)
        self._changes += 1
        return tasks

    def _let_start(self, tasks: Sequence[ScheduledRun]) -> None:
        for task in tasks:
            self._member(task).standing = "open"
            heapq.heappush(self._queue, (task.order, task.run_id, task))

    def _member(self, task: ScheduledRun) -> _Member:
        return self._members[task.trial.trial_id, task.run.seed]

    def _advance(self, finished: FinishedRuns) -> bool:
        """Prune trials or let them go on, by their runs that are finished; whether any were."""
        has_grown = False
        for trial_id, trial in list(self._in_flight.items()):
            while trial.tasks and trial.tasks[0].run_id in finished:
                has_grown = True
                self._go_on(trial, finished)
            if not trial.tasks:
                del self._in_flight[trial_id]
                self._let_start(trial.repeats)
        return has_grown

    def _go_on(self, trial: _InFlight, finished: FinishedRuns) -> None:
        """Take the first run of a trial, which is finished, out of flight; start the next one."""
        ended = trial.tasks.pop(0)
        reason = self._history.reason_to_prune(ended.trial, ended.run.seed, finished)
        is_truncated = finished[ended.run_id].state == "pruned"
        if reason is None or not (trial.tasks or is_truncated):  # a run that is done is kept
            self._let_start(trial.tasks[:1])
            return
        self._history.prune(ended.trial, reason)
        if is_truncated:
            self._member(ended).standing = "stopped"
        self._skip([*trial.tasks, *trial.repeats])
        trial.tasks.clear()
        trial.repeats.clear()

    def _skip(self, tasks: Sequence[ScheduledRun]) -> None:
        """Never start these runs: their trial was pruned."""
        for task in tasks:
            self._member(task).standing = "skipped"
        self._skipped += len(tasks)
        self._changes += 1

    def _can_propose(self, finished: FinishedRuns) -> bool:
        return self._history.are_finished(self._history.last_known(self._next_number), finished)

    def _propose(self, finished: FinishedRuns) -> bool:
        """Take on the next proposal; False where the space has nothing new."""
        # Loaded here: a grid must not pay for the import of Optuna.
        from harness.search.sampler import Sampler

        self._search = self._search or Sampler(self._plan, self.rules)
        number = self._next_number
        varied = self._search.propose(number, self._history.told(number, finished))
        if varied is None:
            return False
        trial = self._plan.trial(number, varied)
        if known := self._trials.get(trial.trial_id):
            tasks = self._repeat(known, number)
        else:
            tasks = self._take_on(trial, finished)
        proposal = Proposal(number, known or trial, varied, _by_seed(tasks), known is not None)
        self._history.add(proposal)
        return True

    def _take_on(self, trial: Trial, finished: FinishedRuns) -> list[ScheduledRun]:
        """Add a new trial of a search."""
        if not self._prunes:
            return self._add(trial)
        seeds = self._plan.seeds_of(trial)
        limits = self._history.thresholds(trial.number, seeds, finished)
        tasks = self._make(trial, trial.number, seeds, limits)
        self._trials[trial.trial_id] = trial
        self._in_flight[trial.trial_id] = _InFlight(list(tasks), [])
        self._let_start(tasks[:1])
        return tasks

    def _repeat(self, trial: Trial, number: int) -> list[ScheduledRun]:
        """Add new seeds of a trial that is known; they are not pruned any more."""
        seeds = self._plan.spec.repeat_seeds(self._history.times(trial))
        tasks = self._make(trial, number, seeds, {})
        if flight := self._in_flight.get(trial.trial_id):
            flight.repeats.extend(tasks)
        elif trial.trial_id in self._history.pruned:  # which the search could not know yet
            self._skip(tasks)
        else:
            self._let_start(tasks)
        return tasks


def _by_seed(tasks: Sequence[ScheduledRun]) -> dict[int, str]:
    return {task.run.seed: task.run_id for task in tasks}
