"""The metric loss that a method's configuration names, made for a run."""

from gcudml.config import MetricLossConfig
from gcudml.losses.named import NamedLoss
from gcudml.methods.interface import RunContext
from gcudml.runtime.seeding import derive


def metric_loss(context: RunContext, config: MetricLossConfig, *, classes: int) -> NamedLoss:
    """A loss on the compact embedding, on the run's device; its proxies come from the run's seed.

    Args:
        context: The run.
        config: Name and arguments of the loss.
        classes: Number of labels, for losses with proxies.
    """
    loss = NamedLoss(
        config,
        classes=classes,
        embedding_dim=context.config.model.embedding_dim,
        seed=derive(context.seed, "loss"),
    )
    return loss.to(context.device)
