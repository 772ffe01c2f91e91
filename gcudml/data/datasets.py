"""The images of one part of a data set, wherever they come from."""

from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np
import PIL
from jaxtyping import Int64, UInt8

from gcudml.config import DataConfig, FolderData, StrokesData
from gcudml.data import folder, strokes
from gcudml.data.cache import cached_images, digest
from gcudml.data.splits import Division, divide_classes

Part: TypeAlias = Literal["train", "val", "test"]
PARTS: tuple[Part, ...] = ("train", "val", "test")


@dataclass(frozen=True)
class ImageSet:
    """Images of one part, sorted by class."""

    images: UInt8[np.ndarray, "n channels size size"]
    """Mapped from a file, read-only: a page is read when it is used."""
    labels: Int64[np.ndarray, " n"]
    """Index into ``class_names``."""
    class_names: tuple[str, ...]


def load(config: DataConfig, part: Part) -> ImageSet:
    """The images of one part; no image of another part is opened.

    Drawn or decoded at the first call and read from the cache after that.

    Raises:
        ValueError: the folder, an image or the split is unusable, as ``data.key: what; remedy``.
        OSError: the cache cannot be written.
    """
    if isinstance(config, StrokesData):
        return _load_strokes(config, part)
    return _load_folder(config, part)


def data_fingerprint(config: DataConfig) -> str:
    """Digest of all that a run can see of the data: pixels, classes and their division.

    For strokes it is a digest of their parameters. For a folder it covers the contents of the files
    that a part uses, not where the folder is or when it was written; files are read once and after
    that only when their size or time has changed.

    Raises:
        ValueError: the folder or the split is unusable.
    """
    if isinstance(config, StrokesData):
        divide_classes(strokes.class_names(config), config.split)  # refuse it now, not in a run
        return digest(["strokes", strokes.VERSION, config.model_dump(mode="json")])
    listing = folder.scan(config)
    division = divide_classes(tuple(listing), config.split)
    used = {part: folder.select(listing, getattr(division, part)) for part in PARTS}
    digests = folder.content_digests(config, [path for paths in used.values() for path in paths])
    content = {part: [(path, digests[path]) for path in paths] for part, paths in used.items()}
    return digest(["folder", folder.VERSION, _appearance(config), content])


def _load_strokes(config: StrokesData, part: Part) -> ImageSet:
    names = strokes.class_names(config)
    division = divide_classes(names, config.split)
    mine: tuple[str, ...] = getattr(division, part)
    index = {name: position for position, name in enumerate(names)}
    classes = [index[name] for name in mine]
    sizes = strokes.class_sizes(config, len(classes), training=part == "train")
    drawn = config.model_dump(mode="json", exclude={"split", "classes"})
    key = digest(["strokes", strokes.VERSION, np.__version__, drawn, classes, sizes])
    size = config.image_size
    images = cached_images(
        key, (sum(sizes), 1, size, size), lambda: strokes.draw(config, classes, sizes)
    )
    return ImageSet(images, np.repeat(np.arange(len(mine)), sizes), mine)


def _load_folder(config: FolderData, part: Part) -> ImageSet:
    listing = folder.scan(config)
    division: Division = divide_classes(tuple(listing), config.split)
    mine: tuple[str, ...] = getattr(division, part)
    paths = folder.select(listing, mine)
    digests = folder.content_digests(config, paths)
    content = [(path, digests[path]) for path in paths]
    # Pillow's version too: its decoders and its resizing change pixels between releases.
    key = digest(["folder", folder.VERSION, PIL.__version__, _appearance(config), content])
    channels = 3 if config.color == "rgb" else 1
    size = config.image_size
    images = cached_images(
        key, (len(paths), channels, size, size), lambda: folder.decode(config, paths)
    )
    sizes = [len(listing[name]) for name in mine]
    return ImageSet(images, np.repeat(np.arange(len(mine)), sizes), mine)


def _appearance(config: FolderData) -> dict[str, object]:
    """The parameters that change pixels."""
    return config.model_dump(mode="json", include={"image_size", "color", "invert"})
