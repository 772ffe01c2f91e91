"""Parameters of CBSwR."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field, model_validator

from gcudml.config.fields import Distance, Strict, Supervision, Weight


class CbswrWeights(Strict):
    """How much each term counts; 0 leaves the term out. The defaults are the authors' code's.

    ``reconstruction: 0`` is what the authors call CBS, ``metric: 0`` with it "only L_rim".
    """

    metric: Weight = 0.9
    clustering: Weight = 0.3
    """At 0 the clustering head stays at random, and still says which rows share a centroid."""
    reconstruction: Weight = 0.001
    """Of the mean squared error: 0.001 is 6.6e-9 of the text's sum over 224-pixel images."""


class CbswrConfig(Strict):
    """Deep Metric Learning Meets Deep Clustering (Nguyen et al., BMVC 2020, arXiv:2009.04091).

    Needs ``train.views: 2``. Where the authors' text and code differ, the default is named in the
    parameter's description.
    """

    name: Literal["cbswr"] = "cbswr"
    supervision: ClassVar[Supervision] = "none"
    distance: ClassVar[Distance] = "cosine"
    remarks: ClassVar[tuple[str, ...]] = ()
    needed_views: ClassVar[int] = 2
    """The only value of ``train.views`` that the method can use."""
    clusters: int = Field(default=32, ge=2, le=1_000_000)
    """Outputs of the clustering head. 32 is the text's and the code's test; the code's training
    script has 100."""
    temperature: float = Field(default=0.1, gt=0.0, le=100.0)
    """Of the similarities to the partner and to the centroids."""
    weights: CbswrWeights = CbswrWeights()
    balance: Weight = 1.0
    """Factor on the entropy of the mean assignment (the code's mu). The text's lambda
    scales both entropies, which is ``weights.clustering``; at 1 the two agree."""
    negative_weight: Weight = 1.0
    """Factor on the separation from the other centroids (the code's alpha)."""
    dropout: float = Field(default=0.6, ge=0.0, lt=1.0)
    """Of the clustering head."""
    l2: Weight = 1e-4
    """Weight decay of the clustering head's linear layer. The text has such a penalty and no value
    for it; the code has none (0)."""
    normalize_logits: bool = False
    """Divide a row's cluster scores by their norm before the softmax: the code does, the text does
    not. With it no probability exceeds 0.082 at 32 clusters."""
    entropy_scale: Literal["clusters", "rows", "none"] = "clusters"
    """``clusters``: both entropies are divided by log K; ``rows``: H(Y|X) by the log of a batch's
    rows, as in the code; ``none``: neither, as in the text."""
    positive_denominator: Literal["z_minus", "z"] = "z_minus"
    """What a row's similarity to its partner is divided by: the other centroids alone (the code's
    training script) or all centroids (a second version in the code)."""
    floor: float = Field(default=1e-6, gt=0.0, lt=1.0)
    """Least probability of not belonging to another cluster; below it there is no gradient."""
    metric_reduction: Literal["mean", "sum"] = "mean"
    """Over rows: ``mean`` is the code's, ``sum`` the text's."""
    target: Literal["unit", "centred"] = "unit"
    """What the decoder must draw: pixels in [0, 1], or the code's, from which the mean colour was
    subtracted, so that about half of them are negative and out of the sigmoid's reach."""
    pixel_reduction: Literal["mean", "sum"] = "mean"
    """Over an image's pixels: ``mean`` is the code's, ``sum`` the text's."""
    nn_positive: bool = False
    """Show in place of an image's second view its nearest neighbour, every second time, found anew
    each epoch. In the code for CUB-200-2011 alone, not in the text."""

    @model_validator(mode="after")
    def _check_weights(self) -> CbswrConfig:
        weights = self.weights
        if weights.metric == weights.clustering == weights.reconstruction == 0:
            raise ValueError("weights.metric: nothing is left to train; set a weight above 0")
        return self
