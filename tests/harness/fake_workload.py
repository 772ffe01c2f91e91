"""A workload of settings only, and study files written next to a test."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
from pydantic import BaseModel, ConfigDict, Field, JsonValue, ValidationError, model_validator

from harness.errors import InputError
from harness.study.loading import load_study
from harness.study.plan import Plan, make_plan
from harness.workload import Params, Report

HEAD = "study: s\nquestion: Does it help?\nworkload: fake\n"


class Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)


class Teacher(Strict):
    name: Literal["teacher"] = "teacher"
    momentum: float = Field(default=0.9, ge=0, le=1)
    """How slowly the teacher follows."""
    groups: int = Field(default=4, ge=1)
    clusters: int = Field(default=100, ge=1)
    temperature: float = Field(default=0.1, gt=0)
    grouping: Literal["size", "random", "off"] = "size"

    @model_validator(mode="after")
    def _check(self) -> Teacher:
        if self.groups > self.clusters:
            raise ValueError(f"groups: at most {self.clusters} clusters, got {self.groups}")
        return self


class Pixels(Strict):
    name: Literal["pixels"] = "pixels"


class Train(Strict):
    epochs: int = Field(default=3, ge=1)
    learning_rate: float = Field(default=0.1, gt=0)
    milestones: list[int] = []


class Settings(Strict):
    method: Annotated[Teacher | Pixels, Field(discriminator="name")] = Teacher()
    train: Train = Train()
    data: str = "strokes"
    extra: dict[str, float] = {}

    @model_validator(mode="before")
    @classmethod
    def _name_method(cls, data: dict[str, Any]) -> dict[str, Any]:
        method = data.get("method")
        return data | {"method": {"name": "teacher"} | method} if isinstance(method, dict) else data


class FakeWorkload:
    def schema(self) -> Mapping[str, JsonValue]:
        return Settings.model_json_schema()

    def check(self, params: Params) -> dict[str, JsonValue]:
        try:
            return Settings.model_validate(params).model_dump(mode="json")
        except ValidationError as error:
            lines = []
            for detail in error.errors():
                parts = [str(part) for part in detail["loc"] if part not in ("teacher", "pixels")]
                text = detail["msg"].removeprefix("Value error, ")
                lines.append(f"{'.'.join(parts)}{'.' if ': ' in text else ': '}{text}")
            raise ValueError("\n".join(lines)) from None

    def controls(self) -> Mapping[str, Params]:
        return {"raw pixels": {"method": {"name": "pixels"}}}

    def data_fingerprint(self, params: Params) -> str:
        return str(params["data"])

    def code(self, params: Params) -> None:
        return None

    def run(
        self, params: Params, *, seed: int, workdir: Path, report: Report, test: bool
    ) -> Mapping[str, float]:
        raise AssertionError("a test of plans and searches must not train anything")


def write_study(folder: Path, text: str, *, head: str = HEAD, name: str = "s.yaml") -> Path:
    """A study file whose first three lines are the fields that every study needs."""
    path = folder / name
    path.write_text(head + textwrap.dedent(text), encoding="utf-8")
    return path


def plan_study(folder: Path, text: str, *overrides: str) -> Plan:
    return make_plan(load_study(write_study(folder, text), overrides), FakeWorkload())


def load_problems(path: Path, *overrides: str) -> list[str]:
    """The lines of the error of a file that must not load, without its folder."""
    with pytest.raises(InputError) as caught:
        load_study(path, overrides)
    return str(caught.value).replace(f"{path.parent}/", "").split("\n")


def plan_problems(folder: Path, text: str) -> list[str]:
    """The lines of the error of a study that loads but must not be planned."""
    loaded = load_study(write_study(folder, text))
    with pytest.raises(InputError) as caught:
        make_plan(loaded, FakeWorkload())
    return str(caught.value).replace(f"{folder}/", "").split("\n")
