"""Deep clustering: assignments that are sure of themselves and use all clusters alike."""

import math
from typing import Literal, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F


class ClusteringLoss(NamedTuple):
    """The loss and the two entropies it is made of, in nats and without gradient."""

    loss: Float[Tensor, ""]
    entropy: Float[Tensor, ""]
    """H(Y), of the mean assignment: log K where all clusters are used alike."""
    conditional_entropy: Float[Tensor, ""]
    """H(Y|X), the mean over rows of a row's own: 0 where every row is sure."""


def deep_clustering_loss(
    logits: Float[Tensor, "rows clusters"],
    *,
    normalize_logits: bool = False,
    balance: float = 1.0,
    entropy_scale: Literal["clusters", "rows", "none"] = "clusters",
) -> ClusteringLoss:
    r"""Raise the mutual information of images and clusters: sure rows, balanced clusters.

    With :math:`y_i` the softmax of row i, :math:`\bar y` their mean and :math:`\mu` the balance:

    .. math::
        \frac{H(Y|X)}{s} + 1 - \mu \frac{H(Y)}{\log K}, \quad
        H(Y|X) = -\tfrac1n \sum_i \sum_c y_{ic} \log y_{ic}, \quad
        H(Y) = -\sum_c \bar y_c \log \bar y_c

    Args:
        logits: ``(rows, clusters)``, at least two of each.
        normalize_logits: Divide each row by its norm first. No probability then exceeds
            ``g / (g + K - 1)`` with ``g = exp(sqrt(K / (K - 1)))``, 0.082 at K = 32, and the first
            term can hardly fall.
        balance: Factor on H(Y), >= 0.
        entropy_scale: What s is: ``clusters`` log K, ``rows`` log n; with ``none`` the loss is
            H(Y|X) - balance * H(Y).

    Returns:
        The loss; with ``clusters`` and balance 1 in [0, 1]. Probabilities that underflow to 0 count
        0 and have a finite gradient; a logit that is not a number makes all three NaN.

    Source:
        Nguyen et al., BMVC 2020, arXiv:2009.04091, after the RIM of Krause et al., NIPS 2010.
        ``none`` is the text's form, without its penalty on the classifier, which is left to the
        optimiser; ``normalize_logits`` with ``rows`` is the released code's.
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
