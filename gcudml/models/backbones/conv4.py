"""Conv-4, the small network of the few-shot literature, with a faster forward for inference."""

import torch
from jaxtyping import Float
from torch import Tensor, nn


class Conv4(nn.Module):
    """Four blocks of 3x3 convolution, batch norm, max pooling (while maps are large) and ReLU.

    From Vinyals et al. 2016 (arXiv:1606.04080), where every block pools. Here pooling stops once
    the map is 4 pixels or less per side, so that global pooling still has several positions. Layers
    are named by their index, as in ``nn.Sequential``.
    """

    def __init__(self, width: int, *, channels: int, image_size: int) -> None:
        """Initialise with PyTorch's defaults, from the global random state."""
        super().__init__()
        layers: list[nn.Module] = []
        side = image_size
        for block in range(4):
            layers += [
                nn.Conv2d(channels if block == 0 else width, width, 3, padding=1, bias=False),
                nn.BatchNorm2d(width),
            ]
            if side > 4:
                layers.append(nn.MaxPool2d(2))
                side //= 2
            # After the pooling: same result at a quarter of the cost.
            layers.append(nn.ReLU(inplace=True))
        for place, layer in enumerate(layers):
            self.add_module(str(place), layer)

    def forward(
        self, images: Float[Tensor, "n channels height width"]
    ) -> Float[Tensor, "n features tall wide"]:
        """Compute feature maps of images."""
        maps, norm = images, None
        for layer in self.children():
            if norm is None and isinstance(layer, nn.BatchNorm2d):
                norm = layer  # applied once the next layer is known
                continue
            if norm is not None:
                if isinstance(layer, nn.MaxPool2d) and _may_pool_first(norm, maps):
                    maps, norm = norm(largest_of_four(maps)), None
                    continue
                maps, norm = norm(maps), None
            maps = layer(maps)
        return maps


def largest_of_four(
    maps: Float[Tensor, "n channels height width"],
) -> Float[Tensor, "n channels tall wide"]:
    """2x2 max pooling without recording the positions of the maxima, which only gradients need.

    Same values as ``max_pool2d``, including NaN if one of the four is; for contiguous maps on a
    CPU, in a twentieth of its time.
    """
    height, width = (side // 2 * 2 for side in maps.shape[2:])
    rows = torch.maximum(maps[:, :, 0:height:2], maps[:, :, 1:height:2])
    return torch.maximum(rows[..., 0:width:2], rows[..., 1:width:2])


def _may_pool_first(norm: nn.BatchNorm2d, maps: Tensor) -> bool:
    """Whether pooling before the norm gives the same numbers; it saves three quarters of the norm.

    A norm with fixed statistics and positive scales preserves the order of a channel's values,
    rounding included, so it commutes with the maximum. Not tested on a GPU, where reading the
    weights would synchronise.
    """
    if norm.training or torch.is_grad_enabled() or maps.device.type != "cpu":
        return False
    try:
        return bool((norm.weight > 0).all())
    except RuntimeError:  # under vmap, over stacked networks, there is no single answer
        return False
