"""Follow the path of an ablation: race the candidates of each step, then name the nodes.

A look at a race waits for all seeds that it needs, and uses no others, so the path depends on the
results of runs alone, not on the order in which they end.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from harness.records.trial import Trial
from harness.search.history import FinishedRuns
from harness.search.seed_decisions import RunIds
from harness.stats.ablations.designs import Cell, flippable, most_raced, nodes
from harness.stats.ablations.race import run_race
from harness.study.trials.plan import Plan


class Walk(NamedTuple):
    """A path, as far as finished runs decide it."""

    flips: tuple[str, ...]
    """The components flipped so far."""
    due: Mapping[str, int]
    """Trial -> number of seeds that the running race needs; empty at the end of the path."""
    most: int
    """The most runs of races that the study can come to."""


class PathRaces:
    """The races of a path; knows the trials that it has made, and nothing of their results."""

    def __init__(self, plan: Plan) -> None:
        assert plan.spec.ablate is not None
        self._plan = plan
        self._ablate = plan.spec.ablate
        self._raced: dict[Cell, Trial] = {}

    @property
    def trials(self) -> tuple[Trial, ...]:
        """The candidates of all races so far."""
        return tuple(self._raced.values())

    def follow(self, runs: RunIds, finished: FinishedRuns) -> Walk:
        """Take every look that finished runs allow, from the first step on.

        Args:
            runs: The runs scheduled so far.
            finished: Those that are finished.
        """
        rule = self._ablate.race_rule
        flips: tuple[str, ...] = ()
        number = spent = 0
        while True:
            design = dataclasses.replace(self._ablate.plan, flips=flips)
            node = nodes(design)[-1]
            names = flippable(design, node)
            if not names:
                return Walk(flips, {}, spent)
            if len(names) == 1:  # nothing to choose
                flips = (*flips, names[0])
                continue
            trials = {
                name: self._candidate(node ^ {name}, number + place)
                for place, name in enumerate(names)
            }
            number += len(names)
            values = {
                name: self._values(runs.get(trial.trial_id, {}), finished)
                for name, trial in trials.items()
            }
            race = run_race(values, rule)
            if race.due:
                due = {trials[name].trial_id: race.due for name in race.left}
                coming = len(race.left) + most_raced(len(design.components) - len(flips) - 1)
                spent += sum(race.dropped.values()) + coming * rule.seeds
                return Walk(flips, due, spent)
            spent += max(race.dropped.values()) + sum(race.dropped.values())
            flips = (*flips, race.left[0])

    def confirmed(self, flips: Sequence[str]) -> tuple[Trial, ...]:
        """Return the nodes of the whole path, which are scored on test classes.

        A control that stands for everything off is none of them unless the path begins with it.
        """
        known = {self._cell(trial): trial for trial in self._plan.fixed}
        controls = {self._cell(trial) for trial in self._plan.controls if trial.varied}
        design = dataclasses.replace(self._ablate.plan, flips=tuple(flips))
        first = self._plan.confirmed_from
        found = []
        for place, cell in enumerate(nodes(design)):
            if cell in known:
                found.append(known[cell])
            elif cell not in controls:
                trial = self._plan.trial(first + place, self._ablate.varied(cell))
                found.append(dataclasses.replace(trial, phase="confirm"))
        return tuple(found)

    def _candidate(self, cell: Cell, number: int) -> Trial:
        if cell not in self._raced:
            self._raced[cell] = self._plan.trial(number, self._ablate.varied(cell))
        return self._raced[cell]

    def _values(self, runs: Mapping[int, str], finished: FinishedRuns) -> list[float | None]:
        """Return the values of a candidate's finished seeds up to the first unfinished one.

        The higher a value, the more the flip matters: it is negated where it switches off.
        """
        sign = 1 if self._ablate.plan.from_bare else -1
        found: list[float | None] = []
        for seed in self._plan.spec.seed_list:
            state = finished.get(runs.get(seed, ""))
            if state is None:
                break
            value = state.results.get(self._plan.spec.searched) if state.state == "done" else None
            found.append(None if value is None else sign * value)
        return found

    @staticmethod
    def _cell(trial: Trial) -> Cell:
        return frozenset(name for name, is_on in trial.varied.items() if is_on)
