"""Student and teacher networks: shapes, numbers, what they share, where weights come from."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from gcudml.config import ModelConfig
from gcudml.models.embedding import Embedder, TeacherNet, generalised_mean
from gcudml.models.momentum_teacher import update_teacher

CONFIG = ModelConfig(width=8, embedding_dim=4, wide_dim=6)


def embedder(seed: int = 0, config: ModelConfig = CONFIG) -> Embedder:
    return Embedder(config, channels=1, image_size=16, seed=seed)


def images(count: int = 5) -> Tensor:
    return torch.randn(count, 1, 16, 16, generator=torch.Generator().manual_seed(0))


def test_both_embeddings_have_their_sizes() -> None:
    found = embedder()(images())
    assert found.compact.shape == (5, 4)
    assert found.wide.shape == (5, 6)


def test_equal_seeds_give_equal_weights_whatever_happened_before() -> None:
    torch.manual_seed(1)
    first = embedder().state_dict()
    torch.manual_seed(2)
    again, other = embedder().state_dict(), embedder(seed=1).state_dict()
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not torch.equal(first["wide.weight"], other["wide.weight"])
    assert not torch.equal(first["features.maps.0.weight"], other["features.maps.0.weight"])


def test_building_a_network_leaves_the_global_random_state() -> None:
    torch.manual_seed(5)
    before = torch.get_rng_state()
    embedder()
    assert torch.equal(before, torch.get_rng_state())


def test_heads_start_orthogonal_and_without_bias() -> None:
    student = embedder()
    for head in (student.compact, student.wide):
        rows = head.weight @ head.weight.T
        torch.testing.assert_close(rows, torch.eye(len(rows)), atol=1e-5, rtol=0)
        assert not head.bias.any()


@pytest.mark.parametrize("pooling", ["avg", "max", "avg+max", "gem"])
def test_maps_are_pooled_as_named(pooling: str) -> None:
    student = embedder(config=CONFIG.model_copy(update={"pooling": pooling})).eval()
    maps = student.features.maps(images()).flatten(2)
    expected = {
        "avg": maps.mean(2),
        "max": maps.max(2).values,
        "avg+max": maps.mean(2) + maps.max(2).values,
        "gem": maps.clamp(min=1e-6).pow(3).mean(2).pow(1 / 3),
    }[pooling]
    torch.testing.assert_close(student.features(images()), expected)


@pytest.mark.parametrize("p", [0.5, 1.0, 3.0, 10.0, 60.0])
def test_the_generalised_mean_equals_the_slow_formula(p: float) -> None:
    maps = 3 * torch.randn(2, 4, 3, 2, generator=torch.Generator().manual_seed(0))
    maps[0, 0] = 0.0  # a dead channel
    maps[0, 1] = 1e-3
    expected = torch.zeros(2, 4, dtype=torch.float64)
    for row in range(2):
        for channel in range(4):
            logs = [math.log(max(float(v), 1e-6)) for v in maps[row, channel].flatten()]
            # As logarithms, since the 60th power of a small number is 0.
            total = np.logaddexp.reduce([p * each for each in logs])
            expected[row, channel] = math.exp((total - math.log(len(logs))) / p)
    torch.testing.assert_close(generalised_mean(maps, p=p).double(), expected, rtol=1e-5, atol=0)


def test_the_generalised_mean_has_the_gradient_of_its_formula_and_none_in_dead_channels() -> None:
    maps = torch.rand(2, 3, 2, 2, generator=torch.Generator().manual_seed(0)).requires_grad_()
    weights = torch.rand(2, 3, generator=torch.Generator().manual_seed(1))
    (generalised_mean(maps, p=3.0) * weights).sum().backward()
    found = maps.grad
    values = maps.detach().double().requires_grad_()
    (values.pow(3).mean(dim=(2, 3)).pow(1 / 3) * weights).sum().backward()
    assert values.grad is not None
    torch.testing.assert_close(found, values.grad.float())

    dead = torch.zeros(1, 2, 3, 3, requires_grad=True)
    generalised_mean(dead, p=60.0).sum().backward()
    assert dead.grad is not None
    assert not dead.grad.any()


def test_heads_start_as_the_identity_of_heads_of_the_features_size() -> None:
    config = ModelConfig(width=8, embedding_dim=8, wide_dim=8, head_init="identity")
    found = embedder(config=config).eval()(images())
    assert torch.equal(found.compact, found.pooled)
    assert torch.equal(found.wide, found.pooled)


def test_heads_stay_in_single_precision_under_autocast() -> None:
    student = embedder().eval()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        pooled = student.features(images())
        found = student(images())
    assert pooled.dtype == found.compact.dtype == found.wide.dtype == torch.float32
    expected = torch.nn.functional.linear(pooled, student.compact.weight)
    assert torch.equal(found.compact, expected)


def test_the_teacher_starts_as_the_student_with_the_wide_head_only() -> None:
    student = embedder().eval()
    teacher = TeacherNet(student)
    found = teacher(images())
    assert torch.equal(found.wide, student(images()).wide)
    assert found.compact.shape == (5, 0)
    assert not any("compact" in name for name in teacher.state_dict())


def test_the_teacher_is_a_copy_that_never_trains() -> None:
    student = embedder()
    teacher = TeacherNet(student)
    assert not teacher.training
    assert not any(p.requires_grad for p in teacher.parameters())
    before = teacher.wide.weight.clone()
    with torch.no_grad():
        student.wide.weight.add_(1)
    assert torch.equal(teacher.wide.weight, before)
    assert all(p.requires_grad for p in student.parameters())


def test_what_is_shared_has_the_teachers_order_of_states() -> None:
    student = embedder(seed=1)
    teacher = TeacherNet(embedder(seed=2))
    update_teacher(teacher, student.shared(), 0.0)
    student.eval()
    torch.testing.assert_close(teacher(images()).wide, student(images()).wide)
