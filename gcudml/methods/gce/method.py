"""GCE (reconstruction), supervised: deep metric learning via group channel-wise ensemble.

**This is a reconstruction, and it learns from the true classes** (except with ``labels: pseudo``):
do not compare its results with those of unsupervised methods. Only the abstract of the paper was
accessible, no equation, setting, code or table, so its results do not reproduce the paper's.

From the abstract: one metric over all samples cannot capture several aspects of similarity; a
*group channel-wise convolution block* in the network, rather than slicing the last linear layer,
makes groups of channels encode different metrics; the embedding space is divided into subspaces,
each with a base learner and a metric; *class-proxy based meta-class update* gives each learner a
subset of the data made of whole classes rather than of samples; the loss is the triplet loss.

Everything else is ours and follows two related methods: Divide and Conquer (Sanakoyeu et al., CVPR
2019, arXiv:1906.05990), for k-means subsets that are recomputed every 2 epochs and matched to the
previous ones, alternating learners and concatenated unit slices; and DREML (Xuan et al., ECCV 2018,
arXiv:1808.04469), for random meta-classes as a control (DREML also trains its learners to tell
meta-classes apart; we do not):

1. every ``recluster_every`` epochs, the proxy of a class is the unit mean of its images' unit
   pooled features; k-means on the proxies makes one meta-class per learner; a meta-class with fewer
   classes than a batch needs also gets the nearest ones; Hungarian matching keeps the learners'
   numbers;
2. a batch has P classes of one meta-class with S images each, and learners alternate; the triplet
   loss on the original classes acts on the learner's slice of the embedding and trains the backbone
   and the learner's group of channels (``gcudml.methods.gce.group_head``);
3. optionally the last ``conquer_epochs`` train the whole embedding on all classes;
4. evaluation uses the concatenation of all slices, each of unit norm.

With ``labels: pseudo``, k-means clusters of the pooled features, recomputed as often, replace the
classes; the method then sees no class and can be compared with unsupervised methods.

Not configurable: the triplet loss (no margin loss), mean proxies (not learned), distances that are
not squared, no exchange between groups after the dense layer (except in the block ``channelnet``).
With ``routing: alternate``, trained batch norms normalise each step by the statistics of one
meta-class (Divide and Conquer freezes them), and an optimiser with momentum or weight decay also
changes the slices of the other learners.
"""

import functools
from collections.abc import Mapping, Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional as F

from gcudml.config import GceConfig, RunConfig, check_learners_fit
from gcudml.data.batches import cluster_batches, repeat_views
from gcudml.losses.triplet import Hinges, triplet_hinges
from gcudml.methods.cluster_log import ClusterLog
from gcudml.methods.gce.group_head import GroupHead, cut_slices
from gcudml.methods.gce.meta_classes import (
    class_proxies,
    cluster_classes,
    match_names,
    random_classes,
    usable_classes,
)
from gcudml.methods.interface import Batch, CompactHead, DataSizes, EpochPlan, Method, RunContext
from gcudml.models.embedding import Embeddings
from gcudml.models.inference import Head
from gcudml.neighbours.kmeans import spherical_kmeans
from gcudml.runtime.seeding import derive, generator

CORRELATED_IMAGES = 500  # enough pairs for a diagnostic, and they fit in memory


