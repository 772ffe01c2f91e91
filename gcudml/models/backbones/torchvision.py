"""torchvision networks without their classifiers; the only module that imports torchvision.

torchvision takes a second to import, so import this module only when one of them is needed. These
networks stay torchvision's: timm has no GoogLeNet and SqueezeNet and other weights for MobileNetV2
and ViT; its ResNets have the same weights (tag ``tv_in1k``), but draw random ones differently.
"""

import math
from collections import OrderedDict
from collections.abc import Callable
from typing import NamedTuple

import torch
import torchvision
from jaxtyping import Float
from torch import Tensor, nn

from gcudml.config.model import INPUT_FORMATS
from gcudml.models.backbones.trunk import StateDict, Trunk, as_it_is

RECIPE = "IMAGENET1K_V1"  # exists for all networks, and is what papers compare with


class Known(NamedTuple):
    """Properties of a torchvision network."""

    out_channels: int
    weights: str
    """Name of the enumeration of its published weights."""
    smallest: int = 1
    """Smallest image side that gives a non-empty map."""


KNOWN = {
    "googlenet": Known(1024, "GoogLeNet_Weights", smallest=15),
    "mobilenet_v2": Known(1280, "MobileNet_V2_Weights"),
    "resnet18": Known(512, "ResNet18_Weights"),
    "resnet34": Known(512, "ResNet34_Weights"),
    "resnet50": Known(2048, "ResNet50_Weights"),
    "squeezenet1_1": Known(512, "SqueezeNet1_1_Weights", smallest=17),
    "vit_b_16": Known(768, "ViT_B_16_Weights"),
}


class VisionTransformer(nn.Module):
    """torchvision's ViT up to its last norm: the patch tokens, or the class token, as a map.

    Source: Dosovitskiy et al., ICLR 2021, arXiv:2010.11929.
    """

    def __init__(self, network: nn.Module, *, token: bool) -> None:
        super().__init__()
        self.conv_proj = network.get_submodule("conv_proj")
        self.class_token = network.get_parameter("class_token")
        self.encoder = network.get_submodule("encoder")
        self.token = token

    def forward(self, images: Float[Tensor, "n c height width"]) -> Float[Tensor, "n dim h w"]:
        """Return ``(n, dim, height / 16, width / 16)``; for the class token ``(n, dim, 1, 1)``."""
        patches: Tensor = self.conv_proj(images)
        first = self.class_token.expand(len(images), -1, -1)
        entering = torch.cat([first, patches.flatten(2).transpose(1, 2)], dim=1)
        tokens: Tensor = self.encoder(entering)  # (n, 1 + h * w, dim)
        if self.token:
            return tokens[:, 0, :, None, None]
        return tokens[:, 1:].transpose(1, 2).reshape(patches.shape)


def torchvision_trunk(
    name: str, *, channels: int, image_size: int, small_stem: bool, token: bool
) -> Trunk:
    """Build the torchvision network ``name``.

    Args:
        name: A key of ``KNOWN``.
        channels: Channels of the images it takes, 1 or 3.
        image_size: Side of the images.
        small_stem: Whether a ResNet gets first layers for small images.
        token: Whether a ViT gives its class token.

    Raises:
        ValueError: the images do not fit the network.
    """
    known = KNOWN[name]
    if image_size < known.smallest:
        raise ValueError(
            f"model.backbone: {name} needs images of at least {known.smallest} pixels, and "
            f"it would see {image_size}; raise data.image_size, and data.crop_size where it is "
            "given, or choose another backbone"
        )
    build: Callable[..., nn.Module] = getattr(torchvision.models, name)
    if name == "vit_b_16":
        _check_patches(image_size)
        module: nn.Module = VisionTransformer(build(image_size=image_size), token=token)
        if channels != 3:
            module.conv_proj = _first_layer(module.get_submodule("conv_proj"), channels)
    elif name.startswith("resnet"):
        module = _resnet(build(), channels, small_stem=small_stem)
    else:
        options = {"aux_logits": False, "init_weights": True}
        network = build(**options) if name == "googlenet" else build()
        module = _stages(network)
        if channels != 3:
            first = next(n for n, m in module.named_modules() if isinstance(m, nn.Conv2d))
            parent, _, child = first.rpartition(".")
            layer = _first_layer(module.get_submodule(first), channels)
            setattr(module.get_submodule(parent), child, layer)
    return Trunk(
        module,
        module,
        known.out_channels,
        inputs=channels,
        # GoogLeNet expects [-1, 1]; torchvision's forward converts ImageNet's format to it first.
        own_format=INPUT_FORMATS["unit" if name == "googlenet" else "imagenet"],
        prefix="features." if hasattr(module, "features") else "",
        classifier=("fc.", "classifier.", "heads.", "aux1.", "aux2."),
        adapt=_at_size(image_size) if name == "vit_b_16" else as_it_is,
        fetch=lambda: _fetch(known.weights),
        download=_published(known.weights).url,
    )


