"""TensorFlow's SAME padding of convolutions with stride 2."""

from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F


class SamePadding(nn.Module):
    """Zeros around a map, so that a convolution of stride 2 halves its sides, rounded up.

    Of the zeros that are needed the right and the bottom get the odd one: before a 3x3 convolution
    a map of even size is padded there alone, one of odd size all around.
    """

    def __init__(self, kernel: int) -> None:
        super().__init__()
        self.kernel = kernel

    def forward(
        self, maps: Float[Tensor, "n c height width"]
    ) -> Float[Tensor, "n c padded_height padded_width"]:
        """The padded map."""
        height, width = maps.shape[2:]
        return F.pad(maps, [*self._sides(width), *self._sides(height)])

    def _sides(self, size: int) -> tuple[int, int]:
        """Zeros before and after one axis."""
        zeros = max(2 * ((size + 1) // 2 - 1) + self.kernel - size, 0)
        return zeros // 2, zeros - zeros // 2


def pad_as_tensorflow(network: nn.Module) -> int:
    """Give each padded convolution of stride 2 that padding, in place; returns their number.

    Weights must be loaded before: the convolutions' names change.
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
