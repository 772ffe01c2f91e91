"""Parameters of the evaluation."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from gcudml.config.fields import Distance, Search, Strict


class EvaluateConfig(Strict):
    """What is measured on the validation and test classes."""

    k: list[Annotated[int, Field(ge=1, le=10_000)]] = Field(default=[1, 2, 4, 8], min_length=1)
    """Recall@K for each of these."""
    map_at_r: bool = True
    """MAP@R and R-precision."""
    nmi: bool = True
    """k-means with the true number of classes, then normalised mutual information."""
    ami: bool = True
    """The same k-means, then adjusted mutual information, which chance does not raise."""
    distance: Literal["method"] | Distance = "method"
    """How embeddings are compared; ``method``: as the method's source does."""
    search: Search = "exact"
    """How neighbours are found: ``exact`` compares every query with every image; ``ivf`` and
    ``hnsw`` are faiss's indexes, for some 100,000 images and more, which miss some neighbours:
    Recall@K, MAP@R and R-precision are then approximate, and every report says so. On a GPU the
    search is exact whatever is asked for."""
    map: Literal["pca", "umap"] = "pca"
    """How test embeddings are laid out on the map of the report: two principal components, or UMAP
    (needs ``pip install "gcudml-harness[umap]"``). Changes no number."""
    test_every_epoch: bool = False
    """Score the test classes after every epoch too, in runs that open them: ``hindsight/recall@K``
    an epoch, and ``test/recall@K_best_test_epoch`` at the end. It tells what a choice of the epoch
    on test classes would have claimed, changes no other number, and no choice reads it."""
    teacher: bool = False
    """Compare teacher and student on validation classes after every epoch: ``teacher/recall@K`` and
    ``student/recall@K``, both of the wide embedding. Changes no other number."""

    @model_validator(mode="after")
    def _check_k(self) -> EvaluateConfig:
        for each in self.k:
            if self.k.count(each) > 1:
                raise ValueError(f"k: Recall@{each} is asked for twice; name each K once")
        return self
