"""The control trials of a study: the baselines that its workload gives for free."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Sequence

from harness.records.trial import Trial, flat
from harness.study.loading import Loaded
from harness.study.trials.single_trial import make_control, short_key, show
from harness.workload import Workload


def make_controls(
    loaded: Loaded, workload: Workload, trials: Sequence[Trial], *, first_number: int
) -> tuple[Trial, ...]:
    """Make the controls of ``trials``, equal ones once.

    If a study varies something that a control depends on, there are several controls of one name;
    their labels then say how they differ.

    Raises:
        InputError: the workload rejects a control; with the place in the file.
    """
    controls: dict[str, Trial] = {}
    if not inspect.signature(workload.controls).parameters:
        for name, overrides in workload.controls().items():
            control = make_control(loaded, workload, name, loaded.spec.base, overrides)
            controls[control.trial_id] = control
    else:
        for trial in trials:
            for name, overrides in workload.controls(trial.params).items():
                control = make_control(loaded, workload, name, trial.params, overrides)
                controls.setdefault(control.trial_id, control)
    found = list(controls.values())
    return tuple(
        dataclasses.replace(control, number=first_number + place, label=_label(control, found))
        for place, control in enumerate(found)
    )


def _label(control: Trial, controls: Sequence[Trial]) -> str:
    """Label a control by its name, and by what tells it from others of that name."""
    alike = [flat(each.params) for each in controls if each.label == control.label]
    mine = flat(control.params)
    differing = [key for key in mine if any(each.get(key) != mine[key] for each in alike)]
    parts = [f"{short_key(key, mine)}={show(mine[key])}" for key in differing]
    return f"{control.label} ({', '.join(parts)})" if parts else control.label
