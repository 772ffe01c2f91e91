"""Train for one epoch, step by step."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from gcudml.config import TrainConfig
from gcudml.data.views import random_views
from gcudml.evaluation.diagnostics import embedding_health
from gcudml.methods.interface import Batch, EpochPlan, Method, RunContext
from gcudml.models.embedding import Embeddings
from gcudml.models.frozen import draw_stored
from gcudml.models.number_format import autocast
from gcudml.runtime import fused
from gcudml.runtime.seeding import derive, generator
from gcudml.training.optimizers import set_learning_rate


class Trained(NamedTuple):
    """Losses and embedding health of one epoch."""

    losses: dict[str, float]
    """Mean over the steps of the total loss and of each term."""
    health: dict[str, float]
    """Diagnostics of the last step's embeddings; see ``embedding_health``."""


def train_epoch(
    context: RunContext,
    method: Method[Any],
    plan: EpochPlan,
    optimizers: list[torch.optim.Optimizer],
    *,
    epoch: int,
    step: int,
) -> Trained:
    """Train the student for one epoch.

    Args:
        context: The run.
        method: Computes the loss terms and is called after every step.
        plan: The epoch's batches.
        optimizers: All of them take a step on every batch.
        epoch: Number of the epoch, from 0.
        step: Number of the epoch's first step, counted over all epochs.
    """
    config, student, device, clock = context.config, context.student, context.device, context.clock
    steps = len(plan.batches)
    randomness = generator(context.seed, "views", epoch)
    torch.manual_seed(derive(context.seed, "libraries", epoch))  # for library losses and layers
    totals: dict[str, Tensor] = {}
    student.train()
    batches = plan.batches.to(device)
    # Images in host memory are indexed on the host, which avoids copying indices from the GPU.
    sources = context.sources if context.stored_views is None else context.stored_views
    picked = batches if sources.device == device else plan.batches
    for position, places in enumerate(batches):
        set_learning_rate(optimizers, config.train, done=epoch + position / steps)
        indices = places.flatten()  # (views * batch,)
        views = _show(context, picked[position], randomness)
        with clock("student"), autocast(context.number_format, device):
            embeddings: Embeddings = fused.forward(student, views)
        with clock("losses"):
            terms = method.loss_terms(Batch(views, indices, step + position), embeddings)
            loss = torch.stack([method.weights[name] * term for name, term in terms.items()]).sum()

        with clock("backward"):
            for optimizer in optimizers:
                optimizer.zero_grad(set_to_none=True)
            fused.backward(loss)
        with clock("optimizer"):
            _update(optimizers, config.train)
        with clock("ema"):
            method.after_step(step + position)

        for name, value in {"loss": loss, **{f"loss/{n}": t for n, t in terms.items()}}.items():
            totals[name] = totals.get(name, torch.zeros((), device=device)) + value.detach()
    # Waits for the GPU, which the loop itself avoids.
    losses = {name: float(total) / steps for name, total in totals.items()}
    return Trained(losses, embedding_health(embeddings.compact.detach()))


def _show(
    context: RunContext, indices: Int[Tensor, "views batch"], randomness: torch.Generator
) -> Float[Tensor, "rows channels height width"]:
    """Draw a random view of each image; with a frozen trunk, its features of a stored view."""
    config, clock = context.config, context.clock
    if context.stored_views is not None:
        with clock("data"):
            stored = draw_stored(context.stored_views, indices, generator=randomness)
            return stored.to(context.device, non_blocking=True)
    with clock("data"):
        images = context.pick(indices.flatten())
    with clock("views"):
        views = random_views(
            images, config.views, generator=randomness, size=config.data.network_size
        )
        return context.number_format.arrange(views)


def _update(optimizers: Sequence[torch.optim.Optimizer], config: TrainConfig) -> None:
    """Clip the gradients, if configured, and take a step with every optimiser."""
    if config.clip_norm is not None:
        trained = [p for o in optimizers for group in o.param_groups for p in group["params"]]
        nn.utils.clip_grad_norm_(trained, config.clip_norm)
    for optimizer in optimizers:
        optimizer.step()
