"""How many trials a budget of runs allows a search, after reserving its confirmation.

Counting runs is exact, so a budget of runs gives the same study however often it is interrupted.
Time is not exact: if it ends a search early, that decision is made once and recorded.
"""

from __future__ import annotations

from harness.errors import InputError
from harness.study.loading import Loaded
from harness.study.spec import MOST_PROPOSED, StudySpec


def goes_by_trials(spec: StudySpec) -> bool:
    """Return whether each trial is proposed only once earlier trials are settled."""
    return spec.is_adaptive or (not spec.is_fixed and spec.budget.hours is not None)


def confirm_runs(spec: StudySpec, *, trials: int, controls: int) -> int:
    """Count the confirmation runs of a search of ``trials`` trials, including the baseline."""
    if spec.confirm is None:
        return 0
    confirmed = min(spec.confirm.top, max(0, trials - 1)) + 1 + controls
    return confirmed * len(spec.confirm_seed_list)


def search_trials(spec: StudySpec, *, controls: int) -> int | None:
    """Return the largest number of trials for which the budget still covers the confirmation.

    None if only time ends the search. Below 2 (the baseline and one trial) no search is possible.
    """
    if spec.budget.runs is None:
        return spec.trials
    apart = 0 if spec.confirm else controls * spec.runs_of_trial

    def fits(trials: int) -> bool:
        later = confirm_runs(spec, trials=trials, controls=controls)
        return trials * spec.runs_of_trial + apart + later <= (spec.budget.runs or 0)

    low, high = 0, min(spec.trials or MOST_PROPOSED, spec.budget.runs)
    while low < high:  # the largest that fits
        middle = (low + high + 1) // 2
        low, high = (middle, high) if fits(middle) else (low, middle - 1)
    return low


def check_chosen_budget(loaded: Loaded, *, needed: int) -> None:
    """Reject a budget that may not cover an ablation that first chooses on validation classes.

    Args:
        loaded: The study.
        needed: The most runs that it can come to.

    Raises:
        InputError: naming this number.
    """
    runs = loaded.spec.budget.runs
    if runs is not None and runs < needed:
        raise InputError(
            f"{loaded.source.where(('budget', 'runs'))}: budget.runs: what this ablation chooses "
            f"by and what it then trains can need {needed} runs, got {runs}"
        )


def check_budget(loaded: Loaded, *, fixed: int, controls: int) -> None:
    """Reject a budget that does not cover the baseline, one more trial and the confirmation.

    A grid that is confirmed needs all its runs: the best of a part of it is not the best. Any other
    grid can do with less.

    Args:
        loaded: The study.
        fixed: Its trials that are known beforehand.
        controls: Its controls.

    Raises:
        InputError: naming the number of runs that are needed.
    """
    spec = loaded.spec
    if spec.budget.runs is None or (spec.is_fixed and spec.confirm is None):
        return
    if spec.is_fixed:
        later = confirm_runs(spec, trials=fixed, controls=controls)
        needed = fixed * spec.runs_of_trial + later
        if spec.budget.runs < needed:
            raise InputError(
                f"{loaded.source.where(('budget', 'runs'))}: budget.runs: this grid and its "
                f"confirmation need {needed} runs, got {spec.budget.runs}"
            )
        return
    trials = search_trials(spec, controls=controls)
    if trials is not None and trials < min(2, spec.trials or 2):
        later = confirm_runs(spec, trials=2, controls=controls)
        needed = 2 * spec.runs_of_trial + (later or controls * spec.runs_of_trial)
        raise InputError(
            f"{loaded.source.where(('budget', 'runs'))}: budget.runs: the smallest search of this "
            f"study, with its controls and its confirmation, needs {needed} runs, got "
            f"{spec.budget.runs}"
        )
