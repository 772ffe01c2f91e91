"""The sources of a run's randomness, each of which can be pinned."""

from __future__ import annotations

from typing import Annotated, Literal, TypeAlias

from pydantic import Field

Source: TypeAlias = Literal["weights", "batches", "k-means", "views", "dropout", "evaluation"]
"""``weights``: initial weights of student, teacher and added parameters. ``batches``: which images
each step sees. ``k-means``: starts of the clustering, and what else assigns clusters at random.
``views``: random views of training images. ``dropout``: dropout, and whatever the layers and
losses of libraries draw. ``evaluation``: the clustering behind NMI, and the images and views of
the label-free criterion."""
Pinned: TypeAlias = dict[Source, Annotated[int, Field(ge=0)]]
"""Source -> seed."""
