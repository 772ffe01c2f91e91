"""Formats validation errors of a study, one line each: the place, the rule and the value."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import TypeAlias

from pydantic import BaseModel, ValidationError

from harness.errors import nearest
from harness.study.axes import AXIS_KINDS
from harness.study.objectives import FURTHER
from harness.study.yaml_source import Path_, Source
from harness.workload import JsonValue

Model: TypeAlias = type[BaseModel]

_MOST_LINES = 20
_MOST_SHOWN = 100
_COMPLETE = {"value_error", "extra_forbidden", "missing"}  # errors that need no "got ..."
_NUMBERS = ("int_type", "float_type")  # Pydantic's errors for text where a number is needed
_QUOTED = re.compile(r"[-+]?[\d_]*\.?\d+([eE][-+]?\d+)?")


def explained(
    error: ValidationError, source: Source, whole: Model, sections: Mapping[str, Model]
) -> str:
    """Format validation errors as one line each: file, line, column, rule, value.

    Args:
        error: Pydantic's error.
        source: The document, with the place of each value.
        whole: The model of a study.
        sections: Field -> the model of its content.
    """
    lines: dict[str, str] = {}
    for detail in error.errors(include_url=False):
        loc, kind, value = _as_written(detail["loc"]), detail["type"], detail["input"]
        if not _is_meant(source, loc):
            continue
        where, text = _explain(source, loc, kind, detail["msg"], whole, sections)
        got = "" if isinstance(value, dict | BaseModel) else f", got {shown(value)}"
        if kind in _NUMBERS and isinstance(value, str) and _QUOTED.fullmatch(value):
            got += f"; write {value.replace('_', '')} without quotes"
        text = text.replace("\n", "\\n")
        # A union reports one error per member: keep the first, the usual form.
        field = text.partition(": ")[0]
        lines.setdefault(f"{where} {field}", f"{where}: {text}{'' if kind in _COMPLETE else got}")
    said = list(lines.values())
    more = [f"and {len(said) - _MOST_LINES} more like these"] if len(said) > _MOST_LINES else []
    return "\n".join(said[:_MOST_LINES] + more)


def _as_written(loc: Path_) -> Path_:
    """Return the place in the file of what Pydantic calls an objective."""
    if len(loc) > 1 and loc[0] == FURTHER and isinstance(loc[1], int):
        return ("metric", loc[1] + 1, *loc[2:])
    return loc


def shown(value: object, show: Callable[[object], str] = repr) -> str:
    """Format a value on one line, cut if it is long."""
    text = show(value).replace("\n", "\\n")
    return text if len(text) <= _MOST_SHOWN else f"{text[:_MOST_SHOWN]}…"


def _explain(
    source: Source, loc: Path_, kind: str, message: str, whole: Model, sections: Mapping[str, Model]
) -> tuple[str, str]:
    """Return the place of an error, and its text with the dotted path of the field."""
    message = message.removeprefix("Value error, ")
    # For a union, Pydantic adds the member it tried to the path; that is not a key of the file.
    union = _union_at(loc)
    path = loc[:union] + loc[union + 1 :] if union else loc
    if kind == "value_error" and not loc:
        # Rules over several fields name the field first: 'zip: ...', 'search.a.b: ...'.
        field, _, _ = message.partition(": ")
        first, _, rest = field.partition(".")
        return source.where((first, rest) if rest else (first,)), message
    dotted = ".".join(str(part) for part in path)
    if kind == "extra_forbidden":
        model = sections.get(str(path[0]), whole) if len(path) > 1 else whole
        guess = nearest(str(path[-1]), [key for key in model.model_fields if key != FURTHER])
        return source.where(path), f"{dotted}: unknown key; {guess}"
    if kind == "missing" and isinstance(path[-1], int):
        return source.where(path), f"{dotted.rpartition('.')[0]}: needs [low, high]"
    if kind == "missing":
        return source.where(path[:-1]), f"{dotted}: is missing; add it"
    if kind in ("too_short", "too_long") and loc[-1] in AXIS_KINDS[2:]:
        return source.where(path), f"{dotted}: needs [low, high]"
    text = message if kind == "value_error" else message[0].lower() + message[1:]
    return source.where(path), f"{dotted}: {text}"


def _is_meant(source: Source, loc: Path_) -> bool:
    """Return whether an error concerns the union member that the user meant."""
    union = _union_at(loc)
    if not union or loc[union - 1] != "seeds":
        return True
    value: JsonValue = dict(source.value)
    for key in loc[:union]:
        value = value[key]  # type: ignore[index]  # an error's path always exists
    return isinstance(value, list) == str(loc[union]).startswith("list")


def _union_at(loc: Path_) -> int:
    """Return the index of the union member in an error's path; 0 if there is none."""
    for field in (("seeds",), ("baseline",), ("confirm", "seeds")):
        if loc[: len(field)] == field and len(loc) > len(field):
            return len(field)
    return 0
