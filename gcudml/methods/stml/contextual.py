r"""Semantic similarity of the rows of a batch, from the teacher's embeddings: STML's soft labels.

Rows are views of images; two rows may show the same image. Nothing here has a gradient.
"""

from typing import Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional as F

from gcudml.losses.distances import squared_distances

GRID = 2.0**32  # squared distances that differ by less than 1 / GRID rank as equal


@torch.no_grad()
def semantic_similarity(
    teacher: Float[Tensor, "rows dim"],
    images: Int[Tensor, " rows"],
    *,
    sigma: float,
    context: int,
    kind: Literal["combined", "pairwise", "contextual"] = "combined",
    query_expansion: bool = True,
) -> Float[Tensor, "rows rows"]:
    """Compute the similarity of every two rows, in [0, 1], symmetric up to rounding.

    Args:
        teacher: ``(rows, dim)``; normalised here. A row of zeros has squared distance 1 to all
            others.
        images: ``(rows,)``, index of each row's image; rows of one image are neighbours whatever
            their embeddings.
        sigma: Width of the pairwise similarity, > 0.
        context: Size of a row's neighbourhood, including itself.
        kind: ``combined`` is the mean of the pairwise and the contextual similarity.
        query_expansion: See ``contextual_similarity``.

    Returns:
        ``(rows, rows)``; all NaN when an embedding is not finite.
    """
    squared = squared_distances(F.normalize(teacher, dim=1))
    pairwise = pairwise_similarity(squared, sigma=sigma)
    if kind == "pairwise":
        return pairwise
    contextual = contextual_similarity(
        squared, images, context=context, query_expansion=query_expansion
    )
    if kind == "contextual":
        return contextual + 0.0 * squared  # a ranking hides NaN: put it back
    return (pairwise + contextual) / 2


def pairwise_similarity(
    squared: Float[Tensor, "rows rows"], *, sigma: float
) -> Float[Tensor, "rows rows"]:
    r"""Gaussian similarity :math:`W^P_{ij} = \exp(-\|z_i - z_j\|^2 / \sigma)`.

    Sigma is neither squared nor doubled. Squared distances of unit vectors are at most 4, so at the
    published sigma of 3 no value is below 0.26: by design, no pair is entirely dissimilar.
    """
    return torch.exp(-squared / sigma)


def contextual_similarity(
    squared: Float[Tensor, "rows rows"],
    images: Int[Tensor, " rows"],
    *,
    context: int,
    query_expansion: bool = True,
) -> Float[Tensor, "rows rows"]:
    r"""Overlap of the neighbourhoods of two rows, in [0, 1], symmetric.

    :math:`R_i`, the reciprocal neighbours of row :math:`i`, are the rows that are among the first
    ``context`` neighbours of :math:`i` and have :math:`i` among theirs. Then

    .. math:: \tilde W_{ij} = |R_i \cap R_j| / |R_i| \text{ if } j \in R_i \text{, else } 0,

    which is averaged over the first half of each row's neighbours (query expansion,
    :math:`\hat W_{ij} = mean_{h \in N_{k/2}(i)} \tilde W_{hj}`, half rounded to even as the
    published code does, at least 1) and made symmetric: :math:`(\hat W + \hat W^T) / 2`.

    Args:
        squared: ``(rows, rows)`` squared distances in [0, 4], of which only the order matters; NaN
            ranks as 4.
        images: ``(rows,)``, index of each row's image. A row's neighbours are first the row itself,
            then the other rows of its image, then the nearest ones; ties go to the row with the
            lower index, on every device.
        context: k, the size of a neighbourhood, including the row itself; with fewer rows, all.
        query_expansion: Whether to average over neighbours.

    Source:
        Kim et al., CVPR 2022, arXiv:2205.01903. Their code ranks a row and all rows of its image
        as equal, so that with many copies of an image in a batch a row may not be among its own
        neighbours and then has similarity 0 to all rows; here each row is its own first neighbour.
        Their code loops over rows.
    """
    first = _first_neighbours(squared, images, min(context, len(squared)))
    nearest = torch.zeros_like(squared).scatter_(1, first, 1.0)
    mutual = nearest * nearest.T  # (rows, rows), 1 where each is a neighbour of the other
    overlap = torch.zeros_like(squared).scatter_(1, first, _shared_part(mutual, first))
    if query_expansion:
        half = max(1, round(first.shape[1] / 2))
        overlap = F.embedding_bag(first[:, :half], overlap, mode="mean")  # mean of those rows
    return (overlap + overlap.T) / 2


def _first_neighbours(
    squared: Float[Tensor, "rows rows"], images: Int[Tensor, " rows"], count: int
) -> Int[Tensor, "rows count"]:
    """Rank the row itself, the rows of its image, then the nearest; ties go to the lower index."""
    rows = len(squared)
    steps = squared.nan_to_num(nan=4.0).double().mul_(GRID).round_().long()
    steps = steps.masked_fill_(images[:, None] == images[None, :], -1).fill_diagonal_(-2)
    # Make all values different, since topk breaks ties arbitrarily.
    ranks = steps.mul_(rows).add_(torch.arange(rows, device=squared.device))
    return ranks.topk(count, dim=1, largest=False).indices


def _shared_part(
    mutual: Float[Tensor, "rows rows"], first: Int[Tensor, "rows k"]
) -> Float[Tensor, "rows k"]:
    """Fraction of each row's reciprocal neighbours that it shares with each of its neighbours.

    It is 0 for all other rows, so only pairs of neighbours are compared: k^2 per row, not rows^2.
    """
    own = mutual.gather(1, first)  # (rows, k), never all 0: a row is its own neighbour
    between = mutual[first[:, :, None], first[:, None, :]]  # (rows, k, k)
    common = (between @ own[:, :, None])[:, :, 0]
    return own * common / own.sum(dim=1, keepdim=True)
