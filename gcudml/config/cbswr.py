"""Parameters of CBSwR."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field, model_validator

from gcudml.config.fields import Distance, Strict, Supervision, Weight


class CbswrWeights(Strict):
    """Weight of each loss term; 0 drops the term. Defaults are those of the authors' code.

    The authors call ``reconstruction: 0`` "CBS", and ``metric: 0`` on top of it "only L_rim".
    """

    metric: Weight = 0.9
    clustering: Weight = 0.3
    """At 0 the clustering head keeps its random weights but still assigns rows to centroids."""
    reconstruction: Weight = 0.001
    """Weight of the mean squared error. For 224-pixel images, 0.001 corresponds to a weight of
    6.6e-9 on the sum that the text uses."""


class CbswrConfig(Strict):
    """Deep Metric Learning Meets Deep Clustering (Nguyen et al., BMVC 2020, arXiv:2009.04091).

    Needs ``train.views: 2``. Where the authors' text and code differ, each parameter's description
    says which of the two the default follows.
    """

    name: Literal["cbswr"] = "cbswr"
    supervision: ClassVar[Supervision] = "none"
    distance: ClassVar[Distance] = "cosine"
    remarks: ClassVar[tuple[str, ...]] = ()
    needed_views: ClassVar[int] = 2
    """The only value of ``train.views`` that the method can use."""
    clusters: int = Field(default=32, ge=2, le=1_000_000)
    """Outputs of the clustering head. The text and the code's test use 32; the code's training
    script uses 100."""
    temperature: float = Field(default=0.1, gt=0.0, le=100.0)
    """Temperature of the similarities to the partner and to the centroids."""
    weights: CbswrWeights = CbswrWeights()
    balance: Weight = 1.0
    """Factor on the entropy of the mean assignment (mu in the code). The text's lambda, which
    scales both entropies, is ``weights.clustering``; with ``balance: 1`` the two agree."""
    negative_weight: Weight = 1.0
    """Factor on the separation from the other centroids (alpha in the code)."""
    dropout: float = Field(default=0.6, ge=0.0, lt=1.0)
    """Dropout rate of the clustering head."""
    l2: Weight = 1e-4
    """Weight decay of the clustering head's linear layer. The text has this penalty but gives no
    value for it; the code has none (0)."""
    normalize_logits: bool = False
    """Divide a row's cluster scores by their norm before the softmax; the code does, the text does
    not. With it, no probability exceeds 0.082 at 32 clusters."""
    entropy_scale: Literal["clusters", "rows", "none"] = "clusters"
    """``clusters``: divide both entropies by log K; ``rows``: divide H(Y|X) by the log of the
    number of rows in the batch, as the code does; ``none``: divide neither, as in the text."""
    positive_denominator: Literal["z_minus", "z"] = "z_minus"
    """Denominator of a row's similarity to its partner: ``z_minus`` sums over the other centroids
    only (the code's training script), ``z`` over all centroids (a second version in the code)."""
    labels: Literal["images", "rows"] = "images"
    """``images``: both views take the cluster of the first (the code's training script); ``rows``:
    each view takes its own (a second version in the code)."""
    floor: float = Field(default=1e-6, gt=0.0, lt=1.0)
    """Lower bound on the probability of not belonging to another cluster; below it there is no
    gradient."""
    metric_reduction: Literal["mean", "sum"] = "mean"
    """Reduction over rows: ``mean`` as in the code, ``sum`` as in the text."""
    target: Literal["unit", "centred"] = "unit"
    """What the decoder reconstructs. ``unit``: pixels in [0, 1]. ``centred``, as in the code: the
    same minus the mean colour, so that about half the values are negative and out of the sigmoid's
    range."""
    pixel_reduction: Literal["mean", "sum"] = "mean"
    """Reduction over an image's pixels: ``mean`` as in the code, ``sum`` as in the text."""
    nn_positive: bool = False
    """With probability 0.5, replace an image's second view by its nearest neighbour, recomputed
    every epoch. The code does this for CUB-200-2011 only; the text does not mention it."""

    @model_validator(mode="after")
    def _check_weights(self) -> CbswrConfig:
        weights = self.weights
        if weights.metric == weights.clustering == weights.reconstruction == 0:
            raise ValueError("weights.metric: all weights are 0; set one of them above 0")
        return self
