"""The lower bound: every image is a class of its own, and its views are the only positives.

Batches are drawn without clusters. With the default loss this is NT-Xent (Chen et al. 2020,
arXiv:2002.05709), the softmax over instances that the field's *Instance* rows stand for.
"""

from collections.abc import Mapping, Sequence

from jaxtyping import Float
from torch import Tensor

from gcudml.config import InstanceConfig, RunConfig
from gcudml.data.batches import repeat_views
from gcudml.losses.named import check_loss
from gcudml.methods.interface import Batch, EpochPlan, Method, ParameterGroup, RunContext
from gcudml.methods.metric_loss import metric_loss
from gcudml.models.embedding import Embeddings


class Instance(Method[InstanceConfig]):
    """A metric loss whose labels are the numbers of the images."""

    saved = ("loss",)

    @classmethod
    def check_settings(cls, config: InstanceConfig, run: RunConfig) -> None:
        """Refuse a single view, which leaves an image without a positive, and an unknown loss."""
        if run.train.views < 2:
            raise ValueError(
                f"train.views: {run.train.views} view leaves an image without a positive; "
                f"method {config.name} needs at least 2"
            )
        check_loss(config.loss, key="method.loss")

    def __init__(self, context: RunContext, config: InstanceConfig) -> None:
        super().__init__(context, config)
        self.weights: Mapping[str, float] = {"metric": 1.0}
        self.loss = metric_loss(context, config.loss, classes=len(context.images))

    def parameters(self) -> Sequence[ParameterGroup]:
        """The loss's proxies, where it has any."""
        return [ParameterGroup(list(self.loss.parameters()))]

    def begin_epoch(self, epoch: int) -> EpochPlan:
        """Draw the epoch's batches."""
        batches = self.context.random_batches(epoch)
        return EpochPlan(repeat_views(batches, self.context.config.train.views))

    def loss_terms(self, batch: Batch, embeddings: Embeddings) -> dict[str, Float[Tensor, ""]]:
        """The loss of the compact embeddings."""
        return {"metric": self.loss(embeddings.compact, batch.indices)}
