"""Centre-based softmax: near the partner, away from the centroids of other clusters."""

from typing import Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional as F


def centre_softmax_loss(
    embeddings: Float[Tensor, "rows dim"],
    partners: Float[Tensor, "rows dim"],
    centres: Float[Tensor, "present dim"],
    own: Int[Tensor, " rows"],
    *,
    temperature: float = 0.1,
    negative_weight: float = 1.0,
    positive_denominator: Literal["z_minus", "z"] = "z_minus",
    floor: float = 1e-6,
) -> Float[Tensor, ""]:
    r"""Pull each row to its partner and push it from the centroids that are not its own.

    With unit vectors, :math:`s_i = e^{x_i \cdot x_{i'} / \tau}`,
    :math:`a_{ij} = e^{x_i \cdot c_j / \tau}`, :math:`Z_i = \sum_j a_{ij}` and
    :math:`Z^-_i = Z_i - a_{i q_i}` for the own cluster :math:`q_i`, the mean over rows of

    .. math::
        -\log \frac{s_i}{Z^-_i}
        - \alpha \sum_{j \ne q_i} \log\Bigl(1 - \frac{a_{ij}}{Z_i}\Bigr)

    Args:
        embeddings: ``(rows, dim)``. All three are normalised here, so any non-zero scale is fine.
        partners: ``(rows, dim)``, each row's other view. Receives no gradient.
        centres: ``(present, dim)``, one for each cluster of the batch. Receives no gradient.
        own: ``(rows,)`` index of each row's centre.
        temperature: tau > 0.
        negative_weight: alpha >= 0.
        positive_denominator: ``z_minus`` as above, or ``z``: Z in place of Z^-.
        floor: Least value of 1 - a / Z; below it a term is constant. At tau = 0.1 a row is there
            when it is more similar to a wrong centre than to all others by 1.38.

    Returns:
        Scalar. With ``z_minus`` it can be negative, down to ``-2 / tau``: s is not part of what it
        is divided by. With one centre and ``z_minus`` nothing is left to compare with: exactly 0.
        NaN when an embedding, a partner or a centre is not finite.

    Source:
        Nguyen et al., BMVC 2020, arXiv:2009.04091. The text does not define its l(I, c); the
        equation is that of the released training script, ``z`` that of a second version there. The
        floor is ours. The text sums over rows.
    """
    unit = F.normalize(embeddings, dim=1)
    with torch.no_grad():
        unit_partners, unit_centres = F.normalize(partners, dim=1), F.normalize(centres, dim=1)
    to_partner = (unit * unit_partners).sum(dim=1) / temperature  # (rows,), log s
    scores = unit @ unit_centres.T / temperature  # (rows, present), log a
    if len(centres) == 1 and positive_denominator == "z_minus":
        return 0.0 * (to_partner.sum() + scores.sum())  # 0, or NaN where a similarity is NaN

    is_own = F.one_hot(own, len(centres)).bool()
    compared = (
        scores.masked_fill(is_own, -torch.inf) if positive_denominator == "z_minus" else scores
    )
    positive = torch.logsumexp(compared, dim=1) - to_partner
    apart = (1 - F.softmax(scores, dim=1)).clamp(min=floor).log()  # (rows, present)
    negative = -apart.masked_fill(is_own, 0.0).sum(dim=1)
    return (positive + negative_weight * negative).mean()
