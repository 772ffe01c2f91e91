"""Interface between the training loop and a method."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Generic, NamedTuple, TypeAlias, TypeVar

import torch
from jaxtyping import Float, Int, Shaped, UInt8
from pydantic import BaseModel
from torch import Tensor, nn

from gcudml.config import RunConfig
from gcudml.data.batches import cluster_batches, random_batches
from gcudml.models.embedding import Embedder, Embeddings
from gcudml.models.frozen import draw_stored
from gcudml.models.inference import Head, RandomViews, embed_images
from gcudml.models.number_format import Format
from gcudml.runtime.seeding import Seed, generator
from gcudml.runtime.timer import Stopwatch

CompactHead: TypeAlias = Callable[[int], nn.Module]
"""Creates a compact head on the backbone's feature maps, given their number of channels."""


@dataclass(frozen=True)
class RunContext:
    """Everything that stays constant during a run. Shape letter: ``n`` training images."""

    config: RunConfig
    seed: Seed
    student: Embedder
    images: Shaped[Tensor, "n channels height width"]
    """All training images, to compute embeddings from; with a frozen trunk, their features."""
    labels: Int[Tensor, " n"]
    """Classes that the method may learn from, on the device; -1 = unlabelled. All are -1 for an
    unsupervised method."""
    hidden_labels: Int[Tensor, " n"]
    """True classes, on the device, for diagnostics only; all -1 if images have none."""
    number_format: Format
    clock: Stopwatch = field(default_factory=Stopwatch.off)
    """Times the parts of a method."""
    larger: UInt8[Tensor, "n channels tall wide"] | None = None
    """The same images at a larger size, to cut views from (``data.view_size``)."""
    stored_views: Float[Tensor, "views n features 1 1"] | None = None
    """With a frozen trunk, its features of random views of all training images."""

    @property
    def sources(self) -> Shaped[Tensor, "n channels tall wide"]:
        """Images to cut views from; ``pick`` copies some of them to the device."""
        return self.images if self.larger is None else self.larger

    @property
    def device(self) -> torch.device:
        """Device of the student and the labels."""
        return self.labels.device

    def pick(self, indices: Int[Tensor, " rows"]) -> Shaped[Tensor, "rows channels height width"]:
        """Return images to cut views from, on the device.

        Raises:
            ValueError: If the trunk is frozen, so that nothing can be computed from images.
        """
        if self.stored_views is not None:
            raise ValueError(
                f"train.trunk: method {self.config.method.name} needs images, and with a frozen "
                "trunk there are only their features; set train.trunk to trained"
            )
        return self.sources[indices.to(self.sources.device)].to(self.device, non_blocking=True)

    def steps(self, batch_size: int) -> int:
        """Return the steps per epoch: as configured, else as many as full batches fit the data."""
        return self.config.train.steps_per_epoch or max(1, len(self.images) // batch_size)

    def random_batches(self, epoch: int) -> Int[Tensor, "steps batch"]:
        """Draw an epoch's batches uniformly; see ``gcudml.data.batches``."""
        train = self.config.train
        return random_batches(
            len(self.images),
            batch_size=train.batch_size,
            steps=self.steps(train.batch_size),
            generator=generator(self.seed, "batches", epoch),
        )

    def cluster_batches(self, labels: Int[Tensor, " n"], epoch: int) -> Int[Tensor, "steps batch"]:
        """Draw an epoch's batches of a few clusters each, with ``images_per_cluster`` images."""
        train = self.config.train
        return cluster_batches(
            labels.cpu(),
            batch_size=train.batch_size,
            images_per_cluster=train.images_per_cluster,
            steps=self.steps(train.batch_size),
            generator=generator(self.seed, "batches", epoch),
        )

    def embed(
        self,
        network: nn.Module,
        heads: Sequence[Head],
        *,
        images: Shaped[Tensor, "rows channels height width"] | None = None,
        views: RandomViews | None = None,
        whole: bool = False,
    ) -> dict[Head, Float[Tensor, "rows _"]]:
        """Embed images without gradient, as in evaluation.

        Args:
            network: The student or a teacher.
            heads: Embeddings to return.
            images: Images to embed; None: all training images.
            views: Embed a random view of each image instead of the unchanged image; with a frozen
                trunk, one of the stored views.
            whole: Embed the whole image instead of the centre crop used in evaluation.
        """
        if images is None:
            images = self.images
            if views is not None and self.stored_views is not None:
                everything = torch.arange(len(images), device=self.stored_views.device)[None]
                images = draw_stored(self.stored_views, everything, generator=views.generator)
        return embed_images(
            network,
            images,
            heads=heads,
            number_format=self.number_format,
            size=None if whole else self.config.data.network_size,
            views=views,
            clock=self.clock,
        )


@dataclass(frozen=True)
class ParameterGroup:
    """Trained parameters that belong to the method, such as those of a decoder."""

    parameters: Sequence[nn.Parameter]
    learning_rate: float | None = None
    """None: the learning rate of the heads."""
    weight_decay: float | None = None
    """None: the weight decay of the run."""


@dataclass(frozen=True)
class EpochPlan:
    """Batches of one epoch, and what else the training loop must know about it."""

    batches: Int[Tensor, "steps views batch"]
    """Index of the training image of each view in each step, on the CPU."""
    replaces_parameters: bool = False
    """Whether ``replaced_parameters`` of the method have changed since the last epoch."""
    metrics: Mapping[str, float] = field(default_factory=dict)
    """Diagnostics of the epoch, reported with its losses."""
    cluster_rows: Sequence[Mapping[str, object]] = ()
    """Rows for the table ``clusters``; empty if nothing was clustered."""


@dataclass(frozen=True)
class Batch:
    """Rows of one step. Row ``v * batch + i`` is view ``v`` of image ``i`` of the batch."""

    views: Float[Tensor, "rows channels height width"]
    """Augmented images, scaled to about [-1, 1]; with a frozen trunk, their features."""
    indices: Int[Tensor, " rows"]
    """Index of each row's training image, on the device."""
    step: int
    """Step number, from 0 over all epochs; seeds the random numbers of the step."""


class DataSizes(NamedTuple):
    """Numbers of images and classes."""

    images: Mapping[str, int]
    """Number of images per part: ``train``, ``val``, ``test``."""
    training_classes: int
    """Number of training classes with at least two images; one image makes no positive pair."""
    gallery: int | None = None
    """Number of gallery images in the test part; None without separate queries and gallery."""


Config = TypeVar("Config", bound=BaseModel)


class Method(ABC, Generic[Config]):
    """Base class of the methods that learn an embedding.

    A subclass sets ``weights``, implements ``begin_epoch`` and ``loss_terms`` and overrides other
    methods as needed. The class methods are called before there is a run.
    """

    saved: ClassVar[Sequence[str]] = ()
    """Names of the attributes to save in checkpoints: tensors, numbers, None and objects with a
    ``state_dict``. To save anything else, a subclass extends ``state_dict``."""
    weights: Mapping[str, float]
    """Weight of each loss term, by the names that ``loss_terms`` returns."""

    def __init__(self, context: RunContext, config: Config) -> None:
        self.context = context
        self.config = config

    @classmethod
    def check_settings(cls, config: Config, run: RunConfig) -> None:
        """Reject settings that contradict each other, regardless of the data.

        Raises:
            ValueError: ``section.key: what; remedy``.
        """

    @classmethod
    def check_frozen(cls, config: Config, run: RunConfig) -> None:
        """Reject settings that need more than pooled features, which is all of a frozen trunk.

        Called only with ``train.trunk: frozen``. There are no feature maps, no gradients in the
        trunk and no images to compute other features from. A compact head on feature maps has been
        rejected before.

        Raises:
            ValueError: ``section.key: what; remedy``.
        """

    @classmethod
    def check_data(cls, config: Config, run: RunConfig, sizes: DataSizes) -> None:
        """Reject settings that need more images or classes than there are.

        Raises:
            ValueError: ``section.key: what; remedy``.
        """

    @classmethod
    def check_network(cls, config: Config, run: RunConfig, *, channels: int) -> None:
        """Reject settings that do not suit the network, which is known to exist and to load.

        Raises:
            ValueError: ``section.key: what; remedy``.
        """

    @classmethod
    def compact_head(cls, config: Config, run: RunConfig) -> CompactHead | None:
        """Return a constructor for the student's compact head; None for a linear layer."""
        return None

    def parameters(self) -> Sequence[ParameterGroup]:
        """Return the method's parameters that are trained throughout the run."""
        return ()

    def replaced_parameters(self) -> Sequence[nn.Parameter]:
        """Return the method's parameters that some epochs replace; see ``EpochPlan``."""
        return ()

    @abstractmethod
    def begin_epoch(self, epoch: int) -> EpochPlan:
        """Prepare pseudo-labels or neighbours, and draw the epoch's batches."""

    @abstractmethod
    def loss_terms(self, batch: Batch, embeddings: Embeddings) -> dict[str, Float[Tensor, ""]]:
        """Compute the loss terms of one step, without their weights.

        Args:
            batch: Views and image indices of the step.
            embeddings: The student's embeddings of ``batch.views``, with gradient.
        """

    def after_step(self, step: int) -> None:
        """Update the method after optimiser step ``step`` (from 0, over all epochs)."""

    def diagnostics(self) -> dict[str, float]:
        """Return metrics of the method to report each epoch, such as the teacher's momentum."""
        return {}

    def state_dict(self) -> dict[str, Any]:
        """Return the method's state for a checkpoint: tensors and plain values, not copied."""
        values = {name: getattr(self, name) for name in self.saved}
        return {
            name: value.state_dict() if hasattr(value, "state_dict") else value
            for name, value in values.items()
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore the state from ``state_dict``."""
        for name in self.saved:
            value = getattr(self, name)
            if hasattr(value, "load_state_dict"):
                value.load_state_dict(state[name])
            else:
                setattr(self, name, state[name])
