"""How a network wants its images: range, mean, deviation and order of colours."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import Field

from gcudml.config.strict import Strict

Colours = tuple[float, float, float]
Positive = Annotated[float, Field(gt=0.0)]


class InputFormat(Strict):
    """A pixel of 0..``range`` enters the network as ``(pixel - mean) / std``."""

    range: Literal[1, 255]
    mean: Colours
    """In units of ``range``, and in the order of colours that ``order`` names."""
    std: tuple[Positive, Positive, Positive]
    """As ``mean``."""
    order: Literal["rgb", "bgr"] = "rgb"

    @property
    def is_grey(self) -> bool:
        """Whether all colours are treated alike."""
        return len(set(self.mean)) == len(set(self.std)) == 1


INPUT_FORMATS: Mapping[str, InputFormat] = {
    "unit": InputFormat(range=255, mean=(127.5, 127.5, 127.5), std=(127.5, 127.5, 127.5)),
    "imagenet": InputFormat(range=1, mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225)),
    "caffe": InputFormat(range=255, mean=(104, 117, 128), std=(1, 1, 1), order="bgr"),
    "rgb_mean": InputFormat(range=255, mean=(123, 117, 104), std=(1, 1, 1)),
}
"""Formats with a name: [-1, 1]; torchvision's and most of timm's; that of the Caffe networks of
metric learning (STML, UDML-SS); colours less their mean."""
