"""Parameters of a metric loss that is chosen by name."""

from __future__ import annotations

from pydantic import Field

from gcudml.config.strict import Strict

Plain = bool | int | float | str | None


class MetricLossConfig(Strict):
    """A loss on embeddings and labels."""

    name: str = Field(default="multi_similarity", min_length=1)
    """``multi_similarity`` (with pair mining) and ``nt_xent``, both ours; ``margin``, ``triplet``,
    ``contrastive``, or the name of a class of ``pytorch_metric_learning.losses``."""
    args: dict[str, Plain] = Field(default_factory=dict)
    """Arguments of the loss by name; those that are missing keep the library's defaults. The number
    of classes and the size of the embedding are filled in."""
