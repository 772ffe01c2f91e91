"""Methods by name. Each is a room (or, for a bound, a file) here and an entry in the table.

The table ``gcudml.config.METHODS`` names the class of a method as text, so that its module is
imported only by the runs that use it.
"""

import pkgutil
from typing import Any

import torch
from jaxtyping import Int
from torch import Tensor

from gcudml.config import METHODS, AnyMethodConfig, RunConfig
from gcudml.data.splits import visible_labels
from gcudml.methods.interface import Method, RunContext
from gcudml.models.embedding import Embedder


def module_of(config: AnyMethodConfig) -> str:
    """The module of a method's class; empty for a control, which trains nothing."""
    return METHODS[config.name].builder.partition(":")[0]


def class_of(config: AnyMethodConfig) -> type[Method[Any]] | None:
    """A method's class, imported now; None for a control, which trains nothing."""
    builder = METHODS[config.name].builder
    found: type[Method[Any]] | None = pkgutil.resolve_name(builder) if builder else None
    return found


def build_method(context: RunContext) -> Method[Any]:
    """The method that the run's configuration names.

    Raises:
        ValueError: the method does not fit the data, or it is a control, which trains nothing.
    """
    config = context.config.method
    method = class_of(config)
    if method is None:
        raise ValueError(f"method.name: {config.name!r} trains nothing")
    return method(context, config)


def build_student(config: RunConfig, *, channels: int, seed: int) -> Embedder:
    """The network that the method trains, with fresh weights from ``seed``."""
    method = class_of(config.method)
    return Embedder(
        config.model,
        channels=channels,
        image_size=config.data.network_size,
        seed=seed,
        compact_from_maps=None if method is None else method.compact_head(config.method, config),
    )


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
