"""Meta-classes: which learner of an ensemble is responsible for which classes.

A partition is a tensor with the meta-class of each class. Shape letters: ``n`` images, ``classes``,
``learners`` (one per meta-class).
"""

import torch
from jaxtyping import Float, Int
from scipy.optimize import linear_sum_assignment
from torch import Tensor
from torch.nn import functional as F

from gcudml.neighbours.kmeans import Clustering, spherical_kmeans
from gcudml.runtime.seeding import derive

RESTARTS, ITERATIONS = 5, 100  # of k-means, as in Divide and Conquer


def usable_classes(labels: Int[Tensor, " n"]) -> Int[Tensor, " n"]:
    """Renumber the classes of two or more images from 0, in their old order; set others to -1.

    A class of one image has no positive pair to train on.
    """
    known = labels >= 0
    _, positions, counts = torch.unique(labels[known], return_inverse=True, return_counts=True)
    kept = counts > 1
    numbers = torch.where(kept, kept.cumsum(0) - 1, -1)
    usable = torch.full_like(labels, -1)
    usable[known] = numbers[positions]
    return usable


def class_proxies(
    features: Float[Tensor, "n dim"], labels: Int[Tensor, " n"], *, classes: int
) -> Float[Tensor, "classes dim"]:
    """Normalised mean of each class's unit features; images with a negative label are left out."""
    known = labels >= 0
    unit = F.normalize(features[known], dim=1)
    sums = unit.new_zeros(classes, unit.shape[1]).index_add_(0, labels[known], unit)
    return F.normalize(sums, dim=1)


def cluster_classes(
    proxies: Float[Tensor, "classes dim"], learners: int, *, least: int, seed: int
) -> Int[Tensor, " classes"]:
    """Group similar classes into meta-classes: k-means of their proxies, the best of several runs.

    Args:
        proxies: ``(classes, dim)``, with at least as many classes as learners.
        learners: Number of meta-classes.
        least: Least number of classes per meta-class, see ``fill_up``.
        seed: Draws the initial centres.
    """
    unit = F.normalize(proxies, dim=1)
    found = [
        spherical_kmeans(unit, learners, seed=derive(seed, "restart", start), iterations=ITERATIONS)
        for start in range(RESTARTS)
    ]
    fits = torch.stack([_closeness(unit, each) for each in found])
    best = found[int(fits.argmax())]
    return fill_up(best.labels, unit @ best.centres.T, least=least)


def random_classes(
    classes: int, learners: int, *, generator: torch.Generator
) -> Int[Tensor, " classes"]:
    """Draw meta-classes at random, with sizes that differ by at most one; on the CPU."""
    return torch.randperm(classes, generator=generator) % learners


def fill_up(
    partition: Int[Tensor, " classes"],
    similarity: Float[Tensor, "classes learners"],
    *,
    least: int,
) -> Int[Tensor, " classes"]:
    """Move the most similar classes into meta-classes that have fewer than ``least``.

    The smallest meta-class is filled first, from meta-classes with more than ``least`` classes. If
    there are fewer than ``learners * least`` classes, ``classes // learners`` replaces ``least``.

    Args:
        partition: ``(classes,)``; not modified.
        similarity: Similarity of each class to the centre of each meta-class.
        least: Number of classes that a batch, or a triplet, needs.
    """
    learners = similarity.shape[1]
    least = min(least, len(partition) // learners)
    filled, similarity = partition.cpu().clone(), similarity.cpu()
    sizes = torch.bincount(filled, minlength=learners)
    while int(sizes.min()) < least:
        wanting = int(sizes.argmin())
        can_move = sizes[filled] > least
        moved = int(similarity[:, wanting].masked_fill(~can_move, -torch.inf).argmax())
        sizes[filled[moved]] -= 1
        sizes[wanting] += 1
        filled[moved] = wanting
    return filled.to(partition.device)


def match_names(
    new: Int[Tensor, " items"], previous: Int[Tensor, " items"], *, learners: int
) -> Int[Tensor, " learners"]:
    """Match new meta-classes to the old ones, so that each learner keeps most of its classes.

    Hungarian assignment that minimises the number of items that change their meta-class.

    Args:
        new: ``(items,)`` meta-class of each class, or of each image; negative = none.
        previous: The previous meta-classes, likewise.
        learners: Number of meta-classes.

    Returns:
        A permutation: ``match_names(...)[new]`` are the new meta-classes in the old numbering.
    """
    both = (new >= 0) & (previous >= 0)
    pairs = new[both] * learners + previous[both]
    shared = torch.bincount(pairs, minlength=learners**2).view(learners, learners)
    # The total is fixed, so maximising the shared items minimises the changed ones.
    _, names = linear_sum_assignment(shared.cpu().numpy(), maximize=True)
    return torch.from_numpy(names).to(new.device)


def _closeness(unit: Float[Tensor, "classes dim"], found: Clustering) -> Float[Tensor, ""]:
    """Objective of spherical k-means: summed cosine similarity of classes and their centres."""
    return (unit * found.centres[found.labels]).sum()
