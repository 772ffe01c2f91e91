"""Parameters of STML."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field, model_validator

from gcudml.config.fields import Distance, Strict, Supervision, Weight


class StmlWeights(Strict):
    """How much each term of the STML loss counts; 0 leaves the term out. Published: 1 each."""

    relaxed_contrastive: Weight = 1.0
    distillation: Weight = 1.0
    supervised: Weight = 1.0
    """Of the loss on labelled images; without labels there is no such term."""


class StmlConfig(Strict):
    """Self-Taught Metric Learning without Labels (Kim et al., CVPR 2022, arXiv:2205.01903).

    "Published" below means the authors' code; the defaults are its settings for CUB and Cars
    unless a line says otherwise.
    """

    name: Literal["stml"] = "stml"
    supervision: ClassVar[Supervision] = "some"
    remarks: ClassVar[tuple[str, ...]] = ()
    distance: Distance = "euclidean"
    """How embeddings are compared when they are tested; the published one is Euclidean, on the
    compact embedding as it is. The training always uses Euclidean distances."""

    teacher_momentum: float = Field(default=0.999, ge=0.0, le=1.0)
    """Share of the old teacher that a step keeps; published: 0.999, on SOP 0.9."""
    momentum_warmup: bool = False
    """Use min(m, (1+t)/(10+t)) at step t: ours, for short runs."""
    init_teacher: Literal["copy", "independent"] = "copy"
    """``independent`` is the published code: a wide head of the teacher's own and, where there are
    no pretrained weights, a backbone of its own."""
    update_teacher: Literal["after", "before"] = "after"
    """When the teacher follows: after the optimiser's step, or (the published code) before it, so
    that it lags by one step more."""

    similarity: Literal["combined", "pairwise", "contextual"] = "combined"
    """What says how alike two images are; ``combined`` is the mean of the other two."""
    query_expansion: bool = True
    """Average the contextual similarity over each row's nearest neighbours."""
    sigma: float = Field(default=3.0, gt=0.0, le=1000.0)
    """Width of the Gaussian on *squared* distances of unit vectors, which are at most 4."""
    context: int | None = Field(default=None, ge=1)
    """Rows of the batch that form a row's neighbourhood; ``null`` (published):
    ``neighbours`` * ``train.views``."""
    margin: float = Field(default=1.0, gt=0.0, le=100.0)
    """Pairs are pushed up to this distance, in units of a row's mean distance; on SOP 0.9."""
    metric_on: Literal["both", "compact", "wide"] = "both"
    """Embeddings that the relaxed contrastive loss acts on; with ``compact`` nothing trains the
    wide head, with ``wide`` the compact one learns by distillation alone."""
    temperature: float = Field(default=1.0, gt=0.0, le=100.0)
    """Of the distillation from the wide to the compact embedding."""
    supervised_on: Literal["compact", "both"] = "compact"
    """Embeddings that the loss on labelled images acts on."""

    batches: Literal["neighbours", "random"] = "neighbours"
    """``random`` is the control: each image once an epoch, no neighbours looked for."""
    neighbours: int = Field(default=5, ge=1, le=1000)
    """Nearest images that a batch takes for each of its queries, the query included; on SOP 2."""
    neighbours_from: Literal["student", "teacher"] = "student"
    """Whose wide embeddings decide which images are near; published: the student's."""
    neighbours_on: Literal["whole", "centre"] = "whole"
    """What the search for neighbours sees of an image: all of it (published), or the middle that a
    test sees, for networks that take images of one size only."""
    refresh_every: int = Field(default=1, ge=1)
    """Epochs between two searches for neighbours."""
    weights: StmlWeights = StmlWeights()

    @property
    def searches_whole_images(self) -> bool:
        """Whether the network is shown more than ``data.crop_size``."""
        return self.batches == "neighbours" and self.neighbours_on == "whole"

    @model_validator(mode="after")
    def _check_weights(self) -> StmlConfig:
        weights = self.weights
        contrasted = weights.relaxed_contrastive > 0 and self.metric_on != "wide"
        if not contrasted and weights.distillation == 0 and weights.supervised == 0:
            raise ValueError(
                "weights.distillation: no term is left that trains the compact embedding; set it "
                "above 0, or weights.relaxed_contrastive with metric_on both or compact"
            )
        return self
