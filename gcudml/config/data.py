"""Parameters of the data sets: where images come from and how classes are divided."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from gcudml.config.strict import Strict

Share = (
    Annotated[int, Field(ge=1)]
    | Annotated[float, Field(gt=0.0, lt=1.0)]
    | Annotated[list[str], Field(min_length=1)]
)
"""Which classes a split takes: a count, a fraction of all, or names of classes or sub-folders."""


class ClassSplit(Strict):
    """How classes are divided; no class is in two parts.

    Counts and fractions are drawn with ``seed`` from the classes that no list names.
    """

    train: Share | Literal["rest"] = "rest"
    """``rest``: every class that neither ``val`` nor ``test`` takes."""
    val: Share = 0.2
    test: Share = 0.3
    seed: int = 0


class StrokesData(Strict):
    """Synthetic drawings: a class is a set of random curves, an image one shaky copy of it."""

    name: Literal["strokes"] = "strokes"
    classes: int = Field(default=160, ge=3, le=100_000)
    images_per_class: int = Field(default=20, ge=2, le=10_000)
    """Of every class, or of the largest training class when ``imbalance`` is above 1."""
    image_size: int = Field(default=28, ge=12, le=256)
    imbalance: float = Field(default=1.0, ge=1.0, le=1000.0)
    """Size of the largest training class over the smallest; sizes fall geometrically."""
    variation: float = Field(default=1.0, ge=0.0, le=3.0)
    """How far two drawings of one class differ; 0 = only in line width and position."""
    seed: int = 0
    split: ClassSplit = ClassSplit()

    @property
    def network_size(self) -> int:
        """Side of what the network sees."""
        return self.image_size


class FolderData(Strict):
    """Images in a folder of class folders; nested folders are classes named ``outer/inner``."""

    name: Literal["folder"] = "folder"
    root: str = Field(min_length=1)
    """The folder; ``$NAME`` is replaced by an environment variable, ``~`` by the home folder."""
    image_size: int = Field(default=64, ge=12, le=1024)
    """Images are resized to this square."""
    color: Literal["rgb", "grey"] = "rgb"
    invert: bool = False
    """Swap dark and light: for black strokes on white paper."""
    split: ClassSplit = ClassSplit()
    source: str = ""
    """Where the images can be obtained: shown when the folder is missing."""

    @property
    def network_size(self) -> int:
        """Side of what the network sees."""
        return self.image_size

    @property
    def path(self) -> Path:
        """The folder, with variables replaced.

        Raises:
            ValueError: an environment variable is not set.
        """
        text = os.path.expandvars(self.root)
        if missing := re.search(r"\$\{?(\w+)\}?", text):
            hint = f"; {self.source}" if self.source else ""
            raise ValueError(
                f"data.root: the environment variable {missing[1]} of {self.root!r} is not set; "
                f"set it to the folder that holds your images{hint}"
            )
        return Path(text).expanduser()


DataConfig = Annotated[StrokesData | FolderData, Field(discriminator="name")]
