"""Losses of CBSwR: centre softmax, deep clustering and reconstruction."""

import math
from typing import Literal, NamedTuple

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
    r"""Pull each row towards its partner and push it away from the centroids of other clusters.

    With unit vectors, :math:`s_i = e^{x_i \cdot x_{i'} / \tau}`,
    :math:`a_{ij} = e^{x_i \cdot c_j / \tau}`, :math:`Z_i = \sum_j a_{ij}` and
    :math:`Z^-_i = Z_i - a_{i q_i}` for the own cluster :math:`q_i`, the mean over rows of

    .. math::
        -\log \frac{s_i}{Z^-_i}
        - \alpha \sum_{j \ne q_i} \log\Bigl(1 - \frac{a_{ij}}{Z_i}\Bigr)

    Args:
        embeddings: ``(rows, dim)``. All three are normalised here, so any non-zero scale is fine.
        partners: ``(rows, dim)``, each row's other view. Receives no gradient.
        centres: ``(present, dim)``, one for each cluster in the batch. Receives no gradient.
        own: ``(rows,)`` index of each row's centre.
        temperature: tau > 0.
        negative_weight: alpha >= 0.
        positive_denominator: ``z_minus`` as above, or ``z``: Z instead of Z^-.
        floor: Lower bound of 1 - a / Z, below which a term is constant. At tau = 0.1, this happens
            when a row's similarity to a wrong centre exceeds that to all others by 1.38.

    Returns:
        Scalar. With ``z_minus`` it can be negative, down to ``-2 / tau``, since the denominator
        does not include s. With ``z_minus`` and one centre there is nothing to compare with:
        exactly 0. NaN when an embedding, a partner or a centre is not finite.

    Source:
        Nguyen et al., BMVC 2020, arXiv:2009.04091. The text does not define its l(I, c); the
        equation is that of the released training script, ``z`` that of a second version in the same
        code. The floor is ours. The text sums over rows.
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


class ClusteringLoss(NamedTuple):
    """The loss and its two entropies, in nats and without gradient."""

    loss: Float[Tensor, ""]
    entropy: Float[Tensor, ""]
    """H(Y), of the mean assignment: log K if all clusters are used equally."""
    conditional_entropy: Float[Tensor, ""]
    """H(Y|X), averaged over rows: 0 if every assignment is certain."""


def deep_clustering_loss(
    logits: Float[Tensor, "rows clusters"],
    *,
    normalize_logits: bool = False,
    balance: float = 1.0,
    entropy_scale: Literal["clusters", "rows", "none"] = "clusters",
) -> ClusteringLoss:
    r"""Maximise the mutual information of images and clusters: certain rows, balanced clusters.

    With :math:`y_i` the softmax of row i, :math:`\bar y` their mean and :math:`\mu` the balance:

    .. math::
        \frac{H(Y|X)}{s} + 1 - \mu \frac{H(Y)}{\log K}, \quad
        H(Y|X) = -\tfrac1n \sum_i \sum_c y_{ic} \log y_{ic}, \quad
        H(Y) = -\sum_c \bar y_c \log \bar y_c

    Args:
        logits: ``(rows, clusters)``, at least two of each.
        normalize_logits: Divide each row by its norm first. No probability then exceeds
            ``g / (g + K - 1)`` with ``g = exp(sqrt(K / (K - 1)))``, which is 0.082 at K = 32, so
            the first term can hardly decrease.
        balance: Factor on H(Y), >= 0.
        entropy_scale: Defines s: ``clusters`` is log K, ``rows`` is log n; with ``none`` the loss
            is H(Y|X) - balance * H(Y).

    Returns:
        The loss; in [0, 1] with ``clusters`` and balance 1. Probabilities that underflow to 0
        contribute 0 and have a finite gradient; a NaN logit makes all three values NaN.

    Source:
        Nguyen et al., BMVC 2020, arXiv:2009.04091, after RIM (Krause et al., NIPS 2010). ``none``
        is the form in the text, whose penalty on the classifier is left to the optimiser here;
        ``normalize_logits`` with ``rows`` is the form in the released code.
    """
    rows, clusters = logits.shape
    if normalize_logits:
        logits = F.normalize(logits, dim=1)
    log_each = F.log_softmax(logits, dim=1)  # (rows, clusters)
    log_mean = torch.logsumexp(log_each, dim=0) - math.log(rows)  # (clusters,)
    entropy = -(log_mean.exp() * log_mean).sum()
    conditional = -(log_each.exp() * log_each).sum(dim=1).mean()
    if entropy_scale == "none":
        loss = conditional - balance * entropy
    else:
        scale = math.log(clusters if entropy_scale == "clusters" else rows)
        loss = conditional / scale + 1 - balance * entropy / math.log(clusters)
    return ClusteringLoss(loss, entropy.detach(), conditional.detach())


MEAN_COLOR = (122.77, 115.95, 102.98)
"""Mean RGB colour, 0..255, of the images that Caffe's GoogLeNet was trained on."""


def reconstruction_loss(
    decoded: Float[Tensor, "present channels height width"],
    targets: Float[Tensor, "rows channels height width"],
    own: Int[Tensor, " rows"],
    *,
    reduction: Literal["mean", "sum"] = "mean",
) -> Float[Tensor, ""]:
    r"""Squared error between each row's image and the picture decoded from its cluster.

    Averaged over rows:

    .. math:: \tfrac1n \sum_i \| I_i - D(R_{q_i}) \|^2

    Args:
        decoded: ``(present, ...)``, one picture per cluster.
        targets: ``(rows, ...)``.
        own: ``(rows,)`` index of each row's picture.
        reduction: Over an image's values: ``sum`` as above, or ``mean``.

    Source:
        Nguyen et al., BMVC 2020, arXiv:2009.04091: ``sum`` as in the text; ``mean`` as in the
        released code, smaller by a factor of the number of values per image (150,528 at 224
        pixels).
    """
    squared = (targets - decoded.index_select(0, own)).square()
    return squared.mean() if reduction == "mean" else squared.sum() / len(targets)


def reconstruction_target(
    views: Float[Tensor, "rows channels height width"], *, target: Literal["unit", "centred"]
) -> Float[Tensor, "rows channels height width"]:
    """Convert views around [-1, 1] to the target of the decoder.

    ``unit``: pixels in [0, 1], clipped. ``centred``: the same minus the mean colour, about -0.48 to
    0.60 (for grey images, minus the mean of its three channels).
    """
    unit = ((views + 1) / 2).clamp(0.0, 1.0)
    if target == "unit":
        return unit
    mean = torch.tensor(MEAN_COLOR, device=views.device) / 255
    mean = mean if views.shape[1] == len(mean) else mean.mean(dim=0, keepdim=True)
    return unit - mean[:, None, None]
