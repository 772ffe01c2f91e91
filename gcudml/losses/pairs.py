"""Losses on pairs of rows with equal and with different labels."""

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn import functional as F


def multi_similarity_loss(
    embeddings: Float[Tensor, "batch dim"],
    labels: Int[Tensor, " batch"],
    *,
    alpha: float = 2.0,
    beta: float = 40.0,
    base: float = 0.5,
    margin: float = 0.1,
) -> Float[Tensor, ""]:
    r"""Pull same-label pairs together and push the rest apart, hard pairs weighted most.

    With cosine similarity :math:`S`, anchor :math:`i` keeps the negatives
    :math:`N_i = \{j : S_{ij} > \min_{pos} S_{i\cdot} - margin\}` and the positives
    :math:`P_i = \{j : S_{ij} < \max_{neg} S_{i\cdot} + margin\}`; averaged over all anchors with
    a known label:

    .. math::
        \tfrac1\alpha \log\bigl(1 + \sum_{j \in P_i} e^{-\alpha (S_{ij} - base)}\bigr)
        + \tfrac1\beta \log\bigl(1 + \sum_{j \in N_i} e^{\beta (S_{ij} - base)}\bigr)

    Args:
        embeddings: ``(batch, dim)``. Normalised here, so any non-zero scale is fine.
        labels: ``(batch,)`` pseudo-labels. An unassigned row is neither an anchor nor a pair.
        alpha: Sharpness over positives, > 0.
        beta: Sharpness over negatives, > 0.
        base: Similarity (in [-1, 1]) at which a pair neither pulls nor pushes much.
        margin: Slack of the pair mining, in similarity.

    Returns:
        Scalar >= 0. An anchor without a kept positive or a kept negative adds 0 but is counted;
        exactly 0 when no row has a known label. NaN when an embedding is not finite: comparisons
        with NaN are false, so that mining alone would make it a harmless 0.

    Source:
        Wang et al., CVPR 2019, arXiv:1904.06627, with its pair mining; the beta of 40 is the
        value of the official code of UDML-SS (arXiv:1911.07072).
    """
    unit = F.normalize(embeddings, dim=1)
    similarity = unit @ unit.T  # (batch, batch)

    known = labels >= 0
    pair = known[:, None] & known[None, :]
    pair &= ~torch.eye(len(labels), dtype=torch.bool, device=labels.device)
    same = labels[:, None] == labels[None, :]
    positive, negative = pair & same, pair & ~same

    infinity = float("inf")
    with torch.no_grad():  # which pairs are kept is a choice, not a quantity to differentiate
        hardest_positive = similarity.masked_fill(~positive, infinity).amin(dim=1, keepdim=True)
        hardest_negative = similarity.masked_fill(~negative, -infinity).amax(dim=1, keepdim=True)
        positive &= similarity < hardest_negative + margin
        negative &= similarity > hardest_positive - margin
        active = positive.any(dim=1) & negative.any(dim=1)

    pull = _log1p_sum_exp(-alpha * (similarity - base), where=positive) / alpha  # (batch,)
    push = _log1p_sum_exp(beta * (similarity - base), where=negative) / beta  # (batch,)
    loss = ((pull + push) * active).sum() / known.sum().clamp(min=1)
    return loss + 0.0 * similarity.sum()  # 0, or NaN where a similarity is NaN


def _log1p_sum_exp(
    x: Float[Tensor, "rows cols"], *, where: Bool[Tensor, "rows cols"]
) -> Float[Tensor, " rows"]:
    """Row-wise ``log(1 + sum(exp(x[where])))``, without overflow; 0 for a row with no entry."""
    masked = x.masked_fill(~where, float("-inf"))
    one = x.new_zeros(len(x), 1)  # exp(0) is the 1 in log(1 + ...)
    return torch.logsumexp(torch.cat([one, masked], dim=1), dim=1)
