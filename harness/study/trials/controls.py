"""The control trials of a study: the baselines that its workload gives for free."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Iterable, Sequence

from harness.records.trial import Trial, flat
from harness.study.loading import Loaded
from harness.study.spec import VARIANT, StudySpec
from harness.study.trials.conditions import Varied
from harness.study.trials.single_trial import NOTHING_VARIED, label_of, make_control
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
    asked: list[tuple[Varied, Trial]] = []
    if not inspect.signature(workload.controls).parameters:
        for name, overrides in workload.controls().items():
            asked.append(({}, make_control(loaded, workload, name, loaded.spec.base, overrides)))
    else:
        for trial in trials:
            for name, overrides in workload.controls(trial.params).items():
                control = make_control(loaded, workload, name, trial.params, overrides)
                asked.append((dict(trial.varied), control))
    found: dict[str, tuple[Varied, Trial]] = {}
    for varied, control in asked:
        found.setdefault(control.trial_id, (varied, control))
    controls = [control for _, control in found.values()]
    return tuple(
        dataclasses.replace(
            control,
            number=first_number + place,
            label=_label(loaded.spec, control, varied, controls),
        )
        for place, (varied, control) in enumerate(found.values())
    )


def _label(spec: StudySpec, control: Trial, varied: Varied, controls: Sequence[Trial]) -> str:
    """Label a control by its name, and by what tells it from others of that name.

    Args:
        spec: The study.
        control: The control, labelled with its name alone.
        varied: What its trial varies.
        controls: All controls.
    """
    alike = [flat(each.params) for each in controls if each.label == control.label]
    mine = flat(control.params)
    differing = [key for key in mine if any(each.get(key) != mine[key] for each in alike)]

    def matters(key: str) -> bool:
        keys: Iterable[str] = [key]
        if spec.ablate is not None:
            component = spec.ablate.components.get(key)
            keys = [key] if component is None else component.without
        elif key == VARIANT:
            keys = spec.variants[str(varied[VARIANT])]
        return any(
            f"{one}.".startswith(f"{other}.") or f"{other}.".startswith(f"{one}.")
            for one in keys
            for other in differing
        )

    told = label_of(spec, {key: value for key, value in varied.items() if matters(key)})
    return control.label if told == NOTHING_VARIED else f"{control.label} ({told})"
