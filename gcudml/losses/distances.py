"""Euclidean distances between all rows of a batch, accurate even where rows nearly coincide."""

import torch
from jaxtyping import Float
from torch import Tensor

COINCIDE = 1e-6
"""Rows closer than this fraction of their root-mean-square distance to the batch mean count as one
point: their distance is 0 and has no gradient."""


def squared_distances(embeddings: Float[Tensor, "batch dim"]) -> Float[Tensor, "batch batch"]:
    r"""All :math:`\|s_i - s_j\|^2`, at least 0; 0 where rows coincide (see ``COINCIDE``).

    The matrix product is computed in double precision: in single precision, cancellation puts two
    almost equal rows at a distance of 3e-4 of their length. Subtracting each pair of rows
    (``torch.cdist`` without its matrix product) is as accurate, but 2 to 9 times slower with its
    gradient.

    All values are NaN when an embedding is not finite.
    """
    # Centring changes no distance and makes rows short, which reduces cancellation.
    rows = embeddings.double() - embeddings.detach().double().mean(dim=0)
    square = rows.square().sum(dim=1, keepdim=True)  # (batch, 1)
    one = torch.ones_like(square)
    # a.a + b.b - 2 a.b as one product.
    product = torch.cat([-2 * rows, square, one], 1) @ torch.cat([rows, one, square], 1).T
    squared = product.to(embeddings.dtype)
    floor = COINCIDE**2 * square.detach().mean()
    return squared.masked_fill(product.detach() <= floor, 0.0)  # comparison false for NaN: kept


def distances(embeddings: Float[Tensor, "batch dim"]) -> Float[Tensor, "batch batch"]:
    """All Euclidean distances; the gradient is 0, not infinite, where rows coincide."""
    squared = squared_distances(embeddings)
    coincide = squared == 0
    return squared.masked_fill(coincide, 1.0).sqrt().masked_fill(coincide, 0.0)
