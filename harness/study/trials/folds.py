"""Cuts the training data of a trial into folds, by asking the workload for the parameters."""

from __future__ import annotations

import copy

from harness.errors import InputError
from harness.records.trial import Trial
from harness.study.axes import set_at
from harness.study.loading import Loaded
from harness.study.trials.single_trial import locate
from harness.workload import JsonValue, Params, Workload


def fold_params(loaded: Loaded, workload: Workload, trial: Trial, fold: int) -> Params:
    """Return the parameters of a trial's runs that hold out ``fold``; its own if that is 0.

    Raises:
        InputError: the workload has no folds, or rejects this one.
    """
    overrides = _overrides(loaded, workload, trial, fold)
    if not overrides:
        return trial.params
    params: dict[str, JsonValue] = copy.deepcopy(dict(trial.params))
    for key, value in overrides.items():
        set_at(params, key, copy.deepcopy(value))
    try:
        return workload.check(params)
    except ValueError as error:
        raise refused(loaded, workload, trial, fold, str(error)) from None


def refused(loaded: Loaded, workload: Workload, trial: Trial, fold: int, why: str) -> InputError:
    """Make the error for parameters that do not fit the data, with the place in the study file.

    That is the field ``folds`` if they are the ones that cut the data.
    """
    line = " ".join(why.split())
    key = line.partition(":")[0]
    if any(f"{key}.".startswith(f"{cut}.") for cut in _overrides(loaded, workload, trial, fold)):
        return InputError(f"{loaded.source.where((_FIELD,))}: {_FIELD}: {line}")
    return InputError(f"{locate(loaded, trial.varied, key)}: {line}")


_FIELD = "folds"


def _overrides(loaded: Loaded, workload: Workload, trial: Trial, fold: int) -> Params:
    of = loaded.spec.folds
    if fold == 0 or of is None:
        return {}
    found = workload.fold(trial.params, fold, of)
    if not found:
        raise InputError(
            f"{loaded.source.where((_FIELD,))}: {_FIELD}: {loaded.spec.workload!r} does not cut "
            f"its data into folds; remove {_FIELD}"
        )
    return found
