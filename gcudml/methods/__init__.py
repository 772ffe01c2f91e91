"""Methods by name: adding one is a file here, its configuration and the lines below."""

import torch
from jaxtyping import Int
from torch import Tensor

from gcudml.config import GcudmlConfig, RunConfig, StmlConfig
from gcudml.methods.gcudml import Gcudml
from gcudml.methods.interface import Method, Setup
from gcudml.methods.stml import Stml
from gcudml.models.embedding import Embedder


def build_method(setup: Setup) -> Method:
    """The method that the run's configuration names.

    Raises:
        ValueError: the method does not fit the data, or it is a control, which trains nothing.
    """
    config = setup.config.method
    if isinstance(config, GcudmlConfig):
        return Gcudml(setup, config)
    if isinstance(config, StmlConfig):
        return Stml(setup, config)
    raise ValueError(f"method.name: {config.name!r} trains nothing")


def build_student(config: RunConfig, *, channels: int, seed: int) -> Embedder:
    """The network that the method trains, with fresh weights from ``seed``."""
    return Embedder(config.model, channels=channels, image_size=config.data.network_size, seed=seed)


def known_labels(config: RunConfig, labels: Int[Tensor, " n"]) -> Int[Tensor, " n"]:
    """What the method may learn from: all classes, those of a labelled share, or none (-1)."""
    if config.method.supervision == "all":
        return labels
    return torch.full_like(labels, -1)


def check_fits(config: RunConfig, *, images: int, classes: int) -> None:
    """Refuse a method that so few training images or classes cannot serve.

    Raises:
        ValueError: ``method.key: what; remedy``.
    """
    clusters = getattr(config.method, "clusters", 0)
    if clusters > images:
        raise ValueError(
            f"method.clusters: {clusters} clusters of {images} training images; "
            "needs clusters <= images"
        )
