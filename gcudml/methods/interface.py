"""What the training loop hands to a method, and what it asks of it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor, nn

from gcudml.config import RunConfig
from gcudml.models.embedding import Embedder, Embeddings
from gcudml.models.number_format import Format
from gcudml.runtime.timer import Stopwatch


@dataclass(frozen=True)
class Setup:
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
    parameters: Sequence[nn.Parameter] = ()
    """Parameters of the method's own that are new since the last epoch, in place of those that an
    earlier plan named; empty: no change."""
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


@runtime_checkable  # the tests check types as they run
class Method(Protocol):
    """A way to learn an embedding. One file each in this package."""

    weights: Mapping[str, float]
    """Weight of each loss term, by the names that ``terms`` returns."""

    @property
    def lasting(self) -> Sequence[str]:
        """Names of the attributes that change during a run and outlive an epoch.

        A stopped run goes on with them and the student; see ``gcudml.training.checkpoint``.
        """
        ...

    def parameters(self) -> Sequence[ParameterGroup]:
        """The method's own parameters that live as long as the run; often none."""
        ...

    def begin_epoch(self, epoch: int) -> EpochPlan:
        """Prepare pseudo-labels, neighbours or whatever the batches need."""
        ...

    def terms(self, batch: Batch, embeddings: Embeddings) -> dict[str, Float[Tensor, ""]]:
        """The loss terms of one step.

        Args:
            batch: The rows.
            embeddings: The student's embeddings of ``batch.views``, with gradient.
        """
        ...

    def after_step(self, step: int) -> None:
        """Called after optimiser step ``step`` (from 0, over all epochs)."""
        ...

    def describe(self) -> dict[str, float]:
        """Numbers worth a curve that only the method knows, such as the teacher's momentum."""
        ...
