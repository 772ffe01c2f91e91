"""The student network with a compact and a wide head, and the teacher with a wide head."""

import copy
from collections.abc import Callable
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn

from gcudml.config import ModelConfig
from gcudml.config.model import HeadStart, Pooling
from gcudml.models.backbones.build import build_backbone


class Embeddings(NamedTuple):
    """Outputs of a network for a batch, none of them normalised."""

    compact: Float[Tensor, "batch dim"]
    """The embedding that is evaluated, in single precision."""
    wide: Float[Tensor, "batch wide"]
    """The embedding that both student and teacher have, in single precision."""
    pooled: Float[Tensor, "batch features"]
    """The backbone's pooled features, in single precision."""
    maps: Float[Tensor, "batch features height width"]
    """The backbone's feature maps, in the number format of the run."""


class Pooled(nn.Module):
    """A backbone followed by global pooling of its feature maps."""

    def __init__(self, config: ModelConfig, *, channels: int, image_size: int) -> None:
        super().__init__()
        backbone = build_backbone(config, channels=channels, image_size=image_size)
        self.maps = backbone.module
        self.out_channels = backbone.out_channels
        self.pooling: Pooling = config.pooling
        self.gem_p = config.gem_p

    def extra_repr(self) -> str:
        """Name the pooling, which no parameter shows."""
        return f"pooling={self.pooling}, gem_p={self.gem_p}"

    def forward(
        self, images: Float[Tensor, "batch channels height width"]
    ) -> Float[Tensor, "batch features"]:
        """Compute pooled features of images."""
        return self.pool(self.maps(images))

    def pool(
        self, maps: Float[Tensor, "batch features height width"]
    ) -> Float[Tensor, "batch features"]:
        """Pool maps globally, in single precision whatever the backbone computes in."""
        return pool(maps, self.pooling, gem_p=self.gem_p)


class StoredFeatures(nn.Module):
    """Takes the place of a frozen trunk in a network whose input are the trunk's pooled features.

    Features come as maps of one pixel, ``(batch, out_channels, 1, 1)``.
    """

    def __init__(self, out_channels: int) -> None:
        super().__init__()
        self.maps = nn.Identity()
        self.out_channels = out_channels

    def forward(self, maps: Float[Tensor, "batch features 1 1"]) -> Float[Tensor, "batch features"]:
        """Return the features as vectors."""
        return self.pool(maps)

    def pool(self, maps: Float[Tensor, "batch features 1 1"]) -> Float[Tensor, "batch features"]:
        """Return the features as vectors."""
        return maps.flatten(1)


class Embedder(nn.Module):
    """The student: pooled backbone, compact head and wide head.

    By default, heads are initialised orthogonal with zero bias. Average plus maximum pooling, the
    two heads and their initialisation follow STML (Kim et al., CVPR 2022, arXiv:2205.01903). Heads
    to be fitted to the training images are orthogonal until ``gcudml.models.head_fit`` fits them.
    """

    def __init__(
        self,
        config: ModelConfig,
        *,
        channels: int,
        image_size: int,
        seed: int,
        compact_from_maps: Callable[[int], nn.Module] | None = None,
    ) -> None:
        """Initialise from ``seed`` alone, without changing the global random state.

        Args:
            config: Backbone, sizes and pooling.
            channels: 1 (grey) or 3 (RGB).
            image_size: Side of the images in pixels.
            seed: Draws the weights.
            compact_from_maps: Given the number of features, builds a method's own compact head,
                which takes the backbone's maps; None: one linear layer on the pooled features.
        """
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(seed)  # only the CPU's, which fork_rng restores
            self.features: Pooled | StoredFeatures = Pooled(
                config, channels=channels, image_size=image_size
            )
            features = self.features.out_channels
            self.wide = linear_head(features, config.wide_dim, start=config.head_init)
            self.compact_takes_maps = compact_from_maps is not None
            self.compact: nn.Module = (
                linear_head(features, config.embedding_dim, start=config.head_init)
                if compact_from_maps is None
                else compact_from_maps(features)
            )

    def forward(self, images: Float[Tensor, "batch channels height width"]) -> Embeddings:
        """Embed each image."""
        maps = self.features.maps(images)
        pooled = self.features.pool(maps)
        compact = self.compact(maps).float() if self.compact_takes_maps else None
        with torch.autocast(pooled.device.type, enabled=False):  # linear heads stay in fp32
            compact = self.compact(pooled) if compact is None else compact
            return Embeddings(compact, self.wide(pooled), pooled, maps)

    def shared(self) -> nn.ModuleList:
        """Modules that the teacher averages: backbone and wide head, in a fixed order."""
        return nn.ModuleList([self.features, self.wide])

    def heads(self) -> nn.ModuleList:
        """Modules that are trained at the heads' learning rate."""
        return nn.ModuleList([self.wide, self.compact])


class TeacherNet(nn.Module):
    """The teacher network: a copy of the student's backbone and wide head, without gradients."""

    def __init__(self, student: Embedder) -> None:
        """Copy the modules that the student shares with it."""
        super().__init__()
        self.features = copy.deepcopy(student.features)
        self.wide = copy.deepcopy(student.wide)
        self.requires_grad_(False)
        self.eval()

    def forward(self, images: Float[Tensor, "batch channels height width"]) -> Embeddings:
        """Compute the wide embedding; ``compact`` is empty, ``(batch, 0)``."""
        maps = self.features.maps(images)
        pooled = self.features.pool(maps)
        with torch.autocast(pooled.device.type, enabled=False):
            return Embeddings(pooled.new_empty(len(pooled), 0), self.wide(pooled), pooled, maps)


def linear_head(inputs: int, outputs: int, *, start: HeadStart = "orthogonal") -> nn.Linear:
    """Build a linear layer with zero bias, or with PyTorch's initialisation (``default``).

    Its weights are the identity, or else random and orthogonal.
    """
    head = nn.Linear(inputs, outputs)
    if start != "default":
        (nn.init.eye_ if start == "identity" else nn.init.orthogonal_)(head.weight)
        nn.init.zeros_(head.bias)
    return head


def pool(
    maps: Float[Tensor, "batch features height width"], pooling: Pooling, *, gem_p: float
) -> Float[Tensor, "batch features"]:
    """Pool maps globally, in single precision; see ``model.pooling``."""
    exact = maps.float()
    if pooling in {"avg", "token"}:  # a token is a 1x1 map
        return exact.mean(dim=(2, 3))
    if pooling == "gem":
        return generalised_mean(exact, p=gem_p)
    largest = exact.amax(dim=(2, 3))
    return largest if pooling == "max" else exact.mean(dim=(2, 3)) + largest


def generalised_mean(
    maps: Float[Tensor, "batch features height width"], *, p: float
) -> Float[Tensor, "batch features"]:
    r"""Pool each map to :math:`(\tfrac1n \sum_i \max(x_i, 10^{-6})^p)^{1/p}`.

    Args:
        maps: Feature maps, in single precision.
        p: Exponent > 0, not trained here: 1 is the average, infinity the maximum.

    Source:
        Radenovic, Tolias and Chum, TPAMI 2018, arXiv:1711.02512, with the clamp of their code.
    """
    positive = maps.clamp(min=1e-6)
    # Relative to the largest value, which changes no result, since small powers would become 0.
    largest = positive.detach().amax(dim=(2, 3), keepdim=True)
    means = (positive / largest).pow(p).mean(dim=(2, 3))
    return largest[:, :, 0, 0] * means.pow(1 / p)
