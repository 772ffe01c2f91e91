"""Group-collaborative losses of GC-UDML; ``method.py`` in this folder combines them.

Shape letters: ``batch`` rows, ``dim`` embedding width, ``groups`` group classifiers.
"""

from collections.abc import Sequence
from typing import Literal

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn import functional as F

from gcudml.losses.pairs import multi_similarity_loss


def group_classifier_loss(
    logits: Sequence[Float[Tensor, "batch _"]],
    labels: Int[Tensor, " batch"],
    sampled: Bool[Tensor, "groups batch"],
) -> Float[Tensor, ""]:
    r"""Average the cross-entropy of each group's classifier on its re-sampled rows (L_PCO).

    .. math:: \tfrac1G \sum_k \tfrac1{|B_k|} \sum_{i \in B_k} CE(softmax(z_i^k), y_i)

    Args:
        logits: One ``(batch, C_k)`` tensor per group; ``C_k`` grows with ``k``.
        labels: ``(batch,)`` pseudo-labels, numbered in group order, so that classifier ``k``
            covers the labels below ``C_k``.
        sampled: ``(groups, batch)``, mask of the subset ``B_k`` of each classifier; may hold only
            rows whose label the classifier covers.

    Returns:
        Scalar >= 0; a group with an empty subset contributes 0 but is counted in ``G``.

    Source:
        "Parallel classifier optimisation" of SHA-GCL (Dong et al., CVPR 2022, arXiv:2203.09811),
        without its background class. Our interpretation of GC-UDML, not the authors' code.
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

    The pair-loss interpretation of group-collaborative learning: L_PCO trains a classifier on the
    subset ``B_k``; this loss compares the rows of ``B_k`` with each other.

    Args:
        embeddings: ``(batch, dim)``.
        labels: ``(batch,)`` pseudo-labels.
        sampled: ``(groups, batch)``, mask of the rows that each group uses.
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
    transfer: Literal["top_down", "adjacency", "bidirectional"] = "top_down",
    temperature: float = 1.0,
    detach_source: bool = True,
    outside_weight: float = 0.1,
) -> Float[Tensor, ""]:
    r"""Distil from classifiers of the large clusters to those that also cover smaller ones.

    L_CKD, over the pairs :math:`Q` of a smaller label set ``a`` and a larger one ``b``:

    .. math::
        \tfrac1{|Q|} \sum_{(a,b)} \tfrac1{|B_b|} \sum_{i \in B_b} w_i^a \tau^2
        KL\bigl(softmax(z_i^a/\tau) \,\|\, softmax(z_i^b[1..C_a]/\tau)\bigr)

    Args:
        logits: One ``(batch, C_k)`` tensor per group, ``C_k`` growing with ``k``.
        labels: ``(batch,)`` pseudo-labels in group order.
        sampled: ``(groups, batch)``, masks of the subsets ``B_k``.
        transfer: ``top_down`` uses every pair a < b, ``adjacency`` only (k-1, k);
            ``bidirectional`` uses every pair in both directions, each over the rows ``B_b``.
        temperature: tau > 0.
        detach_source: Whether to stop the gradient at ``a``; SHA-GCL's code does not.
        outside_weight: Weight of rows whose label ``a`` does not cover; others have weight 1.

    Returns:
        Scalar >= 0; exactly 0 with one group.

    Source:
        "Collaborative knowledge distillation" of SHA-GCL (arXiv:2203.09811) without background.
    """
    groups = len(logits)
    if transfer == "adjacency":
        pairs = [(b - 1, b) for b in range(1, groups)]
    else:
        pairs = [(a, b) for b in range(groups) for a in range(b)]
    sources: dict[tuple[int, int], Tensor] = {}  # a detached source is shared by its learners
    total = 0.0 * logits[-1].sum()  # a differentiable zero, for the case of no pair
    directed = pairs if transfer != "bidirectional" else [*pairs, *((b, a) for a, b in pairs)]
    for source, learner in directed:
        shared, rows = logits[min(source, learner)].shape[1], sampled[max(source, learner)]
        taught = sources.get((source, shared))
        if taught is None:
            taught = logits[source][:, :shared] / temperature
            taught = F.log_softmax(taught.detach() if detach_source else taught, dim=1)
        if detach_source:
            sources[source, shared] = taught
        learnt = F.log_softmax(logits[learner][:, :shared] / temperature, dim=1)
        divergence = F.kl_div(learnt, taught, reduction="none", log_target=True).sum(dim=1)
        weight = torch.full_like(divergence, outside_weight).masked_fill(labels < shared, 1.0)
        total = total + (weight * rows * divergence).sum() / rows.sum().clamp(min=1)
    return total * temperature**2 / max(len(directed), 1)


def logit_distillation_loss(
    student: Sequence[Float[Tensor, "batch _"]],
    teacher: Sequence[Float[Tensor, "batch _"]],
    *,
    temperature: float = 1.0,
) -> Float[Tensor, ""]:
    r"""Distil the teacher's copies of the group classifiers to those of the student.

    .. math:: \tfrac1G \sum_k \tfrac1n \sum_i
        KL\bigl(softmax(t_i^k/\tau) \,\|\, softmax(z_i^k/\tau)\bigr)

    Args:
        student: One ``(batch, C_k)`` tensor per group.
        teacher: The same for the teacher; receives no gradient.
        temperature: tau > 0.
    """
    losses = [
        F.kl_div(
            F.log_softmax(learnt / temperature, dim=1),
            F.log_softmax(taught.detach() / temperature, dim=1),
            reduction="batchmean",
            log_target=True,
        )
        for learnt, taught in zip(student, teacher, strict=True)
    ]
    return torch.stack(losses).mean()
