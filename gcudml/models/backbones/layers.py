"""Layers shared by several backbones: input normalisation, frozen batch norm, padding.

Input normalisation is part of the network here, so that a model file includes it; in timm and
torchvision it is a transform of images, for data loaders.
"""

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.modules.batchnorm import _BatchNorm

from gcudml.config.model import InputFormat


class InputLayer(nn.Module):
    """Converts images to an input format: repeats grey, orders channels, scales and shifts.

    Scale and shift are buffers, not parameters: they are never trained.
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
        """Convert images of 1 or 3 channels to the format that the weights expect."""
        if images.shape[1] == 1:
            images = images.expand(-1, 3, -1, -1)
        elif self.is_bgr:
            images = images.flip(1)
        return torch.addcmul(self.shift, images, self.scale)


def input_layer(wanted: InputFormat, *, channels: int, inputs: int) -> InputLayer | None:
    """Build the layer that converts images for a network; None if no conversion is needed.

    Args:
        wanted: Input format that the network expects.
        channels: Channels of the images.
        inputs: Channels that the network takes.
    """
    is_plain = wanted.is_grey and wanted.mean[0] == wanted.std[0] == wanted.range / 2
    if is_plain and channels == inputs and (wanted.order == "rgb" or channels == 1):
        return None
    return InputLayer(wanted)


def freeze_batch_norm(network: nn.Module) -> None:
    """Freeze statistics, scale and shift of all batch norms, in place.

    Survives ``train()`` and copying. Uses a pre-hook instead of replacing layers, because libraries
    have batch norms of their own that include an activation. timm's ``freeze_batch_norm_2d`` does
    replace them, which leaves out the counters of batches: older model files would no longer fit.
    """
    for module in network.modules():
        if isinstance(module, _BatchNorm):
            module.requires_grad_(False)
            module.register_forward_pre_hook(_stay_in_eval)


def _stay_in_eval(module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
    module.training = False  # train() has set it at the start of the epoch


class SamePadding(nn.Module):
    """Zero padding with which a stride-2 convolution halves the sides of a map, rounded up.

    An odd number of zeros puts the extra one at the right and bottom: before a 3x3 convolution, a
    map of even size is padded only there, a map of odd size on all sides. Equal to timm's
    ``Conv2dSame``, which would rename the weights of older model files and take seconds to import.
    """

    def __init__(self, kernel: int) -> None:
        super().__init__()
        self.kernel = kernel

    def forward(
        self, maps: Float[Tensor, "n c height width"]
    ) -> Float[Tensor, "n c padded_height padded_width"]:
        """Pad the map."""
        height, width = maps.shape[2:]
        return F.pad(maps, [*self._sides(width), *self._sides(height)])

    def _sides(self, size: int) -> tuple[int, int]:
        """Zeros before and after one axis."""
        zeros = max(2 * ((size + 1) // 2 - 1) + self.kernel - size, 0)
        return zeros // 2, zeros - zeros // 2


def pad_as_tensorflow(network: nn.Module) -> int:
    """Give every padded stride-2 convolution ``SamePadding``, in place; return their number.

    Load weights before calling this, since it changes the names of the convolutions.
    """
    found = [
        name
        for name, module in network.named_modules()
        if isinstance(module, nn.Conv2d) and module.stride == (2, 2) and module.padding != (0, 0)
    ]
    for name in found:
        convolution = network.get_submodule(name)
        assert isinstance(convolution, nn.Conv2d)
        convolution.padding = (0, 0)
        parent, _, child = name.rpartition(".")
        padded = nn.Sequential(SamePadding(convolution.kernel_size[0]), convolution)
        setattr(network.get_submodule(parent), child, padded)
    return len(found)
