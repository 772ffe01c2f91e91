"""Networks from images to feature maps."""

from typing import NamedTuple

import torchvision
from torch import nn

from gcudml.config import ModelConfig


class Backbone(NamedTuple):
    """A network that maps ``(n, channels, size, size)`` to ``(n, out_channels, h, w)``."""

    module: nn.Module
    out_channels: int


def build_backbone(config: ModelConfig, *, channels: int, image_size: int) -> Backbone:
    """The feature extractor that ``config.backbone`` names, with fresh weights.

    Args:
        config: Name and width.
        channels: 1 (grey) or 3 (RGB).
        image_size: Side of the images; decides how often the network halves them.
    """
    if config.backbone == "conv4":
        return _conv4(config.width, channels=channels, image_size=image_size)
    return _resnet18(channels=channels, image_size=image_size)


def _conv4(width: int, *, channels: int, image_size: int) -> Backbone:
    """Four blocks of 3x3 convolution, batch norm and ReLU, with 2x2 max pooling in between.

    The few-shot literature's small network (Vinyals et al. 2016, arXiv:1606.04080). It pools after
    every block there; here pooling ends once the map is 4 pixels or less, so that the global
    pooling behind it has something left to choose from.
    """
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
        layers.append(
            nn.ReLU(inplace=True)
        )  # after the pooling: the same, at a quarter of the cost
    return Backbone(nn.Sequential(*layers), width)


def _resnet18(*, channels: int, image_size: int) -> Backbone:
    """ResNet-18 of torchvision without its classifier, untrained.

    For images of at most 40 pixels the first convolution is 3x3 with stride 1 and there is no max
    pooling, as is usual for small images; otherwise the map would be 1 pixel wide.
    """
    network = torchvision.models.resnet18(weights=None)
    if image_size <= 40:
        network.conv1 = nn.Conv2d(channels, 64, 3, stride=1, padding=1, bias=False)
        network.maxpool = nn.Identity()
    elif channels != 3:
        network.conv1 = nn.Conv2d(channels, 64, 7, stride=2, padding=3, bias=False)
    stages = [name for name, _ in network.named_children() if name not in ("avgpool", "fc")]
    return Backbone(nn.Sequential(*(network.get_submodule(name) for name in stages)), 512)
