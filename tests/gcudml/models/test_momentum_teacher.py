"""The moving average: closed form, buffers, warm-up."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from gcudml.models.momentum_teacher import is_copy, momentum_at, teacher_distance, update_teacher


def network(seed: int) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4))


def test_the_average_has_its_closed_form_after_t_steps() -> None:
    teacher, students = network(0).double(), [network(s).double() for s in range(1, 6)]
    start = teacher[0].weight.detach().clone()
    m = 0.8
    for student in students:
        update_teacher(teacher, student, m)
    t = len(students)
    expected = m**t * start + sum(
        (1 - m) * m ** (t - 1 - i) * student[0].weight for i, student in enumerate(students)
    )
    torch.testing.assert_close(teacher[0].weight, expected)


def test_batch_norm_statistics_are_averaged_and_counters_copied() -> None:
    teacher, student = network(0), network(1)
    student.train()(torch.randn(16, 3) + 5)
    before = teacher[1].running_mean.clone()
    update_teacher(teacher, student, 0.5)
    torch.testing.assert_close(teacher[1].running_mean, (before + student[1].running_mean) / 2)
    assert teacher[1].num_batches_tracked == student[1].num_batches_tracked == 1


def test_momentum_zero_copies_and_momentum_one_keeps() -> None:
    teacher, student = network(0), network(1)
    kept = copy.deepcopy(teacher)
    update_teacher(teacher, student, 1.0)
    assert torch.equal(teacher[0].weight, kept[0].weight)
    update_teacher(teacher, student, 0.0)
    assert torch.equal(teacher[0].weight, student[0].weight)


def test_the_student_is_left_alone() -> None:
    teacher, student = network(0), network(1)
    kept = copy.deepcopy(student.state_dict())
    update_teacher(teacher, student, 0.3)
    assert all(torch.equal(kept[name], value) for name, value in student.state_dict().items())


@pytest.mark.parametrize(("step", "expected"), [(0, 0.1), (9, 10 / 19), (10_000, 0.99)])
def test_warm_up_lets_the_teacher_follow_fast_at_first(step: int, expected: float) -> None:
    assert momentum_at(step, 0.99, warmup=True) == pytest.approx(expected)
    assert momentum_at(step, 0.99, warmup=False) == 0.99


def test_the_distance_is_that_of_all_weights_in_units_of_the_students() -> None:
    teacher, student = network(0), network(1)
    mine = torch.cat([p.detach().flatten() for p in teacher.parameters()])
    theirs = torch.cat([p.detach().flatten() for p in student.parameters()])
    expected = ((mine - theirs).norm() / theirs.norm()).item()
    assert teacher_distance(teacher, student) == pytest.approx(expected, rel=1e-5)
    assert teacher_distance(student, copy.deepcopy(student)) == 0.0


def test_a_teacher_is_a_copy_until_a_weight_or_a_statistic_differs() -> None:
    teacher, student = network(0), network(0)
    assert is_copy(teacher, student)
    student.train()(torch.randn(16, 3) + 5)
    assert not is_copy(teacher, student)
    update_teacher(teacher, student, 0.0)
    assert is_copy(teacher, student)
    with torch.no_grad():
        student[0].weight[0, 0] += 1e-6
    assert not is_copy(teacher, student)
