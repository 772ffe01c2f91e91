"""CBSwR: deep metric learning and deep clustering together.

B. X. Nguyen, B. D. Nguyen, Carneiro, Tjiputra, Tran and Do, *Deep Metric Learning Meets Deep
Clustering: An Novel Unsupervised Approach for Feature Embedding*, BMVC 2020, arXiv:2009.04091.
Written from the released code and the authors' own summary ("the text" below); the paper itself was
not accessible. One step:

1. a clustering head (batch norm, dropout, linear layer) on the unit embedding scores the clusters
   for each row; both views of an image take the cluster that scores highest in its first view;
2. the centroid of each cluster in the batch is the mean of the feature maps of its rows; the
   student's pooling and compact head turn this mean into the centroid's embedding;
3. L = 0.9 metric + 0.3 clustering + 0.001 reconstruction: ``metric`` pulls the views of an image
   together and away from other clusters' centroids (``gcudml.methods.cbswr.losses``),
   ``clustering`` makes assignments confident and balanced, ``reconstruction`` makes a decoder
   reconstruct each row's image from its cluster's centroid;
4. only the compact embedding is evaluated.

The metric term has no gradient through centroids or positives; the gradient of the reconstruction
reaches the backbone through the centroid's maps.

Where text and code, or two places in the code, disagree, a parameter decides
(``gcudml.config.cbswr``):

=========================== ================================ ================================
what                        default here                     alternative
=========================== ================================ ================================
``normalize_logits``        no (text)                        yes (code): no confident rows
``entropy_scale``           log K for both                   ``rows`` (code), ``none`` (text)
``l2`` on the head          1e-4 (text; the value is ours)   0 (code)
``target``                  pixels in [0, 1]                 ``centred`` (code)
``positive_denominator``    ``z_minus`` (training script)    ``z`` (the code's unused version)
``labels``                  of images (training script)      ``rows`` (the code's unused version)
``nn_positive``             no                               yes (code, on CUB-200-2011 alone)
``metric_reduction``        mean (code)                      ``sum`` (text)
``pixel_reduction``         mean (code)                      ``sum`` (text)
``clusters``                32 (text)                        100 (training script's default)
=========================== ================================ ================================

Not configurable: the decoder's input is maps (code), not vectors (the text's figure); only clusters
in the batch count.

We differ in three ways. The decoder's stages depend on the sizes of images and maps; the code's are
fixed for 224 pixels. A centroid is decoded once and weighted by its number of rows, while the code
decodes it once per row: the same result at less cost. The probability of not belonging to a wrong
cluster has a floor, and a batch with a single cluster has a metric term of 0, because both cases
give infinity in the code.
"""

from collections.abc import Mapping, Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from gcudml.config import CbswrConfig, RunConfig
from gcudml.data.batches import repeat_views
from gcudml.methods.cbswr.decoder import Decoder
from gcudml.methods.cbswr.losses import (
    ClusteringLoss,
    centre_softmax_loss,
    deep_clustering_loss,
    reconstruction_loss,
    reconstruction_target,
)
from gcudml.methods.cluster_log import ClusterLog
from gcudml.methods.interface import Batch, EpochPlan, Method, ParameterGroup, RunContext
from gcudml.models.embedding import Embeddings
from gcudml.models.inference import Head
from gcudml.models.number_format import autocast
from gcudml.neighbours.search import nearest
from gcudml.runtime.seeding import derive, generator

NEIGHBOUR_SHARE = 0.5
"""Probability that ``nn_positive`` replaces the second view, as in the released code."""


