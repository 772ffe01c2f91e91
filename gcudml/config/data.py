"""Parameters of the data sets: where the images come from and how the classes are split."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, TypeAlias

from pydantic import (
    Field,
    ValidationError,
    WrapValidator,
    model_serializer,
    model_validator,
)
from pydantic_core import PydanticCustomError

from gcudml.config.fields import Fraction, Strict, expand_path


def _as_share(value: object, parse: Callable[[object], Share]) -> Share:
    """Validate a share; report one error instead of one per accepted type."""
    try:
        return parse(value)
    except ValidationError:
        raise PydanticCustomError(
            "share", "give a number of classes, a fraction between 0 and 1, or a list of names"
        ) from None


Share: TypeAlias = Annotated[
    Annotated[int, Field(ge=1)]
    | Annotated[float, Field(gt=0.0, lt=1.0)]
    | Annotated[list[str], Field(min_length=1)],
    WrapValidator(_as_share),
]
"""Classes of a split: a count, a fraction of all classes, or names of classes or sub-folders."""


class Fold(Strict):
    """One of the parts of equal size into which the training and validation classes are cut."""

    number: int = Field(ge=1)
    """The part to validate on, from 1; the others are trained on."""
    of: int = Field(ge=2)
    """Number of parts."""

    @model_validator(mode="after")
    def _check(self) -> Fold:
        if self.number > self.of:
            raise ValueError(
                f"number: {self.number} of {self.of}; folds are numbered 1 to {self.of}"
            )
        return self


class Split(Strict):
    """Parameters common to all splits; those not set do not appear when it is written out.

    So the runs of older files keep their ids.
    """

    fold: Fold | None = None
    """Cross-validation: validate on one fold of the classes that are otherwise for training or
    validation, drawn with ``seed``, and train on the other folds. The test classes do not change.
    """

    @model_serializer(mode="wrap")
    def _without_unset(self, handler: Callable[[Any], dict[str, Any]]) -> dict[str, Any]:
        found: dict[str, Any] = handler(self)
        return {k: v for k, v in found.items() if v is not None or k not in ("fold", "test_seed")}


class ClassSplit(Split):
    """How classes are split; no class is in two parts.

    Counts and fractions are drawn with ``seed`` from the classes that no list names.
    """

    train: Literal["rest"] | Share = "rest"
    """``rest``: every class that is in neither ``val`` nor ``test``."""
    val: Share = 0.2
    test: Literal["published"] | Share = 0.3
    """``published``: the test classes of the published protocol, so that settings chosen on the
    validation classes can be used there: for strokes and folders, the second half by name."""
    seed: int = 0
    test_seed: int | None = None
    """Draws the test classes, so that ``seed`` can vary while they stay the same; ``null``: they
    are drawn with ``seed``."""

    @model_validator(mode="after")
    def _check_test_seed(self) -> ClassSplit:
        if self.test_seed is not None and isinstance(self.test, list | str):
            raise ValueError(
                "test_seed: 'test' names the test classes, so none are drawn; remove test_seed"
            )
        return self


class ValidationSplit(Split):
    """Which standard training classes are held out for validation; the test classes are fixed."""

    val: Share = 0.2
    """A count or fraction of the standard training classes, drawn with ``seed``, or their names."""
    seed: int = 0


class ImageData(Strict):
    """Parameters common to all data sets."""

    name: str
    image_size: int
    crop_size: int | None = Field(default=None, ge=12)
    """Side of the centre crop that the network sees at evaluation, and of the training views;
    ``null``: the whole stored image."""
    protocol: Literal["validated", "published"] = "validated"
    """``published``: train on all standard training classes, with none held out for validation;
    for strokes and folders, train on the first half of the classes by name and test on the rest.
    ``validated``: hold out classes for validation, as ``split`` says."""
    split: ClassSplit | ValidationSplit
    labelled_fraction: Fraction = 0.0
    """Fraction of the training classes whose labels a semi-supervised method may see, drawn with
    the seed of ``split``; a larger fraction includes the classes of a smaller one."""

    @property
    def network_size(self) -> int:
        """Side of the network's input images."""
        return self.crop_size or self.image_size

    @model_validator(mode="after")
    def _check_crop(self) -> ImageData:
        if self.crop_size is not None and self.crop_size > self.image_size:
            raise ValueError(
                f"crop_size: a crop of {self.crop_size} from images of {self.image_size}; "
                "needs crop_size <= image_size"
            )
        return self

    @model_validator(mode="after")
    def _check_protocol(self) -> ImageData:
        # The seed alone may differ: it also draws the labelled classes.
        default = type(self.split)(seed=self.split.seed)
        if self.protocol == "published" and self.split.fold is not None:
            raise ValueError(
                "split.fold: the published protocol trains on all training classes; leave fold out "
                "or set protocol to validated"
            )
        if self.protocol == "published" and self.split != default:
            raise ValueError(
                "split: the published protocol has a fixed split; leave split out (its seed may "
                "stay) or set protocol to validated"
            )
        return self


