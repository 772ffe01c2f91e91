"""The student with its compact and its wide head, and the teacher that shares the wide one."""

import copy
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn

from gcudml.config import ModelConfig
from gcudml.models.backbones import build_backbone


class Embeddings(NamedTuple):
    """Both embeddings of a batch, not normalised, in single precision."""

    compact: Float[Tensor, "batch dim"]
    """The embedding that is tested."""
    wide: Float[Tensor, "batch wide"]
    """The embedding that student and teacher share."""


class Pooled(nn.Module):
    """A backbone and the global pooling of its maps, ``(batch, out_channels)``."""

    def __init__(self, config: ModelConfig, *, channels: int, image_size: int) -> None:
        super().__init__()
        backbone = build_backbone(config, channels=channels, image_size=image_size)
        self.maps = backbone.module
        self.out_channels = backbone.out_channels
        self.pooling = config.pooling

    def forward(
        self, images: Float[Tensor, "batch channels height width"]
    ) -> Float[Tensor, "batch features"]:
        """Pooled features; in single precision whatever the backbone computes in."""
        maps: Tensor = self.maps(images).float()
        if self.pooling == "avg":
            return maps.mean(dim=(2, 3))
        largest = maps.amax(dim=(2, 3))
        return largest if self.pooling == "max" else maps.mean(dim=(2, 3)) + largest


class Embedder(nn.Module):
    """The student: pooled backbone, compact head and wide head.

    Heads start orthogonal with zero bias. Average plus maximum pooling, the two heads and their
    start are STML's (Kim et al., CVPR 2022, arXiv:2205.01903).
    """

    def __init__(self, config: ModelConfig, *, channels: int, image_size: int, seed: int) -> None:
        """Fresh weights from ``seed`` alone; the global random state is left as it was."""
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(seed)  # the CPU's alone, which fork_rng restores
            self.features = Pooled(config, channels=channels, image_size=image_size)
            self.wide = _head(self.features.out_channels, config.wide_dim)
            self.compact = _head(self.features.out_channels, config.embedding_dim)

    def forward(self, images: Float[Tensor, "batch channels height width"]) -> Embeddings:
        """Both embeddings of each image."""
        pooled = self.features(images)
        with torch.autocast(pooled.device.type, enabled=False):  # heads stay in fp32
            return Embeddings(self.compact(pooled), self.wide(pooled))

    def shared(self) -> nn.ModuleList:
        """What the teacher averages: backbone and wide head, in a fixed order."""
        return nn.ModuleList([self.features, self.wide])


class TeacherNet(nn.Module):
    """The teacher's network: a copy of the student's backbone and wide head, never trained."""

    def __init__(self, student: Embedder) -> None:
        """Start as an exact copy of what the student shares."""
        super().__init__()
        self.features = copy.deepcopy(student.features)
        self.wide = copy.deepcopy(student.wide)
        self.requires_grad_(False)
        self.eval()

    def forward(self, images: Float[Tensor, "batch channels height width"]) -> Embeddings:
        """The wide embedding; ``compact`` is empty, ``(batch, 0)``."""
        pooled = self.features(images)
        with torch.autocast(pooled.device.type, enabled=False):
            return Embeddings(pooled.new_empty(len(pooled), 0), self.wide(pooled))


def _head(inputs: int, outputs: int) -> nn.Linear:
    head = nn.Linear(inputs, outputs)
    nn.init.orthogonal_(head.weight)
    nn.init.zeros_(head.bias)
    return head
