"""The pixels themselves as embeddings: what no learning gives."""

import torch
from jaxtyping import Float, UInt8
from torch import Tensor
from torch.nn import functional as F

from gcudml.data.views import centre, random_views
from gcudml.models.inference import RandomViews

MOST_PIXELS, FEW_PIXELS = 128, 32  # a side
ROWS = 256
SHRUNK = (
    f"Raw pixels are those of images reduced to {FEW_PIXELS} x {FEW_PIXELS}: as they are, they "
    "would need more memory and time than the methods do."
)


def pixel_vectors(
    images: UInt8[Tensor, "n channels height width"],
    *,
    size: int,
    device: torch.device,
    views: RandomViews | None = None,
) -> Float[Tensor, "n values"]:
    """Unit vectors of the images' pixels in [0, 1], on the device.

    Images of more than ``MOST_PIXELS`` a side are first reduced to ``FEW_PIXELS`` by area.

    Args:
        images: On any device.
        size: Side of the centre square that is looked at.
        device: Where the vectors are wanted.
        views: Look at a random view of each image in place of the unchanged one.
    """
    rows = []
    for block in images.split(ROWS):
        if views is None:
            seen = centre(block, size).to(device).float()
        else:
            seen = random_views(
                block.to(device), views.config, generator=views.generator, size=size
            )
            seen = (seen + 1) * 127.5
        if size > MOST_PIXELS:
            seen = F.adaptive_avg_pool2d(seen, FEW_PIXELS)
        rows.append(F.normalize(seen.flatten(1), dim=1))
    return torch.cat(rows)
