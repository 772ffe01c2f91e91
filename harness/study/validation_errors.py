"""What is wrong with a study, in lines: where it stands, the rule, and the value."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import TypeAlias

from pydantic import BaseModel, ValidationError

from harness.errors import nearest
from harness.study.axes import AXIS_KINDS
from harness.study.yaml_source import Path_, Source
from harness.workload import JsonValue

Model: TypeAlias = type[BaseModel]

_MOST_LINES = 20
_MOST_SHOWN = 100
_COMPLETE = {"value_error", "extra_forbidden", "missing"}  # errors whose text says it all
_NUMBERS = ("int_type", "float_type")  # what Pydantic calls a text in place of a number
_QUOTED = re.compile(r"[-+]?[\d_]*\.?\d+([eE][-+]?\d+)?")


def explained(
    error: ValidationError, source: Source, whole: Model, sections: Mapping[str, Model]
) -> str:
    """A line for each thing that is wrong: file, line, column, rule, value.

    Args:
        error: What Pydantic says.
        source: Where everything stood.
        whole: The model of a study.
        sections: Field -> the model of what is below it.
    """
    lines: dict[str, str] = {}
    for detail in error.errors(include_url=False):
        loc, kind, value = detail["loc"], detail["type"], detail["input"]
        if not _is_meant(source, loc):
            continue
        where, text = _explain(source, loc, kind, detail["msg"], whole, sections)
        got = "" if isinstance(value, dict | BaseModel) else f", got {shown(value)}"
        if kind in _NUMBERS and isinstance(value, str) and _QUOTED.fullmatch(value):
            got += f"; write {value.replace('_', '')} without quotes"
        text = text.replace("\n", "\\n")
        # A union complains once for each of its members: the first says what is usual.
        field = text.partition(": ")[0]
        lines.setdefault(f"{where} {field}", f"{where}: {text}{'' if kind in _COMPLETE else got}")
    said = list(lines.values())
    more = [f"and {len(said) - _MOST_LINES} more like these"] if len(said) > _MOST_LINES else []
    return "\n".join(said[:_MOST_LINES] + more)


def shown(value: object, show: Callable[[object], str] = repr) -> str:
    """A value in a line, cut where it is long."""
    text = show(value).replace("\n", "\\n")
    return text if len(text) <= _MOST_SHOWN else f"{text[:_MOST_SHOWN]}…"


def _explain(
    source: Source, loc: Path_, kind: str, message: str, whole: Model, sections: Mapping[str, Model]
) -> tuple[str, str]:
    """Where an error stands, and its text with the dotted path of the field."""
    message = message.removeprefix("Value error, ")
    # For a union, Pydantic adds to the path which member it tried; that is no key of the file.
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
        guess = nearest(str(path[-1]), model.model_fields)
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
    """Whether an error belongs to the union member that the value was meant to be."""
    union = _union_at(loc)
    if not union or loc[union - 1] != "seeds":
        return True
    value: JsonValue = dict(source.value)
    for key in loc[:union]:
        value = value[key]  # type: ignore[index]  # the path of an error exists
    return isinstance(value, list) == str(loc[union]).startswith("list")


def _union_at(loc: Path_) -> int:
    """Place in an error's path where a union's member stands; 0 where there is none."""
    for field in (("seeds",), ("baseline",), ("confirm", "seeds")):
        if loc[: len(field)] == field and len(loc) > len(field):
            return len(field)
    return 0
