"""What the training loop hands to a method, and what it asks of it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor, nn

from gcudml.config import RunConfig
from gcudml.models.embedding import Embedder, Embeddings
from gcudml.models.number_format import Format


@dataclass(frozen=True)
class Setup:
    """What stays the same during a run. Shape letters: ``n`` training images."""

    config: RunConfig
    seed: int
    student: Embedder
    images: UInt8[Tensor, "n channels height width"]
    """All training images, on the device."""
    hidden_labels: Int[Tensor, " n"]
    """True classes: an unsupervised method may use them for diagnostics only."""
    number_format: Format

    @property
    def device(self) -> torch.device:
        """Where the student and the images are."""
        return self.images.device


@dataclass(frozen=True)
class EpochPlan:
    """One epoch's work."""

    batches: Int[Tensor, "steps batch"]
    """Training images of each step, on the CPU."""
    parameters: Sequence[nn.Parameter]
    """Parameters of the method's own that are new since the last epoch; empty: none."""
    metrics: Mapping[str, float]
    """Diagnostics of the epoch, reported with its losses."""
    cluster_rows: Sequence[Mapping[str, int | float]]
    """Rows for the table ``clusters``; empty where nothing was clustered."""


@runtime_checkable  # the tests check types as they run
class Method(Protocol):
    """A way to learn an embedding. One file each in this package."""

    weights: Mapping[str, float]
    """Weight of each loss term, by the names that ``terms`` returns."""

    def begin_epoch(self, epoch: int) -> EpochPlan:
        """Prepare pseudo-labels, neighbours or whatever the batches need."""
        ...

    def terms(
        self,
        views: Float[Tensor, "rows channels height width"],
        indices: Int[Tensor, " rows"],
        embeddings: Embeddings,
    ) -> dict[str, Float[Tensor, ""]]:
        """The loss terms of one step.

        Args:
            views: Augmented images; the views of one image stand ``batch`` rows apart.
            indices: Training image of each row.
            embeddings: The student's embeddings of ``views``, with gradient.
        """
        ...

    def after_step(self, step: int) -> None:
        """Called after optimiser step ``step`` (from 0, over all epochs)."""
        ...

    def describe(self) -> dict[str, float]:
        """Numbers worth a curve that only the method knows, such as the teacher's momentum."""
        ...
