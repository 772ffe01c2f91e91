"""The lower bound: every image is a class of its own, and its views are the only positives.

Batches are drawn without clusters. With the default loss this is NT-Xent (Chen et al. 2020,
arXiv:2002.05709), the softmax over instances that the field's *Instance* rows stand for.
"""

from collections.abc import Mapping, Sequence

from jaxtyping import Float
from torch import Tensor

from gcudml.config import InstanceConfig, RunConfig
from gcudml.data.batches import random_batches, repeat_views
from gcudml.losses.named import NamedLoss
from gcudml.methods.interface import Batch, EpochPlan, ParameterGroup, Setup
from gcudml.models.embedding import Embeddings
from gcudml.runtime.seeding import derive, generator


def check_views(config: RunConfig) -> None:
    """Refuse a single view: no image would have a positive.

    Raises:
        ValueError: ``train.views: ...``.
    """
    if config.train.views < 2:
        raise ValueError(
            f"train.views: {config.train.views} view leaves an image without a positive; "
            f"method {config.method.name} needs at least 2"
        )


class Instance:
    """A metric loss whose labels are the numbers of the images."""

    lasting = ("loss",)

    def __init__(self, setup: Setup, config: InstanceConfig) -> None:
        self.setup = setup
        self.weights: Mapping[str, float] = {"metric": 1.0}
        self.loss = NamedLoss(
            config.loss,
            classes=len(setup.images),
            embedding_dim=setup.config.model.embedding_dim,
            seed=derive(setup.seed, "loss"),
        ).to(setup.device)

    def parameters(self) -> Sequence[ParameterGroup]:
        """The loss's proxies, where it has any."""
        return [ParameterGroup(list(self.loss.parameters()))]

    def begin_epoch(self, epoch: int) -> EpochPlan:
        """Draw the epoch's batches."""
        train = self.setup.config.train
        batches = random_batches(
            len(self.setup.images),
            batch_size=train.batch_size,
            steps=self.setup.steps(train.batch_size),
            generator=generator(self.setup.seed, "batches", epoch),
        )
        return EpochPlan(batches=repeat_views(batches, train.views))

    def terms(self, batch: Batch, embeddings: Embeddings) -> dict[str, Float[Tensor, ""]]:
        """The loss of the compact embeddings."""
        return {"metric": self.loss(embeddings.compact, batch.indices)}

    def after_step(self, step: int) -> None:
        """Nothing follows a step."""

    def describe(self) -> dict[str, float]:
        """Nothing beside the loss."""
        return {}
