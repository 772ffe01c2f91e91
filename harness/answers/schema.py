"""The JSON Schema of all answers, made from their classes."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from harness.answers.documents import ANSWERS, Message

_DIALECT = "https://json-schema.org/draft/2020-12/schema"


def answers_schema() -> dict[str, Any]:
    """Build the schema: ``#/$defs/COMMAND`` is that of one command, the whole allows any answer."""
    models: list[type[BaseModel]] = [*dict.fromkeys(ANSWERS.values()), Message]
    of_model, found = models_json_schema([(each, "serialization") for each in models])
    named: dict[str, Any] = {
        command: of_model[model, "serialization"] for command, model in ANSWERS.items()
    }
    named["stderr"] = of_model[Message, "serialization"]
    return {
        "$schema": _DIALECT,
        "title": "Answers of harness",
        "description": "What each command prints with --format json; stderr: a line there.",
        "anyOf": [{"$ref": f"#/$defs/{command}"} for command in ANSWERS],
        "$defs": named | found["$defs"],
    }
