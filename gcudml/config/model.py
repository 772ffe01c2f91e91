"""Parameters of the network: backbone, pretrained weights, pooling and heads."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Literal, TypeAlias

from pydantic import Field, ValidationError, field_validator, model_validator

from gcudml.config.fields import Strict, expand_path

BACKBONES = (
    "conv4",
    "efficientnet_lite0",
    "googlenet",
    "mobilenet_v2",
    "resnet18",
    "resnet34",
    "resnet50",
    "squeezenet1_1",
    "vit_b_16",
)
NAMED_WEIGHTS = ("none", "bundled", "imagenet")
"""All other values of ``weights`` are paths."""


Pooling: TypeAlias = Literal["avg", "max", "avg+max", "gem", "token"]
HeadStart: TypeAlias = Literal["identity", "svd", "half_whitened", "orthogonal", "default"]


class ModelConfig(Strict):
    """The network that embeds an image."""

    backbone: str = "conv4"
    """conv4, efficientnet_lite0 (timm's ``tf_efficientnet_lite0``), resnet18, resnet34, resnet50,
    googlenet, mobilenet_v2, squeezenet1_1 or vit_b_16 (from torchvision), or ``timm:NAME`` for any
    other timm network."""
    width: int = Field(default=32, ge=4, le=512)
    """Channels of conv4; other backbones ignore it."""
    weights: str = Field(default="none", min_length=1)
    """Initial weights of the backbone: ``none`` (random), ``bundled`` (ImageNet weights of
    efficientnet_lite0, installed with this package), ``imagenet`` (those its library publishes,
    which are downloaded), or the path of a state dict or ``.safetensors`` file, in which
    environment variables (``$NAME``) and ``~`` are expanded."""
    input_format: InputFormat | str = "auto"
    """Pixel normalisation that the weights expect: ``unit`` ([-1, 1]), ``imagenet``, ``caffe`` (BGR
    0..255 minus the mean), ``rgb_mean`` (RGB 0..255 minus the mean), or range, mean, std and order.
    ``auto`` is ``unit`` without weights; with ``bundled`` and ``imagenet``, the format they were
    trained with."""
    padding: Literal["symmetric", "tensorflow"] = "symmetric"
    """``tensorflow``: pad stride-2 convolutions as TensorFlow's SAME does (for maps of even size,
    more on the right and at the bottom). For weights converted from TensorFlow."""
    freeze_batch_norm: bool = False
    """Freeze batch norm (statistics, scale and shift) during training."""
    pooling: Pooling = "avg+max"
    """How feature maps become one vector. ``gem``: generalised mean with exponent ``gem_p``;
    ``token``: a transformer's class token instead of pooling."""
    gem_p: float = Field(default=3.0, gt=0.0, le=100.0)
    """Exponent of ``pooling: gem``, not trained: 1 is the average, large values approach the
    maximum. Values below 1e-6, such as a transformer's negative ones, count as 1e-6."""
    head_init: HeadStart = "orthogonal"
    """How the two linear heads start, from the pooled features of the network before training.
    ``orthogonal``: random orthogonal weights; ``default``: PyTorch's random ones; ``identity``: the
    features themselves, for heads of their size. Fitted on the training images, without labels and
    equally for every method: ``svd``, the leading directions of the features, not centred;
    ``half_whitened``, the principal components of the centred features, each divided by the fourth
    root of its variance. GCE's compact head is a block of its own and keeps its random start; its
    wide head and the heads of its controls start as said here."""
    embedding_dim: int = Field(default=64, ge=2, le=4096)
    """Size of the compact embedding, the one that is evaluated."""
    wide_dim: int = Field(default=128, ge=2, le=8192)
    """Size of the wide embedding, which both student and teacher have. Which terms train it depends
    on the method (for gcudml: ``metric_on`` and ``group_embedding``)."""

    @field_validator("input_format", mode="before")
    @classmethod
    def _read_input_format(cls, value: object) -> object:
        if isinstance(value, str):
            return value
        try:
            return InputFormat.model_validate(value)
        except ValidationError as error:  # a union's own error would name each of its members
            first = error.errors(include_url=False)[0]
            where = ".".join(str(part) for part in first["loc"]) or "range"
            message = first["msg"] if first["loc"] else "give a name or range, mean, std and order"
            raise ValueError(f"{where}: {message[0].lower()}{message[1:]}") from None

    @model_validator(mode="after")
    def _check_names(self) -> ModelConfig:
        if self.backbone not in BACKBONES and not self.timm_name:
            raise ValueError(
                f"backbone: unknown backbone {self.backbone!r}; "
                f"{_guess(self.backbone, BACKBONES)}, timm:NAME"
            )
        if isinstance(self.input_format, str) and self.input_format not in {
            "auto",
            *INPUT_FORMATS,
        }:
            raise ValueError(
                f"input_format: unknown format {self.input_format!r}; "
                f"{_guess(self.input_format, ('auto', *INPUT_FORMATS))}, "
                "or range, mean, std and order"
            )
        return self

    @model_validator(mode="after")
    def _check_weights(self) -> ModelConfig:
        if self.weights == "imagenet" and self.backbone == "conv4":
            raise ValueError(
                "weights: there are no published weights of conv4; give none or a path"
            )
        if self.weights == "bundled" and self.backbone != "efficientnet_lite0":
            raise ValueError(
                "weights: bundled weights exist for the backbone efficientnet_lite0 only, not for "
                f"{self.backbone}; name that backbone, or give none, imagenet or a path"
            )
        if self.weights not in NAMED_WEIGHTS and self.input_format == "auto":
            raise ValueError(
                "input_format: a weights file does not say how its input is normalised; give "
                f"one of {', '.join(INPUT_FORMATS)}, or range, mean, std and order"
            )
        if self.pooling == "token" and self.backbone in set(BACKBONES) - {"vit_b_16"}:
            raise ValueError(
                f"pooling: {self.backbone} has no class token; give avg, max, avg+max or gem, "
                "or a transformer as the backbone"
            )
        return self

    @property
    def timm_name(self) -> str:
        """Name of the network in timm; empty for other backbones."""
        if self.backbone == "efficientnet_lite0":
            return "tf_efficientnet_lite0"
        return self.backbone.partition("timm:")[2] if self.backbone.startswith("timm:") else ""

    @property
    def is_pretrained(self) -> bool:
        """Whether the backbone starts from pretrained weights."""
        return self.weights != "none"

    @property
    def weights_path(self) -> Path | None:
        """The weights file, with variables expanded; None for weights with a name of their own.

        Raises:
            ValueError: an environment variable is not set.
        """
        if self.weights in NAMED_WEIGHTS:
            return None
        advice = "set it to the folder or file that holds your weights"
        return expand_path(self.weights, key="model.weights", advice=advice)


