"""Instance discrimination, the lower bound: each image is its own class.

The views of an image are its only positives, and batches are drawn uniformly. With the default loss
this is NT-Xent (Chen et al. 2020, arXiv:2002.05709), the softmax over instances that papers list as
*Instance* in their tables.
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
    """A metric loss whose labels are the image indices."""

    saved = ("loss",)

    @classmethod
    def check_settings(cls, config: InstanceConfig, run: RunConfig) -> None:
        """Reject a single view, which leaves an image without a positive, and an unknown loss."""
        if run.train.views < 2:
            raise ValueError(
                f"train.views: {run.train.views} view leaves an image without a positive; "
                f"method {config.name} needs at least 2"
            )
        check_loss(config.loss)

    def __init__(self, context: RunContext, config: InstanceConfig) -> None:
        super().__init__(context, config)
        self.weights: Mapping[str, float] = {"metric": 1.0}
        self.loss = metric_loss(context, config.loss, classes=len(context.images))

    def parameters(self) -> Sequence[ParameterGroup]:
        """Return the proxies of the loss, if it has any."""
        return [ParameterGroup(list(self.loss.parameters()))]

    def begin_epoch(self, epoch: int) -> EpochPlan:
        """Draw the epoch's batches."""
        batches = self.context.random_batches(epoch)
        return EpochPlan(repeat_views(batches, self.context.config.train.views))

    def loss_terms(self, batch: Batch, embeddings: Embeddings) -> dict[str, Float[Tensor, ""]]:
        """Compute the metric loss on the compact embeddings."""
        return {"metric": self.loss(embeddings.compact, batch.indices)}
