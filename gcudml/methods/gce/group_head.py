"""Compact head of several learners, each computing a slice of the embedding from its own channels.

Shape letters: ``features`` channels of the backbone's maps, ``width`` channels of the block,
``dim`` embedding width, of which each learner has ``dim / learners``.
"""

import math
from typing import Literal, TypeAlias

import torch
from jaxtyping import Float
from torch import Tensor, nn

Block: TypeAlias = Literal["group3x3", "group1x1", "none", "channelnet"]
MOST_DEFAULT_WIDTH = 1024


class GroupHead(nn.Module):
    """Concatenates the learners' unit embeddings, scaled so that the whole has norm 1.

    Blocks:

    * ``group3x3``: dense 1x1 convolution, batch norm, ReLU; 3x3 convolution with one group per
      learner, batch norm, ReLU; global average pooling; one linear layer per learner. After the
      dense layer, groups are not mixed.
    * ``group1x1``: the same with a 1x1 instead of the 3x3 convolution.
    * ``channelnet``: the same with a convolution that slides along the channels, so that every
      slice sees the channels of all groups.
    * ``none``: one linear layer on the global average, cut into slices.

    Pooling is always the average, whatever ``model.pooling`` is, so that blocks do not differ in
    it. Linear layers are initialised orthogonal (per learner if each has its own) with zero bias.
    """

    def __init__(
        self, features: int, *, dim: int, learners: int, block: Block, width: int | None = None
    ) -> None:
        """Initialise from the global random state.

        Args:
            features: Channels of the maps.
            dim: Width of the whole embedding; a multiple of ``learners``.
            learners: Number of slices.
            block: See the class.
            width: Channels of the block, a multiple of ``learners``; None: ``default_width``.
        """
        super().__init__()
        self.learners = learners
        channels = default_width(features, learners) if width is None else width
        self.dense: nn.Module = nn.Identity()
        self.grouped: nn.Module = nn.Identity()
        if block == "none":
            channels = features
        else:
            self.dense = _normalized(nn.Conv2d(features, channels, 1, bias=False), channels)
            self.grouped = _normalized(_mixing(block, channels, learners), channels)
        groups = 1 if block == "none" else learners
        self.project = nn.Conv2d(channels, dim, 1, groups=groups)  # one linear layer per group
        with torch.no_grad():
            for rows in self.project.weight.chunk(groups):
                rows.copy_(nn.init.orthogonal_(torch.empty_like(rows)))
        assert self.project.bias is not None
        nn.init.zeros_(self.project.bias)

    def forward(
        self, maps: Float[Tensor, "batch features height width"]
    ) -> Float[Tensor, "batch dim"]:
        """Compute embeddings of norm 1, each slice of norm ``1 / sqrt(learners)``; in fp32.

        A slice whose channels are all dead is 0.
        """
        hidden = self.grouped(self.dense(maps))
        with torch.autocast(maps.device.type, enabled=False):  # the linear layers stay in fp32
            pooled = hidden.float().mean(dim=(2, 3), keepdim=True)  # (batch, width, 1, 1)
            embeddings: Tensor = self.project(pooled).flatten(1)
            slices = cut_slices(embeddings, learners=self.learners)
            norms = slices.norm(dim=2, keepdim=True)
            # A dead group's slice is 0 and stays 0; F.normalize would make its gradient explode.
            unit: Tensor = slices / norms.masked_fill(norms == 0, 1.0)
            return unit.flatten(1) / math.sqrt(self.learners)


class ChannelConvolution(nn.Module):
    """Convolution along the channel axis: the group channel-wise convolution of ChannelNets.

    One filter per group slides over all channels, with a stride of the number of groups; its
    outputs are the group's channels. Pixels are not mixed. A filter is three strides long (our
    choice).

    Source:
        Gao, Wang and Ji, NeurIPS 2018, arXiv:1809.01330.
    """

    def __init__(self, channels: int, *, groups: int) -> None:
        """Initialise for ``channels`` in and out, a multiple of ``groups``."""
        super().__init__()
        self.filters = nn.Conv2d(
            1, groups, (3 * groups, 1), stride=(groups, 1), padding=(groups, 0), bias=False
        )
        self.channels = channels

    def forward(
        self, maps: Float[Tensor, "batch channels height width"]
    ) -> Float[Tensor, "batch channels height width"]:
        """Convolve maps to the same shape, with channels ordered by group."""
        pixels = maps.flatten(2)[:, None]  # (batch, 1, channels, pixels)
        mixed: Tensor = self.filters(pixels)  # (batch, groups, channels / groups, pixels)
        return mixed.flatten(1, 2).view(maps.shape)


def cut_slices(
    embeddings: Float[Tensor, "batch dim"], *, learners: int
) -> Float[Tensor, "batch learners slice"]:
    """Split embeddings into the learners' slices."""
    return embeddings.view(len(embeddings), learners, -1)


def default_width(features: int, learners: int) -> int:
    """Return the backbone's channels, at most 1024, rounded up to a multiple of ``learners``."""
    return -(-min(features, MOST_DEFAULT_WIDTH) // learners) * learners


def _mixing(block: Block, channels: int, learners: int) -> nn.Module:
    if block == "channelnet":
        return ChannelConvolution(channels, groups=learners)
    side = 3 if block == "group3x3" else 1
    return nn.Conv2d(channels, channels, side, padding=side // 2, groups=learners, bias=False)


def _normalized(convolution: nn.Module, channels: int) -> nn.Sequential:
    return nn.Sequential(convolution, nn.BatchNorm2d(channels), nn.ReLU(inplace=True))
