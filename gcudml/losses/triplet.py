"""Triplet loss, with semi-hard mining or all negatives."""

from typing import Literal, NamedTuple, TypeAlias

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn import functional as F

Mining: TypeAlias = Literal["semihard", "all"]


class Hinges(NamedTuple):
    """Hinge values of triplets. Shape letters: ``pairs``, ``negatives`` of each pair."""

    values: Float[Tensor, "pairs negatives"]
    """``max(0, d(a, p) - d(a, n) + margin)``; 0 where there is no triplet."""
    exists: Bool[Tensor, "pairs negatives"]
    """Mask of the entries that are triplets."""
    zero: Float[Tensor, ""]
    """0, or NaN if any embedding is not finite, so that NaN shows even without a triplet."""

    @property
    def mean_of_active(self) -> Float[Tensor, ""]:
        """Mean of the values above 0; 0 if there is none, NaN if an embedding is not finite."""
        return self.values.sum() / (self.values > 0).sum().clamp(min=1) + self.zero

    @property
    def share_active(self) -> Float[Tensor, ""]:
        """Fraction of triplets with a value above 0; 0 if there is no triplet."""
        return (self.values > 0).sum() / self.exists.sum().clamp(min=1)


def triplet_loss(
    embeddings: Float[Tensor, "batch dim"],
    labels: Int[Tensor, " batch"],
    *,
    margin: float = 0.2,
    mining: Mining = "semihard",
) -> Float[Tensor, ""]:
    r"""Require each anchor to be nearer to its positives than to negatives, by a margin.

    With Euclidean distance :math:`d` (not squared) of unit vectors, averaged over the triplets
    whose term is above 0:

    .. math:: \max(0, d(a, p) - d(a, n) + margin)

    Args:
        embeddings: ``(batch, dim)``. Normalised here, so any non-zero scale is fine; a row of
            zeros stays zero.
        labels: ``(batch,)``. A row with a negative label is in no triplet.
        margin: >= 0, in units of distance.
        mining: ``semihard`` takes one negative for each pair (a, p): the nearest one that is
            farther from the anchor than the positive, or the farthest of all if there is none.
            ``all`` takes every negative.

    Returns:
        Scalar >= 0; exactly 0 when no triplet exists or none is active. NaN when an embedding is
        not finite. The gradient is finite even where rows coincide (0 for that distance).

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
    """Compute the hinge value of every triplet; arguments as in ``triplet_loss``."""
    norms = embeddings.norm(dim=1, keepdim=True)
    # F.normalize would give a gradient of 1e12 at a row of zeros.
    unit = embeddings / norms.masked_fill(norms == 0, 1.0)
    # By differences, not a matrix product: exactly 0, with gradient 0, where rows coincide.
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
        anchors, positives = positive.nonzero(as_tuple=True)  # synchronises with a GPU
        to_positive = distance[anchors, positives][:, None]  # (pairs, 1)
        to_negative, exists = distance[anchors], negative[anchors]  # (pairs, batch)
    values = F.relu(to_positive - to_negative + margin) * exists
    return Hinges(values, exists, 0.0 * distance.sum())


def _semihard(
    distance: Float[Tensor, "batch batch"], negative: Bool[Tensor, "batch batch"]
) -> Int[Tensor, "batch batch"]:
    """Index of the negative for anchor i and positive j; arbitrary if i has no negative."""
    rising, order = distance.masked_fill(~negative, torch.inf).sort(dim=1)  # negatives come first
    beyond = torch.searchsorted(rising, distance, right=True)  # first one farther than j
    farthest = negative.sum(dim=1, keepdim=True) - 1
    return order.gather(1, torch.minimum(beyond, farthest).clamp(min=0))
