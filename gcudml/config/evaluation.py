"""Parameters of the evaluation: metrics, distance and neighbour search."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from gcudml.config.fields import Distance, Search, Strict


class EvaluateConfig(Strict):
    """What is measured on the validation and test classes."""

    k: list[Annotated[int, Field(ge=1, le=10_000)]] = Field(default=[1, 2, 4, 8], min_length=1)
    """Values of K for Recall@K."""
    map_at_r: bool = True
    """Report MAP@R and R-precision."""
    nmi: bool = True
    """Report the normalised mutual information of k-means with the true number of classes."""
    ami: bool = True
    """Report the adjusted mutual information of the same k-means; it is corrected for chance."""
    distance: Literal["method"] | Distance = "method"
    """How embeddings are compared; ``method``: as in the method's paper or code."""
    search: Search = "exact"
    """How neighbours are found. ``exact`` compares every query with every image. ``ivf`` and
    ``hnsw`` are faiss indexes for about 100,000 images or more; they miss some neighbours, so
    Recall@K, MAP@R and R-precision are approximate, and every report says so. On a GPU the search
    is always exact."""
    map: Literal["pca", "umap"] = "pca"
    """Layout of the report's map of test embeddings: two principal components, or UMAP (needs
    ``pip install "gcudml-harness[umap]"``). Changes no metric."""
    test_every_epoch: bool = False
    """In runs that evaluate the test classes, score them after every epoch as well:
    ``hindsight/recall@K`` per epoch and ``test/recall@K_best_test_epoch`` at the end. This shows
    what choosing the epoch on the test classes would have reported; it changes no other metric and
    is never used for model selection."""
    teacher: bool = False
    """Compare teacher and student on the validation classes after every epoch
    (``teacher/recall@K``, ``student/recall@K``), both with the wide embedding. Changes no other
    metric."""

    @model_validator(mode="after")
    def _check_k(self) -> EvaluateConfig:
        for each in self.k:
            if self.k.count(each) > 1:
                raise ValueError(f"k: {each} is listed twice; list each K once")
        return self
