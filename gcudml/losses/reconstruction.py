"""Reconstruction: what a decoder draws of a cluster against the images of its rows."""

from typing import Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor

MEAN_COLOR = (122.77, 115.95, 102.98)
"""Red, green and blue of the images that Caffe's GoogLeNet was trained on, of 255."""


def reconstruction_loss(
    decoded: Float[Tensor, "present channels height width"],
    targets: Float[Tensor, "rows channels height width"],
    own: Int[Tensor, " rows"],
    *,
    reduction: Literal["mean", "sum"] = "mean",
) -> Float[Tensor, ""]:
    r"""Squared error of each row's image against the picture of its cluster, mean over rows.

    .. math:: \tfrac1n \sum_i \| I_i - D(R_{q_i}) \|^2

    Args:
        decoded: ``(present, ...)``, one picture a cluster.
        targets: ``(rows, ...)``.
        own: ``(rows,)`` index of each row's picture.
        reduction: Over an image's values: ``sum`` as above, or ``mean``.

    Source:
        Nguyen et al., BMVC 2020, arXiv:2009.04091: ``sum`` is the text's, ``mean`` the released
        code's, less by the number of values in an image (150,528 at 224 pixels).
    """
    squared = (targets - decoded.index_select(0, own)).square()
    return squared.mean() if reduction == "mean" else squared.sum() / len(targets)


def reconstruction_target(
    views: Float[Tensor, "rows channels height width"], *, target: Literal["unit", "centred"]
) -> Float[Tensor, "rows channels height width"]:
    """Views around [-1, 1] as what a decoder has to draw.

    ``unit``: pixels in [0, 1], cut where a view exceeds that. ``centred``: the same minus the mean
    colour, about -0.48 to 0.60 (grey images: minus the mean of the three).
    """
    unit = ((views + 1) / 2).clamp(0.0, 1.0)
    if target == "unit":
        return unit
    mean = torch.tensor(MEAN_COLOR, device=views.device) / 255
    mean = mean if views.shape[1] == len(mean) else mean.mean(dim=0, keepdim=True)
    return unit - mean[:, None, None]
