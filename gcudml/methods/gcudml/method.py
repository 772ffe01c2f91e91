"""GC-UDML: Group Collaborative Unsupervised Deep Metric Learning for Feature Embedding.

Chen, Kan and Li, Tsinghua Science and Technology 31(4), 2026, doi 10.26599/TST.2024.9010228.

**This is a reconstruction.** From the paper's abstract: cluster sizes are long-tailed and bias
cluster-based learning; a student produces the compact embedding that is evaluated; a teacher of
similar structure, the moving average of the student's parameters, provides the pseudo-labels for
group-collaborative learning and knowledge distillation. The paper's equations, settings and result
tables were not accessible. Everything below is our interpretation, based on SHA-GCL (group
collaborative learning over classes of similar frequency, Dong et al., arXiv:2203.09811) and STML
(teacher, two heads and relational distillation, Kim et al., arXiv:2205.01903):

1. every ``recluster_every`` epochs, spherical k-means on the teacher's wide embeddings assigns each
   image to a cluster; clusters are sorted by size and divided into groups;
2. classifier k covers the clusters of groups 1..k (largest clusters first) and sees a median
   re-sampled subset of the images; its weights are imprinted from the student's cluster means;
3. L = metric + w1 group + w2 collaborative + w3 distillation (``gcudml.methods.gcudml.losses``);
4. after each step the teacher moves towards the student.

Much of what the abstract leaves open is a parameter (``gcudml.config.GcudmlConfig``): the meaning
of "group" (classifier or pair loss, cumulative or separate), which classifier teaches which, what
the teacher distils (relations or class scores), the metric loss, what happens to classifiers when
clusters are renumbered, the embeddings that terms act on, and the momentum warm-up (ours). Not
configurable: hard pseudo-labels, the weight 0.1 outside a classifier's classes, and the moving
average after the optimiser step.

With the defaults, ``metric_on`` and ``group_embedding`` at ``compact``, no term trains the wide
head: it remains the orthogonal map of its initialisation, and pseudo-labels depend on the averaged
backbone alone. ``metric_on: both`` trains it, as STML does.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from gcudml.config import (
    GcudmlConfig,
    MetricLossConfig,
    RunConfig,
    check_clusters,
    count_clusters,
)
from gcudml.data.batches import repeat_views
from gcudml.losses.named import OWN, check_loss
from gcudml.losses.relational import relational_distillation_loss
from gcudml.methods.cluster_log import ClusterLog
from gcudml.methods.gcudml.losses import (
    collaborative_distillation_loss,
    group_classifier_loss,
    group_pair_loss,
    logit_distillation_loss,
)
from gcudml.methods.gcudml.pseudo_labels import PseudoLabels, order_clusters, sample_for_groups
from gcudml.methods.interface import Batch, DataSizes, EpochPlan, Method, RunContext
from gcudml.models.embedding import Embeddings, TeacherNet
from gcudml.models.inference import Head
from gcudml.models.momentum_teacher import is_copy, momentum_at, teacher_distance, update_teacher
from gcudml.models.number_format import autocast
from gcudml.neighbours.kmeans import spherical_kmeans
from gcudml.runtime import fused
from gcudml.runtime.seeding import derive, generator

NO_CLUSTER = -1e4
"""Logit of an empty cluster: gives probability 0, but is finite to avoid 0 * inf."""


class Gcudml(Method[GcudmlConfig]):
    """GC-UDML with its momentum teacher, pseudo-labels and group classifiers."""

    saved = ("teacher", "momentum", "sampled", "taught_classifiers", "centres", "log")

    @classmethod
    def check_settings(cls, config: GcudmlConfig, run: RunConfig) -> None:
        """Reject arguments that the metric loss does not take, and groups that never start."""
        loss = MetricLossConfig(name=config.metric, args=config.metric_args)
        check_loss(loss, prefix="method.metric_")
        if config.groups_from_epoch >= run.train.epochs:
            raise ValueError(
                f"method.groups_from_epoch: {config.groups_from_epoch}, but the last of "
                f"{run.train.epochs} epochs is number {run.train.epochs - 1}; lower it, or set "
                "weights.group and weights.collaborative to 0"
            )

    @classmethod
    def check_data(cls, config: GcudmlConfig, run: RunConfig, sizes: DataSizes) -> None:
        """Reject more clusters than the images allow."""
        check_clusters(config.clusters, images=sizes.images["train"])

    def __init__(self, context: RunContext, config: GcudmlConfig) -> None:
        super().__init__(context, config)
        self.clusters = count_clusters(config.clusters, images=len(context.images))
        self.groups = config.groups and min(config.groups, self.clusters)
        self.weights: Mapping[str, float] = config.weights.model_dump()
        self.teacher = TeacherNet(context.student)
        self.momentum = 0.0
        self.epoch = 0
        self.pseudo: PseudoLabels | None = None
        self.sampled: Bool[Tensor, "groups n"] | None = None
        self.classifiers: dict[Head, list[nn.Parameter]] = {}
        self.taught_classifiers: list[Float[Tensor, "clusters wide"]] = []
        """Moving averages of the classifiers on the wide embedding (``distillation: logits``)."""
        self.centres: Float[Tensor, "clusters wide"] | None = None
        self.log = ClusterLog(context.hidden_labels)

    def replaced_parameters(self) -> Sequence[nn.Parameter]:
        """Return the group classifiers, which every clustering replaces."""
        return [weight for weights in self.classifiers.values() for weight in weights]

    def begin_epoch(self, epoch: int) -> EpochPlan:
        """Recluster and rebuild the group classifiers if due, and draw the epoch's batches."""
        self.epoch = epoch
        has_clustered = self.pseudo is None or epoch % self.config.recluster_every == 0
        metrics: Mapping[str, float] = {}
        rows: Sequence[Mapping[str, object]] = ()
        if has_clustered:
            embedded = self._embed()
            before, pseudo = self.pseudo, self._cluster(embedded.clustered, epoch)
            self.pseudo = pseudo
            self.sampled = sample_for_groups(
                pseudo,
                generator=generator(self.context.seed, "resample", epoch),
                cumulative=self.config.cumulative,
            )
            self._imprint(embedded.imprinted, pseudo, before)
            metrics, rows = self.log.record(
                pseudo.labels,
                clusters=self.clusters,
                epoch=epoch,
                group_of=pseudo.group_of,
            )
            metrics = {**metrics, "clusters/groups": float(len(pseudo.ends))}
        assert self.pseudo is not None
        batches = self.context.cluster_batches(self.pseudo.by_size, epoch)
        return EpochPlan(
            batches=repeat_views(batches, self.context.config.train.views),
            replaces_parameters=has_clustered,
            metrics=metrics,
            cluster_rows=rows,
        )

    def loss_terms(self, batch: Batch, embeddings: Embeddings) -> dict[str, Float[Tensor, ""]]:
        """Compute the terms with a weight above 0; see ``gcudml.methods.gcudml.losses``."""
        config, weights = self.config, self.config.weights
        if self.epoch < config.groups_from_epoch:
            weights = weights.model_copy(update={"group": 0.0, "collaborative": 0.0})
        assert self.pseudo is not None
        assert self.sampled is not None
        labels, sampled = self.pseudo.labels[batch.indices], self.sampled[:, batch.indices]
        by_name = {"compact": embeddings.compact, "wide": embeddings.wide}
        grouped = [by_name[name] for name in self._grouped]
        logits = [
            self._scores(by_name[name], classifiers)
            for name, classifiers in self.classifiers.items()
        ]

        terms: dict[str, list[Float[Tensor, ""]]] = {}
        if weights.metric > 0:
            acted_on = by_name.values() if config.metric_on == "both" else [embeddings.compact]
            terms["metric"] = [
                fused.loss(OWN[config.metric], each, labels, **config.metric_args)
                for each in acted_on
            ]
        if weights.group > 0 and config.group_loss == "pair":
            terms["group"] = [
                fused.loss(group_pair_loss, each, labels, sampled) for each in grouped
            ]
        if weights.group > 0 and config.group_loss == "classifier":
            terms["group"] = [group_classifier_loss(each, labels, sampled) for each in logits]
        if weights.collaborative > 0 and config.transfer != "none":
            terms["collaborative"] = [
                collaborative_distillation_loss(
                    each,
                    labels,
                    sampled,
                    transfer=config.transfer,
                    temperature=config.temperature,
                    detach_source=config.detach_source,
                )
                for each in logits
            ]
        if weights.distillation > 0:
            context = self.context
            with (
                context.clock("teacher"),
                torch.no_grad(),
                autocast(context.number_format, context.device),
            ):
                taught = fused.forward(self.teacher, batch.views).wide
            if config.distillation == "relational":
                terms["distillation"] = [
                    fused.loss(
                        relational_distillation_loss,
                        embeddings.compact,
                        taught,
                        temperature=config.distillation_temperature,
                    )
                ]
            else:
                scores = self._scores(taught, self.taught_classifiers)
                terms["distillation"] = [
                    logit_distillation_loss(each, scores, temperature=config.temperature)
                    for each in logits
                ]
        return {name: torch.stack(losses).mean() for name, losses in terms.items()}

    def after_step(self, step: int) -> None:
        """Move the teacher towards the student."""
        self.momentum = momentum_at(
            step, self.config.teacher_momentum, warmup=self.config.momentum_warmup
        )
        update_teacher(self.teacher, self.context.student.shared(), self.momentum)
        if self.taught_classifiers:
            with torch.no_grad():
                torch._foreach_lerp_(
                    self.taught_classifiers, list(self.classifiers["wide"]), 1.0 - self.momentum
                )

    def diagnostics(self) -> dict[str, float]:
        """Return the momentum of the last step and the teacher's distance from the student."""
        distance = teacher_distance(self.teacher, self.context.student.shared())
        return {"teacher_momentum": self.momentum, "teacher_distance": distance}

    def state_dict(self) -> dict[str, Any]:
        """Return teacher, pseudo-labels and classifiers as tensors and plain values."""
        return super().state_dict() | {
            "pseudo": None if self.pseudo is None else self.pseudo._asdict(),
            "classifiers": {
                head: [weight.detach() for weight in weights]
                for head, weights in self.classifiers.items()
            },
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore the state from ``state_dict``, with the classifiers as new parameters."""
        super().load_state_dict(state)
        self.pseudo = None if state["pseudo"] is None else PseudoLabels(**state["pseudo"])
        self.classifiers = {
            head: [nn.Parameter(weight) for weight in weights]
            for head, weights in state["classifiers"].items()
        }

    @property
    def _grouped(self) -> list[Head]:
        """Embeddings that the group terms act on."""
        embedding = self.config.group_embedding
        return ["compact", "wide"] if embedding == "both" else [embedding]

    def _embed(self) -> "_Embedded":
        """Embed all training images, in one pass if the student provides everything.

        That is also the case while the teacher is still a copy of the student.
        """
        config, student = self.config, self.context.student
        trained = config.weights.group > 0 or config.weights.collaborative > 0
        heads = self._grouped if config.group_loss == "classifier" and trained else []
        if config.cluster_with == "student" or is_copy(self.teacher, student.shared()):
            found = self._embed_by(student, {"wide", *heads})
            return _Embedded(found["wide"], {head: found[head] for head in heads})
        clustered = self._embed_by(self.teacher, {"wide"})["wide"]
        return _Embedded(clustered, self._embed_by(student, set(heads)) if heads else {})

    def _embed_by(self, network: nn.Module, heads: set[Head]) -> dict[Head, Float[Tensor, "n _"]]:
        return self.context.embed(network, sorted(heads))

    def _cluster(self, features: Float[Tensor, "n wide"], epoch: int) -> PseudoLabels:
        context, config = self.context, self.config
        found = spherical_kmeans(
            features,
            self.clusters,
            seed=derive(context.seed, "k-means", epoch),
            start=self.centres if config.renumbering == "warm_start" else None,
        )
        self.centres = found.centres
        return order_clusters(
            found.labels,
            clusters=self.clusters,
            groups=self.groups,
            ratio=config.group_ratio,
            floor=config.group_floor,
            grouping=config.grouping,
            generator=generator(context.seed, "grouping", epoch),
        )

    def _scores(
        self,
        embeddings: Float[Tensor, "rows dim"],
        classifiers: Sequence[Float[Tensor, "_ dim"]],
    ) -> list[Float[Tensor, "rows _"]]:
        """Compute every classifier's scaled cosine logits.

        Clusters that are empty or that a classifier does not cover get ``NO_CLUSTER``.
        """
        assert self.pseudo is not None
        hidden = self.pseudo.sizes == 0
        unit = F.normalize(embeddings, dim=1)
        starts = [0] * len(classifiers) if self.config.cumulative else [0, *self.pseudo.ends[:-1]]
        scores = []
        for weight, start in zip(classifiers, starts, strict=True):
            mask = hidden[: len(weight)].clone()
            mask[:start] = True
            cosine = unit @ F.normalize(weight, dim=1).T
            scores.append((self.config.scale * cosine).masked_fill(mask, NO_CLUSTER))
        return scores

    def _imprint(
        self,
        embedded: Mapping[Head, Float[Tensor, "n _"]],
        pseudo: PseudoLabels,
        before: PseudoLabels | None,
    ) -> None:
        """Create new group classifiers: each row is the student's mean direction of a cluster.

        k-means renumbers its clusters, which makes the previous classifiers useless. After a warm
        start clusters keep their identity, and so do the rows that a classifier had for them.
        """
        config = self.config
        old_order = before.order if before and config.renumbering == "warm_start" else None

        def imprinted(
            means: Float[Tensor, "clusters dim"], olds: Sequence[Float[Tensor, "_ dim"]]
        ) -> list[Float[Tensor, "_ dim"]]:
            weights = [means[:end].clone() for end in pseudo.ends]
            if old_order is not None:
                for weight, old in zip(weights, olds, strict=False):
                    _keep_known(weight, old.detach(), pseudo.order, old_order)
            return weights

        for name, embeddings in embedded.items():
            means = cluster_means(embeddings, pseudo.labels, clusters=len(pseudo.sizes))
            if name == "wide" and config.distillation == "logits" and config.weights.distillation:
                self.taught_classifiers = imprinted(means, self.taught_classifiers)
            weights = imprinted(means, self.classifiers.get(name, []))
            self.classifiers[name] = [nn.Parameter(weight) for weight in weights]


class _Embedded(NamedTuple):
    """Embeddings of all training images, before a clustering."""

    clustered: Float[Tensor, "n wide"]
    """Input of k-means."""
    imprinted: Mapping[Head, Float[Tensor, "n _"]]
    """Student embeddings to imprint group classifiers from; empty without classifiers."""


def _keep_known(
    weight: Float[Tensor, "_ dim"],
    old: Float[Tensor, "_ dim"],
    order: Int[Tensor, " clusters"],
    old_order: Int[Tensor, " clusters"],
) -> None:
    """Copy the rows of clusters that the old classifier covered.

    ``order`` and ``old_order`` give the k-means cluster of each row.
    """
    place = torch.empty_like(old_order)
    place[old_order] = torch.arange(len(place), device=place.device)
    place = place[order[: len(weight)]]
    known = place < len(old)
    weight[known] = old[place[known]]


def cluster_means(
    embeddings: Float[Tensor, "n dim"], labels: Int[Tensor, " n"], *, clusters: int
) -> Float[Tensor, "clusters dim"]:
    """Return the unit mean direction of each cluster's embeddings; 0 for an empty cluster."""
    unit = F.normalize(embeddings, dim=1)
    sums = unit.new_zeros(clusters, unit.shape[1]).index_add_(0, labels, unit)
    return F.normalize(sums, dim=1)
