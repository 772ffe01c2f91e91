"""Shared field types, and the strict base class of every configuration."""

from __future__ import annotations

import contextlib
import functools
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Literal, NamedTuple, TypeAlias, get_args, get_origin

from pydantic import BaseModel, ConfigDict, Field, ValidationError, WrapValidator, model_validator
from pydantic_core import PydanticCustomError

Fraction = Annotated[float, Field(ge=0.0, le=1.0)]
Weight = Annotated[float, Field(ge=0.0, le=1e6)]
Supervision: TypeAlias = Literal["none", "some", "all"]
"""Which training labels a method sees: none, those of ``data.labelled_fraction``, or all."""
Distance: TypeAlias = Literal["cosine", "euclidean"]
"""How two embeddings are compared."""
Search: TypeAlias = Literal["exact", "ivf", "hnsw"]
"""How neighbours are found: exhaustively, or with an approximate faiss index."""


def expand_path(path: str, *, key: str, advice: str) -> Path:
    """Expand environment variables and a leading ``~`` in a path.

    Args:
        path: As written in the study file.
        key: Its key there; error messages start with it.
        advice: What to set a missing variable to.

    Raises:
        ValueError: a variable is not set, or no such user has a home folder.
    """
    text = os.path.expandvars(path)
    if missing := re.search(r"\$\{?(\w+)\}?", text):
        raise ValueError(
            f"{key}: the environment variable {missing[1]} of {path!r} is not set; {advice}"
        )
    try:
        return Path(text).expanduser()
    except RuntimeError:
        raise ValueError(f"{key}: no home folder for {text!r}; give the path in full") from None


class Strict(BaseModel):
    """Immutable model that rejects unknown keys: a typo must not silently leave a default.

    ``true`` and quoted numbers such as ``'1_000'`` are not accepted as numbers; integers and
    floats of equal value are interchangeable (``3.0`` and ``3``).
    """

    model_config = ConfigDict(
        extra="forbid", frozen=True, allow_inf_nan=False, use_attribute_docstrings=True
    )

    @model_validator(mode="before")
    @classmethod
    def _check_numbers(cls, values: object) -> object:
        """Reject quoted numbers and booleans in numeric fields, also inside lists.

        Checks the whole model and reports one line per field: Pydantic allows no validator on the
        discriminator field of a union.
        """
        lines = []
        for name, value in values.items() if isinstance(values, dict) else ():
            if name in cls.model_fields:
                alone, listed = _kinds_of(cls, name)
                parts, kinds = (value, listed) if isinstance(value, list) else ([value], alone)
                lines += [
                    f"{name}: needs a number, not a boolean or a number in quotes, got {each!r}"
                    for each in parts
                    if _is_no_number(each, kinds)
                ]
        if lines:
            raise ValueError("\n".join(lines))
        return values


def _is_no_number(value: object, kinds: frozenset[object]) -> bool:
    """Whether Pydantic would coerce this non-number in a field that takes numbers."""
    if not kinds & {int, float} or type(value) in kinds:
        return False
    if isinstance(value, str) and value not in kinds:
        with contextlib.suppress(ValueError):
            float(value)
            return True
    return isinstance(value, bool)


class _Kinds(NamedTuple):
    """Types and literal strings that a field accepts."""

    alone: frozenset[object]
    listed: frozenset[object]
    """Accepted as an element of a list."""


@functools.cache
def _kinds_of(model: type[BaseModel], field: str) -> _Kinds:
    alone: set[object] = set()
    listed: set[object] = set()
    waiting: list[tuple[object, set[object]]] = [(model.model_fields[field].annotation, alone)]
    while waiting:
        kind, found = waiting.pop()
        if get_origin(kind) is Literal:
            found |= {word for word in get_args(kind) if isinstance(word, str)}
        elif isinstance(kind, type):
            found.add(kind)
        is_list = get_origin(kind) in {list, tuple}
        waiting += [(each, listed if is_list else found) for each in get_args(kind)]
    return _Kinds(frozenset(alone), frozenset(listed))


FEWEST = 2


def _as_number_or_share(value: object, parse: Callable[[object], ClusterNumber]) -> ClusterNumber:
    """Validate a number of clusters; report one error instead of one per accepted type."""
    try:
        return parse(value)
    except ValidationError:
        raise PydanticCustomError(
            "clusters",
            "give a number of clusters from 2 to 1000000, or a fraction of the training images "
            "between 0 and 1",
        ) from None


ClusterNumber: TypeAlias = Annotated[
    Annotated[int, Field(ge=FEWEST, le=1_000_000)] | Annotated[float, Field(gt=0.0, lt=1.0)],
    WrapValidator(_as_number_or_share),
]
"""A number of clusters, or a fraction: clusters per training image."""


def count_clusters(clusters: ClusterNumber, *, images: int) -> int:
    """Return the number of clusters for a number of images.

    A number is returned unchanged. A fraction of the images is rounded and clipped to between 2 and
    ``images - 2``, so that it works for any data set of four images or more.
    """
    if isinstance(clusters, int):
        return clusters
    return max(FEWEST, min(round(clusters * images), images - FEWEST))


def check_clusters(clusters: ClusterNumber, *, images: int) -> None:
    """Refuse more clusters than so many images can fill batches of.

    Raises:
        ValueError: ``method.clusters: what; remedy``.
    """
    count = count_clusters(clusters, images=images)
    if count > images - FEWEST:
        raise ValueError(
            f"method.clusters: {count} clusters of {images} training images; a batch "
            f"needs two of two images or more, so at most {images - FEWEST}"
        )


Plain = bool | int | float | str | None


class MetricLossConfig(Strict):
    """A loss on embeddings and labels."""

    name: str = Field(default="multi_similarity", min_length=1)
    """``multi_similarity`` (with pair mining), ``cbml`` or ``nt_xent``, implemented here;
    ``margin``, ``triplet``, ``contrastive`` or a class name, from
    ``pytorch_metric_learning.losses``."""
    args: dict[str, Plain] = Field(default_factory=dict)
    """Keyword arguments of the loss; the others keep the library's defaults. The number of classes
    and the embedding size are filled in."""