class Gce(Method[GceConfig]):
    """GCE with the current labels and the learner of each image."""

    saved = ("labels", "learner_of", "log")

    @classmethod
    def check_settings(cls, config: GceConfig, run: RunConfig) -> None:
        """Reject slices, channels or batches that cannot be divided among the learners."""
        check_learners_fit(config, model=run.model, train=run.train)

    @classmethod
    def check_data(cls, config: GceConfig, run: RunConfig, sizes: DataSizes) -> None:
        """Reject more learners or clusters than the data allow."""
        check_learners(config, images=sizes.images["train"], classes=sizes.training_classes)

    @classmethod
    def compact_head(cls, config: GceConfig, run: RunConfig) -> CompactHead:
        """Return a constructor for the group channel-wise block."""
        return functools.partial(
            GroupHead,
            dim=run.model.embedding_dim,
            learners=config.learners,
            block=config.block,
            width=config.block_width,
        )

    def __init__(self, context: RunContext, config: GceConfig) -> None:
        super().__init__(context, config)
        self.weights: Mapping[str, float] = {"triplet": 1.0}
        self.labels: Int[Tensor, " n"] | None = None
        """Class or pseudo-label of each training image; -1 = none."""
        self.learner_of: Int[Tensor, " n"] | None = None
        """Learner that each image trains; -1 = none."""
        self.log = ClusterLog(context.hidden_labels)
        self.conquers = False
        self.active: list[Float[Tensor, ""]] = []

    def begin_epoch(self, epoch: int) -> EpochPlan:
        """Divide the classes among the learners if it is due, and draw the epoch's batches."""
        train = self.context.config.train
        self.conquers = epoch >= train.epochs - self.config.conquer_epochs
        metrics: Mapping[str, float] = {}
        rows: Sequence[Mapping[str, object]] = ()
        if self.labels is None or (self._changes and epoch % self.config.recluster_every == 0):
            metrics, rows = self._divide(epoch)
        return EpochPlan(
            batches=repeat_views(self._batches(epoch), train.views),
            metrics=metrics,
            cluster_rows=rows,
        )

    def loss_terms(self, batch: Batch, embeddings: Embeddings) -> dict[str, Float[Tensor, ""]]:
        """Compute the triplet loss of the step's learner, or its mean over all learners."""
        assert self.labels is not None
        assert self.learner_of is not None
        labels, learner_of = self.labels[batch.indices], self.learner_of[batch.indices]
        learners = self.config.learners
        slices = cut_slices(embeddings.compact, learners=learners)  # (rows, learners, slice)
        if self.conquers:
            found = [self._hinges(embeddings.compact, labels)]
        elif self.config.routing == "alternate":  # all rows have one learner: gather its slice
            rows = torch.arange(len(labels), device=labels.device)
            found = [self._hinges(slices[rows, learner_of], labels)]
        else:
            found = [
                self._hinges(slices[:, learner], torch.where(learner_of == learner, labels, -1))
                for learner in range(learners)
            ]
        self.active.append(torch.stack([each.share_active for each in found]).mean().detach())
        return {"triplet": torch.stack([each.mean_of_active for each in found]).mean()}

    def diagnostics(self) -> dict[str, float]:
        """Return the mean share of triplets with a non-zero loss since the last call."""
        active, self.active = self.active, []
        return {"active_triplets": float(torch.stack(active).mean())} if active else {}

    @property
    def _changes(self) -> bool:
        """Whether labels or meta-classes in use still have to be recomputed."""
        if self.config.labels == "pseudo":
            return self.config.data_subsets != "fixed"
        return self.config.data_subsets in ("proxy", "samples") and not self.conquers

    def _hinges(
        self, embeddings: Float[Tensor, "rows dim"], labels: Int[Tensor, " rows"]
    ) -> Hinges:
        return triplet_hinges(
            embeddings, labels, margin=self.config.margin, mining=self.config.mining
        )

    def _divide(self, epoch: int) -> tuple[Mapping[str, float], Sequence[Mapping[str, object]]]:
        """Recompute labels and meta-classes; return metrics and rows for the table ``clusters``."""
        context, config = self.context, self.config
        heads: list[Head] = ["pooled", "compact"]
        by_name = context.embed(context.student, heads)
        is_pseudo = config.labels == "pseudo"
        raw = context.labels
        if is_pseudo:
            seed = derive(context.seed, "k-means", epoch)
            raw = spherical_kmeans(by_name["pooled"], config.clusters, seed=seed).labels
        labels = usable_classes(raw)
        learner_of = self._learners(by_name["pooled"], labels, epoch)
        metrics = {
            "meta_classes/smallest": float(_classes_of_each(learner_of, labels, config).min()),
            "learners/correlation": self._correlation(by_name["compact"]),
        }
        if self.learner_of is not None:
            new, old = learner_of, self.learner_of
            if not (is_pseudo or config.divides_images):  # count each class once
                new, old = _of_classes(new, labels), _of_classes(old, labels)
            names = match_names(new, old, learners=config.learners)
            learner_of = torch.where(learner_of >= 0, names[learner_of.clamp(min=0)], -1)
            metrics["meta_classes/moved"] = float((learner_of != self.learner_of).float().mean())
        self.labels, self.learner_of = labels, learner_of
        if not is_pseudo:  # no image was clustered
            return metrics, ()
        if config.divides_images:  # a cluster has no learner of its own
            found = self.log.record(raw, clusters=config.clusters, epoch=epoch)
            return metrics | dict(found.metrics), found.rows
        learner = torch.full((config.clusters,), -1, device=raw.device)
        learner = learner.scatter(0, raw, learner_of)  # -1: single-image cluster
        found = self.log.record(raw, clusters=config.clusters, epoch=epoch, group_of=learner)
        return metrics | dict(found.metrics), found.rows

    def _learners(
        self, features: Float[Tensor, "n dim"], labels: Int[Tensor, " n"], epoch: int
    ) -> Int[Tensor, " n"]:
        """Assign a learner to each image, -1 without a label; numbers are not yet matched."""
        config, seed = self.config, self.context.seed
        classes = int(labels.max()) + 1
        if config.learners > classes // 2:
            raise ValueError(_too_many_learners(config, classes, kind="of two images or more"))
        # The items to divide (images or classes), and how many of them each learner's batch needs.
        known = labels >= 0
        items, least = int(known.sum()), self._own_batch_size
        if not config.divides_images:
            items, least = classes, least // self.context.config.train.images_per_cluster
        if config.data_subsets in ("random", "random_samples"):
            randomness = generator(seed, "meta-classes", epoch)
            found = random_classes(items, config.learners, generator=randomness).to(labels.device)
        else:
            proxies = features[known]
            if not config.divides_images:
                proxies = class_proxies(features, labels, classes=classes)
            found = cluster_classes(
                proxies,
                config.learners,
                least=max(2, least),
                seed=derive(seed, "meta-classes", epoch),
            )
        learner_of = torch.full_like(labels, -1)
        learner_of[known] = found if config.divides_images else found[labels[known]]
        return learner_of

    @property
    def _own_batch_size(self) -> int:
        """Images of one meta-class in a batch."""
        shared_by = self.config.learners if self.config.routing == "mixed" else 1
        return self.context.config.train.batch_size // shared_by

    def _batches(self, epoch: int) -> Int[Tensor, "steps batch"]:
        """Draw the images of each step: from all classes, one learner's, or every learner's."""
        assert self.labels is not None
        assert self.learner_of is not None
        labels, learner_of = self.labels.cpu(), self.learner_of.cpu()
        train, learners = self.context.config.train, self.config.learners
        steps = self.context.steps(train.batch_size)

        def draw(own: Int[Tensor, " n"], *, steps: int, size: int, learner: int) -> Tensor:
            return cluster_batches(
                own,
                batch_size=size,
                images_per_cluster=train.images_per_cluster,
                steps=steps,
                generator=generator(self.context.seed, "batches", epoch, learner),
            )

        if self.conquers:
            return draw(labels, steps=steps, size=train.batch_size, learner=-1)
        alternate = self.config.routing == "alternate"
        first = epoch * steps if alternate else 0  # continue the turns of the previous epoch
        rounds = -(-steps // learners) if alternate else steps
        drawn = [
            draw(
                torch.where(learner_of == learner, labels, -1),
                steps=rounds,
                size=self._own_batch_size,
                learner=learner,
            )
            for learner in ((first + turn) % learners for turn in range(learners))
        ]
        in_turn = torch.stack(drawn, dim=1)  # (rounds, learners, batch)
        return in_turn.flatten(0, 1)[:steps] if alternate else in_turn.flatten(1)

    def _correlation(self, embeddings: Float[Tensor, "n dim"]) -> float:
        randomness = generator(self.context.seed, "correlation")
        drawn = torch.randperm(len(embeddings), generator=randomness)[:CORRELATED_IMAGES]
        sample = embeddings[drawn.to(embeddings.device)]
        return learner_correlation(cut_slices(sample, learners=self.config.learners))


def check_learners(config: GceConfig, *, images: int, classes: int) -> None:
    """Reject more learners than pairs of classes, or too many clusters for the images.

    Args:
        config: Configuration of the method.
        images: Number of training images.
        classes: Number of training classes.

    Raises:
        ValueError: ``method.key: what; remedy``.
    """
    most = images - 2 * config.learners  # each learner needs two clusters of two images
    if config.labels == "pseudo" and config.clusters > most:
        raise ValueError(
            f"method.clusters: {config.clusters} clusters of {images} training images for "
            f"{config.learners} learners; needs at most {most}"
        )
    known = config.clusters if config.labels == "pseudo" else classes
    if config.learners > known // 2:
        raise ValueError(_too_many_learners(config, known))


def learner_correlation(slices: Float[Tensor, "n learners slice"]) -> float:
    """Compute how much the learners' similarities of all pairs of images correlate.

    Mean over pairs of learners: 1 = identical metrics, 0 = uncorrelated. Returns 1 for a single
    learner, 0 for fewer than three images, and noise if all pairs are equally similar.
    """
    images, learners = slices.shape[:2]
    if learners == 1:
        return 1.0
    if images < 3:
        return 0.0
    unit = F.normalize(slices.transpose(0, 1), dim=2)
    above = torch.triu_indices(images, images, 1, device=unit.device)
    similarity = (unit @ unit.transpose(1, 2))[:, above[0], above[1]]  # (learners, pairs)
    standard = F.normalize(similarity - similarity.mean(dim=1, keepdim=True), dim=1)
    correlation = standard @ standard.T
    return float((correlation.sum() - correlation.trace()) / (learners * (learners - 1)))


def _of_classes(
    learner_of: Int[Tensor, " n"], labels: Int[Tensor, " n"]
) -> Int[Tensor, " classes"]:
    """Return the learner of each class, given that all images of a class share one."""
    known = labels >= 0
    return labels.new_zeros(int(labels.max()) + 1).scatter(0, labels[known], learner_of[known])


def _classes_of_each(
    learner_of: Int[Tensor, " n"], labels: Int[Tensor, " n"], config: GceConfig
) -> Int[Tensor, " learners"]:
    """Count the classes that each learner trains on, including shared ones."""
    known = labels >= 0
    pairs = torch.stack([learner_of[known], labels[known]]).unique(dim=1)
    sizes: Tensor = pairs[0].bincount(minlength=config.learners)
    return sizes


def _too_many_learners(config: GceConfig, known: int, *, kind: str = "") -> str:
    name = "clusters" if config.labels == "pseudo" else "classes"
    return (
        f"method.learners: {config.learners} learners for {known} {name}{kind and ' ' + kind}; "
        f"needs at most {known // 2}, so that each learner has two to tell apart"
    )
