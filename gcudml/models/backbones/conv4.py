"""The few-shot literature's small network, and a shorter way through it without gradient."""

import torch
from jaxtyping import Float
from torch import Tensor, nn


class Conv4(nn.Module):
    """Four blocks of 3x3 convolution, batch norm, pooling while maps are large, and ReLU.

    Of Vinyals et al. 2016 (arXiv:1606.04080). It pools after every block there; here pooling ends
    once the map is 4 pixels or less, so that the global pooling behind it has something left to
    choose from. Layers are named by their place, as those of ``nn.Sequential``.
    """

    def __init__(self, width: int, *, channels: int, image_size: int) -> None:
        """Weights as PyTorch draws them, from the global random state."""
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
            # After the pooling: the same, at a quarter of the cost.
            layers.append(nn.ReLU(inplace=True))
        for place, layer in enumerate(layers):
            self.add_module(str(place), layer)

    def forward(
        self, images: Float[Tensor, "n channels height width"]
    ) -> Float[Tensor, "n features tall wide"]:
        """Maps of images."""
        maps, norm = images, None
        for layer in self.children():
            if norm is None and isinstance(layer, nn.BatchNorm2d):
                norm = layer  # until it is known what follows
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
    """Max pooling of 2x2, without the places of the maxima: what needs no gradient needs none.

    The values of ``max_pool2d``, NaN where one of the four is; of contiguous maps in a twentieth of
    its time on a CPU.
    """
    height, width = (side // 2 * 2 for side in maps.shape[2:])
    rows = torch.maximum(maps[:, :, 0:height:2], maps[:, :, 1:height:2])
    return torch.maximum(rows[..., 0:width:2], rows[..., 1:width:2])


def _may_pool_first(norm: nn.BatchNorm2d, maps: Tensor) -> bool:
    """Whether pooling before the norm gives the same numbers, from a quarter of its work.

    A norm with fixed statistics and positive scales keeps the order of a channel's values, rounding
    included, so that the norm of the largest is the largest of the norms. Not asked on a GPU, which
    would have to be waited for.
    """
    if norm.training or torch.is_grad_enabled() or maps.device.type != "cpu":
        return False
    try:
        return bool((norm.weight > 0).all())
    except RuntimeError:  # in a stack of networks there is no one answer
        return False