class Cbswr(Method[CbswrConfig]):
    """CBSwR with its clustering head, decoder and the entropies of the current epoch."""

    saved = ("head", "decoder", "log")

    @classmethod
    def check_settings(cls, config: CbswrConfig, run: RunConfig) -> None:
        """Reject any number of views except 2."""
        check_views(run.train.views)

    @classmethod
    def check_frozen(cls, config: CbswrConfig, run: RunConfig) -> None:
        """Reject terms on feature maps, unless average pooling gives them the same centroids."""
        if config.weights.reconstruction > 0:
            raise ValueError(
                "train.trunk: the decoder of method cbswr takes feature maps, and a frozen trunk "
                "gives pooled features; set train.trunk to trained, or "
                "method.weights.reconstruction to 0"
            )
        if config.weights.metric > 0 and run.model.pooling not in {"avg", "token"}:
            raise ValueError(
                "train.trunk: the centroids of method cbswr are means of feature maps, which only "
                f"average pooling keeps, and model.pooling is {run.model.pooling}; set it to avg, "
                "or train.trunk to trained"
            )

    def __init__(self, context: RunContext, config: CbswrConfig) -> None:
        """Create the clustering head and the decoder.

        Raises:
            ValueError: If ``train.views`` is not 2.
        """
        check_views(context.config.train.views)
        super().__init__(context, config)
        self.weights: Mapping[str, float] = config.weights.model_dump()
        self.head = ClusteringHead(
            context.config.model.embedding_dim,
            config.clusters,
            seed=derive(context.seed, "clustering head"),
        ).to(context.device)
        self.decoder = _decoder(context) if config.weights.reconstruction > 0 else None
        self.log = ClusterLog(context.hidden_labels)
        self.observed: list[Float[Tensor, " entries"]] = []

    def parameters(self) -> Sequence[ParameterGroup]:
        """Return the clustering head's and decoder's parameters; ``l2`` decays the linear layer."""
        head = dict(self.head.named_parameters())
        penalised = [head.pop("linear.weight")]
        groups = [
            ParameterGroup(penalised, weight_decay=self.config.l2),
            ParameterGroup(list(head.values())),
        ]
        if self.decoder is not None:
            groups.append(ParameterGroup(list(self.decoder.parameters())))
        return groups

    def begin_epoch(self, epoch: int) -> EpochPlan:
        """Log the clusters of all images, find neighbours and draw the epoch's batches."""
        context, config = self.context, self.config
        heads: list[Head] = ["compact", "pooled"] if config.nn_positive else ["compact"]
        found = context.embed(context.student, heads)
        labels = self.head.assign(found["compact"])
        metrics, rows = self.log.record(labels, clusters=config.clusters, epoch=epoch)
        if epoch == 0:  # the head is untrained: one cluster is no collapse
            metrics = {**metrics, "alarm/one_cluster": 0.0}
        self.observed = []
        batches = context.random_batches(epoch)
        shown = repeat_views(batches, context.config.train.views)
        if config.nn_positive:
            shown = show_neighbours(
                batches,
                nearest(found["pooled"], 1)[:, 0].cpu(),
                generator=generator(context.seed, "neighbours", epoch),
            )
        return EpochPlan(batches=shown, metrics=metrics, cluster_rows=rows)

    def loss_terms(self, batch: Batch, embeddings: Embeddings) -> dict[str, Float[Tensor, ""]]:
        """Compute the terms with a weight above 0."""
        context, config, weights = self.context, self.config, self.config.weights
        unit = F.normalize(embeddings.compact, dim=1)
        images = len(unit) // 2
        randomness = generator(context.seed, "dropout", batch.step)
        logits = self.head(unit, dropout_mask(unit, config.dropout, generator=randomness))
        clustering = deep_clustering_loss(
            logits,
            normalize_logits=config.normalize_logits,
            balance=config.balance,
            entropy_scale=config.entropy_scale,
        )
        labels = logits.argmax(dim=1)  # (rows,)
        if config.labels == "images":
            labels = labels[:images].repeat(2)
        # CPU-GPU synchronisation: shapes depend on how many clusters are present.
        present, own, counts = labels.unique(return_inverse=True, return_counts=True)
        self._observe(clustering, len(present))

        terms = {}
        if weights.clustering > 0:
            terms["clustering"] = clustering.loss
        if weights.metric == weights.reconstruction == 0:
            return terms
        centroids = centroid_maps(embeddings.maps, own, counts=counts)
        if weights.metric > 0:
            with torch.no_grad():
                centres = context.student.compact(context.student.features.pool(centroids))
            terms["metric"] = centre_softmax_loss(
                unit,
                unit.roll(images, dims=0),
                centres,
                own,
                temperature=config.temperature,
                negative_weight=config.negative_weight,
                positive_denominator=config.positive_denominator,
                floor=config.floor,
            )
            if config.metric_reduction == "sum":
                terms["metric"] = len(unit) * terms["metric"]
        if self.decoder is not None:
            with autocast(context.number_format, context.device):
                decoded = self.decoder(context.number_format.arrange(centroids), counts.float())
            targets = reconstruction_target(batch.views, target=config.target)
            terms["reconstruction"] = reconstruction_loss(
                decoded, targets, own, reduction=config.pixel_reduction
            )
        return terms

    def diagnostics(self) -> dict[str, float]:
        """Return H(Y) and H(Y|X) in nats and the clusters per batch, averaged over the epoch."""
        if not self.observed:
            return {}
        entropy, conditional, present = torch.stack(self.observed).mean(dim=0).tolist()
        return {
            "clustering/entropy": entropy,
            "clustering/conditional_entropy": conditional,
            "clustering/present": present,
        }

    def _observe(self, clustering: ClusteringLoss, present: int) -> None:
        count = torch.full_like(clustering.entropy, present)
        self.observed.append(
            torch.stack([clustering.entropy, clustering.conditional_entropy, count])
        )


