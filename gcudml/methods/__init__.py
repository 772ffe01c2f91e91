"""Methods by name: adding one is a file here, its configuration and the lines below."""

from collections.abc import Mapping
from typing import NamedTuple

import torch
from jaxtyping import Int
from torch import Tensor

from gcudml.config import (
    CbswrConfig,
    GcudmlConfig,
    InstanceConfig,
    MetricLossConfig,
    RunConfig,
    SupervisedConfig,
    UdmlSsConfig,
)
from gcudml.data.splits import visible_labels
from gcudml.losses.named import NamedLoss
from gcudml.methods.cbswr import Cbswr
from gcudml.methods.cbswr import check_views as check_two_views
from gcudml.methods.gcudml import Gcudml
from gcudml.methods.instance import Instance, check_views
from gcudml.methods.interface import Method, Setup
from gcudml.methods.supervised import Supervised
from gcudml.methods.udml_ss import UdmlSs
from gcudml.models.embedding import Embedder


def build_method(setup: Setup) -> Method:
    """The method that the run's configuration names.

    Raises:
        ValueError: the method does not fit the data, or it is a control, which trains nothing.
    """
    config = setup.config.method
    if isinstance(config, GcudmlConfig):
        return Gcudml(setup, config)
    if isinstance(config, UdmlSsConfig):
        return UdmlSs(setup, config)
    if isinstance(config, CbswrConfig):
        return Cbswr(setup, config)
    if isinstance(config, SupervisedConfig):
        return Supervised(setup, config)
    if isinstance(config, InstanceConfig):
        return Instance(setup, config)
    raise ValueError(f"method.name: {config.name!r} trains nothing")


def check_settings(config: RunConfig) -> None:
    """Refuse settings that are fine by themselves and impossible together.

    Raises:
        ValueError: ``section.key: what; remedy``.
    """
    method = config.method
    if config.data.labelled_fraction > 0 and method.supervision != "some":
        knows = "all labels" if method.supervision == "all" else "no label"
        raise ValueError(
            f"data.labelled_fraction: method {method.name} uses {knows}, whatever the fraction; "
            "set it to 0 or choose a semi-supervised method (stml)"
        )
    if isinstance(method, InstanceConfig):
        check_views(config)
    if isinstance(method, CbswrConfig):
        check_two_views(config.train.views)
    if isinstance(method, InstanceConfig | SupervisedConfig | UdmlSsConfig):
        check_loss(method.loss)


def check_loss(config: MetricLossConfig) -> None:
    """Refuse an unknown loss, or one that does not take its arguments.

    Raises:
        ValueError: ``method.loss.key: ...``.
    """
    try:
        NamedLoss(config, classes=2, embedding_dim=2, seed=0)
    except ValueError as error:
        raise ValueError(f"method.loss.{error}") from None


def build_student(config: RunConfig, *, channels: int, seed: int) -> Embedder:
    """The network that the method trains, with fresh weights from ``seed``."""
    return Embedder(config.model, channels=channels, image_size=config.data.network_size, seed=seed)


def known_labels(config: RunConfig, labels: Int[Tensor, " n"]) -> Int[Tensor, " n"]:
    """What the method may learn from: all classes, those of a labelled share, or none (-1)."""
    if config.method.supervision == "all":
        return labels
    if config.method.supervision == "none":
        return torch.full_like(labels, -1)
    visible = visible_labels(
        labels.cpu().numpy(),
        classes=int(labels.max()) + 1,
        fraction=config.data.labelled_fraction,
        seed=config.data.split.seed,
    )
    return torch.from_numpy(visible).to(labels.device)


class DataSizes(NamedTuple):
    """How much data there is."""

    images: Mapping[str, int]
    """By part: ``train``, ``val``, ``test``."""
    training_classes: int


def check_fits(config: RunConfig, sizes: DataSizes) -> None:
    """Refuse parameters that so few images or classes cannot serve.

    Raises:
        ValueError: ``section.key: what; remedy``.
    """
    images = sizes.images["train"]
    clusters = getattr(config.method, "clusters", 0)
    if clusters > images:
        raise ValueError(
            f"method.clusters: {clusters} clusters of {images} training images; "
            "needs clusters <= images"
        )
    largest = max(config.evaluate.k)
    for part in ("val", "test"):
        if 0 < sizes.images[part] <= largest:
            raise ValueError(
                f"evaluate.k: Recall@{largest} of {sizes.images[part]} {part} images would always "
                "be 1; needs fewer neighbours than images"
            )
