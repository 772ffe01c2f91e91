"""Supervised training, the upper bound: a metric loss on the true classes.

Batches have P classes with Q images each, drawn as the unsupervised methods draw clusters. The loss
is one of ours or of pytorch-metric-learning (``gcudml.losses.named``).
"""

from collections.abc import Mapping, Sequence

from jaxtyping import Float
from torch import Tensor

from gcudml.config import RunConfig, SupervisedConfig
from gcudml.data.batches import repeat_views
from gcudml.losses.named import check_loss
from gcudml.methods.interface import Batch, DataSizes, EpochPlan, Method, ParameterGroup, RunContext
from gcudml.methods.metric_loss import metric_loss
from gcudml.models.embedding import Embeddings


class Supervised(Method[SupervisedConfig]):
    """A metric loss on ``RunContext.labels``; ignores rows without a label."""

    saved = ("loss",)

    @classmethod
    def check_settings(cls, config: SupervisedConfig, run: RunConfig) -> None:
        """Reject an unknown loss."""
        check_loss(config.loss)

    @classmethod
    def check_data(cls, config: SupervisedConfig, run: RunConfig, sizes: DataSizes) -> None:
        """Reject data with fewer than two classes to compare."""
        if sizes.training_classes < 2:
            raise ValueError(
                f"data.root: {sizes.training_classes} training classes have two or more images, "
                "but supervised training needs at least 2; add images"
            )

    def __init__(self, context: RunContext, config: SupervisedConfig) -> None:
        super().__init__(context, config)
        self.weights: Mapping[str, float] = {"metric": 1.0}
        self.loss = metric_loss(context, config.loss, classes=int(context.labels.max()) + 1)

    def parameters(self) -> Sequence[ParameterGroup]:
        """Return the proxies of the loss, if it has any."""
        return [ParameterGroup(list(self.loss.parameters()))]

    def begin_epoch(self, epoch: int) -> EpochPlan:
        """Draw the epoch's batches."""
        batches = self.context.cluster_batches(self.context.labels, epoch)
        return EpochPlan(repeat_views(batches, self.context.config.train.views))

    def loss_terms(self, batch: Batch, embeddings: Embeddings) -> dict[str, Float[Tensor, ""]]:
        """Compute the metric loss on the compact embeddings."""
        return {"metric": self.loss(embeddings.compact, self.context.labels[batch.indices])}
