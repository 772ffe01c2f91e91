"""The JSON Schema of a study file, from which editors complete, explain and check it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeAlias

from harness.study.objectives import FURTHER, metric_schema
from harness.study.spec import VARIANT, StudySpec
from harness.workload import JsonValue

Schema: TypeAlias = dict[str, Any]
DIALECT = "https://json-schema.org/draft/2020-12/schema"
PARAMS = "params"
"""Name of the workload's schema in ``$defs``, and the prefix of the workload's own definitions."""
_NAMED = ("properties", "patternProperties", "$defs", "dependentSchemas")  # name -> schema
_DATA = ("default", "const", "enum", "examples")  # plain values, which contain no schemas


def study_schema(workload_schema: Mapping[str, JsonValue]) -> dict[str, JsonValue]:
    """Build the schema of studies of one workload, in JSON Schema draft 2020-12.

    Args:
        workload_schema: The schema of the workload's parameters.
    """
    schema: Schema = StudySpec.model_json_schema()
    required = schema.pop("required")
    params = _partial(workload_schema)
    defs: Schema = {**schema.pop("$defs"), PARAMS: params}
    defs |= {f"{PARAMS}.{name}": inner for name, inner in params.pop("$defs", {}).items()}
    keys = _grouped(params, defs)
    condition = {"$ref": "#/$defs/Condition"}
    defs["Condition"] = _keyed({VARIANT: [], **keys}, lambda _: {})

    fields, axis = schema["properties"], defs["Axis"]
    fields["base"] |= {"$ref": f"#/$defs/{PARAMS}"}
    del fields["base"]["additionalProperties"]
    fields["search"] |= _keyed(keys, lambda found: {**_described(found), "$ref": "#/$defs/Axis"})
    overrides = _keyed(keys, lambda found: {"anyOf": found})
    fields["variants"]["additionalProperties"] = overrides
    defs["Component"]["properties"]["without"] |= overrides
    defs["Component"] = {"anyOf": [overrides, defs["Component"]]}
    fields["forbid"]["items"] = condition
    for owner, field in ((axis["properties"], "when"), (fields, "baseline")):
        owner[field]["anyOf"] = [
            condition if option.get("type") == "object" else option
            for option in owner[field]["anyOf"]
        ]
    del fields[FURTHER]
    fields["metric"] = metric_schema(fields["metric"])
    fields["extends"] = {
        "type": "string",
        "minLength": 1,
        "description": "Study file to start from; ``base`` is merged, other fields are replaced.",
    }
    return {
        "$schema": DIALECT,
        **schema,
        "anyOf": [{"required": ["extends"]}, {"required": required}],
        "$defs": defs,
    }


def _partial(schema: Mapping[str, JsonValue]) -> Schema:
    """Make everything in the workload's schema optional, and adjust its references."""
    partial: Schema = {}
    for key, value in schema.items():
        if key in _DATA:
            partial[key] = value
        elif key in _NAMED and isinstance(value, dict):
            partial[key] = {name: _inner(inner) for name, inner in value.items()}
        elif key == "$ref":
            partial[key] = _moved(str(value))
        elif key == "oneOf":  # an incomplete setting can match several members
            partial["anyOf"] = _inner(value)
        elif key not in ("required", "discriminator", "$schema", "$id"):
            partial[key] = _inner(value)
    return partial


def _inner(value: JsonValue) -> Any:  # noqa: ANN401  a schema, a list of schemas, or a plain value
    if isinstance(value, dict):
        return _partial(value)
    return [_inner(item) for item in value] if isinstance(value, list) else value


def _moved(reference: str) -> str:
    """Adjust a reference within the workload's schema, which is now a definition itself."""
    if reference.startswith("#/$defs/"):
        return f"#/$defs/{PARAMS}.{reference.removeprefix('#/$defs/')}"
    return f"#/$defs/{PARAMS}{reference[1:]}" if reference.startswith("#") else reference


def _grouped(params: Schema, defs: Schema) -> dict[str, list[Schema]]:
    """Return dotted key -> the schemas that its value may have."""
    grouped: dict[str, list[Schema]] = {}
    for key, inner in _walk(params, defs, "", ()):
        found = grouped.setdefault(key, [])
        if inner not in found:
            found.append(inner)
    return grouped


def _walk(
    schema: Schema, defs: Schema, before: str, seen: tuple[str, ...]
) -> Iterator[tuple[str, Schema]]:
    """Yield every property below a schema, following references and alternatives."""
    reference = schema.get("$ref")
    if isinstance(reference, str) and reference not in seen:  # or a recursive schema never ends
        target = defs.get(reference.removeprefix("#/$defs/"))
        if target is not None:
            yield from _walk(target, defs, before, (*seen, reference))
    for word in ("anyOf", "allOf"):
        for option in schema.get(word, []):
            yield from _walk(option, defs, before, seen)
    for name, inner in schema.get("properties", {}).items():
        yield f"{before}{name}", inner
        yield from _walk(inner, defs, f"{before}{name}.", seen)
    if schema.get("type") == "object" and schema.get("additionalProperties") is not False:
        rest = schema.get("additionalProperties")
        if rest is not None or "properties" not in schema:
            yield before, rest if isinstance(rest, dict) else {}


def _keyed(keys: Mapping[str, list[Schema]], make: Callable[[list[Schema]], Schema]) -> Schema:
    """Return the schema of a mapping that allows only dotted keys of parameters."""
    named = {key: make(found) for key, found in keys.items() if key and key[-1] != "."}
    # A parameter that is a mapping with free names allows any key after its dot.
    free: Schema = {f"^{key}".replace(".", r"\."): {} for key in keys if key not in named}
    return {
        "type": "object",
        "properties": named,
        **({"patternProperties": free} if free else {}),
        "additionalProperties": False,
    }


def _described(found: list[Schema]) -> Schema:
    texts = [schema["description"] for schema in found if "description" in schema]
    return {"description": texts[0]} if texts else {}
