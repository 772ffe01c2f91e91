"""Build backbones: networks from images to feature maps."""

from collections import OrderedDict
from typing import NamedTuple

import torch
from torch import nn

from gcudml.config import ModelConfig
from gcudml.config.model import INPUT_FORMATS, InputFormat
from gcudml.models.backbones.conv4 import Conv4
from gcudml.models.backbones.layers import freeze_batch_norm, input_layer, pad_as_tensorflow
from gcudml.models.backbones.trunk import Trunk
from gcudml.models.backbones.weights import load_weights


class Backbone(NamedTuple):
    """A network that maps ``(n, channels, size, size)`` to ``(n, out_channels, h, w)``."""

    module: nn.Module
    out_channels: int


def module_of(config: ModelConfig) -> str | None:
    """Name of the module that is imported to build ``config.backbone``; None for conv4."""
    if config.backbone == "conv4":
        return None
    return f"gcudml.models.backbones.{'timm' if config.timm_name else 'torchvision'}"


def build_backbone(config: ModelConfig, *, channels: int, image_size: int) -> Backbone:
    """Build the feature extractor ``config.backbone`` with its configured weights.

    It takes images in [-1, 1] and converts them to the format that its weights expect. Weights that
    are not loaded are drawn from torch's global random state.

    Args:
        config: Name, width and weights.
        channels: 1 (grey) or 3 (RGB).
        image_size: Side of the images; determines how often conv4 and the ResNets downsample.

    Raises:
        ValueError: no such network, it does not take such images, or its weights are not usable.
    """
    trunk = _trunk(config, channels=channels, image_size=image_size)
    load_weights(trunk, config)
    if config.padding == "tensorflow" and not pad_as_tensorflow(trunk.module):
        raise ValueError(
            f"model.padding: no convolution of stride 2 in {config.backbone} is padded; "
            "set it to symmetric"
        )
    if config.freeze_batch_norm:
        freeze_batch_norm(trunk.module)
    wanted = _input_format(config) or trunk.own_format
    first = input_layer(wanted, channels=channels, inputs=trunk.inputs)
    if first is None:
        return Backbone(trunk.module, trunk.out_channels)
    layers = OrderedDict([("input", first), ("network", trunk.module)])
    return Backbone(nn.Sequential(layers), trunk.out_channels)


def check_weights(config: ModelConfig, *, channels: int, image_size: int) -> int:
    """Build the network once, so that unusable settings are rejected before any training.

    Returns the number of its features. The global random state is not changed.

    Raises:
        ValueError: as ``build_backbone``.
    """
    with torch.random.fork_rng(devices=[]):
        return build_backbone(config, channels=channels, image_size=image_size).out_channels


def takes_images_of(shown: int, config: ModelConfig, *, channels: int, image_size: int) -> bool:
    """Whether the network for images of ``image_size`` also takes those of ``shown`` pixels."""
    blank = config.model_copy(update={"weights": "none"})
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        network = build_backbone(blank, channels=channels, image_size=image_size).module.eval()
        try:
            network(torch.zeros(1, channels, shown, shown))
        except (RuntimeError, AssertionError, ValueError):  # depends on the library
            return False
    return True


def input_channels(config: ModelConfig, *, channels: int) -> int:
    """Number of channels that the network itself takes.

    Grey images are repeated to three channels if the weights or the input format are for colour.
    """
    wanted = _input_format(config)
    is_for_colours = config.is_pretrained and config.backbone != "conv4"
    return 3 if is_for_colours or not (wanted is None or wanted.is_grey) else channels


def has_small_stem(config: ModelConfig, *, image_size: int) -> bool:
    """Whether a ResNet uses the stem for small images; never with pretrained weights."""
    return config.backbone.startswith("resnet") and image_size <= 40 and not config.is_pretrained


def _input_format(config: ModelConfig) -> InputFormat | None:
    """Configured input format; None if the published weights define it."""
    if isinstance(config.input_format, InputFormat):
        return config.input_format
    if config.input_format == "auto":
        return None if config.is_pretrained else INPUT_FORMATS["unit"]
    return INPUT_FORMATS[config.input_format]


def _trunk(config: ModelConfig, *, channels: int, image_size: int) -> Trunk:
    inputs = input_channels(config, channels=channels)
    token = config.pooling == "token"
    if config.backbone == "conv4":
        return _conv4(config.width, channels=inputs, image_size=image_size)
    if config.timm_name:
        from gcudml.models.backbones.timm import timm_trunk

        return timm_trunk(config.timm_name, channels=inputs, image_size=image_size, token=token)
    from gcudml.models.backbones.torchvision import torchvision_trunk

    return torchvision_trunk(
        config.backbone,
        channels=inputs,
        image_size=image_size,
        small_stem=has_small_stem(config, image_size=image_size),
        token=token,
    )


def _conv4(width: int, *, channels: int, image_size: int) -> Trunk:
    module = Conv4(width, channels=channels, image_size=image_size)
    return Trunk(module, module, width, inputs=channels, own_format=INPUT_FORMATS["unit"])
