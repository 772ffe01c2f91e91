"""Methods by name: adding one is a file here, its configuration and a case below.

A method is imported where it is used: its code counts for the runs that use it and for no others.
"""

import functools

import torch
from jaxtyping import Int
from torch import Tensor

from gcudml.config import (
    CbswrConfig,
    GceConfig,
    GcudmlConfig,
    InstanceConfig,
    RunConfig,
    StmlConfig,
    SupervisedConfig,
    UdmlSsConfig,
)
from gcudml.data.splits import visible_labels
from gcudml.methods.interface import Method, Setup
from gcudml.models.embedding import Embedder


def module_of(config: RunConfig) -> str:
    """The module of the method that the run's configuration names.

    A control, which trains nothing, has none.
    """
    name = config.method.name
    in_file = isinstance(config.method, SupervisedConfig | InstanceConfig)
    return f"{__name__}.{name}" if in_file else f"{__name__}.{name}.method"


def build_method(setup: Setup) -> Method:
    """The method that the run's configuration names.

    Raises:
        ValueError: the method does not fit the data, or it is a control, which trains nothing.
    """
    match setup.config.method:
        case GcudmlConfig() as config:
            from gcudml.methods.gcudml.method import Gcudml

            return Gcudml(setup, config)
        case StmlConfig() as config:
            from gcudml.methods.stml.method import Stml

            return Stml(setup, config)
        case UdmlSsConfig() as config:
            from gcudml.methods.udml_ss.method import UdmlSs

            return UdmlSs(setup, config)
        case CbswrConfig() as config:
            from gcudml.methods.cbswr.method import Cbswr

            return Cbswr(setup, config)
        case GceConfig() as config:
            from gcudml.methods.gce.method import Gce

            return Gce(setup, config)
        case SupervisedConfig() as config:
            from gcudml.methods.supervised import Supervised

            return Supervised(setup, config)
        case InstanceConfig() as config:
            from gcudml.methods.instance import Instance

            return Instance(setup, config)
    raise ValueError(f"method.name: {setup.config.method.name!r} trains nothing")


def build_student(config: RunConfig, *, channels: int, seed: int) -> Embedder:
    """The network that the method trains, with fresh weights from ``seed``."""
    method, compact_from_maps = config.method, None
    if isinstance(method, GceConfig):
        from gcudml.methods.gce.group_head import GroupHead

        compact_from_maps = functools.partial(
            GroupHead,
            dim=config.model.embedding_dim,
            learners=method.learners,
            block=method.block,
            width=method.block_width,
        )
    return Embedder(
        config.model,
        channels=channels,
        image_size=config.data.network_size,
        seed=seed,
        compact_from_maps=compact_from_maps,
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
