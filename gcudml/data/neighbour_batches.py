"""Batches of images and their nearest neighbours."""

import torch
from jaxtyping import Float, Int
from torch import Tensor

BLOCK_ROWS = 4096


def neighbour_table(
    features: Float[Tensor, "n dim"], neighbours: int, *, block_rows: int = BLOCK_ROWS
) -> Int[Tensor, "n q"]:
    """Each image and those nearest to it by Euclidean distance.

    Args:
        features: ``(n, dim)``; not normalised here.
        neighbours: q, at most n; the image itself counts as its first neighbour.
        block_rows: Rows compared at a time: memory stays at ``block_rows * n`` floats.
    """
    # Moved to their mean: less is lost when the squares of large numbers are subtracted.
    rows = features - features.mean(dim=0)
    half_square = rows.square().sum(dim=1) / 2  # (n,)
    found = []
    for start in range(0, len(rows), block_rows):
        # (|b|^2 - |a - b|^2 + |a|^2) / 2: what is left of the distance but for a's own length.
        nearness = rows[start : start + block_rows] @ rows.T - half_square
        own = torch.arange(len(nearness), device=rows.device)
        nearness[own, own + start] = torch.inf
        found.append(nearness.topk(neighbours, dim=1).indices)
    return torch.cat(found)


def neighbour_batches(
    table: Int[Tensor, "n q"], *, batch_size: int, steps: int, generator: torch.Generator
) -> Int[Tensor, "steps batch"]:
    """Batches of random query images, each with its neighbours.

    Two queries may have neighbours in common, and a query may be a neighbour of another one, so
    that a batch can hold an image more than once; batches are drawn independently, and an epoch
    may leave images out.

    Args:
        table: ``(n, q)``, on the CPU: each image's neighbours, itself among them.
        batch_size: Images a batch, at least q; cut to a multiple of q.
        steps: Number of batches.
        generator: Draws the queries, without replacement within a batch.

    Returns:
        Indices into the images, the q of one query side by side. With fewer images than queries a
        batch has all images as queries.

    Source:
        The released code of STML (Kim et al., CVPR 2022, arXiv:2205.01903).
    """
    images, neighbours = table.shape
    queries = [
        torch.randperm(images, generator=generator)[: batch_size // neighbours]
        for _ in range(steps)
    ]
    return table[torch.stack(queries)].flatten(1)
