"""Parameters of the network."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from gcudml.config.strict import Strict


class ModelConfig(Strict):
    """The network that embeds an image."""

    backbone: Literal["conv4", "resnet18"] = "conv4"
    width: int = Field(default=32, ge=4, le=512)
    """Channels of conv4; resnet18 ignores it."""
    embedding_dim: int = Field(default=64, ge=2, le=4096)
    """Size of the compact embedding, the one that is tested."""
    wide_dim: int = Field(default=128, ge=2, le=8192)
    """Size of the wide embedding, which student and teacher share; what trains it is up to the
    method (for gcudml: ``metric_on`` and ``group_embedding``)."""
    pooling: Literal["avg", "max", "avg+max"] = "avg+max"
