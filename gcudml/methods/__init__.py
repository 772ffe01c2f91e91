"""Methods by name: adding one is a file here, its configuration and a line below."""

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
from gcudml.methods.cbswr import Cbswr
from gcudml.methods.gce import Gce
from gcudml.methods.gcudml import Gcudml
from gcudml.methods.instance import Instance
from gcudml.methods.interface import Method, Setup
from gcudml.methods.stml import Stml
from gcudml.methods.supervised import Supervised
from gcudml.methods.udml_ss import UdmlSs
from gcudml.models.embedding import Embedder
from gcudml.models.group_head import GroupHead


def build_method(setup: Setup) -> Method:
    """The method that the run's configuration names.

    Raises:
        ValueError: the method does not fit the data, or it is a control, which trains nothing.
    """
    match setup.config.method:
        case GcudmlConfig() as config:
            return Gcudml(setup, config)
        case StmlConfig() as config:
            return Stml(setup, config)
        case UdmlSsConfig() as config:
            return UdmlSs(setup, config)
        case CbswrConfig() as config:
            return Cbswr(setup, config)
        case GceConfig() as config:
            return Gce(setup, config)
        case SupervisedConfig() as config:
            return Supervised(setup, config)
        case InstanceConfig() as config:
            return Instance(setup, config)
    raise ValueError(f"method.name: {setup.config.method.name!r} trains nothing")


def build_student(config: RunConfig, *, channels: int, seed: int) -> Embedder:
    """The network that the method trains, with fresh weights from ``seed``."""
    method, compact_from_maps = config.method, None
    if isinstance(method, GceConfig):
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
