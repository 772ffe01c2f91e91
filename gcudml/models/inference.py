"""Inference: embed whole sets of images without gradients."""

from collections.abc import Iterator, Sequence
from typing import Literal, NamedTuple, TypeAlias

import torch
from jaxtyping import Float, Shaped
from torch import Tensor, nn

from gcudml.config import Views
from gcudml.data.views import centre, random_views, to_unit
from gcudml.models.embedding import TeacherNet
from gcudml.models.number_format import Format, autocast
from gcudml.runtime import fused
from gcudml.runtime.timer import Stopwatch

Head: TypeAlias = Literal["compact", "wide", "pooled"]
ROWS_AT_MOST = 256
# A block's maps should fit a CPU's cache: for 128-px images, blocks of 16 are 2 to 4 times as fast
# as blocks of 256.
CPU_PIXELS = 16 * 128 * 128


class RandomViews(NamedTuple):
    """Settings and generator for drawing random views."""

    config: Views
    generator: torch.Generator


@torch.no_grad()
def embed_images(
    network: nn.Module,
    images: Shaped[Tensor, "n channels height width"],
    *,
    heads: Sequence[Head],
    number_format: Format,
    size: int | None = None,
    views: RandomViews | None = None,
    clock: Stopwatch | None = None,
) -> dict[Head, Float[Tensor, "n _"]]:
    """Embed images with the network in evaluation mode.

    Args:
        network: Returns ``Embeddings``; its mode is restored.
        images: Pixels, or features of a frozen trunk, on any device.
        heads: Which embeddings to return.
        number_format: Number format and memory layout of the computation.
        size: Side of the centre crop that the network sees; None: whole images.
        views: Embed a random view of each image instead of the unchanged one.
        clock: Times the parts (data, views, forward) as in a training step; None: no timing.

    Returns:
        The embeddings of each head, not normalised, on the network's device, or on that of the
        images if the network has no parameters.
    """
    clock = clock or Stopwatch.off()
    forward = "teacher" if isinstance(network, TeacherNet) else "student"
    was_training = network.training
    device = next(network.parameters(), images).device
    network.eval()
    found: dict[Head, list[Tensor]] = {head: [] for head in heads}
    for inputs in network_inputs(
        images, device=device, number_format=number_format, size=size, views=views, clock=clock
    ):
        with clock(forward), autocast(number_format, device):
            embeddings = fused.forward(network, inputs)
        for head, parts in found.items():
            parts.append(getattr(embeddings, head))
    network.train(was_training)
    return {head: torch.cat(parts) for head, parts in found.items()}


def network_inputs(
    images: Shaped[Tensor, "n channels height width"],
    *,
    device: torch.device,
    number_format: Format,
    size: int | None,
    views: RandomViews | None,
    clock: Stopwatch | None = None,
) -> Iterator[Float[Tensor, "_ _ _ _"]]:
    """Yield the inputs of a network in evaluation, in blocks; see ``embed_images``."""
    clock = clock or Stopwatch.off()
    are_features = images.is_floating_point()
    side = images.shape[-1] if are_features or size is None else size
    rows = ROWS_AT_MOST if device.type == "cuda" else CPU_PIXELS // side**2
    for block in images.split(min(max(rows, 1), ROWS_AT_MOST)):
        with clock("data" if views is None else "views"):
            if are_features:
                inputs = block.to(device)
            elif views is None:
                inputs = to_unit(centre(block, size).to(device))
            else:
                inputs = random_views(
                    block.to(device), views.config, generator=views.generator, size=size
                )
            inputs = number_format.arrange(inputs)
        yield inputs
