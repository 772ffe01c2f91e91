"""GCE (reconstruction), supervised: deep metric learning via group channel-wise ensemble.

**This is a reconstruction, and it learns from the true classes** (but for ``labels: pseudo``): its
numbers do not compare with those of unsupervised methods. Nothing but the abstract of the paper was
accessible, no equation, setting, code or table: no number that comes out here is the paper's.

From the abstract: one metric over all samples cannot hold several aspects of similarity; a *group
channel-wise convolution block* in the network makes groups of channels encode different metrics,
rather than a cut through the last linear layer; the embedding space is divided into subspaces with
one base learner and one metric each; *class-proxy based meta-class update* makes each learner's
subset of the data, by whole classes, rather than by samples; the loss is the triplet loss.

Everything else is ours, after two relatives: Divide and Conquer (Sanakoyeu et al., CVPR 2019,
arXiv:1906.05990), for k-means subsets renewed every 2 epochs and matched to the last ones, learners
that take turns, unit slices put side by side; and DREML (Xuan et al., ECCV 2018, arXiv:1808.04469),
for random meta-classes as the control (it also trains learners to tell meta-classes apart, which is
not here):

1. every ``recluster_every`` epochs a class's proxy is the unit mean of its images' unit pooled
   features; k-means of the proxies makes one meta-class a learner; a meta-class with fewer classes
   than a batch holds takes the nearest ones; Hungarian matching keeps the learners' names;
2. a batch holds P classes of one meta-class with S images each, learners take turns; its own slice
   of the embedding gets the triplet loss on the original classes, which trains the backbone and
   this learner's group of channels (``gcudml.models.group_head``);
3. optionally the last ``conquer_epochs`` train the whole embedding on all classes;
4. the test compares all slices, each of unit norm, side by side.

``labels: pseudo`` puts k-means clusters of the pooled features, renewed as often, in the place of
classes; the method then sees no class and compares with the unsupervised ones.

Fixed are: the triplet loss (no margin loss), proxies by mean (not learned), distances not squared,
no exchange between groups after the dense layer (but in the block ``channelnet``). With ``routing:
alternate`` a step normalises by one meta-class's statistics wherever batch norm is trained (Divide
and Conquer freezes it), and an optimiser with momentum or weight decay also moves the slices that
were not their turn.
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

CORRELATED_IMAGES = 500  # enough pairs for a diagnostic, few enough for memory


class Gce(Method[GceConfig]):
    """State of GCE during one run: labels, and which learner each class belongs to."""

    saved = ("labels", "learner_of", "log")

    @classmethod
    def check_settings(cls, config: GceConfig, run: RunConfig) -> None:
        """Refuse slices, channels or batches that cannot be divided among the learners."""
        check_learners_fit(config, model=run.model, train=run.train)

    @classmethod
    def check_data(cls, config: GceConfig, run: RunConfig, sizes: DataSizes) -> None:
        """Refuse more learners than the data can serve."""
        check_learners(config, images=sizes.images["train"], classes=sizes.training_classes)

    @classmethod
    def compact_head(cls, config: GceConfig, run: RunConfig) -> CompactHead:
        """The group channel-wise block."""
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
        """Class, or pseudo-label, that an image is trained on; -1: none."""
        self.learner_of: Int[Tensor, " n"] | None = None
        """Learner that each image trains; -1: none."""
        self.log = ClusterLog(context.hidden_labels)
        self.conquers = False
        self.active: list[Float[Tensor, ""]] = []

    def begin_epoch(self, epoch: int) -> EpochPlan:
        """Divide the classes among the learners when it is time, and draw the epoch's batches."""
        train = self.context.config.train
        self.conquers = epoch >= train.epochs - self.config.conquer_epochs
        metrics: Mapping[str, float] = {}
        rows: Sequence[Mapping[str, int | float | None]] = ()
        if self.labels is None or (self._changes and epoch % self.config.recluster_every == 0):
            metrics, rows = self._divide(epoch)
        return EpochPlan(
            batches=repeat_views(self._batches(epoch), train.views),
            metrics=metrics,
            cluster_rows=rows,
        )

    def loss_terms(self, batch: Batch, embeddings: Embeddings) -> dict[str, Float[Tensor, ""]]:
        """The triplet loss of the learner whose turn it is, or the mean of all learners'."""
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
        """The mean share of triplets with a loss, over the steps since the last call."""
        active, self.active = self.active, []
        return {"active_triplets": float(torch.stack(active).mean())} if active else {}

    @property
    def _changes(self) -> bool:
        """Whether labels or meta-classes that matter are still renewed."""
        if self.config.labels == "pseudo":
            return self.config.data_subsets != "fixed"
        return self.config.data_subsets in ("proxy", "samples") and not self.conquers

    def _hinges(
        self, embeddings: Float[Tensor, "rows dim"], labels: Int[Tensor, " rows"]
    ) -> Hinges:
        return triplet_hinges(
            embeddings, labels, margin=self.config.margin, mining=self.config.mining
        )

    def _divide(
        self, epoch: int
    ) -> tuple[Mapping[str, float], Sequence[Mapping[str, int | float | None]]]:
        """Renew labels and meta-classes; metrics and rows for the table ``clusters``."""
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
            if not (is_pseudo or config.divides_images):  # a large class counts no more than others
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
        learner = learner.scatter(0, raw, learner_of)  # -1: a cluster of one image, nobody's
        found = self.log.record(raw, clusters=config.clusters, epoch=epoch, group_of=learner)
        return metrics | dict(found.metrics), found.rows

    def _learners(
        self, features: Float[Tensor, "n dim"], labels: Int[Tensor, " n"], epoch: int
    ) -> Int[Tensor, " n"]:
        """Learner of each image, -1 without a label; under names of no meaning yet."""
        config, seed = self.config, self.context.seed
        classes = int(labels.max()) + 1
        if config.learners > classes // 2:
            raise ValueError(_too_many_learners(config, classes, kind="of two images or more"))
        # What is divided, and how much of it each learner needs for a batch.
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
        """Images that a batch takes from one meta-class."""
        shared_by = self.config.learners if self.config.routing == "mixed" else 1
        return self.context.config.train.batch_size // shared_by

    def _batches(self, epoch: int) -> Int[Tensor, "steps batch"]:
        """Each step's images: of all classes, of one learner's, or some of every learner's."""
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
        first = epoch * steps if alternate else 0  # turns go on where the last epoch ended
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
    """Refuse more learners than pairs of classes, or more pseudo-labels than images.

    Args:
        config: The method's.
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
    """How alike the learners are: correlation of their similarities of all pairs of images.

    The mean over pairs of learners: 1 = all measure the same, 0 = nothing in common. 1 for a single
    learner, 0 for fewer than three images, and noise where all pairs are equally similar.
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
    """Learner of each class, where all its images have the same."""
    known = labels >= 0
    return labels.new_zeros(int(labels.max()) + 1).scatter(0, labels[known], learner_of[known])


def _classes_of_each(
    learner_of: Int[Tensor, " n"], labels: Int[Tensor, " n"], config: GceConfig
) -> Int[Tensor, " learners"]:
    """How many classes each learner trains on, shared ones too."""
    known = labels >= 0
    pairs = torch.stack([learner_of[known], labels[known]]).unique(dim=1)
    sizes: Tensor = pairs[0].bincount(minlength=config.learners)
    return sizes


def _too_many_learners(config: GceConfig, known: int, *, kind: str = "") -> str:
    name = "clusters" if config.labels == "pseudo" else "classes"
    return (
        f"method.learners: {config.learners} learners for {known} {name}{kind and ' ' + kind}; "
        f"needs at most {known // 2}, a learner must have two classes to tell apart"
    )