def recipe(name: str) -> str:
    """Return the name of the published weights, such as ``ResNet18_Weights.IMAGENET1K_V1``."""
    return f"{KNOWN[name].weights}.{RECIPE}"


def _stages(network: nn.Module) -> nn.Sequential:
    """Return a network without its classifier."""
    ends = {"avgpool", "dropout", "fc", "classifier", "aux1", "aux2"}
    return nn.Sequential(OrderedDict((n, m) for n, m in network.named_children() if n not in ends))


def _resnet(network: nn.Module, channels: int, *, small_stem: bool) -> nn.Sequential:
    """Return the stages of a ResNet.

    With ``small_stem`` the first convolution is 3x3 with stride 1 and max pooling is removed, as is
    usual for small images, whose map would otherwise be 1 pixel wide.
    """
    if small_stem:
        network.conv1 = nn.Conv2d(channels, 64, 3, stride=1, padding=1, bias=False)
        network.maxpool = nn.Identity()
    elif channels != 3:
        network.conv1 = _first_layer(network.get_submodule("conv1"), channels)
    return _stages(network)


def _first_layer(like: nn.Module, channels: int) -> nn.Conv2d:
    """Create a newly initialised convolution like another one, for images of ``channels``."""
    assert isinstance(like, nn.Conv2d)
    return nn.Conv2d(
        channels,
        like.out_channels,
        (like.kernel_size[0], like.kernel_size[1]),
        stride=(like.stride[0], like.stride[1]),
        padding=(int(like.padding[0]), int(like.padding[1])),
        bias=like.bias is not None,
    )


def _check_patches(image_size: int) -> None:
    if image_size % 16:
        nearest = max(16, round(image_size / 16) * 16)
        raise ValueError(
            f"model.backbone: vit_b_16 uses patches of 16 pixels, and data.image_size "
            f"is {image_size}; give a multiple of 16, such as {nearest}"
        )


def _at_size(image_size: int) -> Callable[[StateDict], StateDict]:
    """Return a function that interpolates position embeddings to this image size."""

    def adapt(state: StateDict) -> StateDict:
        positions = state.get("encoder.pos_embedding")
        if positions is None or positions.ndim != 3 or len(positions) != 1:
            return state
        if math.isqrt(positions.shape[1] - 1) ** 2 != positions.shape[1] - 1:
            return state
        resized: StateDict = torchvision.models.vision_transformer.interpolate_embeddings(
            image_size, 16, OrderedDict(state)
        )
        return resized

    return adapt


def _published(weights: str) -> torchvision.models.WeightsEnum:
    found: torchvision.models.WeightsEnum = getattr(torchvision.models, weights)[RECIPE]
    return found


def _fetch(weights: str) -> StateDict:
    state: StateDict = _published(weights).get_state_dict(
        progress=False, check_hash=True, weights_only=True, map_location="cpu"
    )
    return state
