"""Random views of training images, a whole batch at a time, every image with its own draw.

Random numbers come from a CPU generator and are moved to the images' device, so that CPU and GPU
see the same views.
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
    """Pixels 0..255 as numbers in [-1, 1]."""
    return images.float().sub_(127.5).div_(127.5)


def centre(
    images: UInt8[Tensor, "batch channels height width"], size: int | None
) -> UInt8[Tensor, "batch channels tall wide"]:
    """The square of side ``size`` in the middle of each image; None: the whole images."""
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
    """One random view of each image: crop, rotation, flip, brightness and contrast.

    The crop takes a share of the area drawn from ``crop_scale``, with sides in a ratio of at most
    ``aspect``, from a random place, and is resized to ``size`` (None: to the image's size). Crop,
    rotation and flip are one affine map, sampled bilinearly once; beyond the border the border is
    repeated.

    Returns:
        Pixels around [-1, 1]; brightness and contrast may exceed it a little.
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
    lighting = lighting.to(images.device, non_blocking=True)  # else a GPU is waited for
    contrast = 1 + config.contrast * lighting[:, 0, None, None, None]
    brightness = config.brightness * lighting[:, 1, None, None, None]
    return views.mul_(contrast).add_(brightness)


def sampling_grid(
    maps: Float[Tensor, "batch 2 3"], shape: tuple[int, int]
) -> Float[Tensor, "batch tall wide 2"]:
    """Where each pixel of a view lies in its image: ``F.affine_grid``, much faster.

    That one multiplies every pixel's coordinates by a matrix. A map is affine, so one part for the
    row and one for the column, added, are the same.
    """
    down, across = (
        torch.arange(1, 2 * side, 2, device=maps.device, dtype=maps.dtype) / side - 1
        for side in shape
    )
    of_rows = maps[:, :, 1, None] * down + maps[:, :, 2, None]  # (batch, 2, tall)
    of_columns = maps[:, :, 0, None] * across  # (batch, 2, wide)
    return (of_rows[:, :, :, None] + of_columns[:, :, None, :]).permute(0, 2, 3, 1)


def _random_maps(uniform: Float[Tensor, "batch 8"], config: Views) -> Float[Tensor, "batch 2 3"]:
    """Affine maps from a view's coordinates in [-1, 1] to the image's."""
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
