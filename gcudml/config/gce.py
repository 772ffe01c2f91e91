"""Parameters of GCE."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field

from gcudml.config.fields import Distance, Strict, Supervision
from gcudml.config.model import ModelConfig
from gcudml.config.training import TrainConfig

LEAST_DIMENSIONS = 2  # of a learner: a unit vector of one dimension is a mere sign


class GceConfig(Strict):
    """Group channel-wise ensemble, a reconstruction; supervised unless ``labels`` is ``pseudo``."""

    name: Literal["gce"] = "gce"
    distance: ClassVar[Distance] = "cosine"
    labels: Literal["classes", "pseudo"] = "classes"
    """``pseudo``: clusters of the images in place of their classes, which makes it unsupervised."""
    clusters: int = Field(default=100, ge=2, le=1_000_000)
    """Of the pseudo-labels; not used with ``labels: classes``."""
    learners: int = Field(default=4, ge=1, le=256)
    """Equal slices of the embedding, each with its own group of channels and its own classes."""
    block: Literal["group3x3", "group1x1", "none", "channelnet"] = "group3x3"
    """What follows the backbone's last map: 3x3 or 1x1 convolution in as many groups as there are
    learners; ``none``: one linear layer on the pooled map, cut into slices (Divide and Conquer);
    ``channelnet``: a convolution along the channels, which mixes the groups."""
    block_width: int | None = Field(default=None, ge=1, le=16_384)
    """Channels of the block, a multiple of ``learners``; ``null``: as many as the backbone's, at
    most 1024, rounded up to such a multiple."""
    data_subsets: Literal["proxy", "random", "fixed", "samples", "random_samples"] = "proxy"
    """How the data are divided among learners. Whole classes: k-means of the class proxies; at
    random in equal parts, once (anew with every clustering for pseudo-labels); ``fixed``: as
    ``proxy`` at the first epoch, then the pseudo-labels stay as well. Single images, whatever their
    classes: ``samples``, k-means of their features, as Divide and Conquer does; ``random_samples``,
    at random as with ``random``."""
    recluster_every: int = Field(default=2, ge=1)
    """Epochs between two divisions of the classes, and between two pseudo-labellings."""
    routing: Literal["alternate", "mixed"] = "alternate"
    """``alternate``: a step trains one learner on a batch of its classes, learners take turns;
    ``mixed``: a batch holds rows of every learner's classes, each slice sees only its own."""
    margin: float = Field(default=0.2, ge=0.0, le=2.0)
    """Of the triplet loss, in Euclidean distance of unit vectors (0..2)."""
    mining: Literal["semihard", "all"] = "semihard"
    """Negatives of a pair: the nearest one beyond the positive, or every one."""
    conquer_epochs: int = Field(default=0, ge=0)
    """So many last epochs train the whole embedding on all classes, as Divide and Conquer does."""

    @property
    def divides_images(self) -> bool:
        """Whether a class can be shared by learners."""
        return self.data_subsets in ("samples", "random_samples")

    @property
    def supervision(self) -> Supervision:
        """All classes are known, unless pseudo-labels stand in for them."""
        return "all" if self.labels == "classes" else "none"

    @property
    def remarks(self) -> tuple[str, ...]:
        """What every report says of it."""
        reconstruction = (
            "GCE is a reconstruction: of its paper only the abstract could be read. Equations and "
            "settings are ours or those of the works it rests on; no number here is the paper's."
        )
        if self.labels == "pseudo":
            return (reconstruction,)
        return (
            reconstruction,
            "GCE with labels: classes learns from the true classes: it is supervised, and no "
            "competitor of the unsupervised methods.",
        )


def check_learners_fit(method: GceConfig, *, model: ModelConfig, train: TrainConfig) -> None:
    """Refuse slices, channels or batches that cannot be divided among the learners.

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
