"""Settings for what a study may cost: limits of a run, budget, confirmation, when to stop.

Limits, budget and the number of runs per process do not affect what a run computes, so a study may
continue with different ones.
"""

from __future__ import annotations

import itertools
from typing import Annotated, Literal, Self, TypeAlias

from pydantic import BeforeValidator, Field, model_validator

from harness.stats.looks.stopping import StopRule, rule_of
from harness.study.axes import Number, Strict, Whole

MOST_SEED = 2**32 - 1
MOST_TOGETHER = 1000
MOST_FOLDS = 100

Seeds: TypeAlias = (
    Annotated[Whole, Field(ge=1, le=100_000)] | list[Annotated[Whole, Field(ge=0, le=MOST_SEED)]]
)
"""A number of seeds, or a list of them."""

Folds: TypeAlias = Annotated[Whole, Field(ge=2, le=MOST_FOLDS)]
"""A number of folds."""


def _check_together(value: object) -> object:
    """Reject an invalid ``train_together`` once; a union would report one error per member."""
    is_whole = isinstance(value, int) and not isinstance(value, bool)
    if value not in ("auto", "off") and not (is_whole and 2 <= value <= MOST_TOGETHER):  # type: ignore[operator]
        raise ValueError(
            f"give auto, off, or a maximum number of runs (2 to {MOST_TOGETHER}), got {value!r}"
        )
    return value


TrainTogether: TypeAlias = Annotated[
    Literal["auto", "off"] | Annotated[Whole, Field(ge=2, le=MOST_TOGETHER)],
    BeforeValidator(_check_together),
]
"""How many runs one process may train at once."""


class Confirm(Strict):
    """Retrain the best trials of a search on fresh seeds and score them on the test classes."""

    top: Annotated[Whole, Field(ge=1, le=1000)] = 1
    """Number of trials to confirm besides the baseline: those with the best mean on the validation
    classes."""
    seeds: Seeds = 10
    """Number of new seeds, or a list of seeds that the search has not used."""


def _check_looks(value: object) -> object:
    """Reject invalid ``looks`` once; a union would report one error per member."""
    is_list = isinstance(value, list) and all(type(each) is int for each in value) and bool(value)
    if value != "every" and not is_list:
        raise ValueError(f"give every, or numbers of seeds such as [6, 10, 20], got {value!r}")
    return value


class Stop(Strict):
    """Add seeds until all comparisons with the baseline are decided; the error covers all looks."""

    alpha: Annotated[Number, Field(gt=0, lt=0.5)] = 0.05
    """Probability of any false claim in the study, over all comparisons and looks."""
    looks: Annotated[Literal["every"] | list[Whole], BeforeValidator(_check_looks)] = "every"
    """After how many seeds to look at the results: ``every`` seed from the sixth, or an increasing
    list that ends with ``most_seeds``. Runs between two looks can train in parallel."""
    effect: Annotated[Number, Field(gt=0)]
    """The difference that the study is planned for, in units of the metric. A comparison that is
    unlikely to show it any more gets no further seeds."""
    margin: Annotated[Number, Field(gt=0)] | None = None
    """Differences up to this size count as none; without it, the study never claims equality."""
    most_seeds: Annotated[Whole, Field(ge=2, le=1000)]
    """Number of seeds (0, 1, ...) of a comparison that is never decided."""
    method: Literal["group_sequential", "e-process"] = "group_sequential"
    """``group_sequential`` tests exactly at planned looks; ``e-process`` holds for any looks, and
    needs more seeds."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.looks == "every":
            return self
        looks = list(self.looks)
        if looks[0] < 2 or any(b <= a for a, b in itertools.pairwise(looks)):
            raise ValueError(
                f"looks: must increase, and begin with 2 seeds or more, got {looks}; sort them"
            )
        if looks[-1] != self.most_seeds:
            raise ValueError(
                f"looks: the last look is at most_seeds ({self.most_seeds}), got {looks[-1]}; add "
                f"{self.most_seeds} to the looks or set most_seeds to {looks[-1]}"
            )
        return self

    @property
    def rule(self) -> StopRule:
        """The rule that the statistics follow."""
        return rule_of(self.model_dump())


class Limits(Strict):
    """Time limits for one attempt at a run; None means no limit."""

    run_minutes: Number | None = Field(default=None, gt=0)
    """Maximum duration of an attempt; beyond it the attempt is stopped and fails as ``timeout``."""
    stall_minutes: Number | None = Field(default=None, gt=0)
    """Maximum time without a reported epoch; beyond it the attempt is stopped and fails as
    ``stalled``."""


class Budget(Strict):
    """Total cost of the study, after which no new run starts; None means no budget."""

    hours: Number | None = Field(default=None, gt=0)
    """Wall-clock hours during which runs are active, summed over all calls of the study, however
    many run in parallel. When they are spent, active runs stop after their current epoch, with a
    checkpoint."""
    runs: Whole | None = Field(default=None, ge=1)
    """Maximum number of runs of the whole study, controls and confirmation included; a retry does
    not count as another run."""
