"""Schedules the trials and runs of a study, and decides which run is next.

Controls come first, then all trials seed by seed, so that a study stopped early has some seeds of
every trial. A search that is adaptive or limited by time runs trial by trial instead, because its
proposals wait for complete trials. With a pruner, the seeds of a trial run one after another,
since the trial may be pruned after each. With ``stop``, each look at the results adds the seeds
that the next one needs; so do the races of an ablation's path.
"""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, NamedTuple, TypeAlias

from harness.records.early_stopping import StoppingThresholds
from harness.records.studies.study_record import Member
from harness.records.trial import Run, Trial, seed_text
from harness.search.history import FinishedRuns, History, Proposal
from harness.search.path_races import PathRaces
from harness.search.seed_decisions import seeds_due
from harness.stats.looks.stopping import StopRule
from harness.study.trials.budget import confirm_runs, goes_by_trials, search_trials
from harness.study.trials.plan import Plan

if TYPE_CHECKING:
    from harness.search.sampler import Sampler


Order: TypeAlias = tuple[int, int, int]
"""The position of a run in the queue; the smallest starts first."""


@dataclass(frozen=True, slots=True)
class ScheduledRun:
    """A run of a trial."""

    trial: Trial
    run: Run
    run_id: str
    order: Order
    thresholds: StoppingThresholds | None = None
    """Thresholds for stopping it early; None if it is never stopped."""
    fold: int = 0
    """Fold of the training data that it holds out; 0 if they are not cut."""

    @property
    def name(self) -> str:
        """The trial's label and the seed, such as ``quality=0.5, seed 3``."""
        return f"{self.trial.label}, seed {seed_text(self.run.seed, self.fold)}"


@dataclass(slots=True)
class _Member:
    """A run of the study, and the scheduler's decision about it."""

    task: ScheduledRun
    standing: Literal["held", "open", "stopped", "skipped"] = "held"
    """``held``: may not start yet. ``open``: may start, or has started. ``stopped``: was stopped
    early, and its trial pruned. ``skipped``: never starts, because its trial was pruned."""


class _InFlight(NamedTuple):
    """A trial that may still be pruned."""

    tasks: list[ScheduledRun]
    """Its unfinished runs; only the first may start."""
    repeats: list[ScheduledRun]
    """Extra-seed runs of repeated proposals; released unless the trial is pruned."""