class ClusteringHead(nn.Module):
    """Batch norm, dropout and a linear layer that score clusters for unit embeddings.

    Initialised from ``seed`` alone; leaves the global random state unchanged.
    """

    def __init__(self, dim: int, clusters: int, *, seed: int) -> None:
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(seed)
            self.norm = nn.BatchNorm1d(dim)
            self.linear = nn.Linear(dim, clusters)

    def forward(
        self, unit: Float[Tensor, "rows dim"], mask: Float[Tensor, "rows dim"] | None = None
    ) -> Float[Tensor, "rows clusters"]:
        """Compute the scores in single precision; ``mask`` is from ``dropout_mask``."""
        normed = self.norm(unit)
        scores: Tensor = self.linear(normed if mask is None else normed * mask)
        return scores

    @torch.no_grad()
    def assign(self, embeddings: Float[Tensor, "n dim"]) -> Int[Tensor, " n"]:
        """Assign each embedding (any scale) to a cluster, in evaluation mode."""
        was_training = self.training
        self.eval()
        labels: Tensor = self(F.normalize(embeddings, dim=1)).argmax(dim=1)
        self.train(was_training)
        return labels


def check_views(views: int) -> None:
    """Reject any number of views except 2.

    Raises:
        ValueError: If ``views`` is not 2.
    """
    needed = CbswrConfig.needed_views
    if views != needed:
        raise ValueError(
            f"train.views: cbswr compares {needed} views of an image, got {views}; "
            f"set train.views to {needed}"
        )


def centroid_maps(
    maps: Float[Tensor, "rows features height width"],
    own: Int[Tensor, " rows"],
    *,
    counts: Int[Tensor, " present"],
) -> Float[Tensor, "present features height width"]:
    """Average the feature maps of each cluster's rows, in single precision and with gradient.

    Args:
        maps: Feature maps of each row.
        own: ``(rows,)`` cluster of each row, below ``present``.
        counts: ``(present,)`` number of rows of each cluster, > 0.
    """
    # Not index_add, whose order of summation is not deterministic on a GPU.
    share = F.one_hot(own, len(counts)).T.float() / counts[:, None]  # (present, rows)
    return (share @ maps.float().flatten(1)).view(-1, *maps.shape[1:])


def dropout_mask(
    like: Float[Tensor, "rows dim"], rate: float, *, generator: torch.Generator
) -> Float[Tensor, "rows dim"] | None:
    """Draw dropout factors that keep the expected value; None if ``rate`` is 0.

    Drawn on the CPU from ``generator``, so that a step does not depend on earlier draws.
    """
    if rate == 0.0:
        return None
    kept = torch.rand(like.shape, generator=generator) >= rate
    return kept.to(like) / (1 - rate)


def show_neighbours(
    batches: Int[Tensor, "steps batch"],
    neighbours: Int[Tensor, " n"],
    *,
    generator: torch.Generator,
) -> Int[Tensor, "steps 2 batch"]:
    """Pair each image with itself or, with probability 1/2, with its nearest neighbour."""
    swapped = torch.rand(batches.shape, generator=generator) < NEIGHBOUR_SHARE
    return torch.stack([batches, torch.where(swapped, neighbours[batches], batches)], dim=1)


def _decoder(context: RunContext) -> Decoder:
    """Create a decoder for the student's maps, whose size is measured on a blank image."""
    student, size = context.student, context.config.data.network_size
    channels = context.images.shape[1]
    was_training = student.training
    student.eval()
    with torch.no_grad():
        blank = torch.zeros(1, channels, size, size, device=context.device)
        maps = student.features.maps(context.number_format.arrange(blank))
    student.train(was_training)
    decoder = Decoder(
        maps.shape[1],
        map_size=maps.shape[2],
        image_size=size,
        channels=channels,
        seed=derive(context.seed, "decoder"),
    )
    context.number_format.place(decoder, context.device)
    return decoder
