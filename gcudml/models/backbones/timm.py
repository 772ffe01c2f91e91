"""timm networks without their classifiers; the only module that imports timm.

timm takes seconds to import, so import this module only when one of its networks is needed. What
other modules do by hand although timm has something like it says why there: frozen batch norm and
padding in ``layers``, reading files in ``weights``, the networks in ``torchvision``.
"""

import difflib
import functools
import math
import sys
from collections.abc import Callable
from types import ModuleType
from typing import NamedTuple, cast

import torch
from jaxtyping import Float
from torch import Tensor, nn

from gcudml.config.model import InputFormat
from gcudml.models.backbones.trunk import StateDict, Trunk


class Published(NamedTuple):
    """timm's information about a network and its weights."""

    recipe: str
    has_weights: bool
    fixed_size: bool
    """Whether the image size must be given when building it."""
    own_format: InputFormat
    classifier: tuple[str, ...]
    """Prefixes of the classifier's weight names."""
    download: str
    """Address of the weights; empty if there are none."""


class TimmMaps(nn.Module):
    """Adapter that returns a timm network's features, maps or tokens, as maps.

    timm's own ``forward_intermediates`` also returns maps, but those before the last convolution of
    an EfficientNet or MobileNet: 320 features of efficientnet_lite0 instead of 1280.
    """

    def __init__(self, network: nn.Module, *, token: bool) -> None:
        super().__init__()
        self.network = network
        self.channels_last = getattr(network, "output_fmt", "NCHW") == "NHWC"
        self.prefix_tokens = int(getattr(network, "num_prefix_tokens", 0))
        self.token = token

    def features(self, images: Float[Tensor, "n c height width"]) -> object:
        """Call timm's ``forward_features``."""
        compute = cast("Callable[[Tensor], object]", self.network.forward_features)
        return compute(images)

    def forward(self, images: Float[Tensor, "n c height width"]) -> Float[Tensor, "n dim h w"]:
        """Return a convolutional network's maps, the patch tokens as a map, or the class token."""
        found = self.features(images)
        assert isinstance(found, Tensor)
        if found.ndim == 4:
            return found.permute(0, 3, 1, 2) if self.channels_last else found
        if self.token:
            return found[:, 0, :, None, None]
        patches = found[:, self.prefix_tokens :].transpose(1, 2)  # (n, dim, h * w)
        side = math.isqrt(patches.shape[2])
        return patches.reshape(*patches.shape[:2], side, side)


def timm_trunk(name: str, *, channels: int, image_size: int, token: bool) -> Trunk:
    """Build the timm network ``name``.

    Args:
        name: As listed by ``timm.list_models``, with or without the tag of its weights.
        channels: Channels of the images it takes, 1 or 3.
        image_size: Side of the images.
        token: Whether a transformer returns its class token.

    Raises:
        ValueError: timm is not installed or has no such network, or the network does not take such
            images or has no class token.
    """
    published = _published(name)
    try:
        network = _create(name, channels, image_size)
    except (AssertionError, RuntimeError, TypeError, ZeroDivisionError) as error:
        raise ValueError(_unfit(name, channels, image_size, error)) from error
    module = TimmMaps(network, token=token)
    dim = _check(module, name, torch.zeros(1, channels, image_size, image_size))
    return Trunk(
        module,
        network,
        dim,
        inputs=channels,
        own_format=published.own_format,
        classifier=published.classifier,
        adapt=functools.partial(_converted, network=network, name=name),
        download=published.download,
        fetch=functools.partial(_fetch, name, image_size) if published.has_weights else None,
    )


def timm_recipe(name: str) -> str:
    """Name of the published weights, such as ``timm resnet10t.c3_in1k``.

    Raises:
        ValueError: timm is not installed or has no such network.
    """
    return _published(name).recipe


def _import() -> ModuleType:
    try:
        import timm
    except ImportError as error:
        raise ValueError(
            f"model.backbone: the network needs the package timm, which cannot be imported "
            f"({error}); install it with: pip install timm"
        ) from error
    return timm


def _published(name: str) -> Published:
    timm = _import()
    if not timm.is_model(name):
        close = difflib.get_close_matches(name, timm.list_models(), n=3)
        guess = f"did you mean {' or '.join(close)}? " if close else ""
        raise ValueError(
            f"model.backbone: timm {timm.__version__} has no network {name!r}; "
            f"{guess}timm.list_models() names all"
        )
    try:
        known = timm.models.get_pretrained_cfg(name, allow_unregistered=False)
    except RuntimeError as error:
        tags = ", ".join(timm.models.get_arch_pretrained_cfgs(name.partition(".")[0])) or "none"
        raise ValueError(
            f"model.backbone: timm {timm.__version__} has no weights {name!r}; known: {tags}"
        ) from error
    ends = known.classifier or ()
    return Published(
        recipe=f"timm {known.architecture}.{known.tag}",
        has_weights=bool(known.has_weights),
        fixed_size=known.fixed_input_size,
        own_format=InputFormat(range=1, mean=known.mean, std=known.std),
        classifier=tuple(f"{end}." for end in ([ends] if isinstance(ends, str) else ends)),
        download=_address(known.hf_hub_id, known.hf_hub_filename) or known.url or "",
    )


