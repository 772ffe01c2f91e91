"""A decoder from feature maps to images, for maps that stand for several rows each."""

import itertools
import math

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

CHANNELS = (128, 64, 32, 16, 16)
"""Of the stages, first to last; further ones have as many as the last."""


class Decoder(nn.Module):
    """Stages of 3x3 convolution, batch norm, ReLU and upsampling, then a convolution and a sigmoid.

    Maps may stand for several rows: batch norm counts each as often, so that the result is, to
    rounding, what decoding every row gives, at a fraction of the cost. There are only statistics
    of the batch: a decoder is used in training alone.

    Source:
        Nguyen et al., BMVC 2020, arXiv:2009.04091: channels, order and the nearest-neighbour
        upsampling are the released code's, which is made for 224 pixels and maps of 7. Here the
        number of stages and their sizes follow from the sizes at hand.
    """

    def __init__(
        self, features: int, *, map_size: int, image_size: int, channels: int, seed: int
    ) -> None:
        """Fresh weights from ``seed`` alone; the global random state is left as it was.

        Args:
            features: Channels of the maps.
            map_size: Side of the maps.
            image_size: Side of the images.
            channels: Of the images.
            seed: Of the weights.
        """
        super().__init__()
        self.sides = stage_sides(map_size, image_size)
        last = len(CHANNELS) - 1
        widths = [features, *(CHANNELS[min(stage, last)] for stage in range(len(self.sides)))]
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(seed)
            self.convolutions = nn.ModuleList(
                nn.Conv2d(before, after, 3, padding=1, bias=False)
                for before, after in itertools.pairwise(widths)
            )
            self.norms = nn.ModuleList(CountedBatchNorm(width) for width in widths[1:])
            self.last = nn.Conv2d(widths[-1], channels, 3, padding=1, bias=False)

    def forward(
        self, maps: Float[Tensor, "n features side side"], counts: Float[Tensor, " n"]
    ) -> Float[Tensor, "n channels size size"]:
        """Pictures in [0, 1], in single precision.

        Args:
            maps: Any side; those of ``map_size`` are enlarged evenly.
            counts: Rows that each map stands for, > 0.
        """
        for convolution, norm, side in zip(self.convolutions, self.norms, self.sides, strict=True):
            maps = F.interpolate(F.relu(norm(convolution(maps), counts)), size=side)
        drawn: Tensor = self.last(maps)
        return drawn.float().sigmoid()


class CountedBatchNorm(nn.Module):
    """Batch norm in training mode, as if each row were there ``counts`` times."""

    def __init__(self, channels: int, *, eps: float = 1e-5) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))
        self.eps = eps

    def forward(
        self, maps: Float[Tensor, "n channels side side"], counts: Float[Tensor, " n"]
    ) -> Float[Tensor, "n channels side side"]:
        """The maps with mean ``bias`` and standard deviation ``weight``, in single precision.

        A single value gives ``bias``, where the usual batch norm refuses it.
        """
        share = (counts / counts.sum())[:, None]
        exact = maps.float()
        mean = (share * exact.mean(dim=(2, 3))).sum(dim=0)  # (channels,)
        centred = exact - mean[:, None, None]
        variance = (share * centred.square().mean(dim=(2, 3))).sum(dim=0)
        factor = self.weight * torch.rsqrt(variance + self.eps)
        return centred * factor[:, None, None] + self.bias[:, None, None]


def stage_sides(map_size: int, image_size: int) -> list[int]:
    """Side of the maps after each stage: about doubled every time, the image's at the end.

    From 7 to 224: 14, 28, 56, 112, 224. At least one stage.
    """
    stages = max(1, round(math.log2(image_size / map_size)))
    return [math.ceil(image_size / 2**left) for left in reversed(range(stages))]
