"""Decoder from feature maps to images, where each map may stand for several rows."""

import itertools
import math

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

CHANNELS = (128, 64, 32, 16, 16)
"""Output channels of the stages; further stages have as many as the last."""


class Decoder(nn.Module):
    """Stages of 3x3 convolution, batch norm, ReLU and upsampling, then a convolution and a sigmoid.

    A map may stand for several rows: batch norm weights it accordingly, so that the result equals,
    up to rounding, that of decoding every row, at a fraction of the cost. There are no running
    statistics, since a decoder is used only in training.

    Source:
        Nguyen et al., BMVC 2020, arXiv:2009.04091: channels, order of layers and nearest-neighbour
        upsampling follow the released code, which is written for 224-pixel images and 7x7 maps.
        Here the number of stages and their sizes are derived from the map and image sizes.
    """

    def __init__(
        self, features: int, *, map_size: int, image_size: int, channels: int, seed: int
    ) -> None:
        """Initialise from ``seed`` alone, without changing the global random state.

        Args:
            features: Channels of the maps.
            map_size: Side of the maps.
            image_size: Side of the images.
            channels: Channels of the images.
            seed: Draws the weights.
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
        """Decode maps to pictures in [0, 1], in single precision.

        Args:
            maps: Any side; maps of side ``map_size`` are upsampled by about the same factor at each
                stage.
            counts: Number of rows that each map stands for, > 0.
        """
        for convolution, norm, side in zip(self.convolutions, self.norms, self.sides, strict=True):
            maps = F.interpolate(F.relu(norm(convolution(maps), counts)), size=side)
        drawn: Tensor = self.last(maps)
        return drawn.float().sigmoid()


class CountedBatchNorm(nn.Module):
    """Batch norm in training mode, as if each map occurred ``counts`` times in the batch."""

    def __init__(self, channels: int, *, eps: float = 1e-5) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))
        self.eps = eps

    def forward(
        self, maps: Float[Tensor, "n channels side side"], counts: Float[Tensor, " n"]
    ) -> Float[Tensor, "n channels side side"]:
        """Normalise to mean ``bias`` and standard deviation ``weight``, in single precision.

        A single value gives ``bias``; PyTorch's batch norm would raise an error.
        """
        share = (counts / counts.sum())[:, None]
        exact = maps.float()
        mean = (share * exact.mean(dim=(2, 3))).sum(dim=0)  # (channels,)
        centred = exact - mean[:, None, None]
        variance = (share * centred.square().mean(dim=(2, 3))).sum(dim=0)
        factor = self.weight * torch.rsqrt(variance + self.eps)
        return centred * factor[:, None, None] + self.bias[:, None, None]


def stage_sides(map_size: int, image_size: int) -> list[int]:
    """Side of the maps after each stage: about doubled each time, ending at ``image_size``.

    From 7 to 224: 14, 28, 56, 112, 224. At least one stage.
    """
    stages = max(1, round(math.log2(image_size / map_size)))
    return [math.ceil(image_size / 2**left) for left in reversed(range(stages))]
