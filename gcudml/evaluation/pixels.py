"""Raw pixels as embeddings: the baseline without learning."""

import torch
from jaxtyping import Float, UInt8
from torch import Tensor
from torch.nn import functional as F

from gcudml.data.views import centre, random_views
from gcudml.models.inference import RandomViews

MOST_PIXELS, FEW_PIXELS = 128, 32  # per side
ROWS = 256
SHRUNK = (
    f"The raw-pixel control uses images reduced to {FEW_PIXELS} x {FEW_PIXELS}: at full size it "
    "would need more memory and time than the methods do."
)


def pixel_vectors(
    images: UInt8[Tensor, "n channels height width"],
    *,
    size: int,
    device: torch.device,
    views: RandomViews | None = None,
) -> Float[Tensor, "n values"]:
    """Flatten the pixels of each image to a unit vector, on the device.

    Images of more than ``MOST_PIXELS`` per side are first reduced to ``FEW_PIXELS`` by averaging.

    Args:
        images: On any device.
        size: Side of the centre crop that is used.
        device: Device of the result.
        views: Use a random view of each image instead of the unchanged one.
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