class Scheduler:
    """The trials and runs of a study; grows as a search proposes trials."""

    def __init__(self, plan: Plan, identify: Callable[[Trial, int, int], Run]) -> None:
        """Add the trials that are known from the start.

        Args:
            plan: The study.
            identify: Builds the run of a trial with a seed and a fold.
        """
        self._plan = plan
        self._identify = identify
        self._prunes = plan.spec.pruner != "none"
        self._trials: dict[str, Trial] = {}
        self._members: dict[tuple[str, int, int], _Member] = {}
        # A heap of the runs that may start.
        self._queue: list[tuple[Order, str, ScheduledRun]] = []
        self._history = History(plan)
        self._in_flight: dict[str, _InFlight] = {}
        self.skipped = 0
        """The number of runs that never start because their trial was pruned."""
        self.changes = 0
        """A counter that grows whenever trials, members or prunings change."""
        self.search_end: int | None = None
        """The number of trials at which the search ran out of time; None if it did not."""
        self._search: Sampler | None = None
        self._next_number = len(plan.fixed)
        self._most_trials = None
        if not plan.spec.is_fixed:
            self._most_trials = search_trials(plan.spec, controls=len(plan.controls))
        # Only a fixed study counts runs: a search limits its number of trials instead.
        self._runs_left = plan.spec.budget.runs if plan.spec.is_fixed else None
        self._is_exhausted = plan.spec.is_fixed or self._has_all_trials
        self._rule = None if plan.spec.stop is None else plan.spec.stop.rule
        self._path = PathRaces(plan) if plan.is_path else None
        for trial in () if self._path else plan.fixed:
            tasks = self._add(trial)
            self._history.add(
                Proposal(trial.number, trial, dict(trial.varied), runs_by_seed(tasks))
            )
        self._is_confirmed = not plan.spec.is_confirmed
        self._most_members = 0
        """With ``stop`` or a path: the most runs that the study can come to."""
        if self._is_confirmed:
            self._add_controls()
        if self._rule is not None:
            self._most_members = len(self._trials) * self._rule.looks[-1]
        if self._path is not None:
            self._follow(self._path, {})

    @property
    def trials(self) -> tuple[Trial, ...]:
        """All trials so far, by number."""
        return tuple(sorted(self._trials.values(), key=lambda trial: trial.number))

    @property
    def members(self) -> tuple[Member, ...]:
        """The run of each trial, seed and fold."""
        return tuple(
            Member(trial_id, seed, each.task.run_id, each.standing in ("stopped", "skipped"), fold)
            for (trial_id, seed, fold), each in self._members.items()
        )

    @property
    def pruned(self) -> Mapping[str, str]:
        """Id of each pruned trial -> reason."""
        return self._history.pruned

    @property
    def tasks(self) -> Mapping[str, ScheduledRun]:
        """Run id -> run, for the runs that may start or have started."""
        return {
            each.task.run_id: each.task
            for each in self._members.values()
            if each.standing in ("open", "stopped")
        }

    @property
    def planned(self) -> tuple[ScheduledRun, ...]:
        """The runs scheduled so far that the budget covers, in starting order."""
        tasks = [each.task for each in self._members.values()]
        ordered = sorted(tasks, key=lambda task: (task.order, task.run_id))
        spec = self._plan.spec
        return tuple(ordered[: spec.budget.runs] if spec.is_fixed else ordered)

    @property
    def total(self) -> int:
        """The number of runs in the study; an upper bound while trials may yet be proposed."""
        spec = self._plan.spec
        trials = self._next_number if self._most_trials is None else self._most_trials
        if self._rule is not None or self._path is not None:
            return self._most_members
        coming = 0 if self._is_exhausted else max(0, trials - self._next_number)
        return len(self._members) + coming * spec.runs_of_trial + self.confirm_runs(trials)

    @property
    def is_searching(self) -> bool:
        """Whether the search may still propose trials."""
        return not self._is_exhausted

    @property
    def is_open(self) -> bool:
        """Whether only the time budget ends the search."""
        return not self._is_exhausted and self._most_trials is None

    @property
    def _has_all_trials(self) -> bool:
        """Whether a search has reached its limit of trials; the baseline alone may exceed it."""
        return self._most_trials is not None and self._next_number >= self._most_trials

    def is_truncated(self, finished: FinishedRuns) -> bool:
        """Whether the budget of runs has left out any runs or trials of the study."""
        spec = self._plan.spec
        if spec.is_fixed:
            return self._runs_left == 0 and any(
                run_id not in finished for _, run_id, _ in self._queue
            )
        return (
            spec.budget.runs is not None
            and self._next_number == self._most_trials != spec.trials
            and self.search_end is None
        )

    @property
    def is_confirming(self) -> bool:
        """Whether the search has ended and its confirmation has begun."""
        return self._plan.spec.is_confirmed and self._is_confirmed

    @property
    def rules(self) -> int:
        """The number of the search's rules; see ``harness.search.rules``."""
        return self._history.rules

    def keep_rules(self, rules: int) -> None:
        """Use the rules of an earlier call; call it before the first proposal."""
        self._history.rules = rules

    def confirm_runs(self, trials: int | None = None) -> int:
        """Return the number of confirmation runs yet to be added, after this many trials."""
        if self._is_confirmed:
            return 0
        if self._plan.spec.is_chosen:
            return self._plan.most_confirmed
        trials = self._next_number if trials is None else trials
        return confirm_runs(self._plan.spec, trials=trials, controls=len(self._plan.controls))

    def end_search(self, at: int | None = None) -> None:
        """Stop proposing at ``at`` trials, or now; at least a baseline and a trial remain."""
        most = max(2, at or self._next_number)
        self.search_end = most
        self._most_trials = most if self._most_trials is None else min(most, self._most_trials)
        self._is_exhausted = self._has_all_trials

    def propose_more(self, finished: FinishedRuns) -> bool:
        """Add the trials and seeds that can be added now. Returns whether there were any.

        Trial ``n`` is proposed from the values of trials up to ``n - parallel_trials`` only, once
        those are finished, so the trials of a study never depend on timing. The same trials decide
        whether it is pruned.
        """
        if self._rule is not None:
            return self._add_seeds(self._rule, finished)
        if self._path is not None:
            return self._follow(self._path, finished)
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
        """Take the next unfinished run from the queue.

        Returns None if there is none, or the budget does not cover it.
        """
        while self._queue and self._runs_left != 0:
            if self._runs_left is not None:
                # Finished runs count, too, so that the runs trained never depend on timing.
                self._runs_left -= 1
            _, run_id, task = heapq.heappop(self._queue)
            if run_id not in finished:
                return task
        return None

    def next_compatible(
        self, fits: Callable[[ScheduledRun], bool], most: int, finished: FinishedRuns
    ) -> tuple[ScheduledRun, ...]:
        """Take up to ``most`` runs that satisfy ``fits`` from the queue, in its order.

        All other runs keep their places.
        """
        found: list[ScheduledRun] = []
        passed: list[ScheduledRun] = []
        while len(found) < most and (task := self.next_run(finished)) is not None:
            (found if fits(task) else passed).append(task)
        for task in passed:
            self.requeue(task)
        return tuple(found)

    def requeue(self, task: ScheduledRun) -> None:
        """Undo ``next_run``: return the run to its place in the queue."""
        if self._runs_left is not None:
            self._runs_left += 1
        heapq.heappush(self._queue, (task.order, task.run_id, task))

    def _confirm(self, finished: FinishedRuns) -> bool:
        """Add the confirmation once the whole search is finished. Returns whether it did."""
        spec = self._plan.spec
        last = self._next_number
        if self._is_confirmed or not self._is_exhausted:
            return False
        if not self._history.are_finished(last, finished):
            return False
        self._is_confirmed = True
        if spec.is_chosen:
            ranked = self._history.best(last, finished)
        else:
            ranked = self._history.winners(last, finished, spec.confirm.top if spec.confirm else 0)
            if not ranked:  # no trial to confirm
                return False
        for trial in self._plan.confirmation(ranked):
            self._add(trial)
        self._add_controls()
        return True

    def _add_controls(self) -> None:
        for trial in self._plan.controls:
            if trial.trial_id not in self._trials:  # a variant may equal a control
                self._add(trial)

    def _add(self, trial: Trial) -> list[ScheduledRun]:
        """Add a trial that is never pruned, and let all its runs start."""
        self._trials[trial.trial_id] = trial
        seeds = self._plan.seeds_of(trial)
        if self._rule is not None:
            seeds = seeds[: self._rule.looks[0]]
        tasks = self._make(trial, trial.number, seeds, {})
        self._let_start(tasks)
        return tasks

    def _add_seeds(self, rule: StopRule, finished: FinishedRuns) -> bool:
        """Take the looks that are due, and add the seeds that the next one needs.

        Returns:
            Whether there were any.
        """
        # A look needs all of them, so that there is nothing to compute before.
        if any(member.task.run_id not in finished for member in self._members.values()):
            return False
        scheduled = self._scheduled
        due = seeds_due(self._plan, rule, scheduled, finished)
        before = len(self._members)
        for trial_id, trial in self._trials.items():
            have = len(scheduled[trial_id])
            seeds = range(have, due[trial_id].now)
            self._let_start(self._make(trial, trial.number, seeds, {}, first=have))
        self._most_members = sum(each.most for each in due.values())
        return len(self._members) > before

    def _follow(self, path: PathRaces, finished: FinishedRuns) -> bool:
        """Add the seeds that the races of a path need, and at its end the nodes.

        Returns:
            Whether there were any.
        """
        before = len(self._members)
        if not self._is_confirmed:
            scheduled = self._scheduled
            walk = path.follow(scheduled, finished)
            for trial in path.trials:
                have = len(scheduled.get(trial.trial_id, {}))
                seeds = self._plan.seeds_of(trial)[have : walk.due.get(trial.trial_id, 0)]
                self._trials[trial.trial_id] = trial
                self._let_start(self._make(trial, trial.number, seeds, {}, first=have))
            self._most_members = walk.most + self._plan.most_confirmed
            if not walk.due:
                self._is_confirmed = True
                for trial in path.confirmed(walk.flips):
                    self._add(trial)
                self._add_controls()
        return len(self._members) > before

    @property
    def _scheduled(self) -> dict[str, dict[int, str]]:
        """Trial -> seed -> run id, for all runs so far."""
        found: dict[str, dict[int, str]] = {trial_id: {} for trial_id in self._trials}
        for (trial_id, seed, _), member in self._members.items():
            found[trial_id][seed] = member.task.run_id
        return found

    def _make(
        self,
        trial: Trial,
        number: int,
        seeds: Sequence[int],
        thresholds: Mapping[int, StoppingThresholds],
        *,
        first: int = 0,
    ) -> list[ScheduledRun]:
        """Create the runs of a trial with ``seeds``, the ``first`` and following of its seeds."""
        tasks = []
        cells = itertools.product(seeds, self._plan.folds_of(trial))
        for position, (seed, fold) in enumerate(cells, first):
            run = self._identify(trial, seed, fold)
            order = (position, number)
            if goes_by_trials(self._plan.spec) or self._prunes:
                order = (number, position)
            is_later = int(trial.role != "control")
            limits = thresholds.get(seed)
            task = ScheduledRun(trial, run, run.run_id, (is_later, *order), limits, fold)
            self._members[trial.trial_id, seed, fold] = _Member(task)
            tasks.append(task)
        self.changes += bool(tasks)
        return tasks

    def _let_start(self, tasks: Sequence[ScheduledRun]) -> None:
        for task in tasks:
            self._member(task).standing = "open"
            heapq.heappush(self._queue, (task.order, task.run_id, task))

    def _member(self, task: ScheduledRun) -> _Member:
        return self._members[task.trial.trial_id, task.run.seed, task.fold]

    def _advance(self, finished: FinishedRuns) -> bool:
        """Continue or prune trials after their finished runs. Returns whether there were any."""
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
        """Handle the finished first run of a trial: prune the trial, or let its next run start."""
        ended = trial.tasks.pop(0)
        reason = self._history.reason_to_prune(ended.trial, ended.run.seed, finished)
        is_truncated = finished[ended.run_id].state == "pruned"
        if reason is None or not (trial.tasks or is_truncated):  # no run left to prune
            self._let_start(trial.tasks[:1])
            return
        self._history.pruned[ended.trial.trial_id] = reason
        if is_truncated:
            self._member(ended).standing = "stopped"
        self._skip([*trial.tasks, *trial.repeats])
        trial.tasks.clear()
        trial.repeats.clear()

    def _skip(self, tasks: Sequence[ScheduledRun]) -> None:
        """Mark these runs as never to start, because their trial was pruned."""
        for task in tasks:
            self._member(task).standing = "skipped"
        self.skipped += len(tasks)
        self.changes += 1

    def _can_propose(self, finished: FinishedRuns) -> bool:
        return self._history.are_finished(self._history.last_known(self._next_number), finished)

    def _propose(self, finished: FinishedRuns) -> bool:
        """Add the next proposal. Returns False if the space has nothing new."""
        # Imported here, so that a grid does not pay for importing Optuna.
        from harness.search.sampler import Sampler

        self._search = self._search or Sampler(self._plan, self.rules)
        number = self._next_number
        varied = self._search.propose(number, self._history.observations(number, finished))
        if varied is None:
            return False
        trial = self._plan.trial(number, varied)
        if known := self._trials.get(trial.trial_id):
            tasks = self._repeat(known, number)
        else:
            tasks = self._take_on(trial, finished)
        proposal = Proposal(number, known or trial, varied, runs_by_seed(tasks))
        self._history.add(proposal)
        return True

    def _take_on(self, trial: Trial, finished: FinishedRuns) -> list[ScheduledRun]:
        """Add a new trial of a search, and let its first runs start."""
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
        """Add further seeds of a known trial; they are never stopped early."""
        seeds = self._plan.spec.repeat_seeds(self._history.times(trial))
        tasks = self._make(trial, number, seeds, {})
        if flight := self._in_flight.get(trial.trial_id):
            flight.repeats.extend(tasks)
        elif trial.trial_id in self._history.pruned:  # the sampler could not know that yet
            self._skip(tasks)
        else:
            self._let_start(tasks)
        return tasks


def runs_by_seed(tasks: Sequence[ScheduledRun]) -> dict[int, tuple[str, ...]]:
    """Return seed -> ids of its runs, one per fold."""
    found: dict[int, tuple[str, ...]] = {}
    for task in tasks:
        found[task.run.seed] = (*found.get(task.run.seed, ()), task.run_id)
    return found
