"""Several metrics in a study file."""

from __future__ import annotations

from pathlib import Path

import jsonschema
import pytest
import yaml

from harness.errors import InputError
from harness.records.studies.objectives import Objective, objectives_in, parameter, value_of
from harness.study.json_schema import study_schema
from harness.study.loading import load_study
from harness.study.spec import StudySpec
from harness.study.spec_diff import diff_specs

ONE = """
study: two
question: What is high and near?
workload: quadratic
search: {x: {uniform: [0.0, 1.0]}}
sampler: tpe
trials: 8
metric: height
"""
SEVERAL = "metric: [height, {minimise: x}, nmi]"


def load(tmp_path: Path, text: str, *overrides: str) -> StudySpec:
    path = tmp_path / "study.yaml"
    path.write_text(text)
    return load_study(path, overrides).spec


def test_the_first_of_a_list_is_the_primary_metric(tmp_path: Path) -> None:
    spec = load(tmp_path, ONE.replace("metric: height", SEVERAL))
    assert (spec.metric, spec.searched) == ("height", "val/height")
    assert spec.named_objectives == (
        Objective("height", "maximise"),
        Objective("x", "minimise"),
        Objective("nmi", "maximise"),
    )
    assert [each.sign for each in spec.named_objectives] == [1, -1, 1]


def test_a_stored_study_has_the_list_and_reads_as_the_same_study(tmp_path: Path) -> None:
    spec = load(tmp_path, ONE.replace("metric: height", SEVERAL))
    stored = spec.model_dump(mode="json")
    assert stored["metric"] == ["height", {"minimise": "x"}, "nmi"]
    assert "objectives" not in stored
    assert StudySpec.model_validate(stored) == spec
    assert objectives_in(stored) == spec.named_objectives
    assert diff_specs(stored, spec) == ()


def test_a_study_with_one_metric_is_stored_as_before(tmp_path: Path) -> None:
    spec = load(tmp_path, ONE)
    stored = spec.model_dump(mode="json")
    assert stored["metric"] == "height"
    assert "objectives" not in stored
    assert spec.named_objectives == objectives_in(stored) == ()
    several = load(tmp_path, ONE.replace("metric: height", SEVERAL))
    assert several.fingerprint != spec.fingerprint
    changes = diff_specs(stored, several)
    assert [change.field for change in changes] == ["metric"]


def test_an_override_may_be_a_list(tmp_path: Path) -> None:
    spec = load(tmp_path, ONE, "metric=[height, {maximise: x}]")
    assert spec.named_objectives[1] == Objective("x", "maximise")


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        ("metric: [height]", "study.yaml:8:1: metric: a list has the name of the primary metric"),
        ("metric: []", "metric: a list has the name"),
        ("metric: [{minimise: x}, height]", "metric: a list has the name of the primary metric"),
        ("metric: [height, {minimize: x}]", "study.yaml:8:19: metric.1.minimize: unknown key"),
        ("metric: [height, {}]", "metric.1: give one of maximise, minimise, got none of them"),
        ("metric: [height, {minimise: x, maximise: y}]", "got maximise and minimise"),
        ("metric: [height, {minimise: seconds}]", "seconds differs each time a run is repeated"),
        ("metric: [height, {minimise: peak_mib}]", "the view pareto shows seconds and memory"),
        ("metric: [height, {minimise: seconds/train}]", "a resumed search would propose other"),
        ("metric: [height, {minimise: x}, x]", "metric.2: x is named twice; remove one"),
        ("metric: [height, height]", "metric.1: height is named twice"),
        ("metric: [height, 7]", "metric.1: "),
        ("metric: height\nobjectives: [x]", "objectives: unknown key; list them in metric"),
        (
            f"{SEVERAL}\npruner: median",
            "study.yaml:9:1: pruner: median goes by one metric, and there are 3; remove pruner",
        ),
    ],
)
def test_wrong_metrics_are_refused_in_a_line(tmp_path: Path, lines: str, said: str) -> None:
    with pytest.raises(InputError) as caught:
        load(tmp_path, ONE.replace("metric: height", lines))
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_cma_es_is_refused_beside_several_metrics(tmp_path: Path) -> None:
    text = ONE.replace("metric: height", SEVERAL).replace("tpe", "cmaes")
    text = text.replace(
        "{x: {uniform: [0.0, 1.0]}}", "{x: {uniform: [0, 1]}, y: {uniform: [0, 1]}}"
    )
    with pytest.raises(InputError, match="sampler: cmaes goes by one metric, and there are 3"):
        load(tmp_path, text)


@pytest.mark.parametrize("metric", ["height", "[height, {minimise: x}]", "[height, x]"])
def test_the_schema_for_editors_takes_a_name_or_a_list(metric: str) -> None:
    schema = study_schema({"type": "object", "properties": {"x": {"type": "number"}}})
    study = yaml.safe_load(ONE.replace("metric: height", f"metric: {metric}"))
    jsonschema.validate(study, schema)
    assert "objectives" not in schema["properties"]  # type: ignore[operator]


@pytest.mark.parametrize("metric", ["[height]", "[{minimise: x}]", "[height, {minimize: x}]", "7"])
def test_the_schema_for_editors_refuses_other_metrics(metric: str) -> None:
    schema = study_schema({"type": "object", "properties": {"x": {"type": "number"}}})
    study = yaml.safe_load(ONE.replace("metric: height", f"metric: {metric}"))
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(study, schema)


def test_a_parameter_is_found_by_its_key_or_the_end_of_one() -> None:
    params = {"model": {"dim": 64, "name": "a"}, "train": {"epochs": 5}, "test": {"epochs": 6}}
    assert parameter(params, "model.dim") == parameter(params, "dim") == 64
    assert parameter(params, "train.epochs") == 5
    assert parameter(params, "epochs") is None  # two of them
    assert parameter(params, "name") is None
    assert parameter({"flag": True}, "flag") is None


def test_a_value_is_a_parameter_else_a_result_on_the_split_else_one_without() -> None:
    assert value_of("dim", {"dim": 3}, [0.5, 0.6]) == 3
    assert value_of("nmi", {"dim": 3}, [0.5, 0.6]) == 0.5
    assert value_of("flops", {"dim": 3}, [None, 0.6]) == 0.6
    assert value_of("flops", {}, [None, None]) is None
