"""Batch sampling: which images go into which step."""

import torch
from jaxtyping import Int
from torch import Tensor


def cluster_batches(
    labels: Int[Tensor, " n"],
    *,
    batch_size: int,
    images_per_cluster: int,
    steps: int,
    generator: torch.Generator,
    in_turn: bool = False,
) -> Int[Tensor, "steps batch"]:
    """Sample batches of P clusters with Q images each, clusters drawn uniformly.

    Uniform over clusters, not over images: a small cluster is seen as often as a large one, which
    already mitigates the long tail. Clusters of one image have no positive pair and are left out.

    Args:
        labels: ``(n,)`` cluster of each image, on the CPU; negative = unassigned, never drawn.
        batch_size: Images per batch, at least two clusters' worth; rounded down to a multiple of
            ``images_per_cluster``.
        images_per_cluster: Q. A smaller cluster's images are drawn repeatedly.
        steps: Number of batches.
        generator: Draws clusters and images.
        in_turn: Go through all clusters in shuffled passes, as UDML-SS does, instead of drawing
            each batch independently. An incomplete batch at the end of a pass is dropped.

    Returns:
        Indices into the images. The P = ``batch_size // images_per_cluster`` clusters of a batch
        are distinct if there are at least P.

    Raises:
        ValueError: fewer than two clusters have two images, so no batch could hold a pair from
            different clusters.
    """
    order = torch.argsort(labels, stable=True)
    order = order[int((labels < 0).sum()) :]
    _, counts = torch.unique_consecutive(labels[order], return_counts=True)
    starts = counts.cumsum(0) - counts
    usable = counts > 1
    counts, starts = counts[usable], starts[usable]
    if len(counts) < 2:
        raise ValueError(
            f"method.clusters: {len(counts)} clusters have two images or more and a batch needs "
            "two; change the number of clusters, or check whether the embedding has collapsed"
        )

    wanted = max(1, batch_size // images_per_cluster)
    draw = _draw_in_turn if in_turn and len(counts) >= wanted else _draw_distinct
    chosen = draw(len(counts), wanted, steps, generator)  # (steps, P)
    places = _draw_places(counts[chosen], images_per_cluster, generator)  # (steps, P, Q)
    return order[starts[chosen][:, :, None] + places].flatten(1)


def random_batches(
    images: int, *, batch_size: int, steps: int, generator: torch.Generator
) -> Int[Tensor, "steps batch"]:
    """Sample batches of distinct images without replacement; no image repeats within a pass.

    Args:
        images: Number of images; with fewer than ``batch_size`` a batch holds all of them.
        batch_size: Images per batch.
        steps: Number of batches.
        generator: Draws the images.
    """
    return _draw_in_turn(images, min(batch_size, images), steps, generator)


def repeat_views(
    batches: Int[Tensor, "steps batch"], views: int
) -> Int[Tensor, "steps views batch"]:
    """Use the same images for every view of a batch."""
    return batches[:, None, :].expand(-1, views, -1)


def _draw_in_turn(
    available: int, wanted: int, steps: int, generator: torch.Generator
) -> Int[Tensor, "steps wanted"]:
    """Draw rows of ``wanted`` distinct numbers below ``available``, in shuffled passes.

    The remainder of a pass, which would not fill a row, is dropped. Needs ``wanted <= available``.
    """
    rows = available // wanted  # per pass
    passes = [
        torch.randperm(available, generator=generator)[: rows * wanted].view(rows, wanted)
        for _ in range(-(-steps // rows))
    ]
    return torch.cat(passes)[:steps]


def _draw_distinct(
    available: int, wanted: int, steps: int, generator: torch.Generator
) -> Int[Tensor, "steps wanted"]:
    """Draw rows of ``wanted`` numbers below ``available``, distinct if there are enough."""
    rounds = -(-wanted // available)
    shuffled = [
        torch.cat([torch.randperm(available, generator=generator) for _ in range(rounds)])[:wanted]
        for _ in range(steps)
    ]
    return torch.stack(shuffled)


def _draw_places(
    counts: Int[Tensor, "steps clusters"], images: int, generator: torch.Generator
) -> Int[Tensor, "steps clusters images"]:
    """Draw ``images`` numbers below each count, distinct where the count allows.

    Floyd's sampling algorithm, vectorised over all clusters.
    """
    shape = (*counts.shape, images)
    places = torch.empty(shape, dtype=torch.int64)
    uniform = torch.rand(shape, generator=generator, dtype=torch.float64)
    for i in range(images):
        # Draw from 0..top; a number drawn before is replaced by top itself, which is new.
        top = (counts - images + i).clamp(min=0)
        drawn = (uniform[:, :, i] * (top + 1)).long()
        seen = (places[:, :, :i] == drawn[:, :, None]).any(dim=2)
        places[:, :, i] = torch.where(seen, top, drawn)
    scarce = counts < images  # cannot be distinct: every image first, then repeats
    if scarce.any():
        cyclic = torch.arange(images) % counts[scarce][:, None]
        places[scarce] = cyclic
    return places
