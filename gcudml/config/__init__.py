"""Parameters of a run, with their defaults and ranges; nothing is computed here.

Every model rejects unknown keys and is immutable once validated.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from pydantic import Field, model_serializer

from gcudml.config.cbswr import CbswrConfig
from gcudml.config.controls import InstanceConfig, PixelsConfig, SupervisedConfig, UntrainedConfig
from gcudml.config.data import ClassSplit, DataConfig, FolderData, Share, StrokesData
from gcudml.config.evaluation import EvaluateConfig
from gcudml.config.fields import Distance, MetricLossConfig, Strict, check_clusters, count_clusters
from gcudml.config.gce import GceConfig, check_learners_fit
from gcudml.config.gcudml import GcudmlConfig, LossWeights
from gcudml.config.methods import METHODS, AnyMethodConfig, MethodConfig, MethodEntry
from gcudml.config.model import ModelConfig
from gcudml.config.randomness import Pinned, Source
from gcudml.config.stml import StmlConfig, StmlWeights
from gcudml.config.training import TrainConfig, Views
from gcudml.config.udml_ss import UdmlSsConfig

__all__ = [
    "METHODS",
    "AnyMethodConfig",
    "CbswrConfig",
    "ClassSplit",
    "DataConfig",
    "EvaluateConfig",
    "FolderData",
    "GceConfig",
    "GcudmlConfig",
    "InstanceConfig",
    "LossWeights",
    "MethodConfig",
    "MethodEntry",
    "MetricLossConfig",
    "ModelConfig",
    "PixelsConfig",
    "RunConfig",
    "Share",
    "Source",
    "StmlConfig",
    "StmlWeights",
    "Strict",
    "StrokesData",
    "SupervisedConfig",
    "TrainConfig",
    "UdmlSsConfig",
    "UntrainedConfig",
    "Views",
    "check_clusters",
    "check_learners_fit",
    "count_clusters",
]


class RunConfig(Strict):
    """Everything that defines a run, except its seed."""

    data: DataConfig = StrokesData()
    model: ModelConfig = ModelConfig()
    method: MethodConfig = GcudmlConfig()
    views: Views = Views()
    train: TrainConfig = TrainConfig()
    evaluate: EvaluateConfig = EvaluateConfig()
    randomness: Pinned = Field(default_factory=dict)
    """Sources of randomness that follow a seed of their own instead of the run's seed."""

    @model_serializer(mode="wrap")
    def _leave_out_nothing_pinned(self, handler: Callable[[Any], dict[str, Any]]) -> dict[str, Any]:
        """Leave out ``randomness`` if empty: an ordinary run keeps the identity that it had."""
        found: dict[str, Any] = handler(self)
        if not self.randomness:
            found.pop("randomness", None)
        return found

    @property
    def distance(self) -> Distance:
        """Distance used at evaluation."""
        chosen = self.evaluate.distance
        return self.method.distance if chosen == "method" else chosen
