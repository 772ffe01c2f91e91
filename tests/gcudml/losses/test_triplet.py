"""The triplet loss against slow loops, and at its edges."""

from __future__ import annotations

import random

import pytest
import torch
from oracles_gce import slow_triplet

from gcudml.losses.triplet import triplet_hinges, triplet_loss

MININGS = ["semihard", "all"]


def draw(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize("mining", MININGS)
@pytest.mark.parametrize("seed", range(8))
def test_the_loss_equals_the_slow_loops(mining: str, seed: int) -> None:
    chance = random.Random(seed)
    rows, classes = chance.randint(2, 14), chance.randint(1, 5)
    labels = [chance.randint(-1, classes - 1) for _ in range(rows)]
    margin = chance.choice([0.0, 0.2, 1.5])
    z = draw(rows, chance.randint(1, 6), seed=seed)
    loss, share = slow_triplet(z, labels, margin=margin, mining=mining)
    found = triplet_hinges(z, torch.tensor(labels), margin=margin, mining=mining)
    assert found.mean_of_active.item() == pytest.approx(loss, rel=1e-9, abs=1e-12)
    assert found.share_active.item() == pytest.approx(share, abs=1e-6)
    assert torch.equal(
        triplet_loss(z, torch.tensor(labels), margin=margin, mining=mining), found.mean_of_active
    )


@pytest.mark.parametrize("mining", MININGS)
@pytest.mark.parametrize("labels", [[0, 0, 0, 0], [0, 1, 2, 3], [-1, -1, -1, -1], [0, -1, 1, -1]])
def test_without_a_triplet_the_loss_is_zero_with_a_finite_gradient(
    labels: list[int], mining: str
) -> None:
    z = draw(4, 3).requires_grad_()
    loss = triplet_loss(z, torch.tensor(labels), mining=mining)
    loss.backward()
    assert loss.item() == 0.0
    assert z.grad is not None
    assert torch.equal(z.grad, torch.zeros_like(z))


@pytest.mark.parametrize("mining", MININGS)
def test_equal_rows_of_one_class_and_of_two_have_a_finite_gradient(mining: str) -> None:
    z = draw(6, 4)
    z[1] = z[0]  # the same class
    z[3] = 2.0 * z[0]  # another class, the same direction
    z.requires_grad_()
    labels = [0, 0, 0, 1, 1, 1]
    loss = triplet_loss(z, torch.tensor(labels), mining=mining)
    loss.backward()
    slow, _ = slow_triplet(z.detach(), labels, margin=0.2, mining=mining)
    assert loss.item() == pytest.approx(slow, rel=1e-7)
    assert z.grad is not None
    assert z.grad.isfinite().all()
    assert z.grad.abs().sum() > 0


@pytest.mark.parametrize("mining", MININGS)
def test_if_all_rows_coincide_the_loss_is_the_margin(mining: str) -> None:
    z = torch.ones(4, 3).requires_grad_()
    loss = triplet_loss(z, torch.tensor([0, 0, 1, 1]), margin=0.3, mining=mining)
    loss.backward()
    assert loss.item() == pytest.approx(0.3)
    assert z.grad is not None
    assert z.grad.isfinite().all()


@pytest.mark.parametrize("mining", MININGS)
def test_unassigned_rows_change_nothing(mining: str) -> None:
    z, labels = draw(8, 4, seed=1), torch.tensor([0, 0, 1, 1, 0, 1, -1, -1])
    torch.testing.assert_close(
        triplet_loss(z, labels, mining=mining), triplet_loss(z[:6], labels[:6], mining=mining)
    )


@pytest.mark.parametrize("mining", MININGS)
@pytest.mark.parametrize("labels", [[0, 0, 1, 1], [0, 0, 0, 0], [0, 1, 2, 3], [-1, -1, -1, -1]])
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_an_embedding_that_is_not_finite_cannot_hide(
    labels: list[int], mining: str, value: float
) -> None:
    z = draw(4, 3)
    z[2, 1] = value
    assert triplet_loss(z, torch.tensor(labels), mining=mining).isnan()


def circle(*degrees: float) -> torch.Tensor:
    angles = torch.tensor(degrees, dtype=torch.float64).deg2rad()
    return torch.stack([angles.cos(), angles.sin()], dim=1)


def distance(degrees: float) -> float:
    return float(2 * torch.tensor(degrees / 2).deg2rad().sin())


def test_semihard_takes_the_nearest_negative_beyond_the_positive() -> None:
    # Anchor 0, positive 10; negatives at 5 (inside), 12 and 90; only row 0 and 1 have a positive.
    z, labels = circle(0, 10, -5, -12, -90), torch.tensor([0, 0, 1, 2, 3])
    found = triplet_hinges(z, labels, margin=0.2, mining="semihard").values.reshape(5, 5)
    assert found[0, 1].item() == pytest.approx(distance(10) - distance(12) + 0.2, abs=1e-6)
    assert found[1, 0].item() == pytest.approx(distance(10) - distance(15) + 0.2, abs=1e-6)


def test_without_a_negative_beyond_the_positive_semihard_takes_the_farthest_inside() -> None:
    z, labels = circle(0, 90, -5, -20), torch.tensor([0, 0, 1, 2])
    found = triplet_hinges(z, labels, margin=0.2, mining="semihard").values.reshape(4, 4)
    assert found[0, 1].item() == pytest.approx(distance(90) - distance(20) + 0.2, abs=1e-6)


@pytest.mark.parametrize("mining", MININGS)
def test_the_gradient_is_right(mining: str) -> None:
    # Mining and the set of active triplets are piecewise constant.
    z, labels = draw(6, 3, seed=4).requires_grad_(), torch.tensor([0, 0, 1, 1, 2, 2])
    assert torch.autograd.gradcheck(
        lambda x: triplet_loss(x, labels, mining=mining, margin=0.7), (z,)
    )


def test_the_scale_of_embeddings_does_not_matter() -> None:
    z, labels = draw(6, 3), torch.tensor([0, 0, 1, 1, 2, 2])
    torch.testing.assert_close(triplet_loss(z, labels), triplet_loss(7.0 * z, labels))


@pytest.mark.parametrize("mining", MININGS)
def test_a_row_of_zeros_has_a_gradient_of_ordinary_size(mining: str) -> None:
    z = draw(4, 3)
    z[1] = 0.0
    z.requires_grad_()
    triplet_loss(z, torch.tensor([0, 0, 1, 1]), margin=2.0, mining=mining).backward()
    assert z.grad is not None
    assert z.grad.abs().max() < 10
