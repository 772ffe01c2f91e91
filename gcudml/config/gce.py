"""Parameters of GCE."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field

from gcudml.config.fields import Distance, Strict, Supervision
from gcudml.config.model import ModelConfig
from gcudml.config.training import TrainConfig

LEAST_DIMENSIONS = 2  # per learner: a one-dimensional unit vector is only a sign


class GceConfig(Strict):
    """Group channel-wise ensemble (a reconstruction); supervised unless ``labels: pseudo``."""

    name: Literal["gce"] = "gce"
    distance: ClassVar[Distance] = "cosine"
    labels: Literal["classes", "pseudo"] = "classes"
    """``pseudo``: train on clusters of the images instead of their classes, which makes the method
    unsupervised."""
    clusters: int = Field(default=100, ge=2, le=1_000_000)
    """Number of pseudo-labels; ignored with ``labels: classes``."""
    learners: int = Field(default=4, ge=1, le=256)
    """Equal slices of the embedding, each with its own group of channels and its own classes."""
    block: Literal["group3x3", "group1x1", "none", "channelnet"] = "group3x3"
    """Layer after the backbone's last feature map, with the compact head's linear layers, which
    start orthogonal whatever ``model.head_init`` is. ``group3x3``, ``group1x1``: a 3x3 or 1x1
    convolution with one group per learner; ``none``: one linear layer on the pooled map, cut into
    slices (Divide and Conquer); ``channelnet``: a convolution along the channels, which mixes the
    groups."""
    block_width: int | None = Field(default=None, ge=1, le=16_384)
    """Channels of the block, a multiple of ``learners``; ``null``: as many as the backbone has, at
    most 1024, rounded up to such a multiple."""
    data_subsets: Literal["proxy", "random", "fixed", "samples", "random_samples"] = "proxy"
    """How the data are divided among the learners. By whole classes: ``proxy``, k-means of the
    class proxies; ``random``, equal random parts, drawn once (for pseudo-labels at every
    clustering); ``fixed``, like ``proxy`` at the first epoch, after which the division and any
    pseudo-labels do not change. By single images, regardless of class: ``samples``, k-means of
    their features as in Divide and Conquer; ``random_samples``, random parts as with ``random``."""
    recluster_every: int = Field(default=2, ge=1)
    """Epochs between two divisions of the classes, and between two pseudo-labellings."""
    routing: Literal["alternate", "mixed"] = "alternate"
    """``alternate``: each step trains one learner on a batch of its classes, in turn; ``mixed``: a
    batch holds rows of every learner's classes, and each slice is trained on its own rows only."""
    margin: float = Field(default=0.2, ge=0.0, le=2.0)
    """Margin of the triplet loss, in Euclidean distance of unit vectors (0..2)."""
    mining: Literal["semihard", "all"] = "semihard"
    """Negatives of a positive pair: the nearest one farther than the positive, or all of them."""
    conquer_epochs: int = Field(default=0, ge=0)
    """Number of final epochs that train the whole embedding on all classes, as in Divide and
    Conquer."""

    @property
    def divides_images(self) -> bool:
        """Whether the images of a class can go to several learners."""
        return self.data_subsets in ("samples", "random_samples")

    @property
    def supervision(self) -> Supervision:
        """``all``, unless pseudo-labels replace the classes."""
        return "all" if self.labels == "classes" else "none"

    @property
    def remarks(self) -> tuple[str, ...]:
        """Notes that every report prints about the method."""
        reconstruction = (
            "GCE is a reconstruction: only the abstract of its paper was available. Equations and "
            "settings are ours or those of the works it builds on; no number here is the paper's."
        )
        if self.labels == "pseudo":
            return (reconstruction,)
        return (
            reconstruction,
            "GCE with labels: classes trains on the true classes: it is supervised, not a "
            "competitor of the unsupervised methods.",
        )


def check_learners_fit(method: GceConfig, *, model: ModelConfig, train: TrainConfig) -> None:
    """Reject slices, channels or batches that cannot be divided among the learners.

    Raises:
        ValueError: ``section.key: what; remedy``.
    """
    learners, dimensions, width = method.learners, model.embedding_dim, method.block_width
    if dimensions % learners or dimensions < LEAST_DIMENSIONS * learners:
        raise ValueError(
            f"model.embedding_dim: {dimensions} dimensions for {learners} learners; needs a "
            f"multiple of method.learners, at least {LEAST_DIMENSIONS * learners}"
        )
    if width is not None and width % learners:
        raise ValueError(
            f"method.block_width: {width} channels for {learners} learners; needs a multiple of "
            "method.learners"
        )
    least = 2 * train.images_per_cluster * learners
    if method.routing == "mixed" and train.batch_size < least:
        raise ValueError(
            f"train.batch_size: {train.batch_size} images hold fewer than two classes of "
            f"images_per_cluster = {train.images_per_cluster} for each of {learners} learners; "
            f"needs at least {least}, or method.routing: alternate"
        )
