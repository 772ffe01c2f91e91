"""Losses of STML on scaled distances: relaxed contrastive loss and self-distillation between heads.

Both take the scaled distances of a head, so that these are computed only once.
"""

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from gcudml.losses.distances import distances


def scaled_distances(
    embeddings: Float[Tensor, "batch dim"], *, normalize: bool = False
) -> Float[Tensor, "batch batch"]:
    r"""Euclidean distances of the rows in units of each row's mean distance.

    :math:`d_{ij} = D_{ij} / (\tfrac1N \sum_{l=1}^N D_{il})`. The mean includes the zero distance of
    a row to itself and has a gradient. d is not symmetric and does not depend on the scale of the
    embeddings.

    Args:
        embeddings: ``(batch, dim)``.
        normalize: Whether to normalise each row first.

    Returns:
        ``(batch, batch)``; all 0, without gradient, when all rows coincide; all NaN when an
        embedding is not finite.

    Source:
        Kim et al., CVPR 2022, arXiv:2205.01903; their code divides 0 by 0 when all rows are equal.
    """
    distance = distances(F.normalize(embeddings, dim=1) if normalize else embeddings)
    mean = distance.mean(dim=1, keepdim=True)
    return distance / mean.masked_fill(mean == 0, 1.0)


def relaxed_contrastive_loss(
    scaled: Float[Tensor, "batch batch"],
    similarity: Float[Tensor, "batch batch"],
    *,
    margin: float,
) -> Float[Tensor, ""]:
    r"""Relaxed contrastive loss: pull pairs in proportion to similarity, push the others apart.

    .. math::
        \tfrac1{N(N-1)} \sum_{i \ne j}
        W_{ij} d_{ij}^2 + (1 - W_{ij}) \max(margin - d_{ij}, 0)^2

    Args:
        scaled: ``(batch, batch)``, d, from ``scaled_distances``.
        similarity: ``(batch, batch)``, W in [0, 1], without gradient.
        margin: Distance up to which pairs are pushed, in units of a row's mean distance, > 0.

    Returns:
        Scalar >= 0; 0 with fewer than two rows.

    Source:
        Kim et al., CVPR 2022, arXiv:2205.01903, with the divisor of its code. The form goes back
        to Kim et al., "Embedding Transfer with Label Relaxation for Improved Metric Learning", CVPR
        2021, arXiv:2103.14908.
    """
    rows = len(scaled)
    pulled = similarity * scaled.square()
    pushed = (1 - similarity) * torch.relu(margin - scaled).square()
    own = torch.eye(rows, dtype=torch.bool, device=scaled.device)
    pairs = (pulled + pushed).masked_fill(own, 0.0)
    return pairs.sum() / max(rows * (rows - 1), 1)


def distance_distillation_loss(
    scaled: Float[Tensor, "batch batch"],
    taught: Float[Tensor, "batch batch"],
    *,
    temperature: float = 1.0,
) -> Float[Tensor, ""]:
    r"""Match one embedding's distances within a batch to those of another embedding.

    With :math:`p_i = softmax_j(-d^{taught}_{ij} / T)` and :math:`q_i = softmax_j(-d_{ij} / T)`,
    both over all N columns, including the row itself:
    :math:`\tfrac{T^2}{N} \sum_i KL(p_i \| q_i)`.

    Args:
        scaled: ``(batch, batch)``, d of the embedding that learns.
        taught: ``(batch, batch)``, d of the embedding that teaches; receives no gradient.
        temperature: T > 0; published: 1. The factor T^2 keeps the gradient's magnitude.

    Returns:
        Scalar >= 0; 0 when one embedding is an isometric or a scaled copy of the other.

    Source:
        The self-distillation of STML (Kim et al., CVPR 2022, arXiv:2205.01903).
    """
    learns = F.log_softmax(-scaled / temperature, dim=1)
    target = F.log_softmax(-taught.detach() / temperature, dim=1)
    # Written out because ``kl_div`` has no batching rule for ``vmap`` yet.
    divergence = (target.exp() * (target - learns)).sum() / len(target)
    return divergence * temperature**2
