"""Makes one trial: assembles its parameters, has the workload check them, and labels it."""

from __future__ import annotations

import copy
import inspect
import json
from collections.abc import Mapping, Sequence

from harness.errors import InputError
from harness.records.trial import Role, Trial, digest, flat
from harness.study.axes import set_at
from harness.study.conditions import VARIANT, Varied, assemble
from harness.study.loading import Loaded
from harness.study.spec import StudySpec
from harness.study.yaml_source import Path_
from harness.workload import JsonValue, Workload


def label_of(spec: StudySpec, varied: Varied) -> str:
    """Label a trial for tables: its variant, then ``key=value`` with the shortest unique keys."""
    parts = [str(varied[VARIANT])] if VARIANT in varied else []
    parts += [
        f"{_short(key, spec.search)}={show(value)}"
        for key, value in varied.items()
        if key != VARIANT
    ]
    return ", ".join(parts) or "base"


def show(value: JsonValue) -> str:
    """Format a value for tables: floats with five significant digits, all but text as JSON."""
    if isinstance(value, float):
        return f"{value:.5g}"
    return value if isinstance(value, str) else json.dumps(value)


def _trial(loaded: Loaded, workload: Workload, number: int, varied: Varied, role: Role) -> Trial:
    label = label_of(loaded.spec, varied)
    blamed = f"trial {label!r}" if label != "base" else ""
    params = _checked(loaded, workload, assemble(loaded.spec, varied), varied, blamed)
    return _made(loaded.spec, number, label, role, varied, params)


def controls_of(
    loaded: Loaded, workload: Workload, trials: Sequence[Trial], first_number: int
) -> tuple[Trial, ...]:
    """Make the control trials of a study, each distinct setting once.

    A workload may make its controls fit a trial's parameters, so that a study which varies what a
    control depends on has several controls of one name; their labels then say how they differ.
    """
    found: dict[str, tuple[str, dict[str, JsonValue]]] = {}
    for params in _controlled(loaded, workload, trials):
        for name, overrides in workload.controls(*params).items():
            setting = copy.deepcopy(dict(params[0]) if params else loaded.spec.base)
            for key, value in overrides.items():
                set_at(setting, key, copy.deepcopy(value))
            checked = _checked(loaded, workload, setting, {}, f"control {name!r}")
            found.setdefault(digest(checked), (name, checked))
    labels = _control_labels(list(found.values()))
    return tuple(
        _made(loaded.spec, first_number + place, label, "control", {}, params)
        for place, (label, (_, params)) in enumerate(zip(labels, found.values(), strict=True))
    )


def _controlled(
    loaded: Loaded, workload: Workload, trials: Sequence[Trial]
) -> Sequence[tuple[()] | tuple[Mapping[str, JsonValue]]]:
    """List the arguments to ask a workload for its controls with."""
    if not inspect.signature(workload.controls).parameters:
        return [()]
    return [(trial.params,) for trial in trials]


def _control_labels(controls: Sequence[tuple[str, Mapping[str, JsonValue]]]) -> list[str]:
    """Label controls by name, and those that share a name also by what tells them apart."""
    labels = []
    for name, params in controls:
        alike = [flat(others) for other, others in controls if other == name]
        mine = flat(params)
        differing = [key for key in mine if any(each.get(key) != mine[key] for each in alike)]
        parts = [f"{_short(key, mine)}={show(mine[key])}" for key in differing]
        labels.append(f"{name} ({', '.join(parts)})" if parts else name)
    return labels


def _checked(
    loaded: Loaded,
    workload: Workload,
    params: dict[str, JsonValue],
    varied: Varied,
    blamed: str,
) -> dict[str, JsonValue]:
    """Have the workload complete the parameters; add the place in the file to its errors."""
    try:
        return workload.check(params)
    except ValueError as error:
        lines = [
            f"{locate(loaded, varied, line.partition(':')[0])}: {line}"
            + (f" ({blamed})" if blamed else "")
            for line in str(error).splitlines()
        ]
        raise InputError("\n".join(lines)) from None


def _made(
    spec: StudySpec,
    number: int,
    label: str,
    role: Role,
    varied: Varied,
    params: dict[str, JsonValue],
) -> Trial:
    variant = varied.get(VARIANT)
    return Trial(
        study=spec.study,
        number=number,
        label=label,
        # Controls need no training, and are compared with the final, confirmed results.
        phase="confirm" if spec.is_fixed or (spec.confirm and role == "control") else "search",
        role=role,
        variant=None if variant is None else str(variant),
        varied=varied,
        params=params,
    )


def locate(loaded: Loaded, varied: Mapping[str, JsonValue], dotted: str) -> str:
    """Find where the parameter named in an error was set: an axis, a variant, or the base."""
    variant = str(varied.get(VARIANT))
    above: dict[str, Path_] = dict.fromkeys(varied, ("search",))
    above |= dict.fromkeys(loaded.spec.variants.get(variant, {}), ("variants", variant))
    for key, path in above.items():
        if f"{dotted}.".startswith(f"{key}.") or key.startswith(f"{dotted}."):
            inside = dotted.removeprefix(key).split(".")[1:]
            return loaded.source.where((*path, key, *inside))
    return loaded.source.where(("base", *dotted.split(".")))


def _place(loaded: Loaded, varied: Varied) -> str:
    if VARIANT in varied:
        return loaded.source.where(("variants", str(varied[VARIANT])))
    return loaded.source.where(("search",))


def _needs(spec: StudySpec, unit: tuple[str, ...]) -> set[str]:
    return {key for name in unit for key in (spec.search[name].when or {})}


def _short(key: str, among: Mapping[str, object]) -> str:
    """Return the shortest suffix of a dotted key that no other axis shares."""
    parts = key.split(".")
    for count in range(1, len(parts)):
        tail = "." + ".".join(parts[-count:])
        if sum(f".{other}".endswith(tail) for other in among) <= 1:
            return tail[1:]
    return key
