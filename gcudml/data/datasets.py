"""Loading of data sets: the images and labels of the train, validation and test parts."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, NamedTuple, TypeAlias

import numpy as np
import PIL
from jaxtyping import Bool, Int64, UInt8

from gcudml.config import DataConfig, FolderData, StrokesData
from gcudml.config.data import FileData, ImageData, StandardData
from gcudml.data import benchmarks, folder, image_files, splits, synthetic
from gcudml.data.folder import Listing, shown
from gcudml.data.image_files import Appearance
from gcudml.data.splits import (
    FEWEST_CLASSES,
    Division,
    divide_classes,
    halves,
    hold_out_classes,
    hold_out_images,
    thinned_sizes,
)
from gcudml.runtime.array_cache import cached_array
from gcudml.runtime.files import digest, stamp_of
from gcudml.runtime.seeding import numpy_generator

Part: TypeAlias = Literal["train", "val", "test"]
PARTS: tuple[Part, ...] = ("train", "val", "test")
# Parameters that change the drawings of a class.
DRAWN = {"name", "images_per_class", "image_size", "imbalance", "variation", "seed"}


@dataclass(frozen=True)
class ImageSet:
    """Images of one part, sorted by class, or by path if they have no classes."""

    images: UInt8[np.ndarray, "n channels size size"]
    """Memory-mapped copy-on-write: pages are read on use, and changes reach neither the file nor
    other processes."""
    labels: Int64[np.ndarray, " n"]
    """Index into ``class_names``; -1 if images have no classes."""
    class_names: tuple[str, ...]
    is_query: Bool[np.ndarray, " n"] | None = None
    """Mask of the queries; the other images are the gallery. None: every image is a query and is
    compared with all others."""
    files: tuple[str, ...] = ()
    """Path of each image below ``data.root``; empty for synthetic drawings."""
    key: str = ""
    """Digest of everything that the pixels depend on; empty if there is no image."""


def has_validation(config: DataConfig) -> bool:
    """Whether there is a validation part; otherwise ``val`` is empty."""
    return config.protocol == "validated"


def has_classes(config: ImageData) -> bool:
    """Whether images have classes, visible or hidden; otherwise there is no test part."""
    return not (isinstance(config, FolderData) and config.labels == "none")


def load(config: DataConfig, part: Part, *, verify: bool = False) -> ImageSet:
    """Load the images of one part; no image of another part is opened.

    Images are drawn or decoded at the first call and read from the cache afterwards. ``val`` is
    empty if the protocol has no validation classes, ``test`` if images have no classes.

    Args:
        config: The data set.
        part: Which part of it.
        verify: Whether to verify the cached file's checksum, and rebuild the file if it is damaged.

    Raises:
        ValueError: the folder, an image or the split is unusable, as ``data.key: what; remedy``.
        OSError: the cache cannot be written.
    """
    if isinstance(config, StrokesData):
        return _load_strokes(config, part, verify=verify)
    return _load_files(config, part, verify=verify)


def larger(config: DataConfig) -> DataConfig | None:
    """The data set at ``view_size``, from which training views are cropped; None if not larger.

    Only its part ``train`` is used.
    """
    size = config.view_size if isinstance(config, FileData) else None
    if size in (None, config.image_size):
        return None
    return config.model_copy(update={"image_size": size})


def training_labels(config: DataConfig, training: ImageSet) -> Int64[np.ndarray, " n"]:
    """Labels that a semi-supervised method may see: -1 where ``labelled_fraction`` hides them.

    Args:
        config: The data set.
        training: Its part ``train``.
    """
    return splits.visible_labels(
        training.labels,
        classes=len(training.class_names),
        fraction=config.labelled_fraction,
        seed=config.split.seed,
    )


class Glance(NamedTuple):
    """State of a data set's files, without their contents."""

    digest: str
    """Digest of the files' names, sizes and change times; equal if nothing has changed."""
    files: int
    is_settled: bool
    """Whether any later change is certain to change the digest."""


def glance(config: DataConfig) -> Glance:
    """Examine a data set's files without opening them.

    Raises:
        ValueError: the folder is unusable.
    """
    if isinstance(config, StrokesData):
        return Glance("drawn", files=0, is_settled=True)
    listing = _list_files(config)
    root = listing.root.absolute()
    stamps = [stamp_of(f"{root}/{path}") for path in listing.select(listing.files)]
    seen = repr((root, *listing[1:4], sorted(listing.queries or ()), stamps))
    return Glance(
        hashlib.sha256(seen.encode(errors="surrogateescape")).hexdigest(),
        files=len(stamps),
        is_settled=all(stamp.is_settled for stamp in stamps if stamp),
    )


