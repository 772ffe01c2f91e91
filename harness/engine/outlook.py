"""Estimates for the rest of a study: time left, and what its budget will not cover."""

from __future__ import annotations

from collections.abc import Sequence

from harness.engine.dispatch.run_states import RunCounts
from harness.engine.dispatch.time_budget import budget_message
from harness.search.history import FinishedRuns
from harness.search.scheduler import Scheduler
from harness.study.trials.plan import Plan


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
        and trial.phase == ("confirm" if spec.is_fixed else "search")
        and trial.trial_id not in missing
        for trial in schedule.trials
    )
    planned = len(plan.fixed) if spec.is_fixed else spec.trials
    return budget_message(spec.budget, whole=whole, planned=planned, is_of_runs=is_truncated)
