"""What all parameter models have in common."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal, TypeAlias

from pydantic import BaseModel, ConfigDict, Field

Fraction = Annotated[float, Field(ge=0.0, le=1.0)]
Weight = Annotated[float, Field(ge=0.0, le=1e6)]
Supervision: TypeAlias = Literal["none", "some", "all"]
"""How many of the training classes a method knows: none, ``data.labelled_fraction``, or all."""
Distance: TypeAlias = Literal["cosine", "euclidean"]
"""How two embeddings are compared."""
Search: TypeAlias = Literal["exact", "ivf", "hnsw"]
"""How neighbours are found: all are compared, or one of faiss's indexes leaves most out."""


def expand_home(path: str, *, key: str) -> Path:
    """The path with a leading ``~`` replaced.

    Raises:
        ValueError: ``key: ...``: nobody of that name has a home folder.
    """
    try:
        return Path(path).expanduser()
    except RuntimeError:
        raise ValueError(f"{key}: no home folder for {path!r}; give the path in full") from None


class Strict(BaseModel):
    """Immutable, and an unknown key is an error: a typo must not become a silent default."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, allow_inf_nan=False, use_attribute_docstrings=True
    )
