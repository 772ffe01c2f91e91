"""What every source of networks gives: a network without its classifier, and how to fill it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TypeAlias

from torch import Tensor, nn

from gcudml.config.model import InputFormat

StateDict: TypeAlias = Mapping[str, Tensor]


def as_it_is(state: StateDict) -> StateDict:
    """The same state."""
    return state


@dataclass(frozen=True)
class Trunk:
    """A network from normalised images to maps ``(n, out_channels, h, w)``, freshly drawn."""

    module: nn.Module
    holder: nn.Module
    """The module, or the part of it that has the names which published weights have."""
    out_channels: int
    inputs: int
    """Channels of the images it takes."""
    own_format: InputFormat
    """How the published weights want their images."""
    prefix: str = ""
    """What a file of the features alone may leave out of all its names."""
    classifier: tuple[str, ...] = ()
    """Beginnings of names that only a whole network has."""
    adapt: Callable[[StateDict], StateDict] = as_it_is
    """Fits weights of another image size to this one's."""
    fetch: Callable[[], StateDict] | None = None
    """Gets the published weights, from the network if need be; None where there are none."""