class StrokesData(ImageData):
    """Synthetic drawings: a class is a set of random curves, an image a distorted copy of them."""

    name: Literal["strokes"] = "strokes"
    classes: int = Field(default=160, ge=3, le=100_000)
    images_per_class: int = Field(default=20, ge=2, le=10_000)
    """Images in every class, or in the largest training class when ``imbalance`` is above 1."""
    image_size: int = Field(default=28, ge=12, le=256)
    imbalance: float = Field(default=1.0, ge=1.0, le=1000.0)
    """Size of the largest training class divided by the smallest; sizes decay geometrically."""
    variation: float = Field(default=1.0, ge=0.0, le=3.0)
    """How much two drawings of a class differ; at 0 only in line width and position."""
    seed: int = 0
    split: ClassSplit = ClassSplit()


class FileData(ImageData):
    """Parameters common to all data sets of image files."""

    root: str = Field(min_length=1)
    """Folder of the images; environment variables (``$NAME``) and ``~`` are expanded."""
    image_size: int = Field(default=64, ge=12, le=1024)
    """Side of the squares that images are stored as."""
    view_size: int | None = Field(default=None, ge=12, le=2048)
    """Side of a second, larger set of stored squares from which training views are cropped. Crops
    are sharper and the network's input size does not change. ``null``: ``image_size``."""
    fit: Literal["squeeze", "crop"] = "squeeze"
    """How an image is made square: ``squeeze`` ignores the aspect ratio, ``crop`` scales the short
    side and keeps the centre."""
    color: Literal["rgb", "grey"] = "rgb"
    invert: bool = False
    """Invert brightness, for black strokes on white paper."""
    imbalance: float = Field(default=1.0, ge=1.0, le=1000.0)
    """Number of images of the largest training class divided by that of the smallest. Above 1,
    training classes are thinned so that their sizes decay geometrically, in an order drawn with the
    seed of ``split``; the other parts stay whole."""
    train_images: int | None = Field(default=None, ge=4, le=100_000_000)
    """Total number of training images, which a sweep of ``imbalance`` needs to be fair; classes are
    thinned to it. ``null``: all images, or, if ``imbalance`` is above 1, as many as classes allow.
    """

    @model_validator(mode="after")
    def _check_view_size(self) -> FileData:
        if self.view_size is not None and self.view_size < self.image_size:
            raise ValueError(
                f"view_size: {self.view_size} is smaller than image_size = "
                f"{self.image_size}; needs view_size >= image_size"
            )
        return self


