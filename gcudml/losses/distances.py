"""Euclidean distances between all rows of a batch, exact where rows nearly coincide."""

import torch
from jaxtyping import Float
from torch import Tensor

COINCIDE = 1e-6
"""Rows that are closer than this share of their typical distance to the batch's mean count as one
point: their distance is 0 and sends no gradient."""


def squared_distances(embeddings: Float[Tensor, "batch dim"]) -> Float[Tensor, "batch batch"]:
    r"""All :math:`\|s_i - s_j\|^2`, at least 0; 0 where rows coincide (see ``COINCIDE``).

    Differences of large numbers are taken in double precision: in single precision a matrix
    product leaves two almost equal rows at a distance of 3e-4 of their length. Taking each
    difference by itself (``torch.cdist`` without its matrix product) is as exact but 2 to 9 times
    slower with its gradient.

    All are NaN when an embedding is not finite.
    """
    # Moved to their mean, which changes no distance, rows are as short as can be.
    rows = embeddings.double() - embeddings.detach().double().mean(dim=0)
    square = rows.square().sum(dim=1, keepdim=True)  # (batch, 1)
    one = torch.ones_like(square)
    # a.a + b.b - 2 a.b as one product.
    product = torch.cat([-2 * rows, square, one], 1) @ torch.cat([rows, one, square], 1).T
    squared = product.to(embeddings.dtype)
    floor = COINCIDE**2 * square.detach().mean()
    return squared.masked_fill(product.detach() <= floor, 0.0)  # false for NaN, which stays


def distances(embeddings: Float[Tensor, "batch dim"]) -> Float[Tensor, "batch batch"]:
    """The roots of ``squared_distances``; the gradient is 0, not infinite, where rows coincide."""
    squared = squared_distances(embeddings)
    coincide = squared == 0
    return squared.masked_fill(coincide, 1.0).sqrt().masked_fill(coincide, 0.0)