def _guess(name: str, known: Iterable[str]) -> str:
    """Suggest the closest known name, if there is one, and list them all."""
    names = list(known)
    close = difflib.get_close_matches(name, names, n=1)
    return f"{f'did you mean {close[0]!r}? ' if close else ''}known: {', '.join(names)}"


Colours = tuple[float, float, float]
Positive = Annotated[float, Field(gt=0.0)]


class InputFormat(Strict):
    """Normalisation of pixels in 0..``range``: the network's input is ``(pixel - mean) / std``."""

    range: Literal[1, 255]
    mean: Colours
    """In units of ``range``, with channels in the order that ``order`` names."""
    std: tuple[Positive, Positive, Positive]
    """In the same units and channel order as ``mean``."""
    order: Literal["rgb", "bgr"] = "rgb"

    @property
    def is_grey(self) -> bool:
        """Whether all channels have the same mean and the same std."""
        return len(set(self.mean)) == len(set(self.std)) == 1


INPUT_FORMATS: Mapping[str, InputFormat] = {
    "unit": InputFormat(range=255, mean=(127.5, 127.5, 127.5), std=(127.5, 127.5, 127.5)),
    "imagenet": InputFormat(range=1, mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225)),
    "caffe": InputFormat(range=255, mean=(104, 117, 128), std=(1, 1, 1), order="bgr"),
    "rgb_mean": InputFormat(range=255, mean=(123, 117, 104), std=(1, 1, 1)),
}
"""Named formats: ``unit`` is [-1, 1]; ``imagenet`` that of torchvision and most of timm; ``caffe``
that of the Caffe networks used in metric learning (STML, UDML-SS); ``rgb_mean`` subtracts the mean
colour."""