def data_fingerprint(config: DataConfig) -> str:
    """Digest of everything that a run can see of the data: pixels, classes and their split.

    For strokes it is a digest of their parameters. For files it covers the contents of those that
    belong to a part, but neither the folder's location nor its modification times; a file is read
    again only if its size or time has changed. Crop size and visible labels are parameters of a
    run, not of the data.

    Raises:
        ValueError: the folder or the split is unusable.
    """
    if isinstance(config, StrokesData):
        _divide_strokes(config)  # reject an invalid split now, not in a run
        division = {"split"} if has_validation(config) else set()
        drawn = config.model_dump(mode="json", include=DRAWN | {"classes"} | division)
        protocol = [] if has_validation(config) else ["published"]
        return digest(["strokes", synthetic.VERSION, drawn, *protocol])
    listing = _list_files(config)
    used = _divide_paths(config, listing)
    everything = [path for paths in used.values() for path in paths]
    digests = image_files.content_digests(listing.root, everything)
    content = {part: [(path, digests[path]) for path in paths] for part, paths in used.items()}
    # In class folders the paths imply the classes; elsewhere only a list has them.
    lists: list[object] = []
    if not has_classes(config):
        lists = ["no classes"]
    elif not isinstance(config, FolderData):
        lists = [_listed(listing, _divide_files(config, listing))]
    return digest(["folder", image_files.VERSION, _key(appearance_of(config)), content, *lists])


def test_fingerprint(config: DataConfig) -> str:
    """Digest of the test images alone; empty if there is no test part.

    Equal for equal files (or equal drawings), however they are named, at whatever size they are
    read, and whichever split selects them. So it tells whether two studies are scored on the same
    images.

    Raises:
        ValueError: the folder or the split is unusable.
    """
    if isinstance(config, StrokesData):
        index = {name: place for place, name in enumerate(synthetic.class_names(config))}
        classes = sorted(index[name] for name in _divide_strokes(config).test)
        drawn = config.model_dump(mode="json", include={"images_per_class", "variation", "seed"})
        return digest(["strokes", synthetic.VERSION, drawn, classes]) if classes else ""
    listing = _list_files(config)
    paths = _divide_paths(config, listing)["test"]
    digests = image_files.content_digests(listing.root, paths)
    return digest(["files", sorted(digests[path] for path in paths)]) if paths else ""


def appearance_of(config: FileData | StrokesData) -> Appearance:
    """Return how to decode image files so that they match the images of a data set."""
    if isinstance(config, FileData):
        return Appearance(config.image_size, config.color, config.invert, config.fit)
    return Appearance(config.image_size, "grey", False, "squeeze")


def _divide_strokes(config: StrokesData) -> Division:
    names = synthetic.class_names(config)
    if has_validation(config):
        return divide_classes(names, config.split)
    return _published(*halves(names), source="data.classes")


def _load_strokes(config: StrokesData, part: Part, *, verify: bool) -> ImageSet:
    mine: tuple[str, ...] = getattr(_divide_strokes(config), part)
    size = config.image_size
    if not mine:
        return _nothing(1, size)
    index = {name: position for position, name in enumerate(synthetic.class_names(config))}
    classes = [index[name] for name in mine]
    sizes = synthetic.class_sizes(config, len(classes), training=part == "train")
    drawn = config.model_dump(mode="json", include=DRAWN)
    key = digest(["strokes", synthetic.VERSION, np.__version__, drawn, classes, sizes])
    images = cached_array(
        "images",
        key,
        (sum(sizes), 1, size, size),
        lambda: synthetic.draw(config, classes, sizes),
        dtype=np.uint8,
        verify=verify,
    )
    return ImageSet(images, np.repeat(np.arange(len(mine)), sizes), mine, key=key)


def _list_files(config: FileData) -> Listing:
    """List the files of a data set.

    Raises:
        ValueError: the folder is unusable, or a name in it is not UTF-8, which result tables need.
    """
    if isinstance(config, StandardData):
        listing = benchmarks.read(config)
    else:
        assert isinstance(config, FolderData)
        listing = folder.scan(config)
    for name, paths in listing.files.items():
        try:
            "".join((name, *paths)).encode()
        except UnicodeEncodeError:
            raise ValueError(
                f"data.root: the name of {_first_odd(name, paths)} in {str(listing.root)!r} is not "
                "in UTF-8; rename it"
            ) from None
    return _thinned(config, listing)


def _thinned(config: FileData, listing: Listing) -> Listing:
    """Thin the training classes as ``imbalance`` and ``train_images`` say."""
    if config.imbalance == 1.0 and config.train_images is None:
        return listing
    if not has_classes(config):
        key = "imbalance" if config.imbalance > 1.0 else "train_images"
        raise ValueError(
            f"data.{key}: training classes are thinned, and data.labels is none; remove it"
        )
    training = _divide_files(config, listing).train
    draw = numpy_generator(config.split.seed, "thinned")
    order = [training[place] for place in draw.permutation(len(training)).tolist()]
    sizes = thinned_sizes(
        [len(listing.files[name]) for name in order],
        imbalance=config.imbalance,
        total=config.train_images,
    )
    files = dict(listing.files)
    for name, size in zip(order, sizes, strict=True):
        kept = sorted(draw.permutation(len(files[name])).tolist()[:size])
        files[name] = tuple(files[name][place] for place in kept)
    return listing._replace(files=files)


