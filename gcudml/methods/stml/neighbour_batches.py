"""Batches of images and their nearest neighbours."""

import torch
from jaxtyping import Float, Int
from torch import Tensor

from gcudml.neighbours.search import BLOCK_ROWS, nearest


def neighbour_table(
    features: Float[Tensor, "n dim"], neighbours: int, *, block_rows: int = BLOCK_ROWS
) -> Int[Tensor, "n q"]:
    """Each image and those nearest to it by Euclidean distance.

    Args:
        features: ``(n, dim)``; not normalised here.
        neighbours: q, at most n; the image itself counts as its first neighbour.
        block_rows: Most images that are searched for at a time.
    """
    itself = torch.arange(len(features), device=features.device)[:, None]
    if neighbours == 1:
        return itself
    # Moved to their mean: less is lost when the squares of large numbers are subtracted.
    centred = features - features.mean(dim=0)
    others = nearest(centred, neighbours - 1, distance="euclidean", block_rows=block_rows)
    return torch.cat([itself, others], dim=1)


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
