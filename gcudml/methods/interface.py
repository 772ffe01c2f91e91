"""What the training loop hands to a method, and what it asks of it."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Generic, NamedTuple, TypeAlias, TypeVar

import torch
from jaxtyping import Float, Int, UInt8
from pydantic import BaseModel
from torch import Tensor, nn

from gcudml.config import RunConfig
from gcudml.data.batches import cluster_batches, random_batches
from gcudml.models.embedding import Embedder, Embeddings
from gcudml.models.inference import Head, RandomViews, embed_images
from gcudml.models.number_format import Format
from gcudml.runtime.seeding import generator
from gcudml.runtime.timer import Stopwatch

CompactHead: TypeAlias = Callable[[int], nn.Module]
"""Makes a compact head on the backbone's maps from their number of features."""


@dataclass(frozen=True)
class RunContext:
    """What stays the same during a run. Shape letters: ``n`` training images."""

    config: RunConfig
    seed: int
    student: Embedder
    images: UInt8[Tensor, "n channels height width"]
    """All training images, as they are embedded."""
    labels: Int[Tensor, " n"]
    """Classes that the method may learn from, on the device; -1 = unlabelled. All are -1 for an
    unsupervised method."""
    hidden_labels: Int[Tensor, " n"]
    """True classes, on the device: for diagnostics only. All -1 where images have none."""
    number_format: Format
    clock: Stopwatch = field(default_factory=Stopwatch.off)
    """What a method's own parts are timed with."""
    larger: UInt8[Tensor, "n channels tall wide"] | None = None
    """The same images where views are cut from larger ones (``data.view_size``)."""

    @property
    def sources(self) -> UInt8[Tensor, "n channels tall wide"]:
        """The images that views are cut from; use ``pick`` to get some of them to the device."""
        return self.images if self.larger is None else self.larger

    @property
    def device(self) -> torch.device:
        """Where the student and the labels are."""
        return self.labels.device

    def pick(self, indices: Int[Tensor, " rows"]) -> UInt8[Tensor, "rows channels height width"]:
        """Images to cut views from, on the device."""
        return self.sources[indices.to(self.sources.device)].to(self.device, non_blocking=True)

    def steps(self, batch_size: int) -> int:
        """Steps of an epoch: as configured, else as many as show each image once on average."""
        return self.config.train.steps_per_epoch or max(1, len(self.images) // batch_size)

    def random_batches(self, epoch: int) -> Int[Tensor, "steps batch"]:
        """An epoch's batches of images, drawn uniformly; see ``gcudml.data.batches``."""
        train = self.config.train
        return random_batches(
            len(self.images),
            batch_size=train.batch_size,
            steps=self.steps(train.batch_size),
            generator=generator(self.seed, "batches", epoch),
        )

    def cluster_batches(self, labels: Int[Tensor, " n"], epoch: int) -> Int[Tensor, "steps batch"]:
        """An epoch's batches of a few images from each of some clusters; see there, too."""
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
        images: UInt8[Tensor, "rows channels height width"] | None = None,
        views: RandomViews | None = None,
        whole: bool = False,
    ) -> dict[Head, Float[Tensor, "rows _"]]:
        """Embed images without gradient, as they are tested.

        Args:
            network: The student or a teacher.
            heads: Which embeddings are wanted.
            images: None: all training images.
            views: Show a random view of each image in place of the unchanged one.
            whole: Show all of an image in place of the centre that a test sees.
        """
        return embed_images(
            network,
            self.images if images is None else images,
            heads=heads,
            number_format=self.number_format,
            size=None if whole else self.config.data.network_size,
            views=views,
            clock=self.clock,
        )


@dataclass(frozen=True)
class ParameterGroup:
    """Trained parameters that are the method's own, such as a decoder's."""

    parameters: Sequence[nn.Parameter]
    learning_rate: float | None = None
    """None: that of the heads."""
    weight_decay: float | None = None
    """None: that of the run."""


