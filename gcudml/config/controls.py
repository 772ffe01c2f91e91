"""Parameters of the controls: what every method is compared with."""

from __future__ import annotations

from typing import ClassVar, Literal

from gcudml.config.strict import Distance, Strict, Supervision


class UntrainedConfig(Strict):
    """Control: the network as initialised."""

    name: Literal["untrained"] = "untrained"
    supervision: ClassVar[Supervision] = "none"
    distance: ClassVar[Distance] = "cosine"


class PixelsConfig(Strict):
    """Control: the pixels themselves, compared by cosine."""

    name: Literal["pixels"] = "pixels"
    supervision: ClassVar[Supervision] = "none"
    distance: ClassVar[Distance] = "cosine"
