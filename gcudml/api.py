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
    """Folder that ``paths`` are relative to."""
    paths: tuple[str, ...]
    """Relative paths with ``/``: of a folder in alphabetical order, else in the order given."""
    vectors: Float32[np.ndarray, "n dim"]
    """One row per image; of unit length if ``distance`` is cosine."""
    distance: Distance
    """How rows are compared."""


class Neighbours(NamedTuple):
    """The most similar gallery images of each query."""

    places: Int64[np.ndarray, "queries k"]
    """Row indices in the gallery, best first."""
    scores: Float32[np.ndarray, "queries k"]
    """Cosine similarities, or Euclidean distances if the model uses those."""
    paths: tuple[tuple[Path, ...], ...]
    """Image files of ``places``."""


def embed(images: str | Path | Sequence[str | Path], model: TrainedModel) -> EmbeddedImages:
    """Embed image files, in blocks, so that their pixels are never all in memory.

    Args:
        images: A folder, searched at any depth, or a sequence of files.
        model: From ``gcudml.load``.

    Raises:
        ValueError: no such folder, no image in it, or some images cannot be read; the message names
            up to five.
    """
    try:
        if isinstance(images, str | Path):
            root = Path(images)
            paths = image_paths(root)
        else:
            root, paths = Path(), tuple(str(path) for path in images)
        if not paths:
            raise ValueError(f"{root}: no image to embed; give a folder with images")
        vectors = np.concatenate(list(_vectors(root, paths, model)))
    except ValueError as error:
        # The reader's messages name the study's parameter, which does not exist here.
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
    """Find the ``k`` images of ``gallery`` most similar to each query, by exact search with faiss.

    If ``queries`` and ``gallery`` are the same object, an image is never its own neighbour.

    Args:
        queries: Embedded by the same model as ``gallery``.
        gallery: The images to search.
        k: At least 1; if the gallery is smaller, all its images are returned.

    Raises:
        ValueError: the two were embedded by different models.
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
    """Drop each row from its own list; if ties pushed it off the list, drop the last neighbour."""
    is_self = places == np.arange(len(places))[:, None]
    order = np.argsort(is_self, axis=1, kind="stable")[:, :-1]
    return np.take_along_axis(scores, order, 1), np.take_along_axis(places, order, 1)
