"""The further metrics of a study: a list in ``metric``, of which the first is the primary one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, cast

from pydantic import AfterValidator, Field, model_validator

from harness.records.studies.objectives import Direction
from harness.records.studies.objectives import Objective as Named
from harness.study.axes import Strict, only_one

FURTHER = "objectives"
"""The field that holds the further metrics; no key of a study file."""
_DIRECTIONS: tuple[Direction, Direction] = ("maximise", "minimise")
_MEASURED = frozenset(
    {"seconds", "time", "hours", "gpu_hours", "kwh", "energy", "memory", "peak_mib", "mib"}
)
"""What is measured while a run trains, and differs when it is repeated."""


def _repeatable(name: str) -> str:
    if name.lower() in _MEASURED or name.startswith("seconds/"):
        raise ValueError(
            f"{name} differs each time a run is repeated, so a resumed search would propose other "
            "trials; the view pareto shows seconds and memory: remove it"
        )
    return name


Name = Annotated[str, Field(min_length=1), AfterValidator(_repeatable)]


class Objective(Strict):
    """A further metric: set exactly one of the two. A name alone is maximised."""

    maximise: Name | None = None
    """A metric that runs report, such as ``nmi``, or a parameter, of which more is better."""
    minimise: Name | None = None
    """A metric or a parameter of which less is better, such as ``embedding_dim``."""

    @model_validator(mode="before")
    @classmethod
    def _read_short_form(cls, value: object) -> object:
        return {"maximise": value} if isinstance(value, str) else value

    @model_validator(mode="after")
    def _check_one(self) -> Objective:
        only_one(self, _DIRECTIONS)
        return self

    @property
    def named(self) -> Named:
        """Its name and direction."""
        direction = cast(Direction, only_one(self, _DIRECTIONS))
        return Named(getattr(self, direction), direction)

    @property
    def written(self) -> str | dict[str, str]:
        """As a study file has it."""
        name, direction = self.named
        return name if direction == "maximise" else {direction: name}


def read_metrics(data: object) -> object:
    """Divide a list in ``metric`` into the primary metric and the further ones."""
    if not isinstance(data, Mapping):
        return data
    if FURTHER in data:
        raise ValueError(f"{FURTHER}: unknown key; list them in metric, after the primary metric")
    metrics = data.get("metric")
    if not isinstance(metrics, list):
        return data
    if len(metrics) < 2 or not isinstance(metrics[0], str):
        raise ValueError(
            "metric: a list has the name of the primary metric, which is maximised, and then at "
            "least one other, such as [recall@1, {minimise: embedding_dim}]"
        )
    return {**data, "metric": metrics[0], FURTHER: metrics[1:]}


def metric_schema(described: Mapping[str, Any]) -> dict[str, Any]:
    """Return the JSON Schema of ``metric``: a name, or a list."""
    name = {"type": "string", "minLength": 1}
    several = {
        "type": "array",
        "minItems": 2,
        "prefixItems": [name],
        "items": {"anyOf": [name, {"$ref": "#/$defs/Objective"}]},
    }
    kept = {key: described[key] for key in ("description", "default", "title") if key in described}
    return {**kept, "anyOf": [name, several]}
