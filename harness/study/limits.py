"""What a study may cost: the limits of one run, the budget of all of them, and the confirmation.

Neither limits nor budget are part of what a run computes: a study may go on with other ones. Nor is
how many runs share a process.
"""

from __future__ import annotations

from typing import Annotated, Literal, TypeAlias

from pydantic import BeforeValidator, Field

from harness.study.axes import Number, Strict, Whole

MOST_SEED = 2**32 - 1


MOST_TOGETHER = 1000


def _check_together(value: object) -> object:
    """Refuse what is no way of sharing a process; a union would complain once for each member."""
    is_whole = isinstance(value, int) and not isinstance(value, bool)
    if value not in ("auto", "off") and not (is_whole and 2 <= value <= MOST_TOGETHER):  # type: ignore[operator]
        raise ValueError(
            f"give auto, off, or how many runs at most (2 to {MOST_TOGETHER}), got {value!r}"
        )
    return value


TrainTogether: TypeAlias = Annotated[
    Literal["auto", "off"] | Annotated[Whole, Field(ge=2, le=MOST_TOGETHER)],
    BeforeValidator(_check_together),
]
"""How many runs one process may train at once."""


class Confirm(Strict):
    """How the best trials of a search are trained again, with the test classes open."""

    top: Annotated[Whole, Field(ge=1, le=1000)] = 1
    """So many of the best, by their mean on the validation classes, beside the baseline."""
    seeds: (
        Annotated[Whole, Field(ge=1, le=100_000)]
        | list[Annotated[Whole, Field(ge=0, le=MOST_SEED)]]
    ) = 10
    """This many that the search has not seen, or these."""


class Limits(Strict):
    """When an attempt at a run is ended; None is never."""

    run_minutes: Number | None = Field(default=None, gt=0)
    """Longer than this an attempt may not take; it fails as ``timeout``."""
    stall_minutes: Number | None = Field(default=None, gt=0)
    """Longer than this it may not go without reporting an epoch; it fails as ``stalled``."""


class Budget(Strict):
    """When no new run is started any more; None is never."""

    hours: Number | None = Field(default=None, gt=0)
    """Time for the runs of all calls of the study together, however many run at once. Runs that
    are under way then end after their epoch, with a checkpoint."""
    runs: Whole | None = Field(default=None, ge=1)
    """Runs of the whole study, controls and confirmation included; a retry is no other run."""
