"""The best embedding that a pretrained network gives without any training."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from gcudml.config import RunConfig, UntrainedConfig
from gcudml.config.model import ModelConfig, Pooling
from gcudml.evaluation.retrieval import retrieve
from gcudml.models.embedding import Embeddings
from gcudml.models.frozen import GEM_P
from gcudml.models.head_fit import half_whitened
from gcudml.runtime.seeding import generator
from gcudml.training.extra_scores import Part

POOLINGS: tuple[Pooling, ...] = ("avg", "max", "avg+max", "gem")
HELD_OUT = 0.3  # share of the training classes to choose on if there are no validation classes
FEWEST_CLASSES = 2

Vectors = Float[Tensor, "n features"]


class FreeEmbedding(nn.Module):
    """Embeds stored features by one pooling, plain or half-whitened; the result is ``pooled``."""

    def __init__(self, pooling: Pooling, columns: slice, head: nn.Linear | None = None) -> None:
        """Take the features of ``pooling``, which stand in ``columns``."""
        super().__init__()
        self.pooling = pooling
        self.columns = columns
        self.head = head

    def __str__(self) -> str:
        form = f"half-whitened to {self.head.out_features} dimensions" if self.head else "plain"
        return f"{self.pooling} pooling, {form}"

    def forward(self, maps: Float[Tensor, "batch features 1 1"]) -> Embeddings:
        """Embed each image by its features."""
        pooled = maps.flatten(1)[:, self.columns]
        with torch.autocast(pooled.device.type, enabled=False):
            pooled = self.head(pooled) if self.head else pooled
        nothing = pooled.new_empty(len(pooled), 0)
        return Embeddings(nothing, nothing, pooled, maps)


def poolings_of(model: ModelConfig, method: UntrainedConfig) -> tuple[Pooling, ...]:
    """Return the poolings whose features a control shares with others; none if only its own."""
    is_other_gem = model.pooling == "gem" and model.gem_p != GEM_P
    if method.embedding == "compact" or model.pooling == "token":
        return ()
    return () if method.embedding == "pooled" and is_other_gem else POOLINGS


def own_embedding(config: RunConfig, method: UntrainedConfig, *, features: int) -> FreeEmbedding:
    """Embed by the network's own pooling, plain.

    Args:
        config: Configuration of the run.
        method: The control.
        features: Number of stored features, of all its poolings.
    """
    columns = _columns(config.model, method, features=features)
    return FreeEmbedding(config.model.pooling, columns[config.model.pooling])


def choose_free_embedding(
    training: Part, validation: Part, config: RunConfig, method: UntrainedConfig
) -> FreeEmbedding:
    """Choose the pooling and whitening with the best Recall@K, at the smallest K.

    They are chosen on the validation classes. Without validation classes, they are chosen on some
    training classes, which are then left out of the whitening's fit; the winner is fitted to all
    training images. A tie goes to the earlier pooling, and to plain features. Without classes to
    choose on, it is the network's own pooling, plain.

    Args:
        training: Stored features of the training images, of all ``poolings_of`` the control;
            classes only matter if there are no validation images.
        validation: The same of the validation images; may be empty.
        config: Configuration of the run.
        method: The control.
    """
    known = training[0].flatten(1)
    columns = _columns(config.model, method, features=known.shape[1])
    if not _can_choose(training[1], validation[1]):
        return own_embedding(config, method, features=known.shape[1])
    if len(validation[0]):
        fitted, judged = known, validation[0].flatten(1)
        labels, is_query = validation[1:]
    else:
        held_out, is_query = _hold_out(training[1], seed=config.data.split.seed), None
        fitted, judged, labels = known[~held_out], known[held_out], training[1][held_out]

    def recall(pooling: Pooling, *, whiten: bool) -> float:
        rows = judged[:, columns[pooling]]
        if whiten:
            rows = _whitening(fitted[:, columns[pooling]], config.model.embedding_dim)(rows)
        k = min(config.evaluate.k)
        return retrieve(rows, labels, k=[k], map_at_r=False, is_query=is_query).recall[k]

    choices = [(pooling, whiten) for whiten in (False, True) for pooling in columns]
    pooling, whiten = max(choices, key=lambda each: recall(each[0], whiten=each[1]))
    own = columns[pooling]
    head = _whitening(known[:, own], config.model.embedding_dim) if whiten else None
    return FreeEmbedding(pooling, own, head)


def _columns(model: ModelConfig, method: UntrainedConfig, *, features: int) -> dict[Pooling, slice]:
    """Return where the features of each pooling stand."""
    poolings = poolings_of(model, method) or (model.pooling,)
    size = features // len(poolings)
    return {each: slice(n * size, (n + 1) * size) for n, each in enumerate(poolings)}


def _can_choose(training: Int[Tensor, " n"], validation: Int[Tensor, " m"]) -> bool:
    """Whether there are classes to choose an embedding on, and others to fit it to."""
    if len(validation):
        return bool((validation >= 0).any())
    return int((training.unique() >= 0).sum()) >= 2 * FEWEST_CLASSES


@torch.no_grad()
def _whitening(features: Vectors, dim: int) -> nn.Linear:
    """Fit a half-whitening of features to ``dim`` dimensions, or as many as they have."""
    most = min(dim, features.shape[1], len(features) - 1)
    start = half_whitened(features, dim=most)
    head = nn.Linear(features.shape[1], most)
    head.weight.copy_(start.weight)
    head.bias.copy_(start.bias)
    return head.to(features.device)


def _hold_out(labels: Int[Tensor, " n"], *, seed: int) -> Bool[Tensor, " n"]:
    """Mark the images of ``HELD_OUT`` of the classes, drawn at random."""
    classes = labels.unique()
    order = torch.randperm(len(classes), generator=generator(seed, "held-out classes"))
    count = max(FEWEST_CLASSES, round(HELD_OUT * len(classes)))
    return torch.isin(labels, classes[order[:count].to(classes.device)])
