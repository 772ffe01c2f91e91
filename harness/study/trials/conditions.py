"""Conditional axes (``when``) and excluded combinations (``forbid``)."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from typing import TypeAlias

from harness.errors import InputError, nearest
from harness.study.axes import Axis, Condition, get_at, matches, same_value, set_at
from harness.study.loading import Loaded
from harness.study.spec import VARIANT, StudySpec
from harness.workload import JsonValue, Workload

Varied: TypeAlias = dict[str, JsonValue]
"""Dotted key -> value of each varied parameter; the key ``variant`` names the variant. Of an
ablation: component -> whether it is on."""
Filled: TypeAlias = Mapping[str | None, Mapping[str, JsonValue]]
"""Variant -> all its parameters before any axis is set; the key is None without variants."""


def assemble(spec: StudySpec, varied: Varied) -> dict[str, JsonValue]:
    """Return a copy of the base with the variant's overrides and the values of the axes applied.

    Of an ablation: the base with the components switched off that are not on in ``varied``.
    """
    params = copy.deepcopy(spec.base)
    if spec.ablate is not None:
        for key, value in spec.ablate.overrides(varied).items():
            set_at(params, key, copy.deepcopy(value))
        return params
    variant = varied.get(VARIANT)
    overrides = spec.variants.get(str(variant), {}) if variant is not None else {}
    for key, value in (overrides | varied).items():
        if key != VARIANT:
            set_at(params, key, copy.deepcopy(value))
    return params


def fill(spec: StudySpec, workload: Workload) -> Filled:
    """Complete each variant with the workload's defaults, unless it is invalid on its own."""
    filled: dict[str | None, Mapping[str, JsonValue]] = {}
    variants: list[str | None] = [*spec.variants]
    for variant in variants or [None]:
        params = assemble(spec, {} if variant is None else {VARIANT: variant})
        try:
            filled[variant] = workload.check(params)
        except ValueError:
            filled[variant] = params
    return filled


def is_active(spec: StudySpec, axis: Axis, varied: Varied, filled: Filled) -> bool:
    """Return whether an axis exists in a trial, given the values chosen so far."""
    if axis.when is None:
        return True
    variant = varied.get(VARIANT)
    params = filled.get(None if variant is None else str(variant), {})
    known: Varied = {}
    for key in axis.when:
        if key in varied:
            known[key] = varied[key]
        elif key not in spec.search:  # an inactive axis matches nothing
            known[key] = get_at(params, key)
    return matches(axis.when, known)


def is_forbidden(spec: StudySpec, varied: Varied) -> bool:
    """Return whether a ``forbid`` rule excludes this combination."""
    return any(all(key in varied for key in rule) and matches(rule, varied) for rule in spec.forbid)


def check_conditions(loaded: Loaded, filled: Filled) -> None:
    """Reject an axis that no trial would have: a typo in ``when`` must not remove it silently.

    Raises:
        InputError: a parameter named in ``when`` does not exist or never has that value.
    """
    spec = loaded.spec
    names = dict.fromkeys([*spec.search, *([VARIANT] if spec.variants else [])])
    for params in filled.values():
        names |= dict.fromkeys(_keys(params))
    for name, axis in spec.search.items():
        for key, wanted in (axis.when or {}).items():
            where = f"{loaded.source.where(('search', name, 'when', key))}: search.{name}.when"
            if outer := next((other for other in spec.search if key.startswith(f"{other}.")), None):
                raise InputError(f"{where}: {key!r} lies inside the axis {outer!r}; name {outer!r}")
            if key not in names:
                raise InputError(f"{where}: unknown key {key!r}; {nearest(key, names)}")
            if not _possible(spec, key, wanted, filled):
                raise InputError(f"{where}: {key!r} is never {wanted!r}; no trial has this axis")


def setting_for(spec: StudySpec, axis: Axis, filled: Filled) -> Varied:
    """Choose a variant and values of other axes for which ``axis`` exists."""
    chosen: Varied = {}
    elsewhere: Condition = {}
    waiting = [axis]
    while waiting:
        for key, wanted in (waiting.pop().when or {}).items():
            if key not in spec.search and key != VARIANT:
                elsewhere[key] = wanted
            elif key not in chosen:
                chosen[key] = _possible(spec, key, wanted, filled)[0]
                waiting += [spec.search[key]] if key in spec.search else []
    if spec.variants and VARIANT not in chosen:
        fitting = [
            name
            for name in spec.variants
            if matches(elsewhere, {key: get_at(filled[name], key) for key in elsewhere})
        ]
        chosen[VARIANT] = (fitting or list(spec.variants))[0]
    return chosen


def with_conditional(spec: StudySpec, varied: Varied, filled: Filled) -> Varied:
    """Add to ``varied`` a value for each conditional axis that it activates.

    Every trial has these values, so without them the check would cover a setting that is never
    trained. Use the baseline's value if it names one, else the first. Axes that conditions depend
    on take the baseline's value, too.
    """
    named = spec.baseline if isinstance(spec.baseline, dict) else {}
    asked = {key for axis in spec.search.values() for key in axis.when or {}}
    full = {key: named[key] for key in spec.search if key in asked & named.keys()} | varied
    for key, axis in spec.search.items():
        if axis.when and key not in full and is_active(spec, axis, full, filled):
            full[key] = named.get(key, (axis.values or axis.bounds or [None])[0])
    return full


def _possible(spec: StudySpec, key: str, wanted: JsonValue, filled: Filled) -> list[JsonValue]:
    """Return the wanted values that a parameter, an axis or ``variant`` can have."""
    allowed = wanted if isinstance(wanted, list) else [wanted]
    axis = spec.search.get(key)
    if axis is not None and axis.bounds is not None:
        low, high = axis.bounds
        return [v for v in allowed if isinstance(v, int | float) and low <= v <= high]
    if axis is not None:
        there = axis.values or []
    elif key == VARIANT:
        there = list(spec.variants)
    else:
        there = [get_at(params, key) for params in filled.values()]
    return [v for v in allowed if any(same_value(v, value) for value in there)]


def _keys(params: Mapping[str, JsonValue], before: str = "") -> Iterator[str]:
    """Yield all dotted keys of nested parameters."""
    for key, value in params.items():
        yield before + key
        if isinstance(value, dict):
            yield from _keys(value, f"{before}{key}.")
