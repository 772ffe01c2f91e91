"""Losses on embeddings. Plain functions: tensors in, scalar out, no state, no device moves.

Shape letters: ``batch`` rows, ``dim`` embedding width, ``groups`` group classifiers. A negative
label means "unassigned". Equation numbers are those of the reconstruction that
``gcudml/methods/gcudml.py`` describes.
"""

from collections.abc import Sequence
from typing import Literal

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


def group_classifier_loss(
    logits: Sequence[Float[Tensor, "batch _"]],
    labels: Int[Tensor, " batch"],
    sampled: Bool[Tensor, "groups batch"],
) -> Float[Tensor, ""]:
    r"""Train every group's classifier on its own re-sampled rows (equation 1, L_PCO).

    .. math:: \tfrac1G \sum_k \tfrac1{|B_k|} \sum_{i \in B_k} CE(softmax(z_i^k), y_i)

    Args:
        logits: One ``(batch, C_k)`` tensor a group; ``C_k`` grows with ``k``.
        labels: ``(batch,)`` pseudo-labels, numbered in group order, so that classifier ``k``
            knows the labels below ``C_k``.
        sampled: ``(groups, batch)``, the subset ``B_k`` of each classifier; may hold only rows
            whose label is known to it.

    Returns:
        Scalar >= 0; a group with an empty subset adds 0 but is counted in ``G``.

    Source:
        "Parallel classifier optimisation" of SHA-GCL (Dong et al., CVPR 2022, arXiv:2203.09811),
        without its background class. Our reading of GC-UDML, not the authors' code.
    """
    total = logits[0].new_zeros(())
    for scores, subset in zip(logits, sampled, strict=True):
        target = torch.where(subset, labels, -1)
        count = subset.sum().clamp(min=1)
        summed = F.cross_entropy(scores, target, ignore_index=-1, reduction="sum")
        total = total + summed / count
    return total / len(logits)


def group_pair_loss(
    embeddings: Float[Tensor, "batch dim"],
    labels: Int[Tensor, " batch"],
    sampled: Bool[Tensor, "groups batch"],
) -> Float[Tensor, ""]:
    """Average over groups of the multi-similarity loss on each group's re-sampled rows.

    The pair-loss reading (H2) of group-collaborative learning: where L_PCO trains a classifier
    on the subset ``B_k``, this compares the rows of ``B_k`` with each other.

    Args:
        embeddings: ``(batch, dim)``.
        labels: ``(batch,)`` pseudo-labels.
        sampled: ``(groups, batch)``, the rows that each group uses.
    """
    losses = [
        multi_similarity_loss(embeddings, torch.where(subset, labels, -1)) for subset in sampled
    ]
    return torch.stack(losses).mean()


