"""Values of parameters: found and set by dotted key, compared, and matched with conditions."""

from __future__ import annotations

import math
from collections.abc import Mapping

from harness.axis import Condition
from harness.workload import JsonValue


def set_at(target: dict[str, JsonValue], dotted: str, value: JsonValue) -> None:
    """Set a parameter by its dotted key, making the mappings on the way; in place."""
    *outer, last = dotted.split(".")
    for key in outer:
        inner = target.get(key)
        if not isinstance(inner, dict):
            inner = target[key] = {}
        target = inner
    target[last] = value


def get_at(params: Mapping[str, JsonValue], dotted: str) -> JsonValue:
    """The value at a dotted key, or None where there is none."""
    value: JsonValue = dict(params)
    for key in dotted.split("."):
        if not isinstance(value, dict) or key not in value:
            return None
        value = value[key]
    return value


def matches(condition: Condition, values: Mapping[str, JsonValue]) -> bool:
    """Whether each key of ``condition`` has its value, or one of its values."""
    for key, wanted in condition.items():
        allowed = wanted if isinstance(wanted, list) else [wanted]
        if not any(same_value(values.get(key), each) for each in allowed):
            return False
    return True


def same_value(one: JsonValue, other: JsonValue) -> bool:
    """Equality in which 1 is 1.0 but true is not 1."""
    if isinstance(one, bool) or isinstance(other, bool):
        return one is other
    if isinstance(one, int | float) and isinstance(other, int | float):
        return math.isclose(one, other, rel_tol=1e-12)
    return one == other
