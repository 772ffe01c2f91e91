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


def _control(
    loaded: Loaded, workload: Workload, number: int, name: str, overrides: Mapping[str, JsonValue]
) -> Trial:
    params = copy.deepcopy(loaded.spec.base)
    for key, value in overrides.items():
        set_at(params, key, copy.deepcopy(value))
    checked = _checked(loaded, workload, params, {}, f"control {name!r}")
    return _made(loaded.spec, number, name, "control", {}, checked)


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
