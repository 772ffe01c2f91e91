"""The budget of a study: time spent, time left, and what the budget did not cover."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from harness.engine.dispatch.run_states import RunCounts
from harness.search.history import FinishedRuns
from harness.search.scheduler import Scheduler
from harness.study.spec import StudySpec
from harness.study.trials.plan import Plan

CONFIRMATION_TOLERANCE = 1.1
"""A confirmation may exceed the time budget by this factor before it is stopped."""


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


def seconds_left(
    schedule: Scheduler,
    counts: RunCounts,
    ages: Sequence[float],
    *,
    slots: int,
    left_s: float | None,
) -> float | None:
    """Estimate the seconds left from the mean duration of finished runs.

    Args:
        schedule: The study's trials and runs.
        counts: The counts of its finished runs.
        ages: Seconds since each active run started.
        slots: The most runs that may be active at once.
        left_s: Seconds left of the time budget; None if there is none.
    """
    if schedule.is_open and left_s is not None:
        return max(0.0, left_s)
    mean = counts.mean_s
    if mean is None:
        return None
    waiting = schedule.total - counts.finished - schedule.skipped - len(ages)
    work = waiting * mean + sum(max(0.0, mean - age) for age in ages)
    seconds = work / max(1, min(slots, waiting + len(ages)))
    return seconds if left_s is None else min(seconds, max(0.0, left_s))


def find_shortage(
    plan: Plan, schedule: Scheduler, finished: FinishedRuns, *, is_spent: bool
) -> str | None:
    """Return a sentence on what the budget did not cover; None if it covered everything.

    Args:
        plan: The study.
        schedule: Its trials and runs.
        finished: Its finished runs.
        is_spent: Whether the time budget is spent.
    """
    spec = plan.spec
    is_truncated = schedule.is_truncated(finished)
    if not (is_truncated or is_spent or schedule.search_end is not None):
        return None
    missing = {each.trial_id for each in schedule.members if each.run_id not in finished}
    whole = sum(
        trial.role != "control"
        and trial.phase == ("search" if spec.is_sealed and not plan.is_path else "confirm")
        and trial.trial_id not in missing
        for trial in schedule.trials
    )
    planned = len(plan.fixed) if spec.is_fixed else spec.trials
    if spec.ablate is not None and plan.is_path:
        planned = len(spec.ablate.components) + 1
    of = "" if planned is None else f" of {planned}"
    if is_truncated:
        size, field = f"{spec.budget.runs} runs", "runs"
    else:
        size, field = f"{spec.budget.hours:g} h", "hours"
    return (
        f"the budget of {size} is spent: {whole}{of} trials; raise budget.{field} and run the same "
        "command to go on"
    )
