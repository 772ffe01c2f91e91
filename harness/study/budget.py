"""How far a budget reaches: the trials of a search, its confirmation, and the time that is left.

The arithmetic of runs is exact, so that a budget of runs makes the same study however it is
interrupted. Time is not: where it ends a search early, that is decided once and written down.
"""

from __future__ import annotations

from harness.errors import InputError
from harness.study.loading import Loaded
from harness.study.spec import MOST_PROPOSED, StudySpec


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
