"""Parameters of the controls, the baselines that every method is compared with."""

from __future__ import annotations

from typing import ClassVar, Literal

from gcudml.config.fields import Distance, MetricLossConfig, Strict, Supervision


class UntrainedConfig(Strict):
    """Control: the network as initialised, or with its pretrained weights, without any training."""

    name: Literal["untrained"] = "untrained"
    supervision: ClassVar[Supervision] = "none"
    distance: ClassVar[Distance] = "cosine"
    remarks: ClassVar[tuple[str, ...]] = ()
    embedding: Literal["compact", "pooled", "best_free"] = "compact"
    """``compact``: the output of the untrained head. ``pooled``: the backbone's pooled features,
    which pretrained weights give for free. ``best_free``: the best that they give for free. It is
    chosen on the validation classes, or if there are none on training classes that are then held
    out, among average, maximum, average plus maximum and generalised-mean pooling (p = 3), each
    plain and half-whitened to ``model.embedding_dim``."""


class PixelsConfig(Strict):
    """Control: raw pixels, compared by cosine similarity."""

    name: Literal["pixels"] = "pixels"
    supervision: ClassVar[Supervision] = "none"
    distance: ClassVar[Distance] = "cosine"
    remarks: ClassVar[tuple[str, ...]] = ()


class SupervisedConfig(Strict):
    """Upper-bound control: a metric loss on the true classes."""

    name: Literal["supervised"] = "supervised"
    supervision: ClassVar[Supervision] = "all"
    distance: ClassVar[Distance] = "cosine"
    remarks: ClassVar[tuple[str, ...]] = (
        "The method supervised trains on the true classes: an upper bound, not a competitor.",
    )
    loss: MetricLossConfig = MetricLossConfig()


class InstanceConfig(Strict):
    """Lower-bound control: the views of an image are its only positives."""

    name: Literal["instance"] = "instance"
    supervision: ClassVar[Supervision] = "none"
    distance: ClassVar[Distance] = "cosine"
    remarks: ClassVar[tuple[str, ...]] = ()
    loss: MetricLossConfig = MetricLossConfig(name="nt_xent")
    """NT-Xent (Chen et al. 2020, arXiv:2002.05709) is the softmax over instances behind the
    *Instance* rows in published tables, with both views as anchors."""
