"""Sample batches of images with their nearest neighbours."""

import torch
from jaxtyping import Float, Int
from torch import Tensor

from gcudml.neighbours.search import BLOCK_ROWS, nearest


def neighbour_table(
    features: Float[Tensor, "n dim"], neighbours: int, *, block_rows: int = BLOCK_ROWS
) -> Int[Tensor, "n q"]:
    """Find the nearest neighbours of each image by Euclidean distance, the image itself first.

    Args:
        features: ``(n, dim)``; not normalised here.
        neighbours: q, at most n; the image itself counts as its first neighbour.
        block_rows: Maximum number of images searched for at a time.
    """
    itself = torch.arange(len(features), device=features.device)[:, None]
    if neighbours == 1:
        return itself
    # Centring reduces cancellation when squared distances are computed.
    centred = features - features.mean(dim=0)
    others = nearest(centred, neighbours - 1, distance="euclidean", block_rows=block_rows)
    return torch.cat([itself, others], dim=1)


def neighbour_batches(
    table: Int[Tensor, "n q"], *, batch_size: int, steps: int, generator: torch.Generator
) -> Int[Tensor, "steps batch"]:
    """Sample batches of random query images, each with its neighbours.

    Queries may share neighbours or be neighbours of each other, so a batch can hold an image more
    than once. Batches are drawn independently, so an epoch may leave images out.

    Args:
        table: ``(n, q)``, on the CPU: each image's neighbours, including itself.
        batch_size: Images per batch, at least q; rounded down to a multiple of q.
        steps: Number of batches.
        generator: Draws the queries, without replacement within a batch.

    Returns:
        Indices into the images, the q images of a query next to each other. If there are fewer
        images than queries in a batch, all images are queries.

    Source:
        The released code of STML (Kim et al., CVPR 2022, arXiv:2205.01903).
    """
    images, neighbours = table.shape
    queries = [
        torch.randperm(images, generator=generator)[: batch_size // neighbours]
        for _ in range(steps)
    ]
    return table[torch.stack(queries)].flatten(1)
