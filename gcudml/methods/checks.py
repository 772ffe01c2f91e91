"""What is refused before anything is trained, because its parts do not fit each other."""

from collections.abc import Mapping
from typing import NamedTuple

from gcudml.config import (
    CbswrConfig,
    GceConfig,
    InstanceConfig,
    MetricLossConfig,
    RunConfig,
    StmlConfig,
    SupervisedConfig,
    UdmlSsConfig,
    check_learners_fit,
)
from gcudml.losses.named import check_loss
from gcudml.methods.cbswr import check_views as check_two_views
from gcudml.methods.gce import check_learners
from gcudml.methods.instance import check_views
from gcudml.methods.stml import check_stml


class DataSizes(NamedTuple):
    """How much data there is."""

    images: Mapping[str, int]
    """By part: ``train``, ``val``, ``test``."""
    training_classes: int


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
        check_learners(method, images=images, classes=sizes.training_classes)
    elif (clusters := getattr(method, "clusters", 0)) > images:
        raise ValueError(
            f"method.clusters: {clusters} clusters of {images} training images; "
            "needs clusters <= images"
        )
    if isinstance(method, StmlConfig):
        check_stml(method, config.train, images=images)
    largest = max(config.evaluate.k)
    for part in ("val", "test"):
        if 0 < sizes.images[part] <= largest:
            raise ValueError(
                f"evaluate.k: Recall@{largest} of {sizes.images[part]} {part} images would always "
                "be 1; needs fewer neighbours than images"
            )


def _check_loss(config: MetricLossConfig) -> None:
    """Refuse an unknown loss, or one that does not take its arguments."""
    try:
        check_loss(config)
    except ValueError as error:
        raise ValueError(f"method.loss.{error}") from None
