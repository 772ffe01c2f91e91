"""Common interface of all backbone sources: a network without its classifier, and its weights."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TypeAlias

from torch import Tensor, nn

from gcudml.config.model import InputFormat

StateDict: TypeAlias = Mapping[str, Tensor]


def as_it_is(state: StateDict) -> StateDict:
    """Return the state unchanged."""
    return state


@dataclass(frozen=True)
class Trunk:
    """A randomly initialised network from normalised images to maps ``(n, out_channels, h, w)``."""

    module: nn.Module
    holder: nn.Module
    """``module``, or the part of it whose names match those of published weights."""
    out_channels: int
    inputs: int
    """Channels of the images it takes."""
    own_format: InputFormat
    """Input format of the published weights."""
    prefix: str = ""
    """Name prefix that a file of the features alone may omit."""
    classifier: tuple[str, ...] = ()
    """Name prefixes of the classifier's weights, which only a whole network has."""
    adapt: Callable[[StateDict], StateDict] = as_it_is
    """Converts weights for another image size, or with other code's names, to this network's."""
    download: str = ""
    """Address of the published weights."""
    fetch: Callable[[], StateDict] | None = None
    """Loads the published weights, downloading them if necessary; None if there are none."""
