"""The study file: its fields, its rules, and how it is loaded."""

from __future__ import annotations

import itertools
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from harness.errors import nearest as nearest
from harness.records.trial import digest
from harness.study.axes import Axis, Condition, Strict, Whole
from harness.study.limits import MOST_SEED, Budget, Confirm, Limits, TrainTogether
from harness.workload import JsonValue

MOST_PROPOSED = 1_000_000  # of a search
LEAST_RANGES = 2  # that make CMA-ES more than a line search
LEAST_WILCOXON_SEEDS = 6  # five are the least that can reach its level, and one must be left
_LEAST_WILCOXON_SEEDS_ONCE = 5  # of searches that began by the first rules
FIRST_REPEAT_SEED = 1_000_000
"""From here on are the seeds of trials that a search proposes again: no study and no confirmation
counts as far, so that these stay what they are when the study is given more seeds."""


def _said(text: str) -> str:
    if not text.strip():
        raise ValueError("is blank; write it down")
    return text


def _module(name: str) -> str:
    if not all(part.isidentifier() for part in name.split(".")):
        raise ValueError(
            f"{name!r} is no name of a module; give an importable one such as 'gcudml.workload'"
        )
    return name


class StudySpec(Strict):
    """One study: one question, a base configuration, what varies, which seeds."""

    study: str = Field(pattern=r"^[a-z0-9][a-z0-9_-]*$", max_length=80)
    """Its name, in the store and as the report's file name."""
    question: Annotated[str, AfterValidator(_said)] = Field(min_length=1)
    """The sentence that the report has to answer."""
    workload: Annotated[str, AfterValidator(_module)] = Field(min_length=1)
    """Module that is studied, such as ``gcudml.workload``."""
    base: dict[str, JsonValue] = Field(default_factory=dict)
    """Parameters of every trial; what is left out has the workload's default."""
    search: dict[str, Axis] = Field(default_factory=dict)
    """Dotted key of a parameter -> how it varies."""
    variants: dict[str, dict[str, JsonValue]] = Field(default_factory=dict)
    """Name -> overrides of the base by dotted key: the component table of a paper."""
    zip: list[Annotated[list[str], Field(min_length=2)]] = Field(default_factory=list)
    """Axes that advance together; their lists must be equally long."""
    forbid: list[Condition] = Field(default_factory=list)
    """Combinations that are left out."""
    seeds: (
        Annotated[Whole, Field(ge=1, le=100_000)]
        | list[Annotated[Whole, Field(ge=0, le=MOST_SEED)]]
    ) = 5
    """This many (0, 1, ...) or these; the same for every trial, so that differences are paired."""
    baseline: str | dict[str, JsonValue] | None = None
    """The trial that others are compared with: a variant, or values of varied parameters."""
    metric: Annotated[str, AfterValidator(_said)] = Field(default="recall@1", min_length=1)
    """The primary metric, maximised; the others are descriptive."""
    sampler: Literal["grid", "random", "qmc", "tpe", "gp", "cmaes"] = "grid"
    """``grid`` trains everything. The others search, on validation classes only: at random, by a
    low-discrepancy sequence (``qmc``), or by what they have seen: ``tpe`` for any space, ``gp`` for
    few trials of a few axes, ``cmaes`` for many trials over ranges."""
    trials: Whole | None = Field(default=None, ge=1, le=MOST_PROPOSED)
    """For a search: how many, the baseline included; with a budget it may be left out."""
    confirm: Confirm | None = None
    """After a search: train the winners and the baseline anew, and open the test classes."""
    parallel_trials: Whole = Field(default=2, ge=1, le=1000)
    """For ``tpe``, ``gp`` and ``cmaes``, and with a pruner: trials in flight at once. What is
    proposed and pruned depends on it, so it is part of the study."""
    pruner: Literal["none", "median", "hyperband", "wilcoxon"] = "none"
    """For a search: how trials are given up early. After an epoch whose best value so far is below
    the ``median`` of earlier trials; at the rungs of ``hyperband``, of which each keeps the best
    third; or once a test over the seeds so far (``wilcoxon``) finds a trial worse than the best:
    of trials that are as good as the best it gives up one in twenty at most, over all its looks.
    The seeds of a trial are then trained one after another."""
    limits: Limits = Limits()
    """How long a run may take, and how long it may be silent."""
    budget: Budget = Budget()
    """What the study may cost. A search leaves enough of it for its confirmation."""
    train_together: TrainTogether = "auto"
    """Runs that one process trains at once where their workload can stack them: as many as it says
    are worth it (``auto``), up to so many (a number), or each alone (``off``). Together they end
    as they would alone but for rounding; ``auto`` never stacks where this costs time."""

    @model_validator(mode="after")
    def _check_sampler(self) -> Self:
        if self.sampler == "grid":
            if self.trials is not None:
                raise ValueError("trials: the grid sampler trains all combinations; remove trials")
            for key, axis in self.search.items():
                if axis.values is None:
                    raise ValueError(
                        f"search.{key}: the grid sampler needs grid or choice, got {axis.kind}; "
                        "list values or set sampler to random, tpe or another search"
                    )
        elif self.trials is None and self.budget == Budget():
            raise ValueError(
                f"trials: the {self.sampler} sampler needs a number of trials, or a budget"
            )
        elif not self.search and not self.variants:
            raise ValueError(f"search: the {self.sampler} sampler needs an axis to search")
        elif self.sampler == "cmaes":
            ranges = [axis for axis in self.search.values() if axis.bounds and not axis.when]
            if len(ranges) < LEAST_RANGES:
                raise ValueError(
                    f"sampler: cmaes moves a cloud of points and needs at least {LEAST_RANGES} "
                    f"ranges without 'when', got {len(ranges)}; use tpe"
                )
        return self

    @model_validator(mode="after")
    def _check_pruner(self) -> Self:
        if self.pruner == "none":
            return self
        if self.sampler == "grid":
            raise ValueError(
                "pruner: a grid compares all its trials, so none is given up; remove pruner, or "
                "set sampler to random, tpe or another search"
            )
        if self.pruner == "wilcoxon" and len(self.seed_list) < _LEAST_WILCOXON_SEEDS_ONCE:
            raise ValueError(too_few_seeds(len(self.seed_list)))
        return self

    @model_validator(mode="after")
    def _check_seeds(self) -> Self:
        if isinstance(self.seeds, list) and not self.seeds:
            raise ValueError("seeds: give at least one seed")
        if isinstance(self.seeds, list) and len(set(self.seeds)) < len(self.seeds):
            raise ValueError("seeds: a seed is given twice")
        return self

    @model_validator(mode="after")
    def _check_confirm(self) -> Self:
        if self.confirm is None:
            return self
        if self.sampler == "grid":
            raise ValueError(
                "confirm: a grid opens the test classes for all its trials; remove confirm, or set "
                "sampler to random, tpe or another search"
            )
        seeds = self.confirm_seed_list
        if not seeds or len(set(seeds)) < len(seeds):
            raise ValueError("confirm.seeds: give at least one seed, and none twice")
        if known := sorted(set(seeds) & set(self.seed_list)):
            raise ValueError(
                f"confirm.seeds: the search has seen seed {known[0]}; winners are chosen by luck "
                "as well, so give fresh ones"
            )
        return self

    @model_validator(mode="after")
    def _check_zip(self) -> Self:
        tied: set[str] = set()
        for keys in self.zip:
            for key in keys:
                if key not in self.search:
                    raise ValueError(f"zip: {key!r} is no axis; {nearest(key, self.search)}")
                if key in tied:
                    raise ValueError(f"zip: {key!r} is tied twice")
                tied.add(key)
                if self.search[key].values is None:
                    raise ValueError(f"zip: {key!r} needs grid or choice to be tied")
            lengths = {key: len(self.search[key].values or []) for key in keys}
            if len(set(lengths.values())) > 1:
                shown = ", ".join(f"{key}: {length}" for key, length in lengths.items())
                raise ValueError(f"zip: lists must be equally long, got {shown}")
            if len({digest(self.search[key].when) for key in keys}) > 1:
                raise ValueError("zip: tied axes need the same 'when'")
        return self

    @model_validator(mode="after")
    def _check_baseline(self) -> Self:
        if isinstance(self.baseline, str) and self.baseline not in self.variants:
            raise ValueError(
                f"baseline: no variant {self.baseline!r}; {nearest(self.baseline, self.variants)}"
            )
        return self

    @property
    def seed_list(self) -> tuple[int, ...]:
        """The seeds, one run a trial and seed."""
        return tuple(range(self.seeds)) if isinstance(self.seeds, int) else tuple(self.seeds)

    @property
    def confirm_seed_list(self) -> tuple[int, ...]:
        """The seeds of the confirmation; by number they follow those of the search."""
        if self.confirm is None:
            return ()
        if isinstance(self.confirm.seeds, list):
            return tuple(self.confirm.seeds)
        first = max(self.seed_list) + 1
        return tuple(range(first, first + self.confirm.seeds))

    def repeat_seeds(self, times: int) -> tuple[int, ...]:
        """The new seeds of a trial that is proposed again for the ``times``-th time, from 1."""
        count = len(self.seed_list)
        taken = {*self.seed_list, *self.confirm_seed_list}
        free = (seed for seed in itertools.count(FIRST_REPEAT_SEED) if seed not in taken)
        return tuple(itertools.islice(free, (times - 1) * count, times * count))

    @property
    def searched(self) -> str:
        """What a search maximises, as runs report it."""
        return f"val/{self.metric}"

    @property
    def stops_by_epochs(self) -> bool:
        """Whether a run may be stopped early, by what it reports epoch by epoch."""
        return self.pruner in ("median", "hyperband")

    @property
    def is_adaptive(self) -> bool:
        """Whether proposals depend on how earlier trials went."""
        return self.sampler in ("tpe", "gp", "cmaes")

    @property
    def is_fixed(self) -> bool:
        """Whether all trials are known beforehand, so that the test classes may be opened."""
        return self.sampler == "grid"

    @property
    def fingerprint(self) -> str:
        """Twelve hex digits, equal for equal content whatever the order of its keys.

        How runs share processes is no content.
        """
        return digest(self.model_dump(mode="json", exclude={"train_together"}))[:12]


def too_few_seeds(seeds: int) -> str:
    """Why ``pruner: wilcoxon`` is refused with so many seeds."""
    return (
        f"pruner: wilcoxon needs {LEAST_WILCOXON_SEEDS} seeds or more, since its test says nothing "
        f"before {LEAST_WILCOXON_SEEDS - 1}; got {seeds}: give more seeds, or set pruner to median"
    )
