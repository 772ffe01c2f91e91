"""Parameters of GC-UDML."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field, model_validator

from gcudml.config.fields import ClusterNumber, Distance, Strict, Supervision, Weight


class LossWeights(Strict):
    """How much each term of the GC-UDML loss counts; 0 leaves the term out.

    The paper's weights are not known. The defaults come from a search on validation alphabets of
    Omniglot from scratch (``studies/omniglot/loss_weights.yaml``), whose best settings were
    trained again on fresh seeds (``weights.yaml``); SHA-GCL's and STML's own weights are 1.
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
        "GC-UDML is a reconstruction: of its paper only the abstract could be read. Equations and "
        "settings are ours or those of the works it rests on, and no number here is the paper's.",
    )
    teacher_momentum: float = Field(default=0.9, ge=0.0, le=1.0)
    """Share of the old teacher that a step keeps; 0 = the teacher is the student."""
    momentum_warmup: bool = True
    """Use min(m, (1+t)/(10+t)) at step t; ``false`` is the published form."""
    clusters: ClusterNumber = 100
    """A number, or a share of the training images, such as 0.05: then data of any size will do."""
    cluster_with: Literal["teacher", "student"] = "teacher"
    recluster_every: int = Field(default=1, ge=1)
    """Epochs between two clusterings; re-sampling and imprinting go with it."""
    groups: int | None = Field(default=4, ge=1)
    """This many groups of clusters, equal in log-size range, or one a cluster where a share of the
    images makes fewer clusters; ``null``: by ``group_ratio``."""
    group_ratio: float | None = Field(default=None, gt=1.0)
    """SHA-GCL's rule: a group's largest cluster is at most so many times its smallest."""
    group_floor: int = Field(default=5, ge=1)
    """With ``group_ratio``: no further cut once largest / ratio is below so many images."""
    grouping: Literal["size", "random"] = "size"
    """``random`` is the control: groups of the same sizes, clusters drawn at random."""
    cumulative: bool = True
    """Classifier k knows the clusters of groups 1..k, as in SHA-GCL; ``false``: of group k."""
    transfer: Literal["top_down", "adjacency", "bidirectional", "none"] = "top_down"
    """Which classifiers teach: every smaller set each larger one, its neighbour, or both ways."""
    group_loss: Literal["classifier", "pair"] = "classifier"
    group_embedding: Literal["compact", "wide", "both"] = "compact"
    metric: Literal["multi_similarity", "cbml"] = "multi_similarity"
    """Loss of the metric term: with pair mining (arXiv:1904.06627), or contextualised by the means
    of positives and negatives (CBML, arXiv:2210.04402), a loss of the same group."""
    distillation: Literal["relational", "logits"] = "relational"
    """What the teacher hands on: how rows relate, or the class scores of its own copies of the
    group classifiers on the wide embedding (needs ``group_embedding`` wide or both)."""
    renumbering: Literal["imprint", "warm_start"] = "imprint"
    """At a clustering: k-means anew and all classifiers imprinted, or k-means from the centres
    before and classifiers that keep the clusters they knew."""
    weights: LossWeights = LossWeights()
    scale: float = Field(default=16.0, gt=0.0, le=1000.0)
    """Factor on the cosine logits of the group classifiers (not used by the pair loss)."""
    temperature: float = Field(default=1.0, gt=0.0, le=100.0)
    """Of the collaborative distillation between groups, and of ``distillation: logits``."""
    detach_source: bool = True
    """Whether the smaller group's classifier only teaches; ``false`` is SHA-GCL's code."""
    metric_on: Literal["compact", "both"] = "compact"
    """Embeddings that the metric term acts on; ``compact`` leaves the wide head untrained, unless
    the group terms act on it."""

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
                "weights.collaborative: classifiers that no group term trains agree from the "
                "start; set weights.collaborative to 0 or weights.group above 0"
            )
        distils_to_compact = self.distillation == "relational" or self.group_embedding == "both"
        if weights.metric == 0 and not (
            (weights.group > 0 and self.group_embedding != "wide")
            or (weights.distillation > 0 and distils_to_compact)
        ):
            raise ValueError(
                "weights.metric: no term is left that trains the compact embedding; set it above 0"
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
                    "distillation: logits are those of trained group classifiers; needs "
                    "group_loss: classifier and weights.group above 0"
                )
            if self.group_embedding == "compact":
                raise ValueError(
                    "distillation: the teacher has classifiers on the wide embedding only; "
                    "needs group_embedding: wide or both"
                )
