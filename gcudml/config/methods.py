"""Table of the methods: the configuration of each, and the class that trains with it.

To register a method, add an entry to ``METHODS`` and its configuration to ``AnyMethodConfig``. The
latter is spelled out for type checkers.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, NamedTuple, TypeAlias

from pydantic import Field

from gcudml.config.cbswr import CbswrConfig
from gcudml.config.controls import InstanceConfig, PixelsConfig, SupervisedConfig, UntrainedConfig
from gcudml.config.fields import Supervision
from gcudml.config.gce import GceConfig
from gcudml.config.gcudml import GcudmlConfig
from gcudml.config.stml import StmlConfig
from gcudml.config.udml_ss import UdmlSsConfig

AnyMethodConfig: TypeAlias = (
    GcudmlConfig
    | StmlConfig
    | UdmlSsConfig
    | CbswrConfig
    | GceConfig
    | SupervisedConfig
    | InstanceConfig
    | UntrainedConfig
    | PixelsConfig
)
MethodConfig = Annotated[AnyMethodConfig, Field(discriminator="name")]


class MethodEntry(NamedTuple):
    """Configuration and class of one method."""

    config: type[AnyMethodConfig]
    builder: str = ""
    """Class of the method as ``module:name``. It is a string, so that only the runs that use the
    module import it and include it in their code version. Empty for a control that trains nothing.
    """


METHODS: Mapping[str, MethodEntry] = {
    "gcudml": MethodEntry(GcudmlConfig, "gcudml.methods.gcudml.method:Gcudml"),
    "stml": MethodEntry(StmlConfig, "gcudml.methods.stml.method:Stml"),
    "udml_ss": MethodEntry(UdmlSsConfig, "gcudml.methods.udml_ss.method:UdmlSs"),
    "cbswr": MethodEntry(CbswrConfig, "gcudml.methods.cbswr.method:Cbswr"),
    "gce": MethodEntry(GceConfig, "gcudml.methods.gce.method:Gce"),
    "supervised": MethodEntry(SupervisedConfig, "gcudml.methods.supervised:Supervised"),
    "instance": MethodEntry(InstanceConfig, "gcudml.methods.instance:Instance"),
    "untrained": MethodEntry(UntrainedConfig),
    "pixels": MethodEntry(PixelsConfig),
}


def is_control(config: AnyMethodConfig) -> bool:
    """Whether the method is a control that trains nothing."""
    return not METHODS[config.name].builder


def method_names(*supervision: Supervision) -> list[str]:
    """Return the names of the methods whose default supervision is one of those given.

    Controls that train nothing are left out.
    """
    trained = {name: entry for name, entry in METHODS.items() if entry.builder}
    return [name for name, entry in trained.items() if entry.config().supervision in supervision]
