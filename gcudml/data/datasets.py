"""Images by data set and part."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Int64, UInt8

from gcudml.config import DataConfig, FolderData, StrokesData
from gcudml.data import folder, strokes
from gcudml.data.cache import Decoded, cached, digest
from gcudml.data.splits import Part, split_classes
from gcudml.seeding import numpy_generator

__all__ = ["ImageSet", "Part", "data_fingerprint", "load"]


@dataclass(frozen=True)
class ImageSet:
    """Images of one part. Shape letter: ``n`` images."""

    images: UInt8[np.ndarray, "n channels height width"]
    """Memory-mapped, read-only."""
    labels: Int64[np.ndarray, " n"]
    """0 .. classes - 1, counted within the part."""
    class_names: tuple[str, ...]


def load(config: DataConfig, part: Part) -> ImageSet:
    """The images of one part; those of the others are not touched.

    Raises:
        ValueError: the images are missing or unusable, or the split is impossible, as
            ``data.key: what; remedy``.
    """
    if isinstance(config, StrokesData):
        return _load_strokes(config, part)
    return _load_folder(config, part)


def data_fingerprint(config: DataConfig) -> str:
    """A digest of all images and of how they are divided: equal data, equal text.

    Raises:
        ValueError: as ``load`` does.
    """
    if isinstance(config, StrokesData):
        split_classes(strokes.class_names(config), config.split)
        return digest(["strokes", strokes.VERSION, config.model_dump(mode="json")])
    classes = folder.find_classes(config)
    split_classes(list(classes), config.split)
    files = [name for members in classes.values() for name in members]
    settings = config.model_dump(mode="json", exclude={"root", "source"})
    return digest(["folder", folder.VERSION, settings, folder.content_digest(config, files)])


def _load_strokes(config: StrokesData, part: Part) -> ImageSet:
    names = strokes.class_names(config)
    chosen = split_classes(names, config.split)[part]
    sizes = [config.images_per_class] * len(chosen)
    if part == "train":
        sizes = strokes.long_tailed_sizes(len(chosen), config.images_per_class, config.imbalance)
        order = numpy_generator(config.seed, "class sizes").permutation(len(sizes))
        sizes = [sizes[position] for position in order]
    settings = config.model_dump(mode="json", exclude={"split", "imbalance", "images_per_class"})
    found = cached(
        ["strokes", strokes.VERSION, settings, chosen, sizes],
        lambda: strokes.draw_classes(config, chosen, sizes),
    )
    return _image_set(found, [names[index] for index in chosen])


def _load_folder(config: FolderData, part: Part) -> ImageSet:
    classes = folder.find_classes(config)
    names = list(classes)
    chosen = [names[index] for index in split_classes(names, config.split)[part]]
    members = [classes[name] for name in chosen]
    content = folder.content_digest(config, [name for files in members for name in files])
    settings = [config.image_size, config.color, config.invert]
    found = cached(
        ["folder", folder.VERSION, settings, content], lambda: folder.decode(config, members)
    )
    return _image_set(found, chosen)


def _image_set(found: Decoded, names: list[str]) -> ImageSet:
    return ImageSet(found.images, found.labels, tuple(names))
