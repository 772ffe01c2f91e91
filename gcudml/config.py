"""All parameters of a run, their defaults and their ranges. Nothing here computes.

Every model refuses unknown keys and cannot be changed after it was validated.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

Fraction = Annotated[float, Field(ge=0.0, le=1.0)]
Weight = Annotated[float, Field(ge=0.0, le=1e6)]


class Strict(BaseModel):
    """Immutable, and an unknown key is an error: a typo must not become a silent default."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, allow_inf_nan=False, use_attribute_docstrings=True
    )


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
    contrast: float = Field(default=0.2, ge=0.0, lt=1.0)

    @model_validator(mode="after")
    def _check_scale(self) -> Views:
        low, high = self.crop_scale
        if not 0.0 < low <= high:
            raise ValueError(f"crop_scale: needs 0 < smallest <= largest, got {low} and {high}")
        return self


class ModelConfig(Strict):
    """The network that embeds an image."""

    backbone: Literal["conv4", "resnet18"] = "conv4"
    width: int = Field(default=32, ge=4, le=512)
    """Channels of conv4; resnet18 ignores it."""
    embedding_dim: int = Field(default=64, ge=2, le=4096)
    """Size of the compact embedding, the one that is tested."""
    wide_dim: int = Field(default=128, ge=2, le=8192)
    """Size of the wide embedding, which student and teacher share; what trains it is up to the
    method (for gcudml: ``metric_on`` and ``group_embedding``)."""
    pooling: Literal["avg", "max", "avg+max"] = "avg+max"


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
    learning_rate: float = Field(default=1e-3, gt=0.0, le=10.0)
    weight_decay: float = Field(default=1e-2, ge=0.0, le=10.0)
    schedule: Literal["cosine", "constant"] = "cosine"
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


class EvaluateConfig(Strict):
    """What is measured on the validation and test classes."""

    k: list[Annotated[int, Field(ge=1, le=10_000)]] = Field(default=[1, 2, 4, 8], min_length=1)
    nmi: bool = True
    """k-means with the true number of classes, then normalised mutual information."""


class LossWeights(Strict):
    """How much each term of the GC-UDML loss counts; 0 leaves the term out.

    The paper's weights are not known. The defaults come from a search on validation alphabets of
    Omniglot from scratch (``studies/omniglot/loss_weights.yaml``), whose best settings were
    trained again on fresh seeds (``weights.yaml``); SHA-GCL's and STML's own weights are 1.
    """

    metric: Weight = 1.0
    group: Weight = 0.02
    collaborative: Weight = 0.02
    distillation: Weight = 0.5


class GcudmlConfig(Strict):
    """Group Collaborative Unsupervised Deep Metric Learning (doi 10.26599/TST.2024.9010228)."""

    name: Literal["gcudml"] = "gcudml"
    teacher_momentum: float = Field(default=0.9, ge=0.0, le=1.0)
    """Share of the old teacher that a step keeps; 0 = the teacher is the student."""
    momentum_warmup: bool = True
    """Use min(m, (1+t)/(10+t)) at step t; ``false`` is the published form."""
    clusters: int = Field(default=100, ge=2, le=1_000_000)
    cluster_with: Literal["teacher", "student"] = "teacher"
    recluster_every: int = Field(default=1, ge=1)
    """Epochs between two clusterings; re-sampling and imprinting go with it."""
    groups: int | None = Field(default=4, ge=1)
    """This many groups of clusters, equal in log-size range; ``null``: by ``group_ratio``."""
    group_ratio: float | None = Field(default=None, gt=1.0)
    """SHA-GCL's rule: a group's largest cluster is at most so many times its smallest."""
    group_floor: int = Field(default=5, ge=1)
    """With ``group_ratio``: no further cut once largest / ratio is below so many images."""
    grouping: Literal["size", "random"] = "size"
    """``random`` is the control: groups of the same sizes, clusters drawn at random."""
    transfer: Literal["top_down", "adjacency", "none"] = "top_down"
    group_loss: Literal["classifier", "pair"] = "classifier"
    group_embedding: Literal["compact", "wide", "both"] = "compact"
    weights: LossWeights = LossWeights()
    scale: float = Field(default=16.0, gt=0.0, le=1000.0)
    """Factor on the cosine logits of the group classifiers (not used by the pair loss)."""
    temperature: float = Field(default=1.0, gt=0.0, le=100.0)
    """Of the collaborative distillation between groups."""
    detach_source: bool = True
    """Whether the smaller group's classifier only teaches; ``false`` is SHA-GCL's code."""
    metric_on: Literal["compact", "both"] = "compact"
    """Embeddings that the metric term acts on; ``compact`` leaves the wide head untrained, unless
    the group terms act on it."""

    @model_validator(mode="after")
    def _check_groups(self) -> GcudmlConfig:
        if (self.groups is None) == (self.group_ratio is None):
            raise ValueError("groups: give either groups or group_ratio, and null for the other")
        if self.groups is not None and self.groups > self.clusters:
            raise ValueError(
                f"groups: {self.groups} groups of {self.clusters} clusters; "
                "needs groups <= clusters"
            )
        weights, distils = self.weights, self.transfer != "none"
        if (
            self.group_loss == "classifier"
            and distils
            and weights.collaborative > 0 == weights.group
        ):
            raise ValueError(
                "weights.collaborative: classifiers that no group term trains agree from the "
                "start; set weights.collaborative to 0 or weights.group above 0"
            )
        if weights.metric == weights.group == weights.distillation == 0:
            raise ValueError("weights.metric: nothing is left to train; set a weight above 0")
        if self.group_loss == "pair" and distils and weights.collaborative > 0:
            raise ValueError(
                "weights.collaborative: the pair loss has no class scores to distil; "
                "set weights.collaborative to 0 or group_loss to classifier"
            )
        return self


class UntrainedConfig(Strict):
    """Control: the network as initialised."""

    name: Literal["untrained"] = "untrained"


class PixelsConfig(Strict):
    """Control: the pixels themselves, compared by cosine."""

    name: Literal["pixels"] = "pixels"


DataConfig = Annotated[StrokesData | FolderData, Field(discriminator="name")]
MethodConfig = Annotated[GcudmlConfig | UntrainedConfig | PixelsConfig, Field(discriminator="name")]


class RunConfig(Strict):
    """Everything that defines a run but its seed."""

    data: DataConfig = StrokesData()
    model: ModelConfig = ModelConfig()
    method: MethodConfig = GcudmlConfig()
    views: Views = Views()
    train: TrainConfig = TrainConfig()
    evaluate: EvaluateConfig = EvaluateConfig()
