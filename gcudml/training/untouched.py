"""The best embedding that a pretrained network gives without any training."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from gcudml.config import RunConfig
from gcudml.config.model import Pooling
from gcudml.evaluation.retrieval import retrieve
from gcudml.models.embedding import Embedder, Embeddings, pool
from gcudml.models.head_fit import half_whitened
from gcudml.models.inference import embed_images
from gcudml.models.number_format import Format
from gcudml.runtime.seeding import generator
from gcudml.training.extra_scores import Part

POOLINGS: tuple[Pooling, ...] = ("avg", "max", "avg+max", "gem")
GEM_P = 3.0
HELD_OUT = 0.3  # share of the training classes to choose on if there are no validation classes
FEWEST_CLASSES = 2

Vectors = Float[Tensor, "n features"]


class FreeEmbedding(nn.Module):
    """Embeds with a trunk's pooled features, plain or half-whitened; the result is ``pooled``.

    Several poolings stand side by side.
    """

    def __init__(
        self, maps: nn.Module, poolings: tuple[Pooling, ...], head: nn.Linear | None = None
    ) -> None:
        super().__init__()
        self.maps = maps
        self.poolings = poolings
        self.head = head

    def __str__(self) -> str:
        form = f"half-whitened to {self.head.out_features} dimensions" if self.head else "plain"
        return f"{' and '.join(self.poolings)} pooling, {form}"

    def forward(self, images: Float[Tensor, "batch channels height width"]) -> Embeddings:
        """Embed each image."""
        maps = self.maps(images)
        pooled = torch.cat([pool(maps, each, gem_p=GEM_P) for each in self.poolings], dim=1)
        with torch.autocast(pooled.device.type, enabled=False):
            pooled = self.head(pooled) if self.head else pooled
        nothing = pooled.new_empty(len(pooled), 0)
        return Embeddings(nothing, nothing, pooled, maps)


def choose_free_embedding(
    network: Embedder,
    training: Part,
    validation: Part,
    config: RunConfig,
    *,
    number_format: Format,
) -> FreeEmbedding:
    """Choose the pooling and whitening with the best Recall@K, at the smallest K.

    They are chosen on the validation classes. Without validation classes, they are chosen on some
    training classes, which are then left out of the whitening's fit; the winner is fitted to all
    training images. A tie goes to the earlier pooling, and to plain features. Without classes to
    choose on, it is the network's own pooling, plain.

    Args:
        network: The pretrained network, on its device.
        training: Training images; classes only matter if there are no validation images.
        validation: Validation images; may be empty.
        config: Configuration of the run.
        number_format: Number format of the run.
    """
    if not _can_choose(training[1], validation[1]):
        return FreeEmbedding(network.features.maps, (config.model.pooling,)).eval()
    poolings = ("token",) if config.model.pooling == "token" else POOLINGS
    every = FreeEmbedding(network.features.maps, poolings).eval()

    def embed(images: Tensor) -> dict[Pooling, Vectors]:
        found = embed_images(
            every,
            images,
            heads=["pooled"],
            number_format=number_format,
            size=config.data.network_size,
        )["pooled"]
        return dict(zip(poolings, found.chunk(len(poolings), dim=1), strict=True))

    known = embed(training[0])
    if len(validation[0]):
        fitted, judged = known, embed(validation[0])
        labels, is_query = validation[1:]
    else:
        held_out, is_query = _hold_out(training[1], seed=config.data.split.seed), None
        fitted = {pooling: rows[~held_out] for pooling, rows in known.items()}
        judged = {pooling: rows[held_out] for pooling, rows in known.items()}
        labels = training[1][held_out]

    def recall(pooling: Pooling, *, whiten: bool) -> float:
        rows = judged[pooling]
        if whiten:
            rows = _whitening(fitted[pooling], config.model.embedding_dim)(rows)
        k = min(config.evaluate.k)
        return retrieve(rows, labels, k=[k], map_at_r=False, is_query=is_query).recall[k]

    choices = [(pooling, whiten) for whiten in (False, True) for pooling in poolings]
    pooling, whiten = max(choices, key=lambda each: recall(each[0], whiten=each[1]))
    head = _whitening(known[pooling], config.model.embedding_dim) if whiten else None
    return FreeEmbedding(network.features.maps, (pooling,), head).eval()


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
