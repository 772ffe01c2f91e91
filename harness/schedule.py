"""Which trials a study has by now, which runs that makes, and which run is next.

Runs are handed out controls first, then seed by seed, so that a study that is stopped early has
some seeds of every trial. An adaptive search, and one that time may end, goes trial by trial: its
proposals wait for whole trials.
"""

from __future__ import annotations

import heapq
import statistics
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from harness.budget import confirm_runs, goes_by_trials, search_trials
from harness.plan import Plan, Varied
from harness.spool import Member, RunState
from harness.trial import Run, Trial

if TYPE_CHECKING:
    from harness.search import Search

Settled = Mapping[str, RunState]
"""Run id -> how it went, of the runs that this call will not train (again)."""


@dataclass(frozen=True, slots=True)
class Task:
    """A run of a trial."""

    trial: Trial
    run: Run
    run_id: str


class Schedule:
    """The trials and runs of a study; it grows while a search proposes."""

    def __init__(self, plan: Plan, identify: Callable[[Trial, int], Run]) -> None:
        """Take up the trials that are known beforehand.

        Args:
            plan: The study.
            identify: The run of a trial with a seed.
        """
        self._plan = plan
        self._identify = identify
        self._trials: dict[str, Trial] = {}
        self._tasks: dict[str, Task] = {}
        self._members: dict[tuple[str, int], str] = {}
        self._queue: list[tuple[tuple[int, int, int], str]] = []
        self._history: list[tuple[Trial, Varied]] = []
        self._search: Search | None = None
        self._next_number = len(plan.fixed)
        self._most_trials = search_trials(plan.spec, controls=len(plan.controls))
        self._search_end: int | None = None
        # A search has as many trials as its budget has room for; a grid takes what there is.
        self._runs_left = plan.spec.budget.runs if plan.spec.is_fixed else None
        self._is_exhausted = plan.spec.is_fixed
        for trial in plan.fixed:
            self._add(trial)
            self._history.append((trial, dict(trial.varied)))
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
        return tuple(Member(*key, run_id) for key, run_id in self._members.items())

    @property
    def tasks(self) -> Mapping[str, Task]:
        """Run id -> run, of all trials so far."""
        return self._tasks

    @property
    def total(self) -> int:
        """Runs of the whole study; an upper bound while trials are still to be proposed."""
        spec = self._plan.spec
        trials = self._next_number if self._most_trials is None else self._most_trials
        coming = 0 if self._is_exhausted else max(0, trials - self._next_number)
        return len(self._tasks) + coming * len(spec.seed_list) + self.confirm_runs(trials)

    @property
    def is_searching(self) -> bool:
        """Whether trials are still to be proposed."""
        return not self._is_exhausted

    @property
    def is_open(self) -> bool:
        """Whether only time will end the search."""
        return not self._is_exhausted and self._most_trials is None

    def is_cut(self, settled: Settled) -> bool:
        """Whether the budget of runs has left out what the study would have had."""
        spec = self._plan.spec
        if spec.is_fixed:
            return self._runs_left == 0 and any(run not in settled for _, run in self._queue)
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
        self._is_exhausted = self._next_number >= self._most_trials

    def grow(self, settled: Settled) -> bool:
        """Add the trials that can be proposed by now; whether there were any.

        Trial ``n`` sees the values of trials up to ``n - parallel_trials`` only, and is proposed
        when these are settled: which trials a study has never depends on timing.
        """
        before = self._next_number
        while not self._is_exhausted and self._can_propose(settled):
            if (trial := self._propose(settled)) is None:
                self._is_exhausted = True
                break
            self._add(trial)
            self._history.append((trial, dict(trial.varied)))
            self._next_number += 1
            self._is_exhausted = self._next_number == self._most_trials
        return self._confirm(settled) or self._next_number > before

    def take(self, settled: Settled) -> Task | None:
        """The next run that is not settled, which is then no longer next.

        None if there is none, or the budget has no room for it.
        """
        while self._queue and self._runs_left != 0:
            if self._runs_left is not None:
                self._runs_left -= (
                    1  # for a settled run, too: which are trained is one and the same
                )
            _, run_id = heapq.heappop(self._queue)
            if run_id not in settled:
                return self._tasks[run_id]
        return None

    def _confirm(self, settled: Settled) -> bool:
        """Add the winners, once the whole search is settled; whether it did."""
        spec = self._plan.spec
        if self._is_confirmed or not self._is_exhausted or self._tasks.keys() - settled.keys():
            return False
        self._is_confirmed = True
        values = {
            trial.trial_id: value
            for trial in self.trials
            if trial.role == "trial" and (value := self._value(trial, settled)) is not None
        }
        ranked = sorted(
            (trial for trial in self.trials if trial.trial_id in values),
            key=lambda trial: (-values[trial.trial_id], trial.number),
        )
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

    def _add(self, trial: Trial) -> None:
        self._trials[trial.trial_id] = trial
        for position, seed in enumerate(self._plan.seeds_of(trial)):
            run = self._identify(trial, seed)
            task = Task(trial, run, run.run_id)
            self._tasks[task.run_id] = task
            self._members[trial.trial_id, seed] = task.run_id
            order = (position, trial.number)
            if goes_by_trials(self._plan.spec):
                order = (trial.number, position)
            heapq.heappush(self._queue, ((int(trial.role != "control"), *order), task.run_id))

    def _last_visible(self) -> int:
        """The last trial whose value the next proposal may depend on."""
        if not goes_by_trials(self._plan.spec):
            return -1
        return self._next_number - self._plan.spec.parallel_trials

    def _can_propose(self, settled: Settled) -> bool:
        last = self._last_visible()
        return all(
            self._members[trial.trial_id, seed] in settled
            for trial, _ in self._history
            if trial.number <= last
            for seed in self._plan.spec.seed_list
        )

    def _propose(self, settled: Settled) -> Trial | None:
        """The next trial; None where the space has nothing new."""
        # Loaded here: a grid must not pay for the import of Optuna.
        from harness.search import Search, Told

        self._search = self._search or Search(self._plan)
        last = self._last_visible()
        while True:
            told = [
                Told(
                    trial.number,
                    varied,
                    self._value(trial, settled) if trial.number <= last else None,
                )
                for trial, varied in self._history
            ]
            varied = self._search.propose(self._next_number, told)
            if varied is None:
                return None
            trial = self._plan.trial(self._next_number, varied)
            if (twin := self._trials.get(trial.trial_id)) is None:
                return trial
            # Other words for the same parameters: told to the search instead of trained again.
            self._history.append((twin, varied))

    def _value(self, trial: Trial, settled: Settled) -> float | None:
        """The mean over seeds of what the search maximises; None unless every seed has it."""
        name = f"val/{self._plan.spec.metric}"
        values = []
        for seed in self._plan.spec.seed_list:
            state = settled.get(self._members[trial.trial_id, seed])
            if state is None or state.state != "done" or name not in state.results:
                return None
            values.append(state.results[name])
        return statistics.fmean(values)
