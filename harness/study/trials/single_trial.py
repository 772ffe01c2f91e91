"""Makes one trial: assembles its parameters, has the workload check them, and labels it."""

from __future__ import annotations

import copy
import json
from collections.abc import Mapping

from harness.errors import InputError
from harness.records.trial import Role, Trial
from harness.study.axes import set_at
from harness.study.loading import Loaded
from harness.study.spec import VARIANT, StudySpec
from harness.study.trials.conditions import Varied, assemble
from harness.study.yaml_source import Path_
from harness.workload import JsonValue, Params, Workload

NOTHING_VARIED = "base"
"""Label of the only trial of a study that varies nothing."""


def label_of(spec: StudySpec, varied: Varied) -> str:
    """Label a trial for tables: its variant, then ``key=value`` with the shortest unique keys.

    A trial of an ablation is labelled by its components, and by what is tuned.
    """
    if spec.ablate is not None and varied:
        tuned = spec.ablate.tune.search if spec.ablate.tune is not None else {}
        chosen = [f"{_short(key, tuned)}={show(varied[key])}" for key in tuned if key in varied]
        return ", ".join([spec.ablate.label(varied), *chosen])
    parts = [str(varied[VARIANT])] if VARIANT in varied else []
    parts += [
        f"{_short(key, spec.search)}={show(value)}"
        for key, value in varied.items()
        if key != VARIANT
    ]
    return ", ".join(parts) or NOTHING_VARIED


def show(value: JsonValue) -> str:
    """Format a value for tables: floats with five significant digits, all but text as JSON."""
    if isinstance(value, float):
        return f"{value:.5g}"
    return value if isinstance(value, str) else json.dumps(value)


def make_trial(
    loaded: Loaded, workload: Workload, number: int, varied: Varied, role: Role
) -> Trial:
    """Make the trial with these values of the parameters that vary.

    Raises:
        InputError: the workload rejects the parameters; with the place in the file.
    """
    params = assemble(loaded.spec, varied)
    return _checked(loaded, workload, number, label_of(loaded.spec, varied), role, varied, params)


def make_control(
    loaded: Loaded, workload: Workload, name: str, base: Params, overrides: Params
) -> Trial:
    """Make a control of the workload, with number 0: ``base`` with ``overrides``.

    Raises:
        InputError: the workload rejects the parameters; with the place in the file.
    """
    return make_overridden(loaded, workload, name, base, overrides, role="control")


def make_overridden(
    loaded: Loaded, workload: Workload, label: str, base: Params, overrides: Params, *, role: Role
) -> Trial:
    """Make a trial that varies nothing, with number 0: ``base`` with ``overrides``.

    Raises:
        InputError: the workload rejects the parameters; with the place in the file.
    """
    params = copy.deepcopy(dict(base))
    for key, value in overrides.items():
        set_at(params, key, copy.deepcopy(value))
    return _checked(loaded, workload, 0, label, role, {}, params)


def _checked(
    loaded: Loaded,
    workload: Workload,
    number: int,
    label: str,
    role: Role,
    varied: Varied,
    params: dict[str, JsonValue],
) -> Trial:
    """Have the workload complete the parameters; add place and trial to its errors."""
    spec, is_control = loaded.spec, role == "control"
    try:
        params = workload.check(params)
    except ValueError as error:
        blamed = f" ({'control' if is_control else 'trial'} {label!r})"
        if label == NOTHING_VARIED and not is_control:
            blamed = ""
        lines = [
            f"{locate(loaded, varied, line.partition(':')[0])}: {line}{blamed}"
            for line in str(error).splitlines()
        ]
        raise InputError("\n".join(lines)) from None
    variant = varied.get(VARIANT)
    return Trial(
        study=spec.study,
        number=number,
        label=label,
        # Controls need no training, and are compared with the final, confirmed results.
        phase="confirm" if not spec.is_sealed or (spec.is_confirmed and is_control) else "search",
        role=role,
        variant=None if variant is None else str(variant),
        varied=varied,
        params=params,
    )


def locate(loaded: Loaded, varied: Mapping[str, JsonValue], dotted: str) -> str:
    """Find where the parameter named in an error was set.

    That is an axis, a variant, a component that is off, or the base.
    """
    variant = str(varied.get(VARIANT))
    above: dict[str, Path_] = {}
    if loaded.spec.ablate is None:
        above |= dict.fromkeys(varied, ("search",))
        above |= dict.fromkeys(loaded.spec.variants.get(variant, {}), ("variants", variant))
    else:
        for name, component in loaded.spec.ablate.components.items():
            if varied.get(name) is False:
                above |= dict.fromkeys(component.without, overrides_at(loaded, name))
        if (tune := loaded.spec.ablate.tune) is not None:
            above |= dict.fromkeys(tune.search, ("ablate", "tune", "search"))
    for key, path in above.items():
        if f"{dotted}.".startswith(f"{key}.") or key.startswith(f"{dotted}."):
            inside = dotted.removeprefix(key).split(".")[1:]
            return loaded.source.where((*path, key, *inside))
    return loaded.source.where(("base", *dotted.split(".")))


def overrides_at(loaded: Loaded, name: str) -> Path_:
    """Return the path of a component's overrides, which may stand under ``without`` or directly."""
    path: Path_ = ("ablate", "components", name)
    return (*path, "without") if (*path, "without") in loaded.source.places else path


def _short(key: str, among: Mapping[str, object]) -> str:
    """Return the shortest suffix of a dotted key that no other axis shares."""
    parts = key.split(".")
    for count in range(1, len(parts)):
        tail = "." + ".".join(parts[-count:])
        if sum(f".{other}".endswith(tail) for other in among) <= 1:
            return tail[1:]
    return key
