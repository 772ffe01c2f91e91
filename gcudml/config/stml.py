"""Parameters of STML."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field, model_validator

from gcudml.config.fields import Distance, Strict, Supervision, Weight


class StmlWeights(Strict):
    """Weight of each term of the STML loss; 0 drops the term. Published: 1 each."""

    relaxed_contrastive: Weight = 1.0
    distillation: Weight = 1.0
    supervised: Weight = 1.0
    """Weight of the loss on labelled images; the term exists only if some images have labels."""


class StmlConfig(Strict):
    """Self-Taught Metric Learning without Labels (Kim et al., CVPR 2022, arXiv:2205.01903).

    "Published" below means the authors' code. The defaults are its settings for CUB and Cars unless
    a parameter's description says otherwise.
    """

    name: Literal["stml"] = "stml"
    supervision: ClassVar[Supervision] = "some"
    remarks: ClassVar[tuple[str, ...]] = ()
    distance: Distance = "euclidean"
    """How embeddings are compared at evaluation; published: Euclidean, on the unnormalised compact
    embedding. Training always uses Euclidean distances."""
    student_norm: bool = False
    """Normalise both student embeddings before the losses compare them, a switch of the published
    code, which leaves it off. Lengths are then not trained, so it needs ``distance: cosine``, which
    ranks like the code's evaluation of normalised embeddings."""

    teacher_momentum: float = Field(default=0.999, ge=0.0, le=1.0)
    """Momentum of the moving average: fraction of the old teacher kept by an update; published:
    0.999, on SOP 0.9."""
    momentum_warmup: bool = False
    """Use min(m, (1+t)/(10+t)) at step t; an addition of ours for short runs."""
    init_teacher: Literal["copy", "independent"] = "copy"
    """``independent``, as in the published code: the teacher's wide head, and without pretrained
    weights also its backbone, are initialised independently of the student's."""
    update_teacher: Literal["after", "before"] = "after"
    """Update the teacher after the optimiser's step, or, as in the published code, before it, so
    that it lags one step more."""

    similarity: Literal["combined", "pairwise", "contextual"] = "combined"
    """Similarity of two images that the losses use; ``combined`` is the mean of the other two."""
    query_expansion: bool = True
    """Average the contextual similarity over each row's nearest neighbours."""
    sigma: float = Field(default=3.0, gt=0.0, le=1000.0)
    """Width of the Gaussian on *squared* distances of unit vectors, which are at most 4."""
    context: int | None = Field(default=None, ge=1)
    """Rows of the batch that form a row's neighbourhood; ``null`` (published):
    ``neighbours`` * ``train.views``."""
    margin: float = Field(default=1.0, gt=0.0, le=100.0)
    """Distance up to which dissimilar pairs are pushed apart, in units of a row's mean distance;
    published for SOP: 0.9."""
    metric_on: Literal["both", "compact", "wide"] = "both"
    """Embeddings that the relaxed contrastive loss is applied to. With ``compact`` the wide head is
    not trained; with ``wide`` the compact head learns by distillation alone."""
    temperature: float = Field(default=1.0, gt=0.0, le=100.0)
    """Temperature of the distillation from the wide to the compact embedding."""
    supervised_on: Literal["compact", "both"] = "compact"
    """Embeddings that the loss on labelled images is applied to."""

    batches: Literal["neighbours", "random"] = "neighbours"
    """``random`` is the control: each image once per epoch, without a neighbour search."""
    neighbours: int = Field(default=5, ge=1, le=1000)
    """Nearest images sampled into a batch for each query, the query included; published for SOP: 2.
    """
    neighbours_from: Literal["student", "teacher"] = "student"
    """Whose embeddings the neighbour search uses; published: the student's."""
    neighbours_by: Literal["wide", "compact"] = "wide"
    """Which embeddings the neighbour search uses; a switch of the published sampler."""
    neighbours_distance: Distance = "euclidean"
    """How the neighbour search compares them; a switch of the published sampler."""
    neighbours_on: Literal["whole", "centre"] = "whole"
    """Part of the image that the neighbour search embeds: all of it (published), or the centre crop
    used at evaluation, for networks with a fixed input size."""
    refresh_every: int = Field(default=1, ge=1)
    """Epochs between two neighbour searches."""
    weights: StmlWeights = StmlWeights()

    @property
    def searches_whole_images(self) -> bool:
        """Whether the neighbour search embeds whole images, not only their ``data.crop_size``."""
        return self.batches == "neighbours" and self.neighbours_on == "whole"

    @model_validator(mode="after")
    def _check_switches(self) -> StmlConfig:
        if self.student_norm and self.distance != "cosine":
            raise ValueError(
                "distance: student_norm does not train the lengths that euclidean compares; set "
                "distance to cosine"
            )
        if self.neighbours_by == "compact" and self.neighbours_from == "teacher":
            raise ValueError(
                "neighbours_by: the teacher has no compact embedding; set neighbours_by to wide or "
                "neighbours_from to student"
            )
        return self

    @model_validator(mode="after")
    def _check_weights(self) -> StmlConfig:
        weights = self.weights
        contrasted = weights.relaxed_contrastive > 0 and self.metric_on != "wide"
        if not contrasted and weights.distillation == 0 and weights.supervised == 0:
            raise ValueError(
                "weights.distillation: no remaining term trains the compact embedding; set it "
                "above 0, or weights.relaxed_contrastive with metric_on both or compact"
            )
        return self
