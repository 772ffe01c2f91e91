"""How many clusters: a number, or a share of the training images."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, TypeAlias

from pydantic import Field, ValidationError, WrapValidator
from pydantic_core import PydanticCustomError

FEWEST = 2


def _as_number_or_share(value: object, parse: Callable[[object], ClusterNumber]) -> ClusterNumber:
    """One message in place of one for each kind of value that is possible."""
    try:
        return parse(value)
    except ValidationError:
        raise PydanticCustomError(
            "clusters",
            "give a number of clusters from 2 to 1000000, or a share of the training images "
            "between 0 and 1",
        ) from None


ClusterNumber: TypeAlias = Annotated[
    Annotated[int, Field(ge=FEWEST, le=1_000_000)] | Annotated[float, Field(gt=0.0, lt=1.0)],
    WrapValidator(_as_number_or_share),
]
"""A number of clusters, or a share: so many clusters for each training image."""


def count_clusters(clusters: ClusterNumber, *, images: int) -> int:
    """The number of clusters of so many images.

    A number stays as it is, whatever the images. A share is rounded, to at least two clusters and
    to at most two fewer than images, so that it fits every data set of four images.
    """
    if isinstance(clusters, int):
        return clusters
    return max(FEWEST, min(round(clusters * images), images - FEWEST))
