"""The triplet loss, with semi-hard or with all negatives."""

from typing import Literal, NamedTuple, TypeAlias

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn import functional as F

Mining: TypeAlias = Literal["semihard", "all"]


class Hinges(NamedTuple):
    """How far triplets violate the margin. Shape letters: ``pairs``, ``negatives`` of each."""

    values: Float[Tensor, "pairs negatives"]
    """``max(0, d(a, p) - d(a, n) + margin)``; 0 where there is no triplet."""
    exists: Bool[Tensor, "pairs negatives"]
    """Where there is a triplet."""
    zero: Float[Tensor, ""]
    """0, or NaN where an embedding is not finite, so that it cannot hide where no triplet is."""

    @property
    def mean_of_active(self) -> Float[Tensor, ""]:
        """Mean of the values above 0; 0 where there is none, NaN where an embedding is NaN."""
        return self.values.sum() / (self.values > 0).sum().clamp(min=1) + self.zero

    @property
    def share_active(self) -> Float[Tensor, ""]:
        """Triplets above 0 among all; 0 where there is none."""
        return (self.values > 0).sum() / self.exists.sum().clamp(min=1)


def triplet_loss(
    embeddings: Float[Tensor, "batch dim"],
    labels: Int[Tensor, " batch"],
    *,
    margin: float = 0.2,
    mining: Mining = "semihard",
) -> Float[Tensor, ""]:
    r"""Make each row nearer to rows of its label than to others, by a margin.

    With Euclidean distance :math:`d` (not squared) of unit vectors, averaged over the triplets
    whose term is above 0:

    .. math:: \max(0, d(a, p) - d(a, n) + margin)

    Args:
        embeddings: ``(batch, dim)``. Normalised here, so any non-zero scale is fine; a row
            of zeros stays one.
        labels: ``(batch,)``. A row with a negative label is in no triplet.
        margin: >= 0, in units of distance.
        mining: ``semihard`` takes one negative for each pair (a, p): the nearest of those farther
            from the anchor than the positive is, or, where none is, the farthest of all. ``all``
            takes every negative.

    Returns:
        Scalar >= 0; exactly 0 when no triplet exists or none is active. NaN when an embedding is
        not finite. The gradient is finite also where rows coincide (0 for that distance).

    Source:
        Schroff et al., CVPR 2015, arXiv:1503.03832, who square the distance and average over
        all triplets.
    """
    return triplet_hinges(embeddings, labels, margin=margin, mining=mining).mean_of_active


def triplet_hinges(
    embeddings: Float[Tensor, "batch dim"],
    labels: Int[Tensor, " batch"],
    *,
    margin: float,
    mining: Mining,
) -> Hinges:
    """Every triplet's term; arguments as those of ``triplet_loss``."""
    norms = embeddings.norm(dim=1, keepdim=True)
    unit = embeddings / norms.masked_fill(norms == 0, 1.0)  # F.normalize: a gradient of 1e12 at 0
    # By differences, not by a matrix product: exactly 0, with gradient 0, where rows coincide.
    distance = torch.cdist(unit, unit, compute_mode="donot_use_mm_for_euclid_dist")

    known = labels >= 0
    pair = known[:, None] & known[None, :]
    same = labels[:, None] == labels[None, :]
    negative = pair & ~same
    positive = pair & same
    positive &= ~torch.eye(len(labels), dtype=torch.bool, device=labels.device)

    if mining == "semihard":
        to_positive = distance.flatten()[:, None]  # (batch * batch, 1)
        to_negative = distance.gather(1, _semihard(distance.detach(), negative)).flatten()[:, None]
        exists = (positive & negative.any(dim=1, keepdim=True)).flatten()[:, None]
    else:
        anchors, positives = positive.nonzero(as_tuple=True)  # waits for a GPU
        to_positive = distance[anchors, positives][:, None]  # (pairs, 1)
        to_negative, exists = distance[anchors], negative[anchors]  # (pairs, batch)
    values = F.relu(to_positive - to_negative + margin) * exists
    return Hinges(values, exists, 0.0 * distance.sum())


def _semihard(
    distance: Float[Tensor, "batch batch"], negative: Bool[Tensor, "batch batch"]
) -> Int[Tensor, "batch batch"]:
    """For anchor i and positive j the negative of the triplet; any row where i has no negative."""
    rising, order = distance.masked_fill(~negative, torch.inf).sort(dim=1)  # negatives come first
    beyond = torch.searchsorted(rising, distance, right=True)  # the first one farther than j
    farthest = negative.sum(dim=1, keepdim=True) - 1
    return order.gather(1, torch.minimum(beyond, farthest).clamp(min=0))
