"""Parameters of GC-UDML."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field, model_validator

from gcudml.config.fields import ClusterNumber, Distance, Plain, Strict, Supervision, Weight


class LossWeights(Strict):
    """Weight of each term of the GC-UDML loss; 0 drops the term.

    The paper's weights are not known. The defaults come from a search on validation alphabets of
    Omniglot, trained from scratch (``studies/omniglot/loss_weights.yaml``), whose best settings
    were retrained with new seeds (``weights.yaml``). SHA-GCL and STML use weights of 1.
    """

    metric: Weight = 1.0
    group: Weight = 0.02
    collaborative: Weight = 0.02
    distillation: Weight = 0.5


class GcudmlConfig(Strict):
    """Group Collaborative Unsupervised Deep Metric Learning (doi 10.26599/TST.2024.9010228)."""

    name: Literal["gcudml"] = "gcudml"
    supervision: ClassVar[Supervision] = "none"
    distance: ClassVar[Distance] = "cosine"
    remarks: ClassVar[tuple[str, ...]] = (
        "GC-UDML is a reconstruction: only the abstract of its paper was available. Equations and "
        "settings are ours or those of the works it builds on, and no number here is the paper's.",
    )
    teacher_momentum: float = Field(default=0.9, ge=0.0, le=1.0)
    """Momentum of the moving average: fraction of the old teacher kept by an update; at 0 the
    teacher equals the student."""
    momentum_warmup: bool = True
    """Use min(m, (1+t)/(10+t)) at step t; ``false`` is the published form."""
    clusters: ClusterNumber = 100
    """Number of clusters, or their number as a fraction of the training images, such as 0.05, which
    suits data of any size."""
    cluster_with: Literal["teacher", "student"] = "teacher"
    recluster_every: int = Field(default=1, ge=1)
    """Epochs between two clusterings, each followed by re-sampling and imprinting."""
    groups: int | None = Field(default=4, ge=1)
    """Number of cluster groups, with equal ranges of log size. If ``clusters`` is a fraction that
    gives fewer clusters than groups, each cluster is a group. ``null``: use ``group_ratio``."""
    group_ratio: float | None = Field(default=None, gt=1.0)
    """SHA-GCL's rule: the largest cluster of a group is at most this many times its smallest."""
    group_floor: int = Field(default=5, ge=1)
    """With ``group_ratio``: stop cutting once largest / ratio is below this many images."""
    grouping: Literal["size", "random"] = "size"
    """``random`` is the control: groups of the same sizes, with clusters drawn at random."""
    cumulative: bool = True
    """Classifier k covers the clusters of groups 1..k, as in SHA-GCL; ``false``: only group k's."""
    transfer: Literal["top_down", "adjacency", "bidirectional", "none"] = "top_down"
    """Distillation between classifiers: ``top_down`` from each smaller set of clusters to every
    larger one, ``adjacency`` to the next larger one only, ``bidirectional`` both ways between all.
    """
    group_loss: Literal["classifier", "pair"] = "classifier"
    group_embedding: Literal["compact", "wide", "both"] = "compact"
    groups_from_epoch: int = Field(default=0, ge=0)
    """First epoch, from 0, with the terms ``group`` and ``collaborative``; their classifiers are
    imprinted from the start."""
    metric: Literal["multi_similarity", "cbml"] = "multi_similarity"
    """Loss of the metric term: multi-similarity with pair mining (arXiv:1904.06627), or CBML
    (arXiv:2210.04402), by the same research group, which uses the mean similarity of positives and
    negatives as context."""
    metric_args: dict[str, Plain] = Field(default_factory=dict)
    """Arguments of the metric loss, such as the temperatures ``alpha`` and ``beta`` (inverse, of
    positives and negatives) and the threshold ``base`` of multi-similarity."""
    distillation: Literal["relational", "logits"] = "relational"
    """What the student learns from the teacher: the relations between rows, or the logits of the
    teacher's own copies of the group classifiers on the wide embedding (needs ``group_embedding``
    wide or both)."""
    renumbering: Literal["imprint", "warm_start"] = "imprint"
    """At each clustering: ``imprint`` runs k-means from new centres and imprints all classifiers;
    ``warm_start`` runs it from the previous centres and classifiers keep the weights of clusters
    they already covered."""
    weights: LossWeights = LossWeights()
    scale: float = Field(default=16.0, gt=0.0, le=1000.0)
    """Scale of the group classifiers' cosine logits (not used by the pair loss)."""
    temperature: float = Field(default=1.0, gt=0.0, le=100.0)
    """Temperature of the collaborative distillation between groups and of ``distillation: logits``.
    """
    distillation_temperature: float = Field(default=1.0, gt=0.0, le=100.0)
    """Temperature of ``distillation: relational``, in units of a row's mean distance."""
    detach_source: bool = True
    """Stop the gradient at the classifier that teaches; ``false`` as in SHA-GCL's code."""
    metric_on: Literal["compact", "both"] = "compact"
    """Embeddings that the metric loss is applied to. ``compact`` leaves the wide head untrained
    unless the group terms train it."""

    @model_validator(mode="after")
    def _check_groups(self) -> GcudmlConfig:
        if (self.groups is None) == (self.group_ratio is None):
            raise ValueError("groups: give either groups or group_ratio, and null for the other")
        is_number = isinstance(self.clusters, int)  # of a share, the data decide
        if self.groups is not None and is_number and self.groups > self.clusters:
            raise ValueError(
                f"groups: {self.groups} groups of {self.clusters} clusters; "
                "needs groups <= clusters"
            )
        weights, distils = self.weights, self.transfer != "none"
        self._check_classifiers()
        if (
            self.group_loss == "classifier"
            and distils
            and weights.collaborative > 0 == weights.group
        ):
            raise ValueError(
                "weights.collaborative: no group term trains the classifiers, which agree from the "
                "start; set weights.collaborative to 0 or weights.group above 0"
            )
        is_relational = weights.distillation > 0 and self.distillation == "relational"
        if self.groups_from_epoch > 0 and weights.metric == 0 and not is_relational:
            raise ValueError(
                "groups_from_epoch: no term trains the student before the group terms start; set "
                "it to 0 or weights.metric above 0"
            )
        distils_to_compact = self.distillation == "relational" or self.group_embedding == "both"
        if weights.metric == 0 and not (
            (weights.group > 0 and self.group_embedding != "wide")
            or (weights.distillation > 0 and distils_to_compact)
        ):
            raise ValueError(
                "weights.metric: no remaining term trains the compact embedding; set it above 0"
            )
        if self.group_loss == "pair" and distils and weights.collaborative > 0:
            raise ValueError(
                "weights.collaborative: the pair loss has no class scores to distil; "
                "set weights.collaborative to 0 or group_loss to classifier"
            )
        return self

    def _check_classifiers(self) -> None:
        weights = self.weights
        if not self.cumulative and weights.collaborative > 0 and self.transfer != "none":
            raise ValueError(
                "weights.collaborative: classifiers of separate groups share no cluster; "
                "set weights.collaborative to 0 or cumulative to true"
            )
        if self.distillation == "logits" and weights.distillation > 0:
            if self.group_loss != "classifier" or weights.group == 0:
                raise ValueError(
                    "distillation: logits come from trained group classifiers; needs "
                    "group_loss: classifier and weights.group above 0"
                )
            if self.group_embedding == "compact":
                raise ValueError(
                    "distillation: the teacher has classifiers on the wide embedding only; "
                    "needs group_embedding: wide or both"
                )
