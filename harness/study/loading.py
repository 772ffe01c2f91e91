"""Loads a study file and applies overrides from the command line."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from pydantic import BaseModel, ValidationError

from harness.errors import InputError, nearest
from harness.study.ablate import Ablate
from harness.study.axes import Axis, set_at
from harness.study.claims import ClaimSpec
from harness.study.limits import Budget, Confirm, Limits, Stop
from harness.study.objectives import Objective
from harness.study.spec import StudySpec
from harness.study.validation_errors import explained, shown
from harness.study.variance import Variance
from harness.study.yaml_source import (
    Path_,
    Source,
    extended,
    merged,
    parse_value,
    plain_source,
    read_yaml,
)
from harness.workload import JsonValue


class Loaded(NamedTuple):
    """A study, and the place in the file of each of its values."""

    spec: StudySpec
    source: Source


def load_study(study: Path | Mapping[str, JsonValue], overrides: Sequence[str] = ()) -> Loaded:
    """Read and validate one study.

    Args:
        study: Path of the study file, or its content; paths in ``extends`` are then relative to the
            current folder.
        overrides: ``KEY=VALUE`` each: a field of the study (``seeds=2``) or else a parameter of its
            base (``train.epochs=2``).

    Raises:
        InputError: one line per fault, with file, line, column, rule and value.
    """
    if isinstance(study, Path):
        source = extended(read_yaml(study), study.parent)
    else:
        source = extended(plain_source(study, name="study"), Path())
    for override in overrides:
        source = _override(source, override)
    try:
        return Loaded(StudySpec.model_validate(source.value), source)
    except ValidationError as error:
        raise InputError(explained(error, source, StudySpec, _SECTIONS)) from None


_SECTIONS: Mapping[str, type[BaseModel]] = {
    "search": Axis,
    "confirm": Confirm,
    "limits": Limits,
    "budget": Budget,
    "ablate": Ablate,
    "claims": ClaimSpec,
    "stop": Stop,
    "metric": Objective,
    "variance": Variance,
}
_PARTS = ("confirm", "limits", "budget", "ablate", "stop", "variance")
"""Fields whose parts can be set one by one."""


def _override(source: Source, override: str) -> Source:
    key, equals, text = override.partition("=")
    key = key.strip()
    name = f"--set {shown(override, str)}"
    if not equals or not key:
        raise InputError(f"{name}: give KEY=VALUE, such as seeds=2 or train.epochs=2")
    new = parse_value(text, name=name)
    value = dict(source.value)
    if key in StudySpec.model_fields:
        path: Path_ = (key,)
        value[key] = new
    elif key.startswith("search."):
        path = ("search", key.removeprefix("search."))
        value["search"] = _with_axis(value.get("search"), path[1], new, name=name)
    elif key.split(".")[0] in _PARTS:
        field, _, part = key.partition(".")
        path = (field, *part.split("."))
        before = value.get(field)
        value[field] = merged(before, {part: new}) if isinstance(before, dict) else {part: new}
    elif key.split(".")[0] in StudySpec.model_fields:
        raise InputError(
            f"{name}: only whole fields of a study and the parts of {', '.join(_PARTS)} can be "
            "set; name a parameter without 'base.'"
        )
    else:
        search = value.get("search")
        close = difflib.get_close_matches(key, StudySpec.model_fields, n=1, cutoff=0.75)
        if close and key not in (value.get("base") or {}):  # type: ignore[operator]
            raise InputError(f"{name}: unknown key {key!r}; did you mean {close[0]!r}?")
        if isinstance(search, dict) and key in search:
            raise InputError(f"{name}: {key!r} is an axis of this study; set search.{key}")
        base = value.get("base")
        value["base"] = base = merged({}, base if isinstance(base, dict) else {})
        set_at(base, key, new)
        path = ("base", *key.split("."))
    kept = {p: place for p, place in source.places.items() if p[: len(path)] != path}
    return Source(value, kept | {path: name}, source.name)


def _with_axis(search: JsonValue, axis: str, new: JsonValue, *, name: str) -> JsonValue:
    """Return the axes with one existing axis replaced."""
    known = search if isinstance(search, dict) else {}
    if axis not in known:
        guess = nearest(axis, known) if known else "it has none"
        raise InputError(f"{name}: the study has no axis {axis!r}; {guess}")
    return {**known, axis: new}


def study_name(argument: str) -> str:
    """Return a study's name, given either the name itself or the path of the study file.

    Raises:
        InputError: the file is not a study.
    """
    path = Path(argument)
    is_file = path.suffix in (".yaml", ".yml") or path.is_file()
    return load_study(path).spec.study if is_file else argument
