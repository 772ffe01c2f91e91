"""Field types and the strict base of every configuration."""

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
"""How many of the training classes a method knows: none, ``data.labelled_fraction``, or all."""
Distance: TypeAlias = Literal["cosine", "euclidean"]
"""How two embeddings are compared."""
Search: TypeAlias = Literal["exact", "ivf", "hnsw"]
"""How neighbours are found: all are compared, or one of faiss's indexes leaves most out."""


def expand_path(path: str, *, key: str, advice: str) -> Path:
    """The path with environment variables and a leading ``~`` replaced.

    Args:
        path: As it stands in the study file.
        key: Where it stands there.
        advice: What a variable that is not set should be set to.

    Raises:
        ValueError: ``key: ...``: a variable is not set, or nobody of that name has a home folder.
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
    """Immutable, and an unknown key is an error: a typo must not become a silent default.

    Nor does ``true`` or a quoted ``'1_000'`` become a number; ``3.0`` is 3, and 3 is 3.0.
    """

    model_config = ConfigDict(
        extra="forbid", frozen=True, allow_inf_nan=False, use_attribute_docstrings=True
    )

    @model_validator(mode="before")
    @classmethod
    def _check_numbers(cls, values: object) -> object:
        """Refuse a quoted number or a truth value where a number is meant, also in a list.

        For the whole model, a line a field: Pydantic has it that the field which tells models apart
        must not have a rule of its own.
        """
        lines = []
        for name, value in values.items() if isinstance(values, dict) else ():
            if name in cls.model_fields:
                alone, listed = _kinds_of(cls, name)
                parts, kinds = (value, listed) if isinstance(value, list) else ([value], alone)
                lines += [
                    f"{name}: needs a number, and one without quotes, got {each!r}"
                    for each in parts
                    if _is_no_number(each, kinds)
                ]
        if lines:
            raise ValueError("\n".join(lines))
        return values


def _is_no_number(value: object, kinds: frozenset[object]) -> bool:
    """Whether a number is meant and the value is none, though Pydantic would make one of it."""
    if not kinds & {int, float} or type(value) in kinds:
        return False
    if isinstance(value, str) and value not in kinds:
        with contextlib.suppress(ValueError):
            float(value)
            return True
    return isinstance(value, bool)


class _Kinds(NamedTuple):
    """Types and words that a field takes."""

    alone: frozenset[object]
    listed: frozenset[object]
    """As an element of a list."""


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
    """``multi_similarity`` (with pair mining) and ``nt_xent``, both ours; ``margin``, ``triplet``,
    ``contrastive``, or the name of a class of ``pytorch_metric_learning.losses``."""
    args: dict[str, Plain] = Field(default_factory=dict)
    """Arguments of the loss by name; those that are missing keep the library's defaults. The number
    of classes and the size of the embedding are filled in."""
