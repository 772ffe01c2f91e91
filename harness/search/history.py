"""The proposals of a study, their outcomes, and what a later trial may know of them.

Trial ``n`` of a search knows the trials up to ``n - parallel_trials``, all finished before it is
proposed. So no decision about it depends on timing.
"""

from __future__ import annotations

import itertools
import math
import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from harness.records.early_stopping import StoppingThresholds
from harness.records.run_state import RunState
from harness.records.studies.objectives import value_of
from harness.records.trial import Trial
from harness.search.pruners import (
    Earlier,
    choose_rivals,
    hyperband_thresholds,
    is_worse,
    is_worse_than_rivals,
    median_thresholds,
)
from harness.search.rules import FIRST_RULES, NEWEST_RULES
from harness.stats.pareto import on_front, spread_out
from harness.study.trials.budget import goes_by_trials
from harness.study.trials.conditions import Varied
from harness.study.trials.plan import Plan

FinishedRuns = Mapping[str, RunState]
"""run_id -> final state, for every run that this call will not train (again)."""


@dataclass(frozen=True, slots=True)
class Proposal:
    """A proposed trial: a new one, or a known one that gets more seeds."""

    number: int
    trial: Trial
    varied: Varied
    runs: Mapping[int, tuple[str, ...]]
    """Seed -> ids of its runs, one per fold."""

    @property
    def run_ids(self) -> tuple[str, ...]:
        """The ids of all its runs."""
        return tuple(itertools.chain.from_iterable(self.runs.values()))


class Rival(NamedTuple):
    """The run of an earlier trial that a run is compared with."""

    label: str
    """The earlier trial's label."""
    value: float
    """Its value with the same seed."""


