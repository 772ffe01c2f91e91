"""The upper bound: a metric loss on the true classes.

**Supervised.** Batches of P classes with Q images each, as the unsupervised methods draw clusters;
the loss is ours or one of pytorch-metric-learning (``gcudml.losses.named``).
"""

from collections.abc import Mapping, Sequence

from jaxtyping import Float
from torch import Tensor

from gcudml.config import SupervisedConfig
from gcudml.data.batches import cluster_batches, repeat_views
from gcudml.losses.named import NamedLoss
from gcudml.methods.interface import Batch, EpochPlan, ParameterGroup, Setup
from gcudml.models.embedding import Embeddings
from gcudml.runtime.seeding import derive, generator


class Supervised:
    """A metric loss on ``Setup.labels``; rows without a label are left out."""

    lasting = ("loss",)

    def __init__(self, setup: Setup, config: SupervisedConfig) -> None:
        self.setup = setup
        self.weights: Mapping[str, float] = {"metric": 1.0}
        self.loss = NamedLoss(
            config.loss,
            classes=int(setup.labels.max()) + 1,
            embedding_dim=setup.config.model.embedding_dim,
            seed=derive(setup.seed, "loss"),
        ).to(setup.device)

    def parameters(self) -> Sequence[ParameterGroup]:
        """The loss's proxies, where it has any."""
        return [ParameterGroup(list(self.loss.parameters()))]

    def begin_epoch(self, epoch: int) -> EpochPlan:
        """Draw the epoch's batches."""
        train = self.setup.config.train
        batches = cluster_batches(
            self.setup.labels.cpu(),
            batch_size=train.batch_size,
            images_per_cluster=train.images_per_cluster,
            steps=self.setup.steps(train.batch_size),
            generator=generator(self.setup.seed, "batches", epoch),
        )
        return EpochPlan(batches=repeat_views(batches, train.views))

    def terms(self, batch: Batch, embeddings: Embeddings) -> dict[str, Float[Tensor, ""]]:
        """The loss of the compact embeddings."""
        return {"metric": self.loss(embeddings.compact, self.setup.labels[batch.indices])}

    def after_step(self, step: int) -> None:
        """Nothing follows a step."""

    def describe(self) -> dict[str, float]:
        """Nothing beside the loss."""
        return {}
