"""CBSwR's losses against slow formulas written from the equations, and at their edges."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from oracles_cbswr import (
    slow_centre_softmax,
    slow_deep_clustering,
    slow_entropies,
    slow_reconstruction,
)

from gcudml.methods.cbswr.losses import (
    centre_softmax_loss,
    deep_clustering_loss,
    reconstruction_loss,
    reconstruction_target,
)


def draw(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


SIZES = [(2, 2), (3, 7), (11, 2), (16, 5), (9, 9)]


@pytest.mark.parametrize(("rows", "clusters"), SIZES)
@pytest.mark.parametrize("scale", ["clusters", "rows", "none"])
@pytest.mark.parametrize("normalize", [False, True])
@pytest.mark.parametrize("balance", [1.0, 0.3, 0.0])
def test_deep_clustering_equals_the_slow_formula(
    rows: int, clusters: int, scale: str, normalize: bool, balance: float
) -> None:
    logits = 3 * draw(rows, clusters, seed=rows)
    found = deep_clustering_loss(
        logits, normalize_logits=normalize, balance=balance, entropy_scale=scale
    )
    slow = slow_deep_clustering(logits, normalize=normalize, balance=balance, scale=scale)
    assert found.loss.item() == pytest.approx(slow, rel=1e-10, abs=1e-12)
    entropy, conditional = slow_entropies(logits, normalize=normalize)
    assert found.entropy.item() == pytest.approx(entropy, rel=1e-10, abs=1e-12)
    assert found.conditional_entropy.item() == pytest.approx(conditional, rel=1e-10, abs=1e-12)


def test_sure_and_balanced_rows_have_the_least_loss_and_undecided_or_equal_ones_the_most() -> None:
    sure = 1e3 * torch.eye(4, dtype=torch.float64).repeat(3, 1)
    assert deep_clustering_loss(sure).loss.item() == pytest.approx(0.0, abs=1e-12)
    for bad in (torch.zeros_like(sure), sure[:1].repeat(12, 1)):  # H(Y|X) at its most, H(Y) at 0
        assert deep_clustering_loss(bad).loss.item() == pytest.approx(1.0, abs=1e-12)


@pytest.mark.parametrize(("clusters", "largest"), [(32, 0.082), (100, 0.027)])
def test_unit_norm_logits_can_hardly_be_sure(clusters: int, largest: float) -> None:
    logits = torch.eye(clusters, dtype=torch.float64) - 1 / clusters  # as sure as can be
    most = torch.softmax(logits / logits.norm(dim=1, keepdim=True), dim=1).amax().item()
    assert most == pytest.approx(largest, abs=5e-4)
    power = math.exp(math.sqrt(clusters / (clusters - 1)))
    assert most == pytest.approx(power / (power + clusters - 1))
    found = deep_clustering_loss(logits, normalize_logits=True)
    share = found.conditional_entropy.item() / math.log(clusters)
    assert share > 0.99  # less than 1 % below the entropy of not knowing anything
    assert deep_clustering_loss(1e3 * logits).conditional_entropy.item() == pytest.approx(0.0)


@pytest.mark.parametrize(
    "logits",
    [
        1e4 * torch.eye(4),  # probabilities underflow to 0
        torch.zeros(4, 4),
        torch.tensor([[1e4, 0.0, 0.0]]).repeat(5, 1),  # two clusters that nobody is in
        torch.tensor([[1.0, -1.0]]).repeat(2, 1),
    ],
)
@pytest.mark.parametrize("normalize", [False, True])
def test_deep_clustering_has_a_finite_gradient_at_its_edges(
    logits: torch.Tensor, normalize: bool
) -> None:
    leaf = logits.clone().requires_grad_()
    loss = deep_clustering_loss(leaf, normalize_logits=normalize).loss
    loss.backward()
    assert loss.isfinite()
    assert leaf.grad is not None
    assert leaf.grad.isfinite().all()


def test_the_gradient_of_deep_clustering_is_right() -> None:
    logits = draw(5, 3).requires_grad_()
    assert torch.autograd.gradcheck(lambda z: deep_clustering_loss(z).loss, (logits,))


def test_the_entropies_are_measured_without_gradient() -> None:
    found = deep_clustering_loss(draw(4, 3).requires_grad_())
    assert found.loss.requires_grad
    assert not found.entropy.requires_grad
    assert not found.conditional_entropy.requires_grad


@pytest.mark.parametrize("normalize", [False, True])
def test_a_logit_that_is_not_a_number_cannot_hide(normalize: bool) -> None:
    logits = draw(4, 3)
    logits[2, 1] = math.nan
    assert all(value.isnan() for value in deep_clustering_loss(logits, normalize_logits=normalize))


OWN = [
    [0, 0, 1, 1, 2, 2, 0, 2],
    [0, 0, 0, 0, 0, 0, 0, 0],  # one cluster
    [0, 1, 2, 3, 4, 5, 6, 7],  # all singletons
    [0, 1, 0, 1, 0, 1, 0, 1],  # two clusters
    [1, 1, 1, 1, 0, 2, 2, 3],
]


@pytest.mark.parametrize("own", OWN)
@pytest.mark.parametrize("denominator", ["z_minus", "z"])
@pytest.mark.parametrize(("temperature", "weight"), [(0.1, 1.0), (1.0, 0.25), (0.02, 2.0)])
def test_centre_softmax_equals_the_slow_formula(
    own: list[int], denominator: str, temperature: float, weight: float
) -> None:
    x, partners, centres = draw(8, 5), draw(8, 5, seed=1), draw(max(own) + 1, 5, seed=2)
    fast = centre_softmax_loss(
        x,
        partners,
        centres,
        torch.tensor(own),
        temperature=temperature,
        negative_weight=weight,
        positive_denominator=denominator,
    )
    slow = slow_centre_softmax(
        x,
        partners,
        centres,
        own,
        temperature=temperature,
        negative_weight=weight,
        denominator=denominator,
    )
    assert fast.item() == pytest.approx(slow, rel=1e-9, abs=1e-12)


@pytest.mark.parametrize(("rows", "dim", "present"), [(2, 3, 2), (6, 2, 4), (20, 16, 11)])
def test_centre_softmax_equals_the_slow_formula_at_other_sizes(
    rows: int, dim: int, present: int
) -> None:
    own = [i % present for i in range(rows)]
    x, partners, centres = draw(rows, dim), draw(rows, dim, seed=3), draw(present, dim, seed=4)
    fast = centre_softmax_loss(x, partners, centres, torch.tensor(own))
    slow = slow_centre_softmax(
        x, partners, centres, own, temperature=0.1, negative_weight=1.0, denominator="z_minus"
    )
    assert fast.item() == pytest.approx(slow, rel=1e-9)


def test_equal_rows_and_centres_equal_the_slow_formula() -> None:
    x, own = torch.ones(4, 3, dtype=torch.float64), [0, 0, 1, 2]
    fast = centre_softmax_loss(x, x, x[:3], torch.tensor(own))
    slow = slow_centre_softmax(
        x, x, x[:3], own, temperature=0.1, negative_weight=1.0, denominator="z_minus"
    )
    assert fast.item() == pytest.approx(slow, rel=1e-12)
    assert fast.item() == pytest.approx(math.log(2) - 2 * math.log(2 / 3))


@pytest.mark.parametrize("temperature", [0.1, 0.5])
def test_the_loss_can_fall_to_minus_two_over_the_temperature(temperature: float) -> None:
    # Equal to the partner and the own centroid, opposite to the only other one.
    x = torch.tensor([[1.0, 0.0], [-1.0, 0.0]], dtype=torch.float64)
    loss = centre_softmax_loss(x, x, x, torch.tensor([0, 1]), temperature=temperature)
    slack = math.log1p(math.exp(-2 / temperature))  # what the separation leaves
    assert loss.item() == pytest.approx(-2 / temperature + slack, rel=1e-9)
    proper = centre_softmax_loss(
        x, x, x, torch.tensor([0, 1]), temperature=temperature, positive_denominator="z"
    )
    assert proper.item() == pytest.approx(2 * slack, abs=1e-9)


def test_one_centroid_leaves_nothing_to_compare_with() -> None:
    x = draw(6, 3).requires_grad_()
    loss = centre_softmax_loss(x, draw(6, 3, seed=1), draw(1, 3), torch.zeros(6, dtype=torch.int64))
    loss.backward()
    assert loss.item() == 0.0
    assert x.grad is not None
    assert x.grad.abs().sum() == 0


def test_no_gradient_goes_through_centroids_or_partners() -> None:
    x, partners, centres = (draw(4, 3, seed=s).requires_grad_() for s in range(3))
    centre_softmax_loss(x, partners, centres[:2], torch.tensor([0, 1, 0, 1])).backward()
    assert x.grad is not None
    assert x.grad.abs().sum() > 0
    assert partners.grad is None
    assert centres.grad is None


def test_the_gradient_of_centre_softmax_is_right() -> None:
    x, own = draw(5, 3).requires_grad_(), torch.tensor([0, 1, 2, 0, 1])
    partners, centres = draw(5, 3, seed=1), draw(3, 3, seed=2)
    assert torch.autograd.gradcheck(lambda z: centre_softmax_loss(z, partners, centres, own), (x,))


@pytest.mark.parametrize("denominator", ["z_minus", "z"])
@pytest.mark.parametrize("present", [1, 2, 4])
def test_centre_softmax_has_a_finite_gradient_at_its_edges(denominator: str, present: int) -> None:
    own = torch.arange(4) % present
    apart = torch.eye(4)
    for rows in (torch.ones(4, 4), apart, torch.zeros(4, 4), -apart[own]):
        x = rows.clone().requires_grad_()
        loss = centre_softmax_loss(
            x, -rows, apart[:present], own, temperature=0.01, positive_denominator=denominator
        )
        loss.backward()
        assert loss.isfinite()
        assert x.grad is not None
        assert x.grad.isfinite().all()


def test_a_row_on_a_wrong_centroid_pays_the_floor() -> None:
    x = torch.tensor([[1.0, 0.0]], dtype=torch.float64)
    centres = torch.tensor([[-1.0, 0.0], [1.0, 0.0]], dtype=torch.float64)
    losses = [
        centre_softmax_loss(x, x, centres, torch.tensor([0]), temperature=0.05, floor=floor).item()
        for floor in (1e-6, 1e-3)
    ]
    assert losses == pytest.approx([-math.log(1e-6), -math.log(1e-3)], rel=1e-9)


@pytest.mark.parametrize("place", ["embeddings", "partners", "centres"])
@pytest.mark.parametrize("present", [1, 2, 3])
@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_value_that_is_not_finite_cannot_hide(place: str, present: int, bad: float) -> None:
    parts = {"embeddings": draw(4, 3), "partners": draw(4, 3), "centres": draw(present, 3)}
    parts[place][0, 1] = bad
    assert centre_softmax_loss(**parts, own=torch.arange(4) % present).isnan()


@pytest.mark.parametrize("own", [[0, 0, 1, 2, 1], [0, 0, 0, 0, 0], [0, 1, 2, 3, 4]])
@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_reconstruction_equals_the_slow_formula(own: list[int], reduction: str) -> None:
    targets, decoded = draw(5, 3, 4, 4), draw(max(own) + 1, 3, 4, 4, seed=1)
    fast = reconstruction_loss(decoded, targets, torch.tensor(own), reduction=reduction)
    slow = slow_reconstruction(decoded, targets, own, reduction=reduction)
    assert fast.item() == pytest.approx(slow, rel=1e-12)


def test_sum_and_mean_over_pixels_differ_by_the_values_of_an_image() -> None:
    targets, decoded, own = draw(2, 3, 224, 224), draw(1, 3, 224, 224, seed=1), torch.tensor([0, 0])
    summed = reconstruction_loss(decoded, targets, own, reduction="sum")
    mean = reconstruction_loss(decoded, targets, own, reduction="mean")
    assert (summed / mean).item() == pytest.approx(150_528)


def test_targets_are_pixels_or_pixels_without_the_mean_colour() -> None:
    views = torch.tensor([-1.4, -1.0, 0.0, 1.0, 1.4]).expand(1, 3, 5)[..., None]
    unit = reconstruction_target(views, target="unit")
    torch.testing.assert_close(unit[0, 0, :, 0], torch.tensor([0.0, 0.0, 0.5, 1.0, 1.0]))
    centred = reconstruction_target(views, target="centred")
    assert centred.amin().item() == pytest.approx(-0.48, abs=0.005)
    assert centred.amax().item() == pytest.approx(0.60, abs=0.005)
    grey = reconstruction_target(views[:, :1], target="centred")
    torch.testing.assert_close(grey, centred.mean(dim=1, keepdim=True))


@pytest.mark.parametrize(
    "call",
    [
        lambda: deep_clustering_loss(draw(4)),
        lambda: centre_softmax_loss(draw(4, 3), draw(4, 3), draw(2, 5), torch.zeros(4).long()),
        lambda: centre_softmax_loss(draw(4, 3), draw(3, 3), draw(2, 3), torch.zeros(4).long()),
        lambda: reconstruction_loss(draw(2, 1, 4, 4), draw(3, 1, 8, 8), torch.zeros(3).long()),
    ],
)
@pytest.mark.shapes
def test_wrong_shapes_are_refused(call: Callable[[], object]) -> None:
    with pytest.raises(Exception, match="parameter"):
        call()
