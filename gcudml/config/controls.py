"""Parameters of the controls: what every method is compared with."""

from __future__ import annotations

from typing import Literal

from gcudml.config.strict import Strict


class UntrainedConfig(Strict):
    """Control: the network as initialised."""

    name: Literal["untrained"] = "untrained"


class PixelsConfig(Strict):
    """Control: the pixels themselves, compared by cosine."""

    name: Literal["pixels"] = "pixels"
