"""The field ``ablate`` of a study: its components, and which combinations of them are trained."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, model_validator

from harness.stats.designs import Cell, Design, trainable
from harness.study.axes import Strict, Whole
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


class Ablate(Strict):
    """An ablation: the base has all components on, and each can be switched off."""

    components: dict[str, Component] = Field(min_length=1)
    """Name -> the overrides that switch the component off."""
    design: Literal["leave_one_out", "add_one_in", "lattice"]
    """``leave_one_out`` trains the base and the base without each component; ``add_one_in``
    nothing and each component alone; ``lattice`` every combination, which also estimates what
    components are worth together."""
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
        )

    def varied(self, cell: Cell) -> dict[str, JsonValue]:
        """Return component -> whether it is on."""
        return {name: name in cell for name in self.components}

    def overrides(self, varied: Mapping[str, JsonValue]) -> dict[str, JsonValue]:
        """Return the overrides of the base that switch off what ``varied`` says is off."""
        found: dict[str, JsonValue] = {}
        for name, component in self.components.items():
            if varied.get(name) is False:
                found |= component.without
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
