"""Settings for what a study may cost: limits of one run, the overall budget, and the confirmation.

Limits, budget and the number of runs per process do not affect what a run computes, so a study may
continue with different ones.
"""

from __future__ import annotations

from typing import Annotated, Literal, TypeAlias

from pydantic import BeforeValidator, Field

from harness.study.axes import Number, Strict, Whole

MOST_SEED = 2**32 - 1
MOST_TOGETHER = 1000

Seeds: TypeAlias = (
    Annotated[Whole, Field(ge=1, le=100_000)] | list[Annotated[Whole, Field(ge=0, le=MOST_SEED)]]
)
"""A number of seeds, or a list of them."""


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
