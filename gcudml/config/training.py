"""Parameters of the training loop."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from gcudml.config.fields import Fraction, Strict


class TrainConfig(Strict):
    """The loop: how long, how fast, on what."""

    epochs: int = Field(default=12, ge=1, le=100_000)
    batch_size: int = Field(default=120, ge=4, le=65_536)
    """Images a step; each is seen in ``views`` random views."""
    images_per_cluster: int = Field(default=5, ge=2, le=1000)
    """Images that a batch takes from each cluster it holds."""
    views: int = Field(default=2, ge=1, le=8)
    steps_per_epoch: int | None = Field(default=None, ge=1)
    """``null``: as many as show each training image once on average."""
    optimizer: Literal["adamw", "adam", "sgd"] = "adamw"
    """``adam`` adds the weight decay to the gradient, ``adamw`` to the step."""
    learning_rate: float = Field(default=1e-3, gt=0.0, le=10.0)
    head_learning_rate: float | None = Field(default=None, gt=0.0, le=10.0)
    """Of the heads and of what a method adds to them; ``null``: ``learning_rate``."""
    momentum: float = Field(default=0.9, ge=0.0, lt=1.0)
    """Of ``sgd``; the other optimisers ignore it."""
    weight_decay: float = Field(default=1e-2, ge=0.0, le=10.0)
    schedule: Literal["cosine", "constant"] = "cosine"
    """Learning rate over the run, step by step: ``cosine`` falls to 0 at the end."""
    clip_norm: float | None = Field(default=None, gt=0.0)
    """Gradients are scaled down to this norm; ``null``: never."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    number_format: Literal["auto", "fp32", "bf16"] = "auto"
    """``auto``: the faster one of a short measurement, kept for this machine and model."""
    memory_layout: Literal["auto", "contiguous", "channels_last"] = "auto"

    @model_validator(mode="after")
    def _check_batch(self) -> TrainConfig:
        if self.batch_size < 2 * self.images_per_cluster:
            raise ValueError(
                f"batch_size: {self.batch_size} images hold fewer than two clusters of "
                f"images_per_cluster = {self.images_per_cluster}; needs at least twice that"
            )
        return self


class Views(Strict):
    """Random changes of a training image; every image of a batch draws its own."""

    crop_scale: tuple[Fraction, Fraction] = (0.6, 1.0)
    """Area of the crop as a share of the image, smallest and largest; a side that ``aspect`` would
    make longer than the image is cut to it, which makes the area smaller."""
    aspect: float = Field(default=1.2, ge=1.0, le=4.0)
    """Largest ratio of the crop's sides."""
    rotate_deg: float = Field(default=10.0, ge=0.0, le=180.0)
    flip: Fraction = 0.0
    """Probability of a left-right flip. Keep 0 for characters."""
    brightness: float = Field(default=0.2, ge=0.0, lt=1.0)
    """Most that is added to or taken from all pixels of an image, which are from -1 to 1."""
    contrast: float = Field(default=0.2, ge=0.0, lt=1.0)
    """0.2 multiplies the pixels by 0.8 to 1.2, around the grey of 0. Unlike torchvision's jitter
    both act on a black background too; 0 and 0 leave light as it is."""

    @model_validator(mode="after")
    def _check_scale(self) -> Views:
        low, high = self.crop_scale
        if not 0.0 < low <= high:
            raise ValueError(f"crop_scale: needs 0 < smallest <= largest, got {low} and {high}")
        return self
