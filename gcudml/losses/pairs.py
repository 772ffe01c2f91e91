"""Pair-based losses: pull rows with equal labels together, push those with different ones apart."""

from typing import NamedTuple

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
    r"""Multi-similarity loss: pull positives together, push negatives apart, hard pairs the most.

    With cosine similarity :math:`S`, anchor :math:`i` keeps the negatives
    :math:`N_i = \{j : S_{ij} > \min_{pos} S_{i\cdot} - margin\}` and the positives
    :math:`P_i = \{j : S_{ij} < \max_{neg} S_{i\cdot} + margin\}`; averaged over all anchors with
    a known label:

    .. math::
        \tfrac1\alpha \log\bigl(1 + \sum_{j \in P_i} e^{-\alpha (S_{ij} - base)}\bigr)
        + \tfrac1\beta \log\bigl(1 + \sum_{j \in N_i} e^{\beta (S_{ij} - base)}\bigr)

    Args:
        embeddings: ``(batch, dim)``. Normalised here, so any non-zero scale is fine.
        labels: ``(batch,)`` pseudo-labels. An unassigned row is neither an anchor nor in a pair.
        alpha: Sharpness over positives, > 0.
        beta: Sharpness over negatives, > 0.
        base: Similarity (in [-1, 1]) around which a pair's weight changes from small to large.
        margin: Slack of the pair mining, in similarity.

    Returns:
        Scalar >= 0. An anchor without a kept positive or a kept negative contributes 0 but is
        counted; exactly 0 when no row has a known label. NaN when an embedding is not finite, which
        mining alone would turn into 0, because comparisons with NaN are false.

    Source:
        Wang et al., CVPR 2019, arXiv:1904.06627, with its pair mining; the beta of 40 is the
        value of the official code of UDML-SS (arXiv:1911.07072).
    """
    unit = F.normalize(embeddings, dim=1)
    similarity = unit @ unit.T  # (batch, batch)
    mined = _mine(similarity.detach(), _pairs(labels), margin=margin)

    pull = _log1p_sum_exp(-alpha * (similarity - base), where=mined.positive) / alpha  # (batch,)
    push = _log1p_sum_exp(beta * (similarity - base), where=mined.negative) / beta  # (batch,)
    loss = ((pull + push) * mined.active).sum() / (labels >= 0).sum().clamp(min=1)
    return loss + 0.0 * similarity.sum()  # 0, or NaN where a similarity is NaN


def contextual_bias_loss(
    embeddings: Float[Tensor, "batch dim"],
    labels: Int[Tensor, " batch"],
    *,
    margin: float = 0.1,
    bias: float = 1.0,
    share: float = 0.2,
) -> Float[Tensor, ""]:
    r"""CBML: multi-similarity on mined pairs, plus a pull of all negatives to one similarity.

    With cosine similarity :math:`S`, the mined pairs :math:`P_i, N_i` of
    ``multi_similarity_loss`` and all positives :math:`P_i^*` and negatives :math:`N_i^*` of
    anchor :math:`i`, averaged over all anchors with a known label:

    .. math::
        \log\bigl(1 + \sum_{j \in P_i} e^{-(S_{ij} - 0.5) / 0.5}\bigr)
        + \log\bigl(1 + \sum_{j \in N_i} e^{(S_{ij} - 1) / 0.01}\bigr)
        + bias \sum_{j \in N_i^*} (S_{ij} - m_i)^2

    where :math:`m_i = share \cdot mean(S_{i P_i^*}) + (1 - share) \cdot mean(S_{i N_i^*})`.

    Args:
        embeddings: ``(batch, dim)``, any non-zero scale.
        labels: ``(batch,)`` pseudo-labels; an unassigned row is neither an anchor nor in a pair.
        margin: Slack of the pair mining, in similarity.
        bias: Weight of the third term.
        share: Weight in [0, 1] of the positives' mean in the similarity that negatives are pulled
            to.

    Returns:
        Scalar >= 0. An anchor without a kept positive or a kept negative contributes 0 but is
        counted. NaN when an embedding is not finite.

    Source:
        Kan et al., TPAMI 2023, arXiv:2210.04402, in its ``log`` form with the example settings of
        its code. A row is excluded from its own pairs by its index, not by a similarity of 1.
    """
    unit = F.normalize(embeddings, dim=1)
    similarity = unit @ unit.T  # (batch, batch)
    pairs = _pairs(labels)
    mined = _mine(similarity.detach(), pairs, margin=margin)

    pull = _log1p_sum_exp(-(similarity - 0.5) / 0.5, where=mined.positive)  # (batch,)
    push = _log1p_sum_exp((similarity - 1.0) / 0.01, where=mined.negative)  # (batch,)
    of_positives = _row_mean(similarity, pairs.positive)
    of_negatives = _row_mean(similarity, pairs.negative)
    middle = share * of_positives + (1 - share) * of_negatives
    offset = ((similarity - middle[:, None]) * pairs.negative).square().sum(dim=1)
    loss = ((pull + push + bias * offset) * mined.active).sum() / (labels >= 0).sum().clamp(min=1)
    return loss + 0.0 * similarity.sum()


