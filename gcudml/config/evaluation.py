"""Parameters of the evaluation."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from gcudml.config.strict import Strict


class EvaluateConfig(Strict):
    """What is measured on the validation and test classes."""

    k: list[Annotated[int, Field(ge=1, le=10_000)]] = Field(default=[1, 2, 4, 8], min_length=1)
    nmi: bool = True
    """k-means with the true number of classes, then normalised mutual information."""