def _address(repository: str | None, file: str | None) -> str:
    """Address of a file of the Hugging Face Hub, from which timm loads."""
    if repository is None:
        return ""
    return f"https://huggingface.co/{repository}/resolve/main/{file or 'model.safetensors'}"


def _create(name: str, channels: int, image_size: int, *, pretrained: bool = False) -> nn.Module:
    """Create the network without its classifier, passing the image size if it needs it."""
    create = functools.partial(
        _import().create_model, name, pretrained=pretrained, num_classes=0, in_chans=channels
    )
    network: nn.Module
    if _published(name).fixed_size:
        try:
            network = create(img_size=image_size)
        except TypeError:  # some take no size; then the images must fit
            network = create()
    else:
        network = create()
    return network


@torch.no_grad()
def _check(module: TimmMaps, name: str, images: Float[Tensor, "1 channels size size"]) -> int:
    """Run the network once to check its features, and return the number of channels."""
    _, channels, size, _ = images.shape
    patch = getattr(getattr(module.network, "patch_embed", None), "patch_size", 1)
    side = patch[0] if isinstance(patch, tuple) else patch
    if isinstance(side, int) and size % side:  # timm would ignore the remainder at two borders
        error = ValueError(f"patches of {side} pixels")
        raise ValueError(_unfit(name, channels, size, error))
    module.eval()
    try:
        found = module.features(images)
    except (AssertionError, RuntimeError, TypeError, ValueError) as error:
        raise ValueError(_unfit(name, channels, size, error)) from error
    if not isinstance(found, Tensor) or found.ndim not in {3, 4}:
        raise ValueError(f"model.backbone: the features of timm:{name} are neither maps nor tokens")
    if found.ndim == 4 or not module.prefix_tokens:
        if module.token:
            raise ValueError(
                f"model.pooling: timm:{name} has no class token; give avg, max or avg+max"
            )
    elif math.isqrt(found.shape[1] - module.prefix_tokens) ** 2 != (
        found.shape[1] - module.prefix_tokens
    ):
        raise ValueError(
            f"model.backbone: the {found.shape[1]} tokens of timm:{name} do not form a square map"
        )
    dim = int(module(images).shape[1])
    module.train()
    return dim


def _unfit(name: str, channels: int, image_size: int, error: Exception) -> str:
    return (
        f"model.backbone: timm:{name} does not take {channels} x {image_size} x {image_size} "
        f"images ({_first_line(error)}); change data.image_size or the backbone"
    )


def _first_line(error: Exception) -> str:
    return str(error).splitlines()[0][:120] if str(error) else type(error).__name__


def _converted(state: StateDict, *, network: nn.Module, name: str) -> StateDict:
    """Convert weights as timm does when it downloads them, with the function of their family.

    It interpolates position embeddings and tables to this network's image size and renames the
    weights of other code (the official DINOv2, OpenCLIP). Weights that fit are left as they are:
    some functions guess their origin, and wrongly so without a classifier (Swin in older timm).
    """
    convert = getattr(sys.modules[type(network).__module__], "checkpoint_filter_fn", None)
    wanted = network.state_dict()
    fits = all(key in state and state[key].shape == value.shape for key, value in wanted.items())
    if fits or convert is None:
        return _resample(state, network=network)
    try:
        return _resample(convert(dict(state), network), network=network)
    except (AttributeError, IndexError, KeyError, RuntimeError, TypeError, ValueError) as error:
        raise ValueError(
            f"model.weights: timm cannot convert the weights for {name} "
            f"({type(error).__name__}: {_first_line(error)}); name the backbone they were made for"
        ) from error


def _resample(state: StateDict, *, network: nn.Module) -> StateDict:
    """Interpolate position embeddings to this network's image size.

    By hand for the families whose function in timm leaves them as they are (CaiT, ConViT).
    """
    positions, mine = state.get("pos_embed"), getattr(network, "pos_embed", None)
    grid = getattr(getattr(network, "patch_embed", None), "grid_size", None)
    if positions is None or mine is None or grid is None:
        return state
    if positions.ndim != 3 or mine.ndim != 3 or positions.shape == mine.shape:
        return state
    prefix = mine.shape[1] - grid[0] * grid[1]
    if math.isqrt(positions.shape[1] - prefix) ** 2 != positions.shape[1] - prefix:
        return state
    resample: Callable[..., Tensor] = _import().layers.resample_abs_pos_embed
    resized = resample(positions, new_size=list(grid), num_prefix_tokens=prefix)
    return dict(state) | {"pos_embed": resized}


def _fetch(name: str, image_size: int) -> StateDict:
    return _create(name, 3, image_size, pretrained=True).state_dict()
