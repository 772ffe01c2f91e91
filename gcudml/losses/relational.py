"""Relational distillation: transfer the distances between rows, not the rows themselves."""

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F


def relational_distillation_loss(
    student: Float[Tensor, "batch dim"],
    teacher: Float[Tensor, "batch wide"],
    *,
    temperature: float = 1.0,
) -> Float[Tensor, ""]:
    r"""Match the student's distances within a batch to the teacher's (L_KD of GC-UDML).

    Per row, with Euclidean distances of unit vectors divided by their row mean over
    :math:`j \ne i`: :math:`p_i = softmax_j(-d^T_{ij} / T)`,
    :math:`q_i = softmax_j(-d^S_{ij} / T)`; :math:`T^2` times the mean over rows of
    :math:`KL(p_i \| q_i)`.

    Args:
        student: ``(batch, dim)``; normalised here.
        teacher: ``(batch, wide)``; may have another width than the student. Receives no gradient.
        temperature: T > 0. The factor T^2 keeps the gradient's magnitude.

    Returns:
        Scalar >= 0; 0 when one is an isometric copy of the other, or with fewer than 3 rows.

    Source:
        The self-distillation of STML (Kim et al., CVPR 2022, arXiv:2205.01903), which compares
        unnormalised compact embeddings; here both sides are normalised and the diagonal is left
        out.
    """
    if len(student) < 3:
        return student.new_zeros(())
    with torch.no_grad():
        target = _row_scores(teacher, temperature)
    # Written out because ``kl_div`` has no batching rule for ``vmap`` yet.
    divergence = target.exp() * (target - _row_scores(student, temperature))
    return temperature**2 * divergence.sum() / len(divergence)


def _row_scores(
    embeddings: Float[Tensor, "batch dim"], temperature: float
) -> Float[Tensor, "batch others"]:
    """Log-softmax of the negative mean-scaled distances to the other rows: (batch, batch - 1)."""
    unit = F.normalize(embeddings, dim=1)
    # |a-b|^2 = 2 - 2 cos; the floor keeps the gradient of the root finite where rows coincide.
    distance = (2 - 2 * unit @ unit.T).clamp(min=1e-6).sqrt()
    rows = len(distance)
    # Remove the diagonal: drop the first element, then every (rows+1)-th one.
    others = distance.flatten()[1:].view(rows - 1, rows + 1)[:, :-1].reshape(rows, rows - 1)
    return F.log_softmax(-others / (temperature * others.mean(dim=1, keepdim=True)), dim=1)
