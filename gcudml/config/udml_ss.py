"""Parameters of UDML-SS."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field, model_validator

from gcudml.config.fields import (
    ClusterNumber,
    Distance,
    MetricLossConfig,
    Strict,
    Supervision,
    Weight,
)


class UdmlSsWeights(Strict):
    """Weight of each loss term; 0 drops the term."""

    metric: Weight = 1.0
    rotation: Weight = 0.1
    """Published value for CUB-200-2011; the authors' launch scripts also try 0.05 and 0.5."""


class UdmlSsConfig(Strict):
    """Unsupervised Deep Metric Learning via Auxiliary Rotation Loss (arXiv:1911.07072)."""

    name: Literal["udml_ss"] = "udml_ss"
    supervision: ClassVar[Supervision] = "none"
    distance: ClassVar[Distance] = "cosine"
    remarks: ClassVar[tuple[str, ...]] = ()
    clusters: ClusterNumber = 100
    """Number of clusters, or their number as a fraction of the training images. Published: 100 for
    CUB-200-2011 and Cars196, 10,000 for SOP."""
    recluster_every: int = Field(default=5, ge=1)
    """Passes over the clusters between two clusterings (one published epoch is one pass)."""
    warm_start: bool = True
    """Start k-means from the previous centres; ``false``: from new ones each time."""
    loss: MetricLossConfig = MetricLossConfig()
    weights: UdmlSsWeights = UdmlSsWeights()
    rotated_images: int = Field(default=16, ge=1, le=65_536)
    """Images per step shown in all four rotations, drawn with replacement."""
    rotation_hidden: int = Field(default=512, ge=1, le=65_536)
    """Width of the rotation head's hidden layer."""
    rotation_learning_rate: float | None = Field(default=None, gt=0.0, le=10.0)
    """``null``: the learning rate of the heads."""
    rotation_flip: Literal["published", "fixed"] = "published"
    """``published``: each rotated image is cropped and flipped on its own, so that with
    ``views.flip`` above 0 a quarter turn to the left cannot be told from one to the right;
    ``fixed``: one flip before the rotations."""
    rotated: Literal["images", "views"] = "images"
    """What is turned: whole ``images``, each turn then cropped on its own (published), or
    ``views``, one of each image, whatever ``rotation_flip`` is (``rot_bt 0`` of the code)."""
    rotation_logits: Literal["published", "fixed"] = "published"
    """``published``: a ReLU after the four logits, as in the code; ``fixed``: none."""
    cluster_views: Literal["centre", "random"] = "centre"
    """Which embeddings are clustered: those of the unchanged images, or, as in the published code,
    of a random view of each."""
    restarts: int = Field(default=10, ge=1, le=1000)
    """Restarts of k-means when there are no previous centres; the best result is kept. Published:
    10, on SOP 1."""
    iterations: int = Field(default=100, ge=1, le=10_000)
    """Maximum number of k-means iterations. Published: 100, on SOP 20."""

    @model_validator(mode="after")
    def _check_weights(self) -> UdmlSsConfig:
        if self.weights.metric == self.weights.rotation == 0:
            raise ValueError("weights.metric: all weights are 0; set one of them above 0")
        return self
