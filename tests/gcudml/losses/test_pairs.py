"""The losses against slow formulas written from the equations, and at their edges."""

from __future__ import annotations

import pytest
import torch
from oracles import (
    slow_collaborative,
    slow_contextual_bias,
    slow_group_classifier,
    slow_logit_distillation,
    slow_multi_similarity,
    slow_relational,
)
from pytorch_metric_learning.losses import MultiSimilarityLoss, NTXentLoss
from pytorch_metric_learning.miners import MultiSimilarityMiner

from gcudml.losses.pairs import contextual_bias_loss, multi_similarity_loss, nt_xent_loss
from gcudml.losses.relational import relational_distillation_loss
from gcudml.methods.gcudml.losses import (
    collaborative_distillation_loss,
    group_classifier_loss,
    group_pair_loss,
    logit_distillation_loss,
)


def draw(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize(
    "labels",
    [
        [0, 0, 1, 1, 2, 2, 0],
        [0, 0, 0, 0, 0, 0, 0],
        [0, 1, 2, 3, 4, 5, 6],
        [0, 0, 1, -1, -1, 1, 3],
        [5, 5, 5, 2, 2, 2, 2],
    ],
)
@pytest.mark.parametrize("margin", [0.1, 0.0, 2.0])
def test_multi_similarity_equals_the_slow_formula(labels: list[int], margin: float) -> None:
    z = draw(7, 5)
    fast = multi_similarity_loss(z, torch.tensor(labels), margin=margin)
    slow = slow_multi_similarity(z, labels, 2.0, 40.0, 0.5, margin)
    assert fast.item() == pytest.approx(slow, rel=1e-10, abs=1e-12)


def test_multi_similarity_equals_the_library() -> None:
    z, labels = draw(40, 8, seed=3), torch.arange(40) % 8
    pairs = MultiSimilarityMiner(epsilon=0.1)(z, labels)
    library = MultiSimilarityLoss(alpha=2.0, beta=40.0, base=0.5)(z, labels, pairs)
    assert multi_similarity_loss(z, labels).item() == pytest.approx(library.item(), rel=1e-9)


def test_unassigned_rows_change_nothing() -> None:
    z = draw(6, 4, seed=1)
    labels = torch.tensor([0, 0, 1, 1, -1, -1])
    torch.testing.assert_close(
        multi_similarity_loss(z, labels), multi_similarity_loss(z[:4], labels[:4])
    )


def test_no_label_gives_zero_and_a_finite_gradient() -> None:
    z = draw(3, 4, seed=2).requires_grad_()
    loss = multi_similarity_loss(z, torch.full((3,), -1))
    loss.backward()
    assert loss.item() == 0.0
    assert z.grad is not None
    assert z.grad.isfinite().all()


@pytest.mark.parametrize("labels", [[0, 0, 1, 1], [0, 1, 2, 3], [-1, -1, -1, -1]])
def test_an_embedding_that_is_not_finite_cannot_hide(labels: list[int]) -> None:
    z = draw(4, 3)
    z[2, 1] = float("nan")
    assert multi_similarity_loss(z, torch.tensor(labels)).isnan()


def test_the_gradient_of_multi_similarity_is_right() -> None:
    # Mining is piecewise constant, so finite differences agree away from its borders.
    z = draw(6, 3, seed=4).requires_grad_()
    labels = torch.tensor([0, 0, 1, 1, 2, 2])
    assert torch.autograd.gradcheck(lambda x: multi_similarity_loss(x, labels), (z,))


@pytest.mark.shapes
def test_wrong_shape_is_refused() -> None:
    with pytest.raises(Exception, match="batch"):
        multi_similarity_loss(draw(4, 8), torch.zeros(3, dtype=torch.int64))


@pytest.mark.parametrize(
    "labels",
    [
        [0, 0, 1, 1, 2, 2, 0],
        [0, 0, 0, 0, 0, 0, 0],
        [0, 1, 2, 3, 4, 5, 6],
        [0, 0, 1, -1, -1, 1, 3],
    ],
)
@pytest.mark.parametrize(("margin", "bias", "share"), [(0.1, 1.0, 0.2), (2.0, 0.3, 0.7)])
def test_contextual_bias_equals_the_slow_formula(
    labels: list[int], margin: float, bias: float, share: float
) -> None:
    z = draw(7, 5)
    fast = contextual_bias_loss(z, torch.tensor(labels), margin=margin, bias=bias, share=share)
    slow = slow_contextual_bias(z, labels, margin, bias, share)
    assert fast.item() == pytest.approx(slow, rel=1e-10, abs=1e-12)


def test_the_gradient_of_contextual_bias_is_right_and_finite_at_the_edges() -> None:
    labels = torch.tensor([0, 0, 1, 1, 2, 2])
    z = draw(6, 3, seed=4).requires_grad_()
    assert torch.autograd.gradcheck(lambda x: contextual_bias_loss(x, labels), (z,))
    for edge in (torch.full((6,), -1), torch.zeros(6, dtype=torch.int64), torch.arange(6)):
        same = torch.ones(6, 3, dtype=torch.float64).requires_grad_()
        contextual_bias_loss(same, edge).backward()
        assert same.grad is not None
        assert same.grad.isfinite().all()
    z = draw(4, 3)
    z[2, 1] = float("nan")
    assert contextual_bias_loss(z, torch.tensor([0, 0, 1, 1])).isnan()


@pytest.mark.parametrize(
    "labels",
    [[0, 0, 1, 1, 2, 2], [0] * 6, [0, 1, 2, 3, 4, 5], [0, 0, 0, -1, 1, 1], [-1] * 6],
)
def test_nt_xent_equals_the_library_and_is_finite_at_the_edges(labels: list[int]) -> None:
    z, known = draw(6, 4).requires_grad_(), torch.tensor(labels)
    ours = nt_xent_loss(z, known, temperature=0.3)
    ours.backward()
    assert z.grad is not None
    assert z.grad.isfinite().all()
    kept = known >= 0
    library = NTXentLoss(temperature=0.3)(z[kept], known[kept]) if kept.any() else 0.0
    expected = torch.as_tensor(library).item()
    assert ours.item() == pytest.approx(expected, rel=1e-6, abs=1e-12)


def test_nt_xent_cannot_hide_an_embedding_that_is_not_finite() -> None:
    z = draw(4, 3)
    z[2, 1] = float("nan")
    assert nt_xent_loss(z, torch.tensor([0, 1, 2, 3])).isnan()


def group_case() -> tuple[list[torch.Tensor], list[int], torch.Tensor]:
    logits = [draw(8, classes, seed=classes) * 3 for classes in (2, 4, 7)]
    labels = [0, 1, 2, 3, 4, 5, 6, 0]
    sampled = torch.tensor(
        [
            [1, 1, 0, 0, 0, 0, 0, 0],
            [1, 0, 1, 1, 0, 0, 0, 1],
            [0, 1, 1, 1, 1, 1, 1, 1],
        ],
        dtype=torch.bool,
    )
    return logits, labels, sampled


def test_group_classifiers_equal_the_slow_formula() -> None:
    logits, labels, sampled = group_case()
    fast = group_classifier_loss(logits, torch.tensor(labels), sampled)
    assert fast.item() == pytest.approx(slow_group_classifier(logits, labels, sampled), rel=1e-12)


def test_a_group_without_rows_adds_nothing_but_is_counted() -> None:
    logits, labels, sampled = group_case()
    sampled[0] = False
    fast = group_classifier_loss(logits, torch.tensor(labels), sampled)
    assert fast.item() == pytest.approx(slow_group_classifier(logits, labels, sampled), rel=1e-12)


def test_one_group_is_plain_cross_entropy() -> None:
    logits, labels = draw(6, 4), torch.tensor([0, 1, 2, 3, 0, 1])
    sampled = torch.ones(1, 6, dtype=torch.bool)
    torch.testing.assert_close(
        group_classifier_loss([logits], labels, sampled),
        torch.nn.functional.cross_entropy(logits, labels),
    )


@pytest.mark.parametrize(
    ("transfer", "pairs"),
    [
        ("top_down", [(0, 1), (0, 2), (1, 2)]),
        ("adjacency", [(0, 1), (1, 2)]),
        ("bidirectional", [(0, 1), (0, 2), (1, 2), (1, 0), (2, 0), (2, 1)]),
    ],
)
@pytest.mark.parametrize("temperature", [1.0, 4.0])
def test_collaborative_distillation_equals_the_slow_formula(
    transfer: str, pairs: list[tuple[int, int]], temperature: float
) -> None:
    logits, labels, sampled = group_case()
    fast = collaborative_distillation_loss(
        logits, torch.tensor(labels), sampled, transfer=transfer, temperature=temperature
    )
    slow = slow_collaborative(logits, labels, sampled, pairs, temperature)
    assert fast.item() == pytest.approx(slow, rel=1e-10)


def test_collaborative_distillation_is_zero_where_the_classifiers_agree() -> None:
    large = draw(5, 6)
    sampled = torch.ones(2, 5, dtype=torch.bool)
    loss = collaborative_distillation_loss([large[:, :3], large], torch.arange(5), sampled)
    assert loss.item() == pytest.approx(0.0, abs=1e-12)


def test_collaborative_distillation_is_zero_with_one_group() -> None:
    sampled = torch.ones(1, 5, dtype=torch.bool)
    assert collaborative_distillation_loss([draw(5, 6)], torch.arange(5), sampled).item() == 0.0


@pytest.mark.parametrize("detached", [True, False])
def test_the_source_of_collaborative_distillation_learns_only_if_attached(detached: bool) -> None:
    logits, labels, sampled = group_case()
    leaves = [each.clone().requires_grad_() for each in logits]
    collaborative_distillation_loss(
        leaves, torch.tensor(labels), sampled, detach_source=detached
    ).backward()
    assert leaves[2].grad is not None  # the largest set only ever learns
    assert (leaves[0].grad is None) == detached  # the smallest set only ever teaches


def test_both_directions_train_both_ends_of_a_pair() -> None:
    logits, labels, sampled = group_case()
    leaves = [each.clone().requires_grad_() for each in logits]
    collaborative_distillation_loss(
        leaves, torch.tensor(labels), sampled, transfer="bidirectional"
    ).backward()
    assert all(leaf.grad is not None and leaf.grad.abs().sum() > 0 for leaf in leaves)


@pytest.mark.parametrize("temperature", [1.0, 4.0])
def test_logit_distillation_equals_the_slow_formula_and_teaches_only_the_student(
    temperature: float,
) -> None:
    student = [draw(5, classes, seed=classes).requires_grad_() for classes in (2, 4)]
    teacher = [draw(5, classes, seed=9 + classes).requires_grad_() for classes in (2, 4)]
    fast = logit_distillation_loss(student, teacher, temperature=temperature)
    slow = slow_logit_distillation(student, teacher, temperature)
    assert fast.item() == pytest.approx(slow, rel=1e-10)
    fast.backward()
    assert all(each.grad is not None for each in student)
    assert all(each.grad is None for each in teacher)


def test_group_pair_loss_averages_over_the_groups() -> None:
    _, labels, sampled = group_case()
    z = draw(8, 4, seed=9)
    slow = sum(
        slow_multi_similarity(
            z, [lab if bool(s) else -1 for lab, s in zip(labels, row, strict=True)], 2, 40, 0.5, 0.1
        )
        for row in sampled
    ) / len(sampled)
    fast = group_pair_loss(z, torch.tensor(labels), sampled)
    assert fast.item() == pytest.approx(slow, rel=1e-10)


@pytest.mark.parametrize("temperature", [0.1, 1.0, 3.0])
def test_relational_distillation_equals_the_slow_formula(temperature: float) -> None:
    student, teacher = draw(7, 3, seed=5), draw(7, 9, seed=6)
    fast = relational_distillation_loss(student, teacher, temperature=temperature)
    slow = slow_relational(student, teacher, temperature)
    assert fast.item() == pytest.approx(slow, rel=1e-9)


def test_relational_distillation_of_a_rotated_copy_is_zero() -> None:
    teacher = draw(6, 4, seed=7)
    rotation, _ = torch.linalg.qr(draw(4, 4, seed=8))
    loss = relational_distillation_loss(2.0 * teacher @ rotation, teacher)
    assert loss.item() == pytest.approx(0.0, abs=1e-12)


def test_relational_distillation_teaches_only_the_student() -> None:
    student, teacher = draw(5, 3).requires_grad_(), draw(5, 4).requires_grad_()
    relational_distillation_loss(student, teacher).backward()
    assert student.grad is not None
    assert teacher.grad is None


def test_relational_distillation_survives_equal_rows() -> None:
    student = torch.ones(4, 3, dtype=torch.float64).requires_grad_()
    loss = relational_distillation_loss(student, draw(4, 3))
    loss.backward()
    assert loss.isfinite()
    assert student.grad is not None
    assert student.grad.isfinite().all()


@pytest.mark.parametrize("rows", [1, 2])
def test_relational_distillation_of_too_few_rows_is_zero(rows: int) -> None:
    assert relational_distillation_loss(draw(rows, 3), draw(rows, 3)).item() == 0.0
