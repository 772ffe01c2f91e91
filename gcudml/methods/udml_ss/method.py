"""UDML-SS: Unsupervised Deep Metric Learning via Auxiliary Rotation Loss.

Cao, Chen and Lim, 2019, arXiv:1911.07072. Based on the authors' released code and logs.

1. k-means clusters the training images: the first time on the backbone's unnormalised pooled
   features, then on the unit compact embeddings. From the third time on it starts from the previous
   centres, so that cluster numbers keep their meaning;
2. an epoch is a pass over the clusters, not over the images: all clusters in random order, and per
   step a batch of P clusters with Q images each; ``recluster_every`` counts such passes;
3. L = metric + 0.1 rotation. The metric loss (multi-similarity; the paper claims others work too)
   acts on the compact embeddings with clusters as labels; the rotation loss trains a small head on
   the pooled features to classify by which quarter turn an image was rotated, in a separate forward
   pass.

Where the code deviates from what the paper suggests, a parameter decides and defaults to the code's
behaviour: ``rotation_flip`` (the code flips after rotating, so that left and right turns cannot be
distinguished if ``views.flip`` is above 0) and ``rotation_logits`` (the code applies a ReLU to the
logits). For ``cluster_views`` the default is the unchanged image; the code clusters random crops.
The rotation term is the code's mean over all rotated rows; the paper's formula sums over the four
turns, which is 4 times as large.

We differ in four ways: k-means starts from random images (the code uses scikit-learn's k-means++,
on SOP faiss's random points); single-image clusters are left out (no positive pair); trained batch
norms leave rotated images out of their running statistics (the published backbone has no batch
norm); ``train.steps_per_epoch`` may set another epoch length, filled with successive passes. The
wide head is not used.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor, nn
from torch.nn import functional as F

from gcudml.config import RunConfig, UdmlSsConfig, check_clusters, count_clusters
from gcudml.data.batches import cluster_batches, repeat_views
from gcudml.data.views import random_views
from gcudml.losses.named import check_loss
from gcudml.methods.cluster_log import ClusterLog
from gcudml.methods.interface import Batch, DataSizes, EpochPlan, Method, ParameterGroup, RunContext
from gcudml.methods.metric_loss import metric_loss
from gcudml.models.embedding import Embeddings
from gcudml.models.inference import Head, RandomViews
from gcudml.models.number_format import autocast
from gcudml.neighbours.kmeans import Clustering, euclidean_kmeans
from gcudml.runtime.seeding import derive, generator

TURNS = 4


class UdmlSs(Method[UdmlSsConfig]):
    """UDML-SS with its clusters, rotation head and metric loss."""

    saved = ("loss", "rotation_head", "labels", "centres", "clusterings", "passes", "log")

    @classmethod
    def check_settings(cls, config: UdmlSsConfig, run: RunConfig) -> None:
        """Reject an unknown loss."""
        check_loss(config.loss)

    @classmethod
    def check_frozen(cls, config: UdmlSsConfig, run: RunConfig) -> None:
        """Reject the rotation loss, which is there to train the trunk."""
        if config.weights.rotation > 0:
            raise ValueError(
                "train.trunk: the rotation loss of method udml_ss trains the trunk on turned "
                "images; set train.trunk to trained, or method.weights.rotation to 0"
            )

    @classmethod
    def check_data(cls, config: UdmlSsConfig, run: RunConfig, sizes: DataSizes) -> None:
        """Reject more clusters than the images allow."""
        check_clusters(config.clusters, images=sizes.images["train"])

    def __init__(self, context: RunContext, config: UdmlSsConfig) -> None:
        super().__init__(context, config)
        self.clusters = count_clusters(config.clusters, images=len(context.images))
        self.weights: Mapping[str, float] = config.weights.model_dump()
        self.loss = metric_loss(context, config.loss, classes=self.clusters)
        self.rotation_head = _rotation_head(
            context.student.features.out_channels,
            config.rotation_hidden,
            relu_at_end=config.rotation_logits == "published",
            seed=derive(context.seed, "rotation head"),
        ).to(context.device)
        self.labels: Int[Tensor, " n"] | None = None
        self.centres: Float[Tensor, "clusters dim"] | None = None
        self.clusterings = 0
        self.passes = 0.0
        """Number of passes over the clusters since the last clustering."""
        self.log = ClusterLog(context.hidden_labels)

    def parameters(self) -> Sequence[ParameterGroup]:
        """Return the parameters of the rotation head and the proxies of the loss, if any."""
        return [
            ParameterGroup(
                list(self.rotation_head.parameters()), self.config.rotation_learning_rate
            ),
            ParameterGroup(list(self.loss.parameters())),
        ]

    def begin_epoch(self, epoch: int) -> EpochPlan:
        """Cluster the images if due, and draw the epoch's passes over the clusters."""
        config, train = self.config, self.context.config.train
        metrics: Mapping[str, float] = {}
        rows: Sequence[Mapping[str, object]] = ()
        # Rounded: fractions of a pass add up inexactly. Leftover clusters that fill no batch do not
        # count towards a pass.
        if self.labels is None or round(self.passes, 6) >= config.recluster_every:
            self.labels = self._cluster(epoch).labels
            self.passes = 0.0
            metrics, rows = self.log.record(self.labels, clusters=self.clusters, epoch=epoch)
        clusters_per_step = train.batch_size // train.images_per_cluster
        a_pass = max(1, self.clusters // clusters_per_step)
        steps = train.steps_per_epoch or a_pass
        batches = cluster_batches(
            self.labels.cpu(),
            batch_size=train.batch_size,
            images_per_cluster=train.images_per_cluster,
            steps=steps,
            generator=generator(self.context.seed, "batches", epoch),
            in_turn=True,
        )
        self.passes += steps / a_pass
        return EpochPlan(repeat_views(batches, train.views), metrics=metrics, cluster_rows=rows)

    def loss_terms(self, batch: Batch, embeddings: Embeddings) -> dict[str, Float[Tensor, ""]]:
        """Compute the metric loss on the compact embeddings and the rotation loss."""
        assert self.labels is not None
        terms = {}
        if self.config.weights.metric > 0:
            terms["metric"] = self.loss(embeddings.compact, self.labels[batch.indices])
        if self.config.weights.rotation > 0:
            terms["rotation"] = self._rotation_loss(batch)
        return terms

    def diagnostics(self) -> dict[str, float]:
        """Return the number of clusterings so far."""
        return {"clusters/clusterings": float(self.clusterings)}

    def _cluster(self, epoch: int) -> Clustering:
        context, config = self.context, self.config
        head: Head = "compact" if self.clusterings else "pooled"
        views = None
        if config.cluster_views == "random":
            randomness = generator(context.seed, "cluster views", epoch)
            views = RandomViews(context.config.views, randomness)
        features = context.embed(context.student, [head], views=views)[head]
        if head == "compact":
            features = F.normalize(features, dim=1)
        # The centres of the first clustering are in the space of the pooled features.
        start = self.centres if config.warm_start and self.clusterings > 1 else None
        found = euclidean_kmeans(
            features,
            self.clusters,
            seed=derive(context.seed, "k-means", epoch),
            iterations=config.iterations,
            restarts=config.restarts if start is None else 1,
            start=start,
        )
        self.centres = found.centres
        self.clusterings += 1
        return found

    def _rotation_loss(self, batch: Batch) -> Float[Tensor, ""]:
        """Compute the mean cross-entropy over randomly chosen images of the batch in all turns."""
        context = self.context
        randomness = generator(context.seed, "rotation", batch.step)
        count = self.config.rotated_images
        chosen = torch.randint(len(batch.indices), (count,), generator=randomness)
        with context.clock("data"):
            images = context.pick(batch.indices[chosen.to(context.device)])
        with context.clock("views"):
            views = context.number_format.arrange(self._turned_views(images, randomness))
        student, clock = context.student, context.clock
        with (
            clock("student"),
            untracked_batch_norm(student),
            autocast(context.number_format, context.device),
        ):
            pooled = student.features(views)
        turns = torch.arange(TURNS, device=context.device).repeat_interleave(count)
        return F.cross_entropy(self.rotation_head(pooled), turns)

    def _turned_views(
        self, images: UInt8[Tensor, "images channels side side"], randomness: torch.Generator
    ) -> Float[Tensor, "rows channels tall wide"]:
        """Create views of the images in every turn, ordered by turn."""
        config = self.context.config.views
        size = self.context.config.data.network_size
        if self.config.rotated == "views":
            views = random_views(images, config, generator=randomness, size=size)
            return torch.cat([views.rot90(turn, (2, 3)) for turn in range(TURNS)])
        if self.config.rotation_flip == "fixed":
            draws = torch.rand(len(images), generator=randomness)
            draws = draws.to(images.device, non_blocking=True)
            flipped = (draws < config.flip)[:, None, None, None]
            images = torch.where(flipped, images.flip(3), images)
            config = config.model_copy(update={"flip": 0.0})
        turned = torch.cat([images.rot90(turn, (2, 3)) for turn in range(TURNS)])
        return random_views(turned, config, generator=randomness, size=size)


@contextmanager
def untracked_batch_norm(network: nn.Module) -> Iterator[None]:
    """Keep batch norms from updating their running statistics within the context."""
    tracking = [
        module
        for module in network.modules()
        if isinstance(module, nn.modules.batchnorm._BatchNorm)
        and module.training
        and module.track_running_stats
    ]
    for module in tracking:
        module.track_running_stats = False
    try:
        yield
    finally:
        for module in tracking:
            module.track_running_stats = True


def _rotation_head(features: int, hidden: int, *, relu_at_end: bool, seed: int) -> nn.Sequential:
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        layers: list[nn.Module] = [
            nn.Linear(features, hidden),
            nn.ReLU(),
            nn.Linear(hidden, TURNS),
        ]
    return nn.Sequential(*layers, *([nn.ReLU()] if relu_at_end else []))
