"""The JSON Schema of a study file: accepts what is right, underlines a misspelt key."""

from __future__ import annotations

from typing import Any

import jsonschema
import pytest
import yaml
from fake_workload import HEAD, FakeWorkload
from roots import ROOT

from harness.study.json_schema import study_schema
from harness.study.yaml_source import read_yaml
from harness.workload import JsonValue, load_workload

STUDIES = ROOT / "studies"
TEACHER = ["method.momentum", "method.groups", "method.clusters", "method.temperature"]


@pytest.fixture(scope="module")
def schema() -> dict[str, Any]:
    return study_schema(FakeWorkload().schema())


def problems(schema: dict[str, Any], text: str, head: str = HEAD) -> list[str]:
    validator = jsonschema.Draft202012Validator(schema)
    document = yaml.safe_load(head + text)
    return [f"{error.json_path}: {error.message}" for error in validator.iter_errors(document)]


def test_it_is_a_schema_of_its_dialect_without_dangling_references(schema: dict[str, Any]) -> None:
    assert schema["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    jsonschema.Draft202012Validator.check_schema(schema)
    found = [ref.removeprefix("#/$defs/") for ref in references(schema)]
    assert set(found) <= set(schema["$defs"])
    assert {"params", "params.Teacher", "Axis", "Condition"} <= set(found)


def references(value: object) -> list[str]:
    if isinstance(value, list):
        return [ref for item in value for ref in references(item)]
    if not isinstance(value, dict):
        return []
    here = [value["$ref"]] if isinstance(value.get("$ref"), str) else []
    return here + [ref for inner in value.values() for ref in references(inner)]


def test_keys_are_the_dotted_keys_of_all_members_of_a_union(schema: dict[str, Any]) -> None:
    keys = list(schema["properties"]["search"]["properties"])
    assert keys == [
        "method",
        "method.name",
        *TEACHER,
        "method.grouping",
        "train",
        "train.epochs",
        "train.learning_rate",
        "train.milestones",
        "data",
        "extra",
    ]
    assert list(schema["$defs"]["Condition"]["properties"]) == ["variant", *keys]
    assert list(schema["properties"]["variants"]["additionalProperties"]["properties"]) == keys


@pytest.mark.parametrize(
    "text",
    [
        "",
        "base: {method: {groups: 3}, train: {epochs: 2}}",
        "base: {method: {name: pixels}}",
        "base: {extra: {anything: 1.5}}",
        "search: {method.momentum: {grid: [0.0, 0.9], when: {method.name: teacher, variant: [a]}}}",
        "search: {extra.anything: {uniform: [0, 1]}}\nsampler: tpe\ntrials: 3",
        "search: {method: {choice: [{name: pixels}]}}",
        "variants: {full: {}, raw: {method: {name: pixels}}, one: {method.groups: 1}}",
        "forbid: [{method.groups: [1, 2], variant: full}]",
        "baseline: {method.momentum: 0.9}\nseeds: [1, 2]\nzip: [[a, b]]",
        "baseline: full\nseeds: 3",
        "ablate: {design: lattice, components: {a: {method.groups: 1}}, bare: raw pixels}",
        "ablate: {design: lattice, components: {a: {without: {train.epochs: 1}, needs: [b]}}}",
    ],
)
def test_a_right_study_passes(schema: dict[str, Any], text: str) -> None:
    assert problems(schema, text) == []


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ("serch: {}", "$: "),
        ("base: {trian: {epochs: 2}}", "$.base: "),
        ("base: {train: {epoch: 2}}", "$.base.train: "),
        ("base: {method: {grops: 2}}", "$.base.method: "),
        ("base: {train: {epochs: 0}}", "$.base.train.epochs: "),
        ("search: {method.momentun: {grid: [1]}}", "$.search: "),
        ("search: {momentum: {grid: [1]}}", "$.search: "),
        ("search: {method.momentum: {grdi: [1]}}", "$.search['method.momentum']: "),
        ("search: {data: {grid: [x], when: {method.nam: y}}}", "$.search.data.when: "),
        ("variants: {a: {method.momentun: 1}}", "$.variants.a: "),
        ("variants: {a: {train.epochs: 0}}", "$.variants.a['train.epochs']: "),
        ("forbid: [{method.momentun: 1}]", "$.forbid[0]: "),
        ("baseline: {method.momentun: 1}", "$.baseline: "),
        ("sampler: tpee", "$.sampler: "),
        ("ablate: {design: latice, components: {a: {method.groups: 1}}}", "$.ablate: "),
        ("ablate: {design: lattice, components: {a: {method.grops: 1}}}", "$.ablate: "),
        ("seeds: 0", "$.seeds: "),
    ],
)
def test_a_misspelt_key_or_a_value_out_of_range_is_refused_where_it_stands(
    schema: dict[str, Any], text: str, path: str
) -> None:
    (problem,) = problems(schema, text)
    assert problem.startswith(path)


