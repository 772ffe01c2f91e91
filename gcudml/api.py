"""Use a trained model: load it, embed images, and search for the most similar ones."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float32, Int64
from torch.nn import functional as F

from gcudml.config.fields import Distance
from gcudml.data.folder import image_paths
from gcudml.data.image_files import decode
from gcudml.neighbours.search import nearest_of
from gcudml.training.model_file import TrainedModel


@dataclass(frozen=True)
class EmbeddedImages:
    """Image files and their embeddings."""

    root: Path
    """The folder that ``paths`` start at."""
    paths: tuple[str, ...]
    """In alphabetical order, with ``/``."""
    vectors: Float32[np.ndarray, "n dim"]
    """A row an image; of length 1 where ``distance`` is cosine."""
    distance: Distance
    """What says how alike two rows are."""


class Neighbours(NamedTuple):
    """For each query the images most like it."""

    places: Int64[np.ndarray, "queries k"]
    """Rows of the gallery, best first."""
    scores: Float32[np.ndarray, "queries k"]
    """Cosine similarity, or Euclidean distance where the model is compared by that."""
    paths: tuple[tuple[Path, ...], ...]
    """The files of ``places``."""


def embed(images: str | Path | Sequence[str | Path], model: TrainedModel) -> EmbeddedImages:
    """Embed image files, some at a time: pixels of all of them never lie in memory together.

    Args:
        images: A folder, of which all images at any depth are taken, or files.
        model: From ``gcudml.load``.

    Raises:
        ValueError: no such folder, no image in it, or images that cannot be read: up to five of
            them are named.
    """
    try:
        if isinstance(images, str | Path):
            root = Path(images)
            paths = image_paths(root)
        else:
            root, paths = Path(), tuple(str(path) for path in images)
        if not paths:
            raise ValueError(f"{root}: no image to embed; name a folder that holds some")
        vectors = np.concatenate(list(_vectors(root, paths, model)))
    except ValueError as error:
        # Reading images speaks of the study's parameter; here there is none.
        raise ValueError(str(error).removeprefix("data.root: ")) from error
    return EmbeddedImages(root, paths, vectors, model.distance)


def _vectors(
    root: Path, paths: Sequence[str], model: TrainedModel
) -> Iterator[Float32[np.ndarray, "block dim"]]:
    for pixels in decode(root, paths, appearance=model.appearance):
        rows = model(torch.from_numpy(pixels)).float()
        if model.distance == "cosine":
            rows = F.normalize(rows, dim=1)
        yield rows.cpu().numpy()


def search(queries: EmbeddedImages, gallery: EmbeddedImages, k: int = 8) -> Neighbours:
    """The ``k`` images of ``gallery`` most like each query, by exact search with faiss.

    An image is no neighbour of itself: where both are the same object, a row does not find itself.

    Args:
        queries: Embedded by the same model.
        gallery: What is searched.
        k: At least 1; of fewer images all are found.

    Raises:
        ValueError: the two are embedded by different models.
    """
    mine, others = queries.vectors, gallery.vectors
    if mine.shape[1] != others.shape[1] or queries.distance != gallery.distance:
        raise ValueError(
            f"queries have {mine.shape[1]} dimensions and {queries.distance} distance, the gallery "
            f"{others.shape[1]} and {gallery.distance}; embed both with the same model"
        )
    if k < 1:
        raise ValueError(f"k: must be at least 1, got {k}")
    itself = queries is gallery
    scores, places = nearest_of(
        mine, others, min(k + itself, len(others)), distance=gallery.distance
    )
    if itself:
        scores, places = _without_itself(scores, places)
    files = tuple(tuple(gallery.root / gallery.paths[place] for place in row) for row in places)
    return Neighbours(places, scores, files)


def _without_itself(
    scores: Float32[np.ndarray, "n k"], places: Int64[np.ndarray, "n k"]
) -> tuple[Float32[np.ndarray, "n _"], Int64[np.ndarray, "n _"]]:
    """Take each row off its own list; where ties pushed it out, the last one goes."""
    is_self = places == np.arange(len(places))[:, None]
    order = np.argsort(is_self, axis=1, kind="stable")[:, :-1]
    return np.take_along_axis(scores, order, 1), np.take_along_axis(places, order, 1)