def _first_odd(name: str, paths: tuple[str, ...]) -> str:
    """Return the first name that is not UTF-8, with its invalid bytes escaped."""
    return next(shown(each) for each in (name, *paths) if shown(each) != each)


def _divide_files(config: FileData, listing: Listing) -> Division:
    """Assign classes to the parts.

    Raises:
        ValueError: a part has too few classes, or no class with two images.
    """
    if isinstance(config, FolderData) and config.protocol == "validated":
        division = divide_classes(tuple(listing.files), config.split)
    else:
        division = _published(listing.train, listing.test, source="data.root")
        if isinstance(config, StandardData) and config.protocol == "validated":
            division = hold_out_classes(listing.train, listing.test, config.split)
    for part in PARTS:
        _refuse_singles(listing, getattr(division, part), part)
    return division


def _divide_paths(config: FileData, listing: Listing) -> dict[Part, list[str]]:
    """List the files of each part, class by class."""
    if isinstance(config, FolderData) and not has_classes(config):
        parts = hold_out_images(listing.files[folder.NO_CLASS], config.split)
        return {part: list(getattr(parts, part)) for part in PARTS}
    parts = _divide_files(config, listing)
    return {part: listing.select(getattr(parts, part)) for part in PARTS}


def _published(training: tuple[str, ...], test: tuple[str, ...], *, source: str) -> Division:
    """Return the standard halves, without validation classes."""
    if min(len(training), len(test)) < FEWEST_CLASSES:
        raise ValueError(
            f"{source}: {len(training)} training and {len(test)} test classes in the standard "
            f"split; needs at least {FEWEST_CLASSES} of each, add the missing classes"
        )
    return Division(training, (), test)


def _refuse_singles(listing: Listing, classes: tuple[str, ...], part: Part) -> None:
    """Reject a part in which no query has another image of its class to retrieve."""
    if not classes:
        return
    queries = listing.queries
    if queries is not None and part == "test":
        # Queries are not in the gallery.
        if not any(
            {path in queries for path in listing.files[c]} == {True, False} for c in classes
        ):
            raise ValueError(
                f"data.root: none of the {len(classes)} test classes has both a query and a "
                "gallery image, so there is nothing to retrieve; repair the list"
            )
    elif all(len(listing.files[name]) == 1 for name in classes):
        raise ValueError(
            f"data.root: each of the {len(classes)} {part} classes has only one image, so there is "
            "nothing to retrieve; a class is a folder with two images or more"
        )


def _load_files(config: FileData, part: Part, *, verify: bool) -> ImageSet:
    listing = _list_files(config)
    paths = _divide_paths(config, listing)[part]
    appearance = appearance_of(config)
    channels, size = appearance.channels, config.image_size
    if not paths:
        return _nothing(channels, size)
    digests = image_files.content_digests(listing.root, paths)
    content = [(path, digests[path]) for path in paths]
    # Include Pillow's version: its decoders and resizing change pixels between releases.
    version = [image_files.VERSION, PIL.__version__]
    key = digest(["folder", *version, _key(appearance), content])
    images = cached_array(
        "images",
        key,
        (len(paths), channels, size, size),
        lambda: image_files.decode(listing.root, paths, appearance=appearance),
        dtype=np.uint8,
        verify=verify,
    )
    if not has_classes(config):
        return ImageSet(images, np.full(len(paths), -1), (), files=tuple(paths), key=key)
    mine: tuple[str, ...] = getattr(_divide_files(config, listing), part)
    labels = np.repeat(np.arange(len(mine)), [len(listing.files[name]) for name in mine])
    is_query = None
    if listing.queries is not None and part == "test":
        is_query = np.array([path in listing.queries for path in paths])
    return ImageSet(images, labels, mine, is_query, tuple(paths), key)


def _nothing(channels: int, size: int) -> ImageSet:
    return ImageSet(np.zeros((0, channels, size, size), np.uint8), np.zeros(0, np.int64), ())


def _key(appearance: Appearance) -> Mapping[str, object]:
    """Parameters that change pixels, in the form used in digests."""
    fields = appearance._asdict()
    # Digests predate ``fit``: leave the default out, so that squeezed images keep their digests.
    return {k: v for k, v in fields.items() if (k, v) != ("fit", "squeeze")}


def _listed(listing: Listing, division: Division) -> object:
    """What a list adds to the paths: class names and sizes by part, and the queries."""
    classes = [[(name, len(listing.files[name])) for name in part] for part in division]
    return [classes, sorted(listing.queries or ())]