def test_only_a_study_that_extends_another_may_lack_fields(schema: dict[str, Any]) -> None:
    assert problems(schema, "", "extends: parent.yaml\n") == []
    assert problems(schema, "", "study: s\n") != []
    assert problems(schema, "", "extends: 3\n") != []


def test_a_parameter_keeps_its_explanation(schema: dict[str, Any]) -> None:
    workload: dict[str, JsonValue] = {
        "type": "object",
        "properties": {"rate": {"type": "number", "description": "How fast."}},
        "additionalProperties": False,
        "required": ["rate"],
    }
    found: Any = study_schema(workload)
    assert found["properties"]["search"]["properties"]["rate"] == {
        "description": "How fast.",
        "$ref": "#/$defs/Axis",
    }
    assert "required" not in found["$defs"]["params"]
    assert workload["required"] == ["rate"]


def test_a_parameter_may_be_called_like_a_word_of_json_schema() -> None:
    workload: dict[str, JsonValue] = {
        "type": "object",
        "properties": {
            "required": {"type": "boolean", "default": {"required": ["x"], "$ref": "#/x"}},
            "oneOf": {"type": "integer"},
        },
        "additionalProperties": False,
    }
    found: Any = study_schema(workload)
    assert list(found["properties"]["search"]["properties"]) == ["required", "oneOf"]
    assert found["$defs"]["params"]["properties"] == workload["properties"]


def test_a_schema_that_contains_itself_has_an_end() -> None:
    node: dict[str, JsonValue] = {
        "type": "object",
        "properties": {"size": {"type": "integer"}, "inner": {"$ref": "#/$defs/Node"}},
        "additionalProperties": False,
    }
    found: Any = study_schema({"$ref": "#/$defs/Node", "$defs": {"Node": node}})
    assert list(found["properties"]["search"]["properties"]) == ["size", "inner"]
    assert problems(found, "base: {inner: {inner: {size: 3}}}") == []
    assert problems(found, "base: {inner: {inner: {sise: 3}}}") != []


def test_a_workload_that_names_no_parameters_leaves_them_free() -> None:
    found: Any = study_schema({"type": "object"})
    assert problems(found, "base: {a: 1}\nsearch: {a.b: {grid: [1]}}") == []


@pytest.mark.timeout(90)
def test_the_shipped_studies_pass_the_schema_of_their_workload() -> None:
    schema: Any = study_schema(load_workload("gcudml.workload").schema())
    validator = jsonschema.Draft202012Validator(schema)
    paths = sorted(STUDIES.rglob("*.yaml"))
    assert paths
    for path in paths:
        document = read_yaml(path).value
        assert [error.message for error in validator.iter_errors(document)] == []
        document["search"] = {"method.teacher_momentun": {"grid": [0.0]}}
        (error,) = validator.iter_errors(document)
        assert "method.teacher_momentun" in error.message
