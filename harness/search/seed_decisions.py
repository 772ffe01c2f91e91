"""Decides how many seeds each trial of a study with ``stop`` gets.

A look waits for all seeds that it needs, and uses no others. So the seeds of a study depend on its
results alone, not on the order in which runs end.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import NamedTuple

from harness.records.run_state import RunState
from harness.records.trial import Trial
from harness.search.history import FinishedRuns
from harness.stats.looks.stopping import StopRule, paired_values, take_looks, undecided
from harness.study.trials.plan import Plan

RunIds = Mapping[str, Mapping[int, str]]
"""Trial -> seed -> run id."""


class Due(NamedTuple):
    """The number of seeds of a trial."""

    now: int
    """As many as the next look needs, or as the look that decided had."""
    most: int
    """As many as it may come to."""


def seeds_due(plan: Plan, rule: StopRule, runs: RunIds, finished: FinishedRuns) -> dict[str, Due]:
    """Return the number of seeds of each trial, the controls included.

    The baseline and the controls get as many as the trial that is undecided longest.

    Args:
        plan: The study.
        rule: Its rule.
        runs: The runs scheduled so far.
        finished: Those that are finished.
    """
    baseline = next(trial for trial in plan.fixed if trial.role == "baseline")
    trials = [trial for trial in plan.fixed if trial is not baseline]
    name = plan.spec.metric.rpartition("/")[2]
    values = {trial.trial_id: _values(trial, name, runs, finished) for trial in plan.fixed}
    comparisons = {
        trial.trial_id: paired_values(values[trial.trial_id], values[baseline.trial_id])
        for trial in trials
    }
    looks = take_looks(comparisons, rule)
    left = set(undecided(looks))
    taken = max(map(len, looks.values()))
    due = {
        trial_id: Due(rule.looks[taken], rule.looks[-1])
        if trial_id in left
        else Due(found[-1].seeds, found[-1].seeds)
        for trial_id, found in looks.items()
    }
    longest = max(due.values())
    return dict.fromkeys((each.trial_id for each in (baseline, *plan.controls)), longest) | due


def _values(
    trial: Trial, name: str, runs: RunIds, finished: FinishedRuns
) -> dict[int, float | None]:
    """Return seed -> value of a trial's finished runs; None for a run that has none."""
    scheduled = runs.get(trial.trial_id, {})
    return {
        seed: _value(finished[run_id], name)
        for seed, run_id in scheduled.items()
        if run_id in finished
    }


def _value(state: RunState, name: str) -> float | None:
    """Return the result of a run, on test classes if it has one of them."""
    for split in ("test", "val"):
        value = state.results.get(f"{split}/{name}") if state.state == "done" else None
        if value is not None and math.isfinite(value):
            return value
    return None
