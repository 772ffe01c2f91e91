"""The field ``ablate`` of a study: its components, and which combinations of them are trained."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    Field,
    SerializerFunctionWrapHandler,
    model_serializer,
    model_validator,
)

from harness.stats.ablations.designs import Cell, Design, trainable
from harness.stats.ablations.race import RaceRule
from harness.study.axes import Axis, Number, Strict, Whole
from harness.workload import JsonValue

FULL = "full"
"""Label of the trial with every component on."""
BARE = "bare"
"""Label of the trial with every component off."""


def _filled(overrides: dict[str, JsonValue]) -> dict[str, JsonValue]:
    if not overrides:
        raise ValueError("is empty; name the parameters that switch it off")
    return overrides


class Component(Strict):
    """One component: what switches it off, and what it needs.

    Without ``needs``, the overrides alone are enough: ``{method.weights.group: 0}``.
    """

    without: Annotated[dict[str, JsonValue], AfterValidator(_filled)]
    """Overrides of the base, by dotted key, that switch the component off."""
    needs: list[str] = Field(default_factory=list)
    """Components without which it cannot be on. Where one of them is off, it is off as well."""

    @model_validator(mode="before")
    @classmethod
    def _read_short_form(cls, value: object) -> object:
        if isinstance(value, Mapping) and not isinstance(value.get("without"), Mapping):
            if "needs" in value and isinstance(value["needs"], list):
                raise ValueError("needs: give the overrides that switch it off under 'without'")
            return {"without": value}
        return value


class Race(Strict):
    """How the component that a path flips next is found, on validation classes."""

    seeds: Annotated[Whole, Field(ge=2, le=1000)] = RaceRule().seeds
    """Most seeds of a candidate. They are none of the study's seeds."""
    alpha: Annotated[Number, Field(gt=0, lt=0.5)] = RaceRule().alpha
    """A candidate is dropped once a paired test shows that another one matters more; the one that
    matters most is dropped with this probability at most, in each step."""

    @property
    def rule(self) -> RaceRule:
        """The rule that the statistics follow."""
        return RaceRule(self.seeds, self.alpha)


class Tune(Strict):
    """The same search for every cell, on validation classes, before it is trained."""

    trials: Annotated[Whole, Field(ge=2, le=10_000)]
    """Number of settings, equal for all cells; the first are the base's own values."""
    seeds: Annotated[Whole, Field(ge=1, le=1000)] = 1
    """Seeds of each setting of each cell. They are none of the study's seeds."""
    search: dict[str, Axis] = Field(min_length=1)
    """The parameters to tune: dotted key -> axis."""


class Ablate(Strict):
    """An ablation: the base has all components on, and each can be switched off."""

    components: dict[str, Component] = Field(min_length=1)
    """Name -> the overrides that switch the component off."""
    design: Literal["leave_one_out", "add_one_in", "lattice", "path"]
    """``leave_one_out`` trains the base and the base without each component; ``add_one_in``
    nothing and each component alone; ``lattice`` every combination, which also estimates what
    components are worth together; ``path`` flips one component after another, the one that matters
    most first."""
    fraction: Literal["V"] | None = None
    """For a lattice of five components or more: train a fraction of resolution V. It estimates
    main effects and interactions of pairs, if interactions of three and more are negligible."""
    permutations: Annotated[Whole, Field(ge=2, le=10_000)] | None = None
    """For a lattice: add the components one by one in this many sampled orders, and train the
    combinations that occur. It estimates Shapley values."""
    permutation_seed: Annotated[Whole, Field(ge=0)] = 0
    """Seed of the sampled orders."""
    bare: str | None = None
    """A control of the workload that stands for everything off, such as ``untouched``, where the
    workload cannot train without any component."""
    start: Literal["full", "bare"] = "full"
    """Where a path begins: ``full`` switches components off, ``bare`` switches them on."""
    race: Race | None = None
    """Of a path: how the next component is found; six seeds and ``alpha`` 0.1 by default."""
    tune: Tune | None = None
    """Choose the settings of each cell on validation classes, by the same search, so that a
    component is not judged at the settings of another one."""

    @model_validator(mode="before")
    @classmethod
    def _race_by_default(cls, value: object) -> object:
        if isinstance(value, Mapping) and value.get("design") == "path" and not value.get("race"):
            return {**value, "race": {}}
        return value

    @model_serializer(mode="wrap")
    def _without_unused(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Leave out fields that came later and are not used: studies keep their fingerprints."""
        found: dict[str, Any] = handler(self)
        unused = {"start", "race"} if self.design != "path" else set[str]()
        unused |= {"tune"} if self.tune is None else set()
        return {field: value for field, value in found.items() if field not in unused}

    @property
    def choice_seeds(self) -> int:
        """Most seeds of a trial that something is chosen by; 0 if the design is all there is."""
        if self.tune is not None:
            return self.tune.seeds
        return self.race_rule.seeds if self.design == "path" else 0

    @property
    def race_rule(self) -> RaceRule:
        """The rule of a path's races."""
        return (self.race or Race()).rule

    @property
    def plan(self) -> Design:
        """The design, as the statistics know it."""
        return Design(
            name=self.design,
            components=tuple(self.components),
            needs={name: tuple(each.needs) for name, each in self.components.items()},
            fraction=self.fraction is not None,
            permutations=self.permutations,
            seed=self.permutation_seed,
            from_bare=self.start == "bare",
        )

    def varied(self, cell: Cell) -> dict[str, JsonValue]:
        """Return component -> whether it is on."""
        return {name: name in cell for name in self.components}

    def overrides(self, varied: Mapping[str, JsonValue]) -> dict[str, JsonValue]:
        """Return the overrides of the base: for what ``varied`` says is off, and what is tuned."""
        found: dict[str, JsonValue] = {}
        for name, component in self.components.items():
            if varied.get(name) is False:
                found |= component.without
        if self.tune is not None:
            tuned = {key: varied.get(key) for key in self.tune.search}
            found |= {key: value for key, value in tuned.items() if value is not None}
        return found

    def label(self, varied: Mapping[str, JsonValue]) -> str:
        """Name a combination by what is off or, if that is shorter, by what is on.

        A component that is off since it needs another one is not named.
        """
        off = [name for name in self.components if varied.get(name) is False]
        if not off:
            return FULL
        on = [name for name in self.components if name not in off]
        if not on and len(off) > 1:
            return BARE
        plan = self.plan
        told = [name for name in off if name in trainable(plan, {*on, name})]
        if not on or (len(told) <= len(on) and self.design != "add_one_in"):
            return ", ".join(f"no {name}" for name in told)
        return f"only {', '.join(on)}"