@dataclass(frozen=True)
class EpochPlan:
    """One epoch's work."""

    batches: Int[Tensor, "steps views batch"]
    """Training image that each view of each step shows, on the CPU."""
    replaces_parameters: bool = False
    """Whether the method's ``replaced_parameters`` are new ones since the last epoch."""
    metrics: Mapping[str, float] = field(default_factory=dict)
    """Diagnostics of the epoch, reported with its losses."""
    cluster_rows: Sequence[Mapping[str, int | float | None]] = ()
    """Rows for the table ``clusters``; empty where nothing was clustered."""


@dataclass(frozen=True)
class Batch:
    """One step's rows. Row ``v * batch + i`` is view ``v`` of the batch's place ``i``."""

    views: Float[Tensor, "rows channels height width"]
    """Augmented images around [-1, 1]."""
    indices: Int[Tensor, " rows"]
    """Training image of each row, on the device."""
    step: int
    """From 0, over all epochs: a path for random numbers of the step's own."""


class DataSizes(NamedTuple):
    """How much data there is."""

    images: Mapping[str, int]
    """By part: ``train``, ``val``, ``test``."""
    training_classes: int
    """Of two images or more: of one, nothing can be learned."""
    gallery: int | None = None
    """Test images that queries are compared with, where these are told apart."""


Config = TypeVar("Config", bound=BaseModel)


class Method(ABC, Generic[Config]):
    """A way to learn an embedding.

    A subclass sets ``weights``, defines ``begin_epoch`` and ``loss_terms``, and overrides what else
    it needs. The class methods are called before a run, with no run at hand.
    """

    saved: ClassVar[Sequence[str]] = ()
    """Names of the attributes that a resumed run needs: tensors, numbers, None, and whatever has a
    ``state_dict``. Anything else is saved by a ``state_dict`` of the subclass."""
    weights: Mapping[str, float]
    """Weight of each loss term, by the names that ``loss_terms`` returns."""

    def __init__(self, context: RunContext, config: Config) -> None:
        self.context = context
        self.config = config

    @classmethod
    def check_settings(cls, config: Config, run: RunConfig) -> None:
        """Refuse settings that are impossible together, whatever the data.

        Raises:
            ValueError: ``section.key: what; remedy``.
        """

    @classmethod
    def check_data(cls, config: Config, run: RunConfig, sizes: DataSizes) -> None:
        """Refuse settings that so few images or classes cannot serve.

        Raises:
            ValueError: ``section.key: what; remedy``.
        """

    @classmethod
    def check_network(cls, config: Config, run: RunConfig, *, channels: int) -> None:
        """Refuse settings that the network cannot serve; it is known to exist and to load.

        Raises:
            ValueError: ``section.key: what; remedy``.
        """

    @classmethod
    def compact_head(cls, config: Config, run: RunConfig) -> CompactHead | None:
        """Make the student's compact head from the number of features; None: a linear layer."""
        return None

    def parameters(self) -> Sequence[ParameterGroup]:
        """The method's own parameters that live as long as the run."""
        return ()

    def replaced_parameters(self) -> Sequence[nn.Parameter]:
        """The method's own parameters that some epochs replace, see ``EpochPlan``."""
        return ()

    @abstractmethod
    def begin_epoch(self, epoch: int) -> EpochPlan:
        """Prepare pseudo-labels, neighbours or whatever the batches need."""

    @abstractmethod
    def loss_terms(self, batch: Batch, embeddings: Embeddings) -> dict[str, Float[Tensor, ""]]:
        """The loss terms of one step.

        Args:
            batch: The rows.
            embeddings: The student's embeddings of ``batch.views``, with gradient.
        """

    def after_step(self, step: int) -> None:
        """Called after optimiser step ``step`` (from 0, over all epochs)."""

    def diagnostics(self) -> dict[str, float]:
        """Numbers worth a curve that only the method knows, such as the teacher's momentum."""
        return {}

    def state_dict(self) -> dict[str, Any]:
        """What a resumed run needs beside the student: tensors and plain values, not copied."""
        values = {name: getattr(self, name) for name in self.saved}
        return {
            name: value.state_dict() if hasattr(value, "state_dict") else value
            for name, value in values.items()
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore what ``state_dict`` returned."""
        for name in self.saved:
            value = getattr(self, name)
            if hasattr(value, "load_state_dict"):
                value.load_state_dict(state[name])
            else:
                setattr(self, name, state[name])
