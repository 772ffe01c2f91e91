"""Random views of training images, computed per batch with independent draws for each image.

Random numbers come from a CPU generator and are moved to the images' device, so that views are the
same on CPU and GPU.
"""

import math

import torch
from jaxtyping import Float, UInt8
from torch import Tensor
from torch.nn import functional as F

from gcudml.config import Views


def to_unit(
    images: UInt8[Tensor, "batch channels height width"],
) -> Float[Tensor, "batch channels height width"]:
    """Scale pixels 0..255 to [-1, 1]."""
    return images.float().sub_(127.5).div_(127.5)


def centre(
    images: UInt8[Tensor, "batch channels height width"], size: int | None
) -> UInt8[Tensor, "batch channels tall wide"]:
    """Take the centre crop of side ``size`` of each image; None: the whole image."""
    height, width = images.shape[2:]
    if size is None or (size, size) == (height, width):
        return images
    top, left = (height - size) // 2, (width - size) // 2
    return images[:, :, top : top + size, left : left + size]


def random_views(
    images: UInt8[Tensor, "batch channels height width"],
    config: Views,
    *,
    generator: torch.Generator,
    size: int | None = None,
) -> Float[Tensor, "batch channels tall wide"]:
    """Draw one random view of each image: crop, rotation, flip, brightness and contrast.

    The crop has a random position, an area drawn from ``crop_scale`` and an aspect ratio of at most
    ``aspect``, and is resized to ``size`` (None: to the image's size). Crop, rotation and flip form
    one affine map, sampled once, bilinearly; border pixels are repeated beyond the border.

    Returns:
        Pixels around [-1, 1]; brightness and contrast may slightly exceed that range.
    """
    count, _, height, width = images.shape
    shape = (height, width) if size is None else (size, size)
    uniform = torch.rand(count, 8, generator=generator)
    maps = _random_maps(uniform, config).to(images.device, non_blocking=True)
    views = F.grid_sample(
        to_unit(images),
        sampling_grid(maps, shape),
        mode="bilinear",
        padding_mode="border",
        align_corners=False,
    )
    lighting = 2 * uniform[:, 6:8] - 1  # (batch, 2) in [-1, 1)
    lighting = lighting.to(images.device, non_blocking=True)  # avoids a GPU synchronisation
    contrast = 1 + config.contrast * lighting[:, 0, None, None, None]
    brightness = config.brightness * lighting[:, 1, None, None, None]
    return views.mul_(contrast).add_(brightness)


def sampling_grid(
    maps: Float[Tensor, "batch 2 3"], shape: tuple[int, int]
) -> Float[Tensor, "batch tall wide 2"]:
    """Compute where each pixel of a view lies in its image, as ``F.affine_grid`` but much faster.

    ``F.affine_grid`` multiplies every pixel's coordinates by a matrix. An affine map is also the
    sum of a term per row and a term per column, which are computed once each.
    """
    down, across = (
        torch.arange(1, 2 * side, 2, device=maps.device, dtype=maps.dtype) / side - 1
        for side in shape
    )
    of_rows = maps[:, :, 1, None] * down + maps[:, :, 2, None]  # (batch, 2, tall)
    of_columns = maps[:, :, 0, None] * across  # (batch, 2, wide)
    return (of_rows[:, :, :, None] + of_columns[:, :, None, :]).permute(0, 2, 3, 1)


def _random_maps(uniform: Float[Tensor, "batch 8"], config: Views) -> Float[Tensor, "batch 2 3"]:
    """Draw affine maps from a view's coordinates in [-1, 1] to the image's."""
    low, high = config.crop_scale
    area = low + (high - low) * uniform[:, 0]
    ratio = torch.exp((2 * uniform[:, 1] - 1) * math.log(config.aspect) / 2)
    wide = (area.sqrt() * ratio).clamp(max=1.0)
    tall = (area.sqrt() / ratio).clamp(max=1.0)
    across = (2 * uniform[:, 2] - 1) * (1 - wide)  # the crop stays inside the image
    down = (2 * uniform[:, 3] - 1) * (1 - tall)
    angle = (2 * uniform[:, 4] - 1) * math.radians(config.rotate_deg)
    mirror = torch.where(uniform[:, 5] < config.flip, -1.0, 1.0)

    cos, sin = angle.cos(), angle.sin()
    first = torch.stack([wide * cos * mirror, -wide * sin, across], dim=1)
    second = torch.stack([tall * sin * mirror, tall * cos, down], dim=1)
    return torch.stack([first, second], dim=1)