def nt_xent_loss(
    embeddings: Float[Tensor, "batch dim"],
    labels: Int[Tensor, " batch"],
    *,
    temperature: float = 0.1,
) -> Float[Tensor, ""]:
    r"""NT-Xent: cross-entropy of a softmax that picks each positive out of all negatives.

    With cosine similarity :math:`S`, averaged over all pairs of an anchor :math:`i` and a positive
    :math:`p` (rows with equal known labels), where :math:`N_i` are the anchor's negatives:

    .. math::
        -\log \frac{e^{S_{ip} / t}}{e^{S_{ip} / t} + \sum_{j \in N_i} e^{S_{ij} / t}}

    Args:
        embeddings: ``(batch, dim)``, any non-zero scale.
        labels: ``(batch,)``; an unassigned row is neither an anchor nor in a pair.
        temperature: t > 0.

    Returns:
        Scalar >= 0; 0 when there is no positive pair, NaN when an embedding is not finite.

    Source:
        Chen et al., ICML 2020, arXiv:2002.05709; several positives of an anchor are each in a
        softmax of their own, as in pytorch-metric-learning.
    """
    unit = F.normalize(embeddings, dim=1)
    similarity = unit @ unit.T / temperature  # (batch, batch)
    pairs = _pairs(labels)
    others = similarity.masked_fill(~pairs.negative, float("-inf")).logsumexp(dim=1, keepdim=True)
    every = torch.logaddexp(similarity, others) - similarity
    loss = torch.where(pairs.positive, every, 0.0).sum() / pairs.positive.sum().clamp(min=1)
    return loss + 0.0 * similarity.sum()


class _Pairs(NamedTuple):
    """Masks of the pairs of rows with equal and with different labels, without the diagonal."""

    positive: Bool[Tensor, "batch batch"]
    negative: Bool[Tensor, "batch batch"]


def _pairs(labels: Int[Tensor, " batch"]) -> _Pairs:
    known = labels >= 0
    pair = known[:, None] & known[None, :]
    pair &= ~torch.eye(len(labels), dtype=torch.bool, device=labels.device)
    same = labels[:, None] == labels[None, :]
    return _Pairs(pair & same, pair & ~same)


class _Mined(NamedTuple):
    """Masks of the pairs that mining keeps."""

    positive: Bool[Tensor, "batch batch"]
    negative: Bool[Tensor, "batch batch"]
    active: Bool[Tensor, " batch"]
    """Rows with at least one kept positive and one kept negative."""


def _mine(similarity: Float[Tensor, "batch batch"], pairs: _Pairs, *, margin: float) -> _Mined:
    """Mine hard pairs: each is compared with the row's hardest pair of the other kind."""
    infinity = float("inf")
    positive, negative = pairs
    hardest_positive = similarity.masked_fill(~positive, infinity).amin(dim=1, keepdim=True)
    hardest_negative = similarity.masked_fill(~negative, -infinity).amax(dim=1, keepdim=True)
    most, least = hardest_negative + margin, hardest_positive - margin
    # A row keeps its hardest pair of a kind or none of it, so testing that one pair is enough;
    # `any` over all pairs takes much longer.
    active = (hardest_positive < most) & (hardest_negative > least)  # (batch, 1)
    return _Mined(
        positive & (similarity < most), negative & (similarity > least), active.squeeze(1)
    )


def _row_mean(
    x: Float[Tensor, "rows cols"], where: Bool[Tensor, "rows cols"]
) -> Float[Tensor, " rows"]:
    """Row-wise mean of ``x[where]``; 0 for a row with no entry."""
    return (x * where).sum(dim=1) / where.sum(dim=1).clamp(min=1)


def _log1p_sum_exp(
    x: Float[Tensor, "rows cols"], *, where: Bool[Tensor, "rows cols"]
) -> Float[Tensor, " rows"]:
    """Row-wise ``log(1 + sum(exp(x[where])))``, without overflow; 0 for a row with no entry."""
    masked = torch.where(where, x, float("-inf"))
    # exp(0) is the 1 in log(1 + ...)
    largest = masked.detach().amax(dim=1).clamp(min=0.0)
    total = (masked - largest[:, None]).exp().sum(dim=1) + (-largest).exp()
    return largest + total.log()