class FolderData(FileData):
    """Images in one folder per class; nested folders are classes named ``outer/inner``."""

    name: Literal["folder"] = "folder"
    labels: Literal["folders", "none"] = "folders"
    """``none``: no image has a class, wherever it is below ``root``. Images instead of classes are
    then split into training and validation (``split.val`` is a count or fraction of images, or
    names sub-folders), and there is no test set."""
    split: ClassSplit = ClassSplit()
    source: str = ""
    """Where to get the images; shown when the folder is missing."""

    @property
    def path(self) -> Path:
        """The folder, with variables replaced.

        Raises:
            ValueError: an environment variable is not set.
        """
        return _expand(self.root, self.source)

    @model_validator(mode="after")
    def _check_labels(self) -> FolderData:
        if self.labels == "folders":
            return self
        if self.protocol == "published":
            raise ValueError(
                "protocol: the published protocol tests on classes, and labels is none; set "
                "protocol to validated"
            )
        if self.labelled_fraction > 0:
            raise ValueError(
                "labelled_fraction: labels is none, so there are no labels; set it to 0 or "
                "labels to folders"
            )
        if self.split.fold is not None:
            raise ValueError(
                "split.fold: folds are cut from classes, and labels is none; leave fold out or set "
                "labels to folders"
            )
        default = ClassSplit(val=self.split.val, seed=self.split.seed)
        if self.split != default:
            raise ValueError(
                "split: without labels there is no test set, and all images outside val are "
                "for training; leave train and test out"
            )
        return self


class StandardData(FileData):
    """A standard benchmark in its published file layout, with its published test classes."""

    source: ClassVar[str]
    """What to download from where; shown when something is missing."""
    split: ValidationSplit = ValidationSplit()

    @property
    def path(self) -> Path:
        """The folder, with variables replaced.

        Raises:
            ValueError: an environment variable is not set.
        """
        return _expand(self.root, self.source)


class CubData(StandardData):
    """CUB-200-2011, birds: first 100 classes to train (5,864 images), the rest to test (5,924)."""

    name: Literal["cub200"] = "cub200"
    source: ClassVar[str] = (
        "get CUB_200_2011.tgz from https://www.vision.caltech.edu/datasets/cub_200_2011/"
    )


class CarsData(StandardData):
    """Cars196: first 98 models to train (8,054 images), the rest to test (8,131)."""

    name: Literal["cars196"] = "cars196"
    source: ClassVar[str] = (
        "get car_ims.tgz and cars_annos.mat from "
        "https://ai.stanford.edu/~jkrause/cars/car_dataset.html"
    )


class ProductsData(StandardData):
    """Stanford Online Products: 11,318 training (59,551 images), 11,316 test classes (60,502)."""

    name: Literal["sop"] = "sop"
    source: ClassVar[str] = (
        "get Stanford_Online_Products.zip from https://cvgl.stanford.edu/projects/lifted_struct/"
    )


class InShopData(StandardData):
    """In-Shop Clothes Retrieval: 3,997 training classes; 3,985 test classes, query and gallery."""

    name: Literal["inshop"] = "inshop"
    source: ClassVar[str] = (
        "get Img/img.zip and Eval/list_eval_partition.txt from "
        "https://mmlab.ie.cuhk.edu.hk/projects/DeepFashion/InShopRetrieval.html"
    )


class OmniglotData(StandardData):
    """Omniglot, handwritten characters: 964 background classes train, 659 evaluation classes test.

    Stored as white strokes on black.
    """

    name: Literal["omniglot"] = "omniglot"
    image_size: int = Field(default=28, ge=12, le=1024)
    color: Literal["rgb", "grey"] = "grey"
    invert: bool = True
    source: ClassVar[str] = (
        "get images_background.zip and images_evaluation.zip from "
        "https://github.com/brendenlake/omniglot (python/)"
    )


DataConfig = Annotated[
    StrokesData | FolderData | CubData | CarsData | ProductsData | InShopData | OmniglotData,
    Field(discriminator="name"),
]
"""Images and how their classes are split."""


def _expand(root: str, source: str) -> Path:
    """Expand environment variables and ``~`` in a folder's path."""
    hint = f"; {source}" if source else ""
    advice = f"set it to the folder that holds your images{hint}"
    return expand_path(root, key="data.root", advice=advice)