def collaborative_distillation_loss(
    logits: Sequence[Float[Tensor, "batch _"]],
    labels: Int[Tensor, " batch"],
    sampled: Bool[Tensor, "groups batch"],
    *,
    transfer: Literal["top_down", "adjacency"] = "top_down",
    temperature: float = 1.0,
    detach_source: bool = True,
    outside_weight: float = 0.1,
) -> Float[Tensor, ""]:
    r"""Let the classifier of the larger clusters teach those that also know smaller ones.

    Equation 2, L_CKD, over the pairs :math:`Q` of a smaller set ``a`` and a larger set ``b``:

    .. math::
        \tfrac1{|Q|} \sum_{(a,b)} \tfrac1{|B_b|} \sum_{i \in B_b} w_i^a \tau^2
        KL\bigl(softmax(z_i^a/\tau) \,\|\, softmax(z_i^b[1..C_a]/\tau)\bigr)

    Args:
        logits: One ``(batch, C_k)`` tensor a group, ``C_k`` growing with ``k``.
        labels: ``(batch,)`` pseudo-labels in group order.
        sampled: ``(groups, batch)`` subsets ``B_k``.
        transfer: ``top_down`` takes every pair a < b, ``adjacency`` the neighbours (k-1, k).
        temperature: tau > 0.
        detach_source: Whether ``a`` only teaches; ``False`` is what SHA-GCL's code does.
        outside_weight: Weight of rows whose label ``a`` does not know; known ones count 1.

    Returns:
        Scalar >= 0; exactly 0 with one group.

    Source:
        "Collaborative knowledge distillation" of SHA-GCL (arXiv:2203.09811) without background.
    """
    groups = len(logits)
    if transfer == "top_down":
        pairs = [(a, b) for b in range(groups) for a in range(b)]
    else:
        pairs = [(b - 1, b) for b in range(1, groups)]
    total = 0.0 * logits[-1].sum()  # a zero that can be differentiated, for the case of no pair
    for a, b in pairs:
        known = logits[a].shape[1]  # C_a
        source = logits[a].detach() if detach_source else logits[a]
        teacher = F.log_softmax(source / temperature, dim=1)  # (batch, C_a)
        learner = F.log_softmax(logits[b][:, :known] / temperature, dim=1)
        divergence = F.kl_div(learner, teacher, reduction="none", log_target=True).sum(dim=1)
        weight = torch.full_like(divergence, outside_weight).masked_fill(labels < known, 1.0)
        weight = weight * sampled[b]
        total = total + (weight * divergence).sum() / sampled[b].sum().clamp(min=1)
    return total * temperature**2 / max(len(pairs), 1)


def relational_distillation_loss(
    student: Float[Tensor, "batch dim"], teacher: Float[Tensor, "batch wide"]
) -> Float[Tensor, ""]:
    r"""Make the student's distances rank the batch as the teacher's do (equation 4, L_KD).

    Per row, with Euclidean distances of unit vectors divided by their row mean over
    :math:`j \ne i`: :math:`p_i = softmax_j(-d^T_{ij})`, :math:`q_i = softmax_j(-d^S_{ij})`; the
    mean over rows of :math:`KL(p_i \| q_i)`.

    Args:
        student: ``(batch, dim)``; normalised here.
        teacher: ``(batch, wide)``; need not have the student's width. Receives no gradient.

    Returns:
        Scalar >= 0; 0 when one is an isometric copy of the other, or with fewer than 3 rows.

    Source:
        The self-distillation of STML (Kim et al., CVPR 2022, arXiv:2205.01903), which compares
        its raw compact embedding; here both sides are normalised and the diagonal is left out.
    """
    if len(student) < 3:
        return student.new_zeros(())
    with torch.no_grad():
        target = _row_scores(teacher)
    return F.kl_div(_row_scores(student), target, reduction="batchmean", log_target=True)


def _row_scores(embeddings: Float[Tensor, "batch dim"]) -> Float[Tensor, "batch others"]:
    """Log-softmax of minus the mean-scaled distances to the other rows, ``(batch, batch - 1)``."""
    unit = F.normalize(embeddings, dim=1)
    # |a-b|^2 = 2 - 2 cos; the floor keeps the root's slope finite where two rows coincide.
    distance = (2 - 2 * unit @ unit.T).clamp(min=1e-6).sqrt()
    rows = len(distance)
    # A view without the diagonal: drop the first element, then every (rows+1)-th one.
    others = distance.flatten()[1:].view(rows - 1, rows + 1)[:, :-1].reshape(rows, rows - 1)
    return F.log_softmax(-others / others.mean(dim=1, keepdim=True), dim=1)


def _log1p_sum_exp(
    x: Float[Tensor, "rows cols"], *, where: Bool[Tensor, "rows cols"]
) -> Float[Tensor, " rows"]:
    """Row-wise ``log(1 + sum(exp(x[where])))``, without overflow; 0 for a row with no entry."""
    masked = x.masked_fill(~where, float("-inf"))
    one = x.new_zeros(len(x), 1)  # exp(0) is the 1 in log(1 + ...)
    return torch.logsumexp(torch.cat([one, masked], dim=1), dim=1)
