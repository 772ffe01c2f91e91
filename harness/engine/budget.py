"""The time budget of a search and its confirmation."""

from __future__ import annotations

import time
from collections.abc import Callable

from harness.study.limits import Budget
from harness.study.spec import StudySpec

CONFIRMATION_TOLERANCE = 1.1
"""A confirmation may exceed the time budget by this factor before it is stopped."""


def budget_message(budget: Budget, *, whole: int, planned: int | None, is_of_runs: bool) -> str:
    """Return a sentence on what a spent budget has covered.

    Args:
        budget: The budget of the study.
        whole: The number of trials with all their runs finished.
        planned: The planned number of trials; None if unknown.
        is_of_runs: Whether the budget of runs is spent, rather than that of hours.
    """
    of = "" if planned is None else f" of {planned}"
    size = f"{budget.runs} runs" if is_of_runs else f"{budget.hours:g} h"
    field = "runs" if is_of_runs else "hours"
    return (
        f"the budget of {size} is spent: {whole}{of} trials; raise budget.{field} and run the same "
        "command to go on"
    )


class TimeBudget:
    """Time spent on a study over all its calls; stopped while none is running."""

    def __init__(
        self,
        spec: StudySpec,
        before_s: float = 0.0,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Create a stopped clock.

        Args:
            spec: The study.
            before_s: Seconds spent by earlier calls.
            clock: A monotonic clock.
        """
        self._hours = spec.budget.hours
        self._before_s = before_s
        self._clock = clock
        self._began: float | None = None

    @property
    def seconds(self) -> float:
        """Seconds spent so far."""
        return self._before_s + (0.0 if self._began is None else self._clock() - self._began)

    @property
    def left_s(self) -> float | None:
        """Seconds left; negative if the budget is overrun, None if there is no time budget."""
        return None if self._hours is None else 3600 * self._hours - self.seconds

    def add(self, seconds: float) -> None:
        """Add the time that another driver of the study has spent."""
        self._before_s += seconds

    def start(self) -> None:
        """Start the clock, unless it is running."""
        self._began = self._clock() if self._began is None else self._began

    def stop(self) -> None:
        """Stop the clock."""
        self._before_s, self._began = self.seconds, None

    def is_over(self, *, is_confirming: bool) -> bool:
        """Whether no time is left; a running confirmation gets ``CONFIRMATION_TOLERANCE``."""
        limit = 3600 * (self._hours or 0.0) * (CONFIRMATION_TOLERANCE if is_confirming else 1.0)
        return self._hours is not None and self.seconds >= limit
