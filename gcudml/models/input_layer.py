"""The first layer of a pretrained network: from pixels in [-1, 1] to what its weights expect."""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from gcudml.config.input_format import InputFormat


class InputLayer(nn.Module):
    """Repeats grey images, puts colours in order and shifts and scales each.

    Scale and shift are no parameters: nothing trains them.
    """

    scale: Tensor
    shift: Tensor

    def __init__(self, wanted: InputFormat) -> None:
        super().__init__()
        self.is_bgr = wanted.order == "bgr"
        mean = torch.tensor(wanted.mean, dtype=torch.float64)
        std = torch.tensor(wanted.std, dtype=torch.float64)
        half = wanted.range / 2  # a pixel p of [-1, 1] is (p + 1) * half of 0..range
        self.register_buffer("scale", (half / std).float()[:, None, None], persistent=False)
        self.register_buffer("shift", ((half - mean) / std).float()[:, None, None], False)

    def forward(
        self, images: Float[Tensor, "n channels height width"]
    ) -> Float[Tensor, "n 3 height width"]:
        """Images of 1 or 3 channels as the weights expect them."""
        if images.shape[1] == 1:
            images = images.expand(-1, 3, -1, -1)
        elif self.is_bgr:
            images = images.flip(1)
        return torch.addcmul(self.shift, images, self.scale)


def input_layer(wanted: InputFormat, *, channels: int, inputs: int) -> InputLayer | None:
    """What must stand before a network; None where images can enter as they are.

    Args:
        wanted: How the network wants its images.
        channels: Of the images.
        inputs: Channels that the network takes.
    """
    is_plain = wanted.is_grey and wanted.mean[0] == wanted.std[0] == wanted.range / 2
    if is_plain and channels == inputs and (wanted.order == "rgb" or channels == 1):
        return None
    return InputLayer(wanted)
