"""Methods by name. Each is a room (or, for a bound, a file) here and an entry in the table.

The table ``gcudml.config.METHODS`` gives each method's class as a string, so that only the runs
that use a method import its module.
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
    """Return the module name of a method's class; empty for a control that trains nothing."""
    return METHODS[config.name].builder.partition(":")[0]


def class_of(config: AnyMethodConfig) -> type[Method[Any]] | None:
    """Import and return a method's class; None for a control that trains nothing."""
    builder = METHODS[config.name].builder
    found: type[Method[Any]] | None = pkgutil.resolve_name(builder) if builder else None
    return found


def build_method(context: RunContext) -> Method[Any]:
    """Create the method that the run's configuration names.

    Raises:
        ValueError: If the method does not fit the data or is a control that trains nothing.
    """
    config = context.config.method
    method = class_of(config)
    if method is None:
        raise ValueError(f"method.name: {config.name!r} trains nothing")
    return method(context, config)


def build_student(config: RunConfig, *, channels: int, seed: int) -> Embedder:
    """Create the network that the method trains, with weights initialised from ``seed``."""
    method = class_of(config.method)
    return Embedder(
        config.model,
        channels=channels,
        image_size=config.data.network_size,
        seed=seed,
        compact_from_maps=None if method is None else method.compact_head(config.method, config),
    )


def known_labels(config: RunConfig, labels: Int[Tensor, " n"]) -> Int[Tensor, " n"]:
    """Return the labels that the method may learn from; -1 = unlabelled.

    These are all labels, those of the labelled fraction or none, depending on its supervision.
    """
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
