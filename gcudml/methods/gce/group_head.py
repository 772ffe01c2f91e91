"""A compact head of several learners: each makes one slice of the embedding from its own channels.

Shape letters: ``features`` channels of the backbone's maps, ``width`` channels of the block,
``dim`` embedding width, of which a learner has ``dim / learners``.
"""

import math
from typing import Literal, TypeAlias

import torch
from jaxtyping import Float
from torch import Tensor, nn

Block: TypeAlias = Literal["group3x3", "group1x1", "none", "channelnet"]
MOST_DEFAULT_WIDTH = 1024


class GroupHead(nn.Module):
    """Maps to the learners' unit embeddings side by side, scaled so that the whole has norm 1.

    Blocks:

    * ``group3x3``: dense 1x1 convolution, batch norm, ReLU; 3x3 convolution in one group a
      learner, batch norm, ReLU; global average; a linear layer a learner. After the dense layer
      nothing crosses groups.
    * ``group1x1``: the same with a 1x1 in place of the 3x3 convolution.
    * ``channelnet``: the same with a convolution that slides along the channels, so that every
      slice sees the channels of all groups.
    * ``none``: one linear layer on the global average, cut into slices.

    The average is taken whatever the pooling of the backbone's own features is, so that blocks
    differ in nothing else. Linear layers start orthogonal (each learner's for itself where there is
    one a learner) with zero bias.
    """

    def __init__(
        self, features: int, *, dim: int, learners: int, block: Block, width: int | None = None
    ) -> None:
        """Fresh weights from the global random state.

        Args:
            features: Channels of the maps.
            dim: Of the whole embedding; a multiple of ``learners``.
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
        self.project = nn.Conv2d(channels, dim, 1, groups=groups)  # a linear layer a group
        with torch.no_grad():
            for rows in self.project.weight.chunk(groups):
                rows.copy_(nn.init.orthogonal_(torch.empty_like(rows)))
        assert self.project.bias is not None
        nn.init.zeros_(self.project.bias)

    def forward(
        self, maps: Float[Tensor, "batch features height width"]
    ) -> Float[Tensor, "batch dim"]:
        """Embeddings of norm 1, each slice of norm ``1 / sqrt(learners)``; in single precision.

        A slice whose channels are all dead is 0.
        """
        hidden = self.grouped(self.dense(maps))
        with torch.autocast(maps.device.type, enabled=False):  # the linear layers stay in fp32
            pooled = hidden.float().mean(dim=(2, 3), keepdim=True)  # (batch, width, 1, 1)
            embeddings: Tensor = self.project(pooled).flatten(1)
            slices = cut_slices(embeddings, learners=self.learners)
            norms = slices.norm(dim=2, keepdim=True)
            # A dead group's slice is 0 and stays 0: F.normalize would blow its gradient up.
            unit: Tensor = slices / norms.masked_fill(norms == 0, 1.0)
            return unit.flatten(1) / math.sqrt(self.learners)


class ChannelConvolution(nn.Module):
    """Convolution along the channel axis: the group channel-wise convolution of ChannelNets.

    One filter a group slides over all channels in strides of the number of groups; its outputs are
    the group's channels. Pixels stay apart. A filter is three strides long (ours).

    Source:
        Gao, Wang and Ji, NeurIPS 2018, arXiv:1809.01330.
    """

    def __init__(self, channels: int, *, groups: int) -> None:
        """``channels`` in and out, a multiple of ``groups``."""
        super().__init__()
        self.filters = nn.Conv2d(
            1, groups, (3 * groups, 1), stride=(groups, 1), padding=(groups, 0), bias=False
        )
        self.channels = channels

    def forward(
        self, maps: Float[Tensor, "batch channels height width"]
    ) -> Float[Tensor, "batch channels height width"]:
        """Maps of the same shape, channels in order of groups."""
        pixels = maps.flatten(2)[:, None]  # (batch, 1, channels, pixels)
        mixed: Tensor = self.filters(pixels)  # (batch, groups, channels / groups, pixels)
        return mixed.flatten(1, 2).view(maps.shape)


def cut_slices(
    embeddings: Float[Tensor, "batch dim"], *, learners: int
) -> Float[Tensor, "batch learners slice"]:
    """The learners' parts of embeddings."""
    return embeddings.view(len(embeddings), learners, -1)


def default_width(features: int, learners: int) -> int:
    """As many channels as the backbone has, at most 1024, rounded up to a multiple."""
    return -(-min(features, MOST_DEFAULT_WIDTH) // learners) * learners


def _mixing(block: Block, channels: int, learners: int) -> nn.Module:
    if block == "channelnet":
        return ChannelConvolution(channels, groups=learners)
    side = 3 if block == "group3x3" else 1
    return nn.Conv2d(channels, channels, side, padding=side // 2, groups=learners, bias=False)


def _normalized(convolution: nn.Module, channels: int) -> nn.Sequential:
    return nn.Sequential(convolution, nn.BatchNorm2d(channels), nn.ReLU(inplace=True))
