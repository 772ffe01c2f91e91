"""Parameters of the controls: what every method is compared with."""

from __future__ import annotations

from typing import ClassVar, Literal

from gcudml.config.fields import Distance, MetricLossConfig, Strict, Supervision


class UntrainedConfig(Strict):
    """Control: the network as initialised, or as its weights file left it."""

    name: Literal["untrained"] = "untrained"
    supervision: ClassVar[Supervision] = "none"
    distance: ClassVar[Distance] = "cosine"
    remarks: ClassVar[tuple[str, ...]] = ()
    embedding: Literal["compact", "pooled"] = "compact"
    """``pooled``: the backbone's features themselves, what pretrained weights give for nothing;
    ``compact``: behind the untrained head."""


class PixelsConfig(Strict):
    """Control: the pixels themselves, compared by cosine."""

    name: Literal["pixels"] = "pixels"
    supervision: ClassVar[Supervision] = "none"
    distance: ClassVar[Distance] = "cosine"
    remarks: ClassVar[tuple[str, ...]] = ()


class SupervisedConfig(Strict):
    """Control, the upper bound: a metric loss on the true classes."""

    name: Literal["supervised"] = "supervised"
    supervision: ClassVar[Supervision] = "all"
    distance: ClassVar[Distance] = "cosine"
    remarks: ClassVar[tuple[str, ...]] = (
        "The method supervised learns from the true classes: an upper bound, not a competitor.",
    )
    loss: MetricLossConfig = MetricLossConfig()


class InstanceConfig(Strict):
    """Control, the lower bound: the views of an image are its only positives."""

    name: Literal["instance"] = "instance"
    supervision: ClassVar[Supervision] = "none"
    distance: ClassVar[Distance] = "cosine"
    remarks: ClassVar[tuple[str, ...]] = ()
    loss: MetricLossConfig = MetricLossConfig(name="nt_xent")
    """NT-Xent (Chen et al. 2020, arXiv:2002.05709) is the softmax over instances that the field's
    *Instance* rows use, with both views as anchors."""
