"""How far a budget reaches: the trials of a search, its confirmation, and the time that is left.

The arithmetic of runs is exact, so that a budget of runs makes the same study however it is
interrupted. Time is not: where it ends a search early, that is decided once and written down.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from harness.errors import InputError
from harness.limits import Budget
from harness.spec import MOST_PROPOSED, Loaded, StudySpec

SLACK = 1.1
"""So much more time than its budget a confirmation may take before it is broken off, too."""


def goes_by_trials(spec: StudySpec) -> bool:
    """Whether a trial waits until those before it are settled, instead of all being proposed."""
    return spec.is_adaptive or (not spec.is_fixed and spec.budget.hours is not None)


def confirm_runs(spec: StudySpec, *, trials: int, controls: int) -> int:
    """Runs of the confirmation of a search of ``trials`` trials, the baseline among them."""
    if spec.confirm is None:
        return 0
    confirmed = min(spec.confirm.top, max(0, trials - 1)) + 1 + controls
    return confirmed * len(spec.confirm_seed_list)


def search_trials(spec: StudySpec, *, controls: int) -> int | None:
    """The most trials of a search, so that its budget leaves room for the confirmation.

    None where only time ends it. Below 2, for the baseline and a trial, no search is possible.
    """
    if spec.budget.runs is None:
        return spec.trials
    apart = 0 if spec.confirm else controls * len(spec.seed_list)

    def fits(trials: int) -> bool:
        later = confirm_runs(spec, trials=trials, controls=controls)
        return trials * len(spec.seed_list) + apart + later <= (spec.budget.runs or 0)

    low, high = 0, min(spec.trials or MOST_PROPOSED, spec.budget.runs)
    while low < high:  # the largest that fits
        middle = (low + high + 1) // 2
        low, high = (middle, high) if fits(middle) else (low, middle - 1)
    return low


def check_budget(loaded: Loaded, *, controls: int) -> None:
    """Refuse a search that has no room for a trial beside its baseline and its confirmation.

    Raises:
        InputError: with the number of runs that it needs.
    """
    spec = loaded.spec
    if spec.is_fixed or spec.budget.runs is None:
        return
    trials = search_trials(spec, controls=controls)
    if trials is not None and trials < min(2, spec.trials or 2):
        later = confirm_runs(spec, trials=2, controls=controls)
        needed = 2 * len(spec.seed_list) + (later or controls * len(spec.seed_list))
        raise InputError(
            f"{loaded.source.where(('budget', 'runs'))}: budget.runs: the smallest search of this "
            f"study, with its controls and its confirmation, has {needed} runs, got "
            f"{spec.budget.runs}"
        )


def shortage(budget: Budget, *, whole: int, planned: int | None, is_of_runs: bool) -> str:
    """What a budget that is spent had room for, in a sentence.

    Args:
        budget: Of the study.
        whole: Trials that have all their runs.
        planned: Trials that there should have been, where that is known.
        is_of_runs: Whether runs and not time have come to an end.
    """
    of = "" if planned is None else f" of {planned}"
    size = f"{budget.runs} runs" if is_of_runs else f"{budget.hours:g} h"
    field = "runs" if is_of_runs else "hours"
    return (
        f"the budget of {size} is spent: {whole}{of} trials; raise budget.{field} and run the same "
        "command to go on"
    )


class Spending:
    """The time that a study's runs have taken, over all its calls; it stands while none runs."""

    def __init__(
        self,
        spec: StudySpec,
        before_s: float = 0.0,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Take up what earlier calls have spent.

        Args:
            spec: The study.
            before_s: Spent by earlier calls.
            clock: Seconds that never go back.
        """
        self._hours = spec.budget.hours
        self._before_s = before_s
        self._clock = clock
        self._began: float | None = None

    @property
    def seconds(self) -> float:
        """Spent so far."""
        return self._before_s + (0.0 if self._began is None else self._clock() - self._began)

    @property
    def left_s(self) -> float | None:
        """Until the budget is spent; below 0 where it was overrun, None where there is no end."""
        return None if self._hours is None else 3600 * self._hours - self.seconds

    def add(self, seconds: float) -> None:
        """Count what another driver of the study has spent."""
        self._before_s += seconds

    def start(self) -> None:
        """From now on time counts."""
        self._began = self._clock() if self._began is None else self._began

    def stop(self) -> None:
        """From now on it does not."""
        self._before_s, self._began = self.seconds, None

    def is_over(self, *, is_confirming: bool) -> bool:
        """Whether no time is left; a confirmation that has begun may take a tenth more."""
        limit = 3600 * (self._hours or 0.0) * (SLACK if is_confirming else 1.0)
        return self._hours is not None and self.seconds >= limit
