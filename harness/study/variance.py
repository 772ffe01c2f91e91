"""The field ``variance`` of a study: which sources of randomness vary alone and together."""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import Field, model_validator

from harness.study.axes import Strict, Whole
from harness.study.limits import MOST_SEED

FEWEST_LEVELS = 3
"""An interval of a share of the variance needs three pairs."""


class Variance(Strict):
    """Where the variance between seeds comes from: each source of randomness varies alone."""

    sources: list[str] = Field(min_length=1)
    """Sources of the workload's randomness that vary alone, such as ``weights`` and ``batches``.
    Those not named vary only together with all others."""
    levels: Annotated[Whole, Field(ge=FEWEST_LEVELS, le=1000)] = 10
    """Number of seeds (0, 1, ...) for each source alone, for all together and for none."""
    pinned: Annotated[Whole, Field(ge=0, le=MOST_SEED)] = 1_000_000
    """The seed of the sources that do not vary. With another one, what a source does alone is
    measured beside other values of the others."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        for source in self.sources:
            if self.sources.count(source) > 1:
                raise ValueError(f"sources: {source!r} is given twice; remove one")
        if self.pinned < self.levels:
            raise ValueError(
                f"pinned: {self.pinned} is one of the {self.levels} seeds that vary, which would "
                "train the same run twice; give a seed above them"
            )
        return self
