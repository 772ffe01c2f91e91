"""The time budget of a search and its confirmation."""

from __future__ import annotations

import time
from collections.abc import Callable

from harness.study.limits import Budget
from harness.study.spec import StudySpec

CONFIRMATION_TOLERANCE = 1.1
"""So much more time than its budget a confirmation may take before it is broken off, too."""


def budget_message(budget: Budget, *, whole: int, planned: int | None, is_of_runs: bool) -> str:
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


class TimeBudget:
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
        limit = 3600 * (self._hours or 0.0) * (CONFIRMATION_TOLERANCE if is_confirming else 1.0)
        return self._hours is not None and self.seconds >= limit
