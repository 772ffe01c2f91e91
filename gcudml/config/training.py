"""Parameters of the training loop and of the random training views."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from gcudml.config.fields import Fraction, Strict


class TrainConfig(Strict):
    """Training loop: length, batches, optimiser and hardware."""

    epochs: int = Field(default=12, ge=1, le=100_000)
    batch_size: int = Field(default=120, ge=4, le=65_536)
    """Images per step; each is seen in ``views`` random views."""
    images_per_cluster: int = Field(default=5, ge=2, le=1000)
    """Images sampled from each cluster in a batch."""
    views: int = Field(default=2, ge=1, le=8)
    trunk: Literal["trained", "frozen"] = "trained"
    """``frozen``: the backbone never changes. Its features of every image are computed once, in
    evaluation mode, and cached for all trials and seeds; the heads are trained on them, at
    ``head_learning_rate``. For methods that need neither feature maps nor gradients in the
    backbone. Without pretrained weights the backbone, and with it the cache, depends on the seed.
    """
    frozen_views: int = Field(default=8, ge=1, le=256)
    """With ``trunk: frozen``: random views of each training image that features are computed of,
    the same for every seed. Each step draws ``views`` of them."""
    steps_per_epoch: int | None = Field(default=None, ge=1)
    """``null``: as many as are needed to see each training image once on average."""
    optimizer: Literal["adamw", "adam", "sgd"] = "adamw"
    """``adam`` adds the weight decay to the gradient; ``adamw`` applies it to the weights directly.
    """
    learning_rate: float = Field(default=1e-3, gt=0.0, le=10.0)
    head_learning_rate: float | None = Field(default=None, gt=0.0, le=10.0)
    """Learning rate of the heads and of the parameters a method adds; ``null``: ``learning_rate``.
    """
    trunk_from_epoch: int = Field(default=0, ge=0)
    """First epoch, from 0, that trains the backbone. Before it, only the heads and the parameters a
    method adds (a decoder, a clustering head) are trained; batch norm still follows the batches
    unless ``model.freeze_batch_norm``."""
    momentum: float = Field(default=0.9, ge=0.0, lt=1.0)
    """Momentum of ``sgd``; other optimisers ignore it."""
    weight_decay: float = Field(default=1e-2, ge=0.0, le=10.0)
    schedule: Literal["cosine", "constant"] = "cosine"
    """Learning-rate schedule, updated every step; ``cosine`` decays to 0 at the end of the run."""
    clip_norm: float | None = Field(default=None, gt=0.0)
    """Maximum gradient norm; ``null``: no clipping."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    number_format: Literal["auto", "fp32", "bf16"] = "auto"
    """``auto``: the faster one in a short benchmark, cached per machine and model."""
    memory_layout: Literal["auto", "contiguous", "channels_last"] = "auto"

    @model_validator(mode="after")
    def _check_batch(self) -> TrainConfig:
        if self.batch_size < 2 * self.images_per_cluster:
            raise ValueError(
                f"batch_size: {self.batch_size} images hold fewer than two clusters of "
                f"images_per_cluster = {self.images_per_cluster}; needs at least twice that"
            )
        if self.trunk_from_epoch >= self.epochs:
            raise ValueError(
                f"trunk_from_epoch: {self.trunk_from_epoch} of {self.epochs} epochs would leave "
                "the backbone untrained; needs fewer than epochs"
            )
        if self.trunk == "frozen" and self.frozen_views < self.views:
            raise ValueError(
                f"frozen_views: {self.frozen_views} stored views of an image where a step draws "
                f"views = {self.views}; needs frozen_views >= views"
            )
        return self


class Views(Strict):
    """Random augmentations, drawn for each image of a batch separately."""

    crop_scale: tuple[Fraction, Fraction] = (0.6, 1.0)
    """Smallest and largest area of the crop, as a fraction of the image. A side that ``aspect``
    would make longer than the image is cut to the image, so the crop gets smaller."""
    aspect: float = Field(default=1.2, ge=1.0, le=4.0)
    """Largest aspect ratio of the crop."""
    rotate_deg: float = Field(default=10.0, ge=0.0, le=180.0)
    flip: Fraction = 0.0
    """Probability of a horizontal flip. Keep at 0 for characters."""
    brightness: float = Field(default=0.2, ge=0.0, lt=1.0)
    """Largest value added to or subtracted from all pixels of an image; pixels are in [-1, 1]."""
    contrast: float = Field(default=0.2, ge=0.0, lt=1.0)
    """At 0.2, pixels are multiplied by 0.8 to 1.2, which leaves mid-grey (0) unchanged. Unlike
    torchvision's jitter, brightness and contrast change a black background too."""

    @model_validator(mode="after")
    def _check_scale(self) -> Views:
        low, high = self.crop_scale
        if not 0.0 < low <= high:
            raise ValueError(f"crop_scale: needs 0 < smallest <= largest, got {low} and {high}")
        return self
