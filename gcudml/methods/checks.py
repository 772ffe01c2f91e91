"""What is refused before anything is trained, because its parts do not fit each other.

The rules of a method are imported with it, for the runs that use it; see ``gcudml.methods``.
"""

from collections.abc import Mapping
from typing import NamedTuple

from gcudml.config import (
    CbswrConfig,
    GceConfig,
    GcudmlConfig,
    InstanceConfig,
    MetricLossConfig,
    PixelsConfig,
    RunConfig,
    StmlConfig,
    SupervisedConfig,
    UdmlSsConfig,
    UntrainedConfig,
    check_learners_fit,
    count_clusters,
)
from gcudml.data.datasets import has_classes
from gcudml.losses.named import check_loss

STACKED = ("conv4", "resnet", "squeezenet", "mobilenet_v2")
"""How the names of networks begin whose stacks are tested to compute the same."""


class DataSizes(NamedTuple):
    """How much data there is."""

    images: Mapping[str, int]
    """By part: ``train``, ``val``, ``test``."""
    training_classes: int
    """Of two images or more: of one, nothing can be learned."""
    gallery: int | None = None
    """Test images that queries are compared with, where these are told apart."""


def check_settings(config: RunConfig) -> None:
    """Refuse settings that are fine by themselves and impossible together.

    Raises:
        ValueError: ``section.key: what; remedy``.
    """
    method = config.method
    is_control = isinstance(method, PixelsConfig | UntrainedConfig)  # of a study of other methods
    if method.supervision == "all" and not has_classes(config.data):
        raise ValueError(
            f"method.name: {method.name} learns from classes, and data.labels is none; choose "
            "gcudml, stml, udml_ss, cbswr, instance, or gce with method.labels pseudo"
        )
    if config.data.labelled_fraction > 0 and method.supervision != "some" and not is_control:
        knows = "all labels" if method.supervision == "all" else "no label"
        raise ValueError(
            f"data.labelled_fraction: method {method.name} uses {knows}, whatever the fraction; "
            "set it to 0 or choose a semi-supervised method (stml)"
        )
    if isinstance(method, InstanceConfig):
        from gcudml.methods.instance import check_views

        check_views(config)
    if isinstance(method, CbswrConfig):
        from gcudml.methods.cbswr.method import check_views as check_two_views

        check_two_views(config.train.views)
    if isinstance(method, GceConfig):
        check_learners_fit(method, model=config.model, train=config.train)
    if isinstance(method, InstanceConfig | SupervisedConfig | UdmlSsConfig):
        _check_loss(method.loss)


def check_fits(config: RunConfig, sizes: DataSizes) -> None:
    """Refuse parameters that so few images or classes cannot serve.

    Raises:
        ValueError: ``section.key: what; remedy``.
    """
    method, images = config.method, sizes.images["train"]
    if isinstance(method, GceConfig):
        from gcudml.methods.gce.method import check_learners

        check_learners(method, images=images, classes=sizes.training_classes)
    elif (
        isinstance(method, GcudmlConfig | UdmlSsConfig)
        and (clusters := count_clusters(method.clusters, images=images)) > images - 2
    ):
        raise ValueError(
            f"method.clusters: {clusters} clusters of {images} training images; a batch "
            f"needs two of two images or more, so at most {images - 2}"
        )
    elif isinstance(method, SupervisedConfig) and sizes.training_classes < 2:
        raise ValueError(
            f"data.root: {sizes.training_classes} training classes have two images or more, and "
            "supervised training compares two; add images"
        )
    if isinstance(method, StmlConfig):
        from gcudml.methods.stml.method import check_stml

        check_stml(method, config.train, images=images)
    if not has_classes(config.data):
        return
    largest = max(config.evaluate.k)
    found_in = {
        "val": sizes.images["val"],
        "test": sizes.images["test"] if sizes.gallery is None else sizes.gallery + 1,
    }
    for part, count in found_in.items():
        if 0 < count <= largest:
            kind = "gallery" if part == "test" and sizes.gallery is not None else part
            raise ValueError(
                f"evaluate.k: Recall@{largest} of {count - (kind == 'gallery')} {kind} images "
                "would always be 1; needs fewer neighbours than images"
            )


def may_be_stacked(config: RunConfig) -> bool:
    """Whether a run may be trained together with others, its network being part of a stack.

    Not a network with dropout or stochastic depth: in a stack it would draw other numbers.
    """
    method = config.method
    if isinstance(method, PixelsConfig | UntrainedConfig):
        return False
    return config.model.backbone.startswith(STACKED)


def _check_loss(config: MetricLossConfig) -> None:
    """Refuse an unknown loss, or one that does not take its arguments."""
    try:
        check_loss(config)
    except ValueError as error:
        raise ValueError(f"method.loss.{error}") from None