class History:
    """All proposals of a study, and which of their trials were pruned."""

    def __init__(self, plan: Plan) -> None:
        self.rules = NEWEST_RULES
        """The version of the search rules; an earlier call may have begun with an older one."""
        self._plan = plan
        self._spec = plan.spec
        self._proposals: list[Proposal] = []
        self._by_trial: dict[str, list[Proposal]] = {}
        self.pruned: dict[str, str] = {}
        """trial_id of each pruned trial -> the reason."""
        self._rivals: dict[str, Mapping[int, Rival]] = {}
        self._over = 0

    def add(self, proposal: Proposal) -> None:
        """Append a proposal; its number must exceed all earlier ones."""
        self._proposals.append(proposal)
        self._by_trial.setdefault(proposal.trial.trial_id, []).append(proposal)

    def times(self, trial: Trial) -> int:
        """Count how often a trial was proposed."""
        return len(self._by_trial.get(trial.trial_id, []))

    def last_known(self, number: int) -> int:
        """Number of the last trial that trial ``number`` may know of."""
        if not goes_by_trials(self._spec) and self._spec.pruner == "none":
            return -1
        return number - self._spec.parallel_trials

    def are_finished(self, last: int, finished: FinishedRuns) -> bool:
        """Whether every run of the proposals up to ``last`` has finished."""
        while self._over < len(self._proposals) and self._is_over(self._over, finished):
            self._over += 1
        return self._over == len(self._proposals) or self._proposals[self._over].number > last

    def observations(self, number: int, finished: FinishedRuns) -> list[Observation]:
        """List what the search may know before it proposes trial ``number``."""
        last = self.last_known(number)
        return [self._observation(proposal, last, finished) for proposal in self._proposals]

    def best(self, last: int, finished: FinishedRuns) -> list[Trial]:
        """Sort the finished trials up to ``last`` by their mean, best first, ties by number."""
        seen = {p.trial.trial_id: p.trial for p in self._proposals if p.number <= last}
        values = {
            trial_id: value
            for trial_id, trial in seen.items()
            if (value := self._value(trial, last, finished)) is not None
        }
        found = [seen[trial_id] for trial_id in values]
        return sorted(found, key=lambda trial: (-values[trial.trial_id], trial.number))

    def winners(self, last: int, finished: FinishedRuns, most: int) -> list[Trial]:
        """Return up to ``most`` trials to confirm, best first.

        With several metrics they are the Pareto front, or those of it that lie farthest apart.
        """
        ranked = [trial for trial in self.best(last, finished) if trial.role == "trial"]
        if not self._spec.objectives:
            return ranked[:most]
        points = [
            (trial, point) for trial in ranked if (point := self._point(trial, last, finished))
        ]
        front = on_front([point for _, point in points])
        kept = [each for each, is_kept in zip(points, front, strict=True) if is_kept]
        chosen = spread_out([point for _, point in kept], most)
        return [kept[place][0] for place in chosen]

    def thresholds(
        self, number: int, seeds: Sequence[int], finished: FinishedRuns
    ) -> Mapping[int, StoppingThresholds]:
        """Seed -> thresholds below which a run of the new trial ``number`` is stopped early."""
        if not self._spec.stops_by_epochs:
            return {}
        found = {}
        for seed in seeds:
            earlier = list(self._earlier(seed, self.last_known(number), finished))
            if self._spec.pruner == "median":
                least = median_thresholds(earlier)
            else:
                least = hyperband_thresholds(
                    earlier,
                    study=self._spec.study,
                    number=number,
                    most_epochs=self._plan.most_epochs or 0,
                )
            if least:
                is_median = self._spec.pruner == "median"
                found[seed] = StoppingThresholds(
                    self._spec.searched, least, is_best_judged=is_median
                )
        return found

    def reason_to_prune(self, trial: Trial, seed: int, finished: FinishedRuns) -> str | None:
        """Why a trial is pruned after its run with ``seed``; None if it goes on."""
        (proposal, *_) = self._by_trial[trial.trial_id]
        state = finished[proposal.runs[seed][0]]  # a study with folds prunes nothing
        if state.state == "pruned":
            return f"seed {seed}: {state.message}"
        if self._spec.pruner != "wilcoxon":
            return None
        values = self._values(trial, trial.number, finished)
        label = self._better(trial, values, finished)
        if label is None:
            return None
        return f"worse than {label} on {len(values)} seeds by a Wilcoxon signed-rank test"

    def _better(
        self, trial: Trial, values: Mapping[int, float], finished: FinishedRuns
    ) -> str | None:
        """Label of what beats a trial, judged by its ``values`` so far; None if it goes on."""
        last = self.last_known(trial.number)
        if self.rules == FIRST_RULES:
            best = self.best(last, finished)[:1]
            is_given_up = best and is_worse(values, self._values(best[0], last, finished))
            return best[0].label if is_given_up else None
        if trial.trial_id not in self._rivals:  # those trials have finished and no longer change
            self._rivals[trial.trial_id] = self._rivals_of(trial, last, finished)
        rivals = self._rivals[trial.trial_id]
        pairs = {
            seed: (value, rivals[seed].value) for seed, value in values.items() if seed in rivals
        }
        if not is_worse_than_rivals(list(pairs.values()), looks=len(rivals)):
            return None
        labels = {rivals[seed].label for seed in pairs}
        return labels.pop() if len(labels) == 1 else "the best trials"

    def _rivals_of(self, trial: Trial, last: int, finished: FinishedRuns) -> Mapping[int, Rival]:
        """Seed -> the best trial up to ``last``, chosen for that seed by ``choose_rivals``."""
        (proposal, *_) = self._by_trial[trial.trial_id]
        seeds = list(proposal.runs)
        # Sorted by number: sorted by mean, luck would decide ties.
        ranked = sorted(self.best(last, finished), key=lambda each: each.number)
        if not ranked:
            return {}
        known = [self._values(each, last, finished) for each in ranked]
        chosen = choose_rivals(
            np.array([[values[seed] for seed in seeds] for values in known]),
            [[v for seed, v in values.items() if seed not in proposal.runs] for values in known],
        )
        return {
            seed: Rival(ranked[place].label, known[place][seed])
            for seed, place in zip(seeds, chosen, strict=False)
        }

    def _is_over(self, position: int, finished: FinishedRuns) -> bool:
        proposal = self._proposals[position]
        is_pruned = proposal.trial.trial_id in self.pruned
        return is_pruned or all(run_id in finished for run_id in proposal.run_ids)

    def _observation(self, proposal: Proposal, last: int, finished: FinishedRuns) -> Observation:
        trial, number = proposal.trial, proposal.number
        if number > last:
            return Observation(number, proposal.varied, None)
        if trial.trial_id in self.pruned:
            return Observation(number, proposal.varied, None, self._until_pruned(trial, finished))
        # A sampler that replays its proposals must see what it saw the first time.
        seen = number if self._spec.is_replayed else last
        if self._spec.objectives:
            point = self._point(trial, seen, finished)
            value, others = (point[0], point[1:]) if point else (None, ())
            return Observation(number, proposal.varied, value, others=others)
        return Observation(number, proposal.varied, self._value(trial, seen, finished))

    def _until_pruned(self, trial: Trial, finished: FinishedRuns) -> tuple[float, ...]:
        """List what a pruned trial reported, one seed after another."""
        if self._spec.pruner == "wilcoxon":
            return tuple(self._values(trial, trial.number, finished).values())
        (proposal, *_) = self._by_trial[trial.trial_id]
        states = [finished[run_id] for run_id in proposal.run_ids if run_id in finished]
        return tuple(value for state in states for value in state.curve.values())

    def _value(self, trial: Trial, last: int, finished: FinishedRuns) -> float | None:
        """Mean over all seeds up to proposal ``last``; None unless each seed has a value."""
        values = self._values(trial, last, finished)
        proposed = [each for each in self._by_trial[trial.trial_id] if each.number <= last]
        planned = sum(len(each.runs) for each in proposed)
        if trial.trial_id in self.pruned or not planned or len(values) < planned:
            return None
        return statistics.fmean(values.values())

    def _point(self, trial: Trial, last: int, finished: FinishedRuns) -> tuple[float, ...] | None:
        """Return all objectives of a trial, more is better; None unless it has each of them."""
        if self._value(trial, last, finished) is None:
            return None
        point = []
        for objective in self._spec.named_objectives:
            means = [
                self._mean(trial, last, finished, name)
                for name in (f"val/{objective.name}", objective.name)
            ]
            value = value_of(objective.name, trial.params, means)
            if value is None or not math.isfinite(value):
                return None
            point.append(objective.sign * value)
        return tuple(point)

    def _mean(self, trial: Trial, last: int, finished: FinishedRuns, name: str) -> float | None:
        """Mean over all seeds up to proposal ``last`` of a result; None if a seed lacks it."""
        found = self._values(trial, last, finished, name)
        is_whole = len(found) == len(self._values(trial, last, finished))
        return statistics.fmean(found.values()) if found and is_whole else None

    def _values(
        self, trial: Trial, last: int, finished: FinishedRuns, name: str | None = None
    ) -> dict[int, float]:
        """Seed -> value of a result, for the seeds that have one, in their order.

        It is the mean over the folds of a seed, each of which must have one. Without a name it is
        what the search maximizes.
        """
        name = name or self._spec.searched
        values = {}
        for proposal in self._by_trial[trial.trial_id]:
            for seed, run_ids in proposal.runs.items() if proposal.number <= last else ():
                states = [finished.get(run_id) for run_id in run_ids]
                found = [
                    state.results[name]
                    for state in states
                    if state is not None and state.state == "done" and name in state.results
                ]
                if len(found) == len(run_ids):
                    values[seed] = statistics.fmean(found)
        return values

    def _earlier(self, seed: int, last: int, finished: FinishedRuns) -> Iterator[Earlier]:
        """Yield what trials up to ``last`` reported with a seed, unless they were interrupted."""
        for proposal in self._proposals:
            (run_id,) = proposal.runs.get(seed, ("",))
            state = finished.get(run_id)
            if proposal.number <= last and state is not None and state.state in ("done", "pruned"):
                values = tuple(state.curve.values())
                yield Earlier(proposal.number, state.state == "done", values)


@dataclass(frozen=True)
class Observation:
    """An earlier trial as the sampler sees it."""

    number: int
    varied: Varied
    value: float | None
    """What it reached, or None: it failed, was pruned, or was still running."""
    until_pruned: tuple[float, ...] | None = None
    """Of a pruned trial: what it reported before."""
    others: tuple[float, ...] = ()
    """With several metrics: the others, more is better."""
