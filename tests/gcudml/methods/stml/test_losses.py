"""STML's similarities and losses against slow formulas, and at their edges."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from oracles_stml import (
    slow_contextual,
    slow_distance_distillation,
    slow_pairwise,
    slow_reciprocal,
    slow_relaxed_contrastive,
    slow_scaled,
)

from gcudml.losses.distances import distances, squared_distances
from gcudml.methods.stml.contextual import (
    contextual_similarity,
    pairwise_similarity,
    semantic_similarity,
)
from gcudml.methods.stml.losses import (
    distance_distillation_loss,
    relaxed_contrastive_loss,
    scaled_distances,
)


def draw(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def similarity_of(rows: int, *, seed: int = 1) -> torch.Tensor:
    values = torch.rand(rows, rows, generator=torch.Generator().manual_seed(seed)).double()
    return (values + values.T) / 2


def repeated_images(rows: int) -> list[int]:
    """Image of each row: some shown once, some several times."""
    return [row * row % (rows // 2 + 1) for row in range(rows)]


CASES: dict[str, tuple[torch.Tensor, list[int]]] = {
    "each image once": (draw(9, 4), list(range(9))),
    "two views": (draw(12, 6, seed=1), list(range(6)) * 2),
    "images drawn twice": (draw(14, 3, seed=2), [0, 1, 2, 2, 0, 3, 4] * 2),
    "irregular": (draw(13, 5, seed=3), repeated_images(13)),
    "one image": (draw(5, 4, seed=4), [7, 7, 7, 7, 7]),
    "one row": (draw(1, 4), [3]),
    "equal rows": (draw(1, 4).expand(8, 4), [0, 1, 2, 3] * 2),
    "pairs of equal rows": (draw(5, 3).repeat(2, 1), list(range(10))),
    "corners": (torch.eye(4, dtype=torch.float64).repeat(3, 1), [0, 1, 2, 3, 4, 5] * 2),
    "a row of zeros": (torch.cat([draw(5, 3), torch.zeros(1, 3).double()]), list(range(6))),
}


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("context", [1, 2, 4, 5, 6, 10])
@pytest.mark.parametrize("query_expansion", [True, False])
def test_similarities_equal_the_slow_formulas(
    case: str, context: int, query_expansion: bool
) -> None:
    teacher, images = CASES[case]
    expected = {
        "pairwise": torch.tensor(slow_pairwise(teacher, 3.0), dtype=torch.float64),
        "contextual": torch.tensor(
            slow_contextual(teacher, images, context, query_expansion), dtype=torch.float64
        ),
    }
    expected["combined"] = (expected["pairwise"] + expected["contextual"]) / 2
    for kind, slow in expected.items():
        fast = semantic_similarity(
            teacher,
            torch.tensor(images),
            sigma=3.0,
            context=context,
            kind=kind,
            query_expansion=query_expansion,
        )
        torch.testing.assert_close(fast, slow, rtol=1e-9, atol=1e-9)


def test_a_large_single_precision_batch_has_the_slow_formulas_neighbourhoods() -> None:
    teacher, images = draw(60, 16, seed=5).float(), list(range(30)) * 2
    fast = semantic_similarity(
        teacher, torch.tensor(images), sigma=3.0, context=10, kind="contextual"
    )
    slow = slow_contextual(teacher, images, 10, True)
    torch.testing.assert_close(fast, torch.tensor(slow), rtol=1e-5, atol=1e-6)


def test_without_expansion_the_similarity_counts_shared_reciprocal_neighbours() -> None:
    teacher, images = CASES["two views"]
    sets = slow_reciprocal(teacher, images, 4)
    fast = semantic_similarity(
        teacher,
        torch.tensor(images),
        sigma=3.0,
        context=4,
        kind="contextual",
        query_expansion=False,
    )
    for i, j in itertools.combinations(range(len(sets)), 2):
        assert (fast[i, j] > 0) == (j in sets[i])
    torch.testing.assert_close(fast.diagonal(), torch.ones(12, dtype=torch.float64))


@pytest.mark.parametrize("seed", range(4))
def test_the_similarity_is_symmetric_and_in_its_range(seed: int) -> None:
    teacher = draw(40, 8, seed=seed)
    teacher[20:30] = -teacher[:10]  # opposite rows are as far apart as can be
    similarity = semantic_similarity(teacher, torch.arange(20).repeat(2), sigma=3.0, context=10)
    torch.testing.assert_close(similarity, similarity.T, rtol=0, atol=1e-14)
    assert similarity.min() >= math.exp(-4 / 3) / 2 - 1e-12  # 0.131: no pair is wholly different
    assert similarity.max() <= 1 + 1e-12


def test_views_of_one_image_are_neighbours_however_far_apart() -> None:
    teacher = draw(12, 6)
    teacher[6:] = -teacher[:6]
    similarity = semantic_similarity(
        teacher,
        torch.arange(6).repeat(2),
        sigma=3.0,
        context=2,
        kind="contextual",
        query_expansion=False,
    )
    torch.testing.assert_close(similarity, torch.eye(6).double().repeat(2, 2))


def test_the_pairwise_similarity_has_neither_a_square_nor_a_factor_on_sigma() -> None:
    squared = torch.tensor([[0.0, 3.0], [3.0, 0.0]])
    assert pairwise_similarity(squared, sigma=3.0)[0, 1].item() == pytest.approx(math.exp(-1))


@pytest.mark.parametrize("kind", ["combined", "pairwise", "contextual"])
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_teacher_that_is_not_finite_cannot_hide(kind: str, value: float) -> None:
    teacher = draw(6, 3)
    teacher[2, 1] = value
    similarity = semantic_similarity(teacher, torch.arange(6), sigma=3.0, context=4, kind=kind)
    assert similarity.isnan().all()


def test_a_ranking_with_a_nan_still_has_rows_of_the_right_size() -> None:
    squared = squared_distances(draw(6, 3))
    squared[1] = float("nan")
    assert contextual_similarity(squared, torch.arange(6), context=3).isfinite().all()


def test_no_gradient_flows_through_the_similarity() -> None:
    teacher = draw(6, 3).requires_grad_()
    similarity = semantic_similarity(teacher, torch.arange(6), sigma=3.0, context=4)
    assert not similarity.requires_grad


@pytest.mark.parametrize(("rows", "dim", "seed"), [(1, 3, 0), (2, 1, 1), (7, 5, 2), (11, 3, 3)])
@pytest.mark.parametrize("margin", [1.0, 0.9, 3.0])
def test_losses_equal_the_slow_formulas(rows: int, dim: int, seed: int, margin: float) -> None:
    z, other, w = draw(rows, dim, seed=seed), draw(rows, dim + 2, seed=9), similarity_of(rows)
    d, taught = scaled_distances(z), scaled_distances(other)
    contrastive = relaxed_contrastive_loss(d, w, margin=margin).item()
    assert contrastive == pytest.approx(slow_relaxed_contrastive(z, w, margin), rel=1e-9)
    for temperature in (1.0, 0.25):
        divergence = distance_distillation_loss(d, taught, temperature=temperature).item()
        slow = slow_distance_distillation(z, other, temperature)
        assert divergence == pytest.approx(slow, rel=1e-9, abs=1e-14)


@pytest.mark.parametrize("case", ["equal rows", "pairs of equal rows", "corners", "one row"])
def test_losses_of_coinciding_rows_equal_the_slow_formulas(case: str) -> None:
    z = CASES[case][0]
    w, other = similarity_of(len(z)), draw(len(z), 4, seed=8)
    d = scaled_distances(z)
    torch.testing.assert_close(
        d, torch.tensor(slow_scaled(z), dtype=torch.float64), rtol=1e-9, atol=1e-9
    )
    contrastive = relaxed_contrastive_loss(d, w, margin=1.0).item()
    assert contrastive == pytest.approx(slow_relaxed_contrastive(z, w, 1.0), rel=1e-9, abs=1e-12)
    divergence = distance_distillation_loss(d, scaled_distances(other)).item()
    assert divergence == pytest.approx(slow_distance_distillation(z, other, 1.0), abs=1e-12)


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_gradients_are_finite_at_the_edges(case: str, dtype: torch.dtype) -> None:
    z = CASES[case][0].to(dtype).clone().requires_grad_()
    d = scaled_distances(z)
    taught = scaled_distances(draw(len(z), 4, seed=6).to(dtype))
    loss = relaxed_contrastive_loss(d, similarity_of(len(z)).to(dtype), margin=1.0)
    (loss + distance_distillation_loss(d, taught)).backward()
    assert z.grad is not None
    assert z.grad.isfinite().all()
    assert loss.isfinite()


def test_gradients_are_finite_where_squares_are_too_small_for_single_precision() -> None:
    z = (1e-24 * draw(6, 3)).float().requires_grad_()
    distances(z).sum().backward()
    assert z.grad is not None
    assert z.grad.isfinite().all()


def test_gradients_are_right() -> None:
    z, w, taught = (
        draw(6, 3, seed=4).requires_grad_(),
        similarity_of(6),
        scaled_distances(draw(6, 4)),
    )

    def loss(x: torch.Tensor) -> torch.Tensor:
        d = scaled_distances(x)
        return relaxed_contrastive_loss(d, w, margin=1.0) + distance_distillation_loss(d, taught)

    assert torch.autograd.gradcheck(loss, (z,))


def test_the_contrastive_loss_does_not_depend_on_the_scale() -> None:
    z, w = draw(8, 4).float(), similarity_of(8).float()
    losses = [
        relaxed_contrastive_loss(scaled_distances(scale * z), w, margin=1.0)
        for scale in (1.0, 1e-4, 1e4)
    ]
    torch.testing.assert_close(losses[1], losses[0])
    torch.testing.assert_close(losses[2], losses[0])


def test_an_isometric_copy_has_nothing_to_learn() -> None:
    z = draw(8, 4)
    rotation, _ = torch.linalg.qr(draw(6, 6, seed=2))
    copied = 3.0 * torch.cat([z, torch.zeros(8, 2).double()], dim=1) @ rotation + 5.0
    loss = distance_distillation_loss(scaled_distances(z), scaled_distances(copied))
    assert loss.item() == pytest.approx(0.0, abs=1e-12)


def test_the_embedding_that_teaches_gets_no_gradient() -> None:
    learns, teaches = draw(6, 3).requires_grad_(), draw(6, 5, seed=1).requires_grad_()
    distance_distillation_loss(scaled_distances(learns), scaled_distances(teaches)).backward()
    assert teaches.grad is None
    assert learns.grad is not None
    assert learns.grad.abs().sum() > 0


@pytest.mark.parametrize("w", [0.0, 0.5, 1.0])
def test_an_embedding_that_is_not_finite_gives_no_harmless_loss(w: float) -> None:
    z, similarity = draw(5, 3), torch.full((5, 5), w, dtype=torch.float64)
    z[2, 1] = float("nan")
    d = scaled_distances(z)
    assert relaxed_contrastive_loss(d, similarity, margin=1.0).isnan()
    assert distance_distillation_loss(d, scaled_distances(draw(5, 3))).isnan()
    assert distance_distillation_loss(scaled_distances(draw(5, 3)), d).isnan()


def test_a_similarity_that_is_not_a_number_gives_no_harmless_loss() -> None:
    similarity = similarity_of(5)
    similarity[1, 3] = float("nan")
    assert relaxed_contrastive_loss(scaled_distances(draw(5, 3)), similarity, margin=1.0).isnan()


def test_similar_pairs_pull_and_other_pairs_push_up_to_the_margin() -> None:
    z = torch.tensor([[0.0], [1.0], [10.0]], dtype=torch.float64)
    d = scaled_distances(z)
    pull = relaxed_contrastive_loss(d, torch.ones(3, 3).double(), margin=1.0)
    assert pull.item() == pytest.approx(float(d.square().sum()) / 6)
    push = relaxed_contrastive_loss(d, torch.zeros(3, 3).double(), margin=float(d.max()) + 1)
    assert push > relaxed_contrastive_loss(d, torch.zeros(3, 3).double(), margin=0.5)
    small = float(d[d > 0].min())
    none = relaxed_contrastive_loss(d, torch.zeros(3, 3).double(), margin=small / 2)
    assert none.item() == 0.0


def test_single_precision_tells_rows_apart_that_nearly_coincide() -> None:
    z = 100.0 + draw(20, 64).float()
    z[10:] = z[:10] + 1e-3 * draw(10, 64, seed=1).float()
    exact = torch.cdist(z.double(), z.double(), compute_mode="donot_use_mm_for_euclid_dist")
    torch.testing.assert_close(distances(z).double(), exact, rtol=1e-5, atol=1e-9)


def test_distances_are_zero_on_the_diagonal_and_between_equal_rows() -> None:
    z = 1e3 + draw(6, 32).float()
    z[4] = z[1]
    found = distances(z)
    assert torch.equal(found.diagonal(), torch.zeros(6))
    assert found[1, 4] == found[4, 1] == 0
    assert (found == 0).sum() == 8
    assert torch.equal(squared_distances(z) == 0, found == 0)
