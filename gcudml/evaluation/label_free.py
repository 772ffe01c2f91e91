"""Label-free criterion: how often one view of an image retrieves another view of the same image.

A hyperparameter search needs an objective even if no image has a class. Of the candidates compared
with Recall@1 of hidden classes (``tests/benchmarks/criterion.py``), this one agreed best over both
data sets. It is no guarantee: a method may make images easy to find again while keeping the images
of a class apart.
"""

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional as F

from gcudml.config import Views
from gcudml.config.fields import Distance
from gcudml.neighbours.search import usable_rows
from gcudml.runtime.seeding import Seed, generator

NAME = "view_recall@1"
MOST_IMAGES = 500  # enough for a standard error of about 0.02
# The same for all runs, whatever views they train on: else a search could pick easier views.
VIEWS = Views()


def choose_images(count: int, *, seed: Seed) -> Int[Tensor, " chosen"]:
    """Choose the images to score: all, or ``MOST_IMAGES`` drawn at random."""
    return torch.randperm(count, generator=generator(seed, "criterion images"))[:MOST_IMAGES]


def view_recall(
    views: Float[Tensor, "n dim"], others: Float[Tensor, "n dim"], *, distance: Distance
) -> float:
    """Fraction of views that are nearer to the other view of their image than to any other image's.

    A tie is a miss, so that collapsed embeddings score 0. An embedding that is not finite, or too
    long to be squared, retrieves nothing and is never retrieved.

    Args:
        views: ``(n, dim)`` embeddings of a random view of each image.
        others: ``(n, dim)`` embeddings of another random view, images in the same order.
        distance: How embeddings are compared.

    Source:
        Instance discrimination (Wu et al., CVPR 2018, arXiv:1805.01978), used as a metric.
    """
    if not len(views):
        return 0.0
    usable = usable_rows(views) & usable_rows(others)
    queries, gallery = (rows.float().where(usable[:, None], 0.0) for rows in (views, others))
    if distance == "cosine":
        nearness = F.normalize(queries, dim=1) @ F.normalize(gallery, dim=1).T  # (n, n)
    else:
        nearness = -torch.cdist(queries, gallery)
    nearness.masked_fill_(~usable[None, :], -torch.inf)
    own = nearness.diagonal().clone()
    nearness.fill_diagonal_(-torch.inf)
    found = (own > nearness.amax(dim=1)) & usable
    return float(found.double().mean())
