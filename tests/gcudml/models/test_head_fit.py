"""Heads fitted to the training images, against slow formulas, and where they must be refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tiny import Recorder, context_for, tiny, train_tiny

from gcudml import workload
from gcudml.config import ModelConfig
from gcudml.data.views import centre, to_unit
from gcudml.methods import build_method, build_student
from gcudml.methods.interface import RunContext
from gcudml.models.embedding import Embedder
from gcudml.models.head_fit import SMALLEST, check_heads, fit_heads, half_whitened, svd
from gcudml.models.number_format import Format
from gcudml.training.run import run

FORMAT = Format("fp32", "contiguous")


def features(rows: int = 40, dim: int = 6) -> torch.Tensor:
    """Correlated features with a mean far from 0 and variances that differ a lot."""
    randomness = torch.Generator().manual_seed(0)
    mixing = torch.randn(dim, dim, generator=randomness)
    scales = torch.logspace(1, -1, dim)
    return torch.randn(rows, dim, generator=randomness) * scales @ mixing + 5


def fitted(**sections: Any) -> RunContext:
    context = context_for(**sections)
    fit_heads(context.student, context.images, context.config, number_format=FORMAT)
    return context


def pooled(context: RunContext) -> torch.Tensor:
    """The student's features of the training images, in one block and in evaluation mode."""
    images = to_unit(centre(context.images, context.config.data.network_size))
    with torch.no_grad():
        return context.student.eval()(images).pooled


def aligned(rows: np.ndarray, to: np.ndarray) -> np.ndarray:
    """The rows with the signs of others: that of an eigenvector is arbitrary."""
    return rows * np.sign((rows * to).sum(axis=1, keepdims=True))


def test_half_whitening_equals_the_slow_formula() -> None:
    rows = features()
    exact = rows.double().numpy()
    mean = exact.mean(axis=0)
    covariance = sum(np.outer(row - mean, row - mean) for row in exact) / len(exact)
    values, vectors = np.linalg.eig(covariance)
    order = np.argsort(-values)[:4]
    expected = np.array([values[each] ** -0.25 * vectors[:, each] for each in order])
    found = half_whitened(rows, dim=4)
    weight = found.weight.double().numpy()
    np.testing.assert_allclose(aligned(expected, weight), weight, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(found.bias.double().numpy(), -weight @ mean, rtol=1e-4, atol=1e-4)


def test_distances_after_half_whitening_are_those_of_the_covariances_inverse_square_root() -> None:
    rows = features()
    found = half_whitened(rows, dim=6)
    embedded = torch.nn.functional.linear(rows, found.weight, found.bias).double().numpy()
    exact = rows.double().numpy()
    values, vectors = np.linalg.eigh(np.cov(exact.T, bias=True))
    root = vectors @ np.diag(values**-0.5) @ vectors.T
    for i in range(len(exact)):
        for j in range(i):
            between = exact[i] - exact[j]
            expected = between @ root @ between
            assert ((embedded[i] - embedded[j]) ** 2).sum() == pytest.approx(expected, rel=1e-3)
    np.testing.assert_allclose(embedded.mean(axis=0), 0.0, atol=1e-4)
    np.testing.assert_allclose(embedded.var(axis=0), np.sqrt(values[::-1]), rtol=1e-3)


def test_the_svd_head_projects_onto_the_leading_directions_of_uncentred_features() -> None:
    rows = features()
    _, _, directions = np.linalg.svd(rows.double().numpy())
    found = svd(rows, dim=3)
    weight = found.weight.double().numpy()
    np.testing.assert_allclose(aligned(directions[:3], weight), weight, rtol=1e-4, atol=1e-5)
    assert not found.bias.any()


def test_a_direction_in_which_images_hardly_differ_is_not_blown_up() -> None:
    rows = features()
    rows[:, 2] = rows[:, 1]  # one direction has no variance at all
    found = half_whitened(rows, dim=6)
    largest = np.linalg.eigvalsh(np.cov(rows.double().numpy().T, bias=True)).max()
    norms = found.weight.norm(dim=1)
    assert norms[-1].item() == pytest.approx((SMALLEST * largest) ** -0.25, rel=1e-4)


@pytest.mark.parametrize("fit", [svd, half_whitened])
def test_the_largest_entry_of_a_direction_is_positive(fit: Any) -> None:
    weight = fit(features(dim=12), dim=12).weight
    assert (weight.gather(1, weight.abs().argmax(dim=1, keepdim=True)) > 0).all()


@pytest.mark.parametrize("fit", [svd, half_whitened])
def test_a_fit_does_not_depend_on_the_order_of_the_images(fit: Any) -> None:
    rows = features()
    shuffled = rows[torch.randperm(len(rows), generator=torch.Generator().manual_seed(1))]
    for one, other in zip(fit(rows, dim=6), fit(shuffled, dim=6), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize(("start", "fit"), [("svd", svd), ("half_whitened", half_whitened)])
def test_both_heads_are_cut_from_one_fit_to_evaluation_features(start: str, fit: Any) -> None:
    sizes = {"width": 8, "embedding_dim": 3, "wide_dim": 6}
    context = fitted(model={**sizes, "head_init": start}, data={"image_size": 24, "crop_size": 20})
    expected = fit(pooled(context), dim=6)
    for head, dim in ((context.student.compact, 3), (context.student.wide, 6)):
        torch.testing.assert_close(head.weight, expected.weight[:dim], rtol=1e-3, atol=1e-4)
        torch.testing.assert_close(head.bias, expected.bias[:dim], rtol=1e-3, atol=1e-4)


def test_all_methods_start_with_the_same_heads_and_teachers_copy_them() -> None:
    model = {"head_init": "half_whitened", "wide_dim": 8}
    methods: list[dict[str, Any]] = [
        {"name": "gcudml", "clusters": 8, "groups": 2},
        {"name": "stml", "neighbours": 4},
        {"name": "stml", "neighbours": 4, "init_teacher": "independent"},
        {"name": "untrained"},
    ]
    heads = []
    for method in methods:
        context = fitted(method=method, model=model)
        heads.append((context.student.compact, context.student.wide))
        if method["name"] != "untrained" and "init_teacher" not in method:
            teacher = build_method(context).teacher  # type: ignore[attr-defined]
            assert torch.equal(teacher.wide.weight, context.student.wide.weight)
            assert torch.equal(teacher.wide.bias, context.student.wide.bias)
    for compact, wide in heads[1:]:
        assert torch.equal(compact.weight, heads[0][0].weight)
        assert torch.equal(wide.weight, heads[0][1].weight)


def test_an_independent_teacher_is_fitted_to_its_own_features() -> None:
    method = {"name": "stml", "neighbours": 4, "init_teacher": "independent"}
    context = fitted(method=method, model={"head_init": "half_whitened", "wide_dim": 8})
    teacher = build_method(context).teacher  # type: ignore[attr-defined]
    found = context.embed(teacher, ["pooled", "wide"])
    expected = half_whitened(found["pooled"], dim=8)
    torch.testing.assert_close(teacher.wide.weight, expected.weight, rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(found["wide"].mean(dim=0), torch.zeros(8), rtol=0, atol=1e-3)


def test_the_compact_head_of_gce_keeps_its_start() -> None:
    settings = {"learners": 2, "labels": "pseudo", "clusters": 8}
    sections = {
        "method": {"name": "gce", **settings},
        "model": {"head_init": "svd", "wide_dim": 8},
    }
    context = context_for(**sections)
    before = {name: value.clone() for name, value in context.student.state_dict().items()}
    fit_heads(context.student, context.images, context.config, number_format=FORMAT)
    changed = {
        name
        for name, value in context.student.state_dict().items()
        if not torch.equal(before[name], value)
    }
    assert changed == {"wide.weight"}


def test_the_fit_changes_neither_the_trunk_nor_the_mode_of_the_network() -> None:
    context = context_for(model={"head_init": "half_whitened", "wide_dim": 8})
    context.student.train()
    before = {n: v.clone() for n, v in context.student.features.state_dict().items()}
    fit_heads(context.student, context.images, context.config, number_format=FORMAT)
    assert context.student.training
    for name, value in context.student.features.state_dict().items():
        assert torch.equal(before[name], value), name


@pytest.mark.parametrize("start", ["orthogonal", "default"])
def test_random_heads_are_left_alone(start: str) -> None:
    context = fitted(model={"head_init": start})
    again = build_student(context.config, channels=context.images.shape[1], seed=0)
    for name, value in again.state_dict().items():
        assert torch.equal(value, context.student.state_dict()[name]), name


def test_the_untrained_control_is_evaluated_with_the_fitted_heads(tmp_path: Path) -> None:
    # All features are kept and hardly changed, so that nearly all queries find what they found.
    sizes = {"width": 8, "embedding_dim": 8, "wide_dim": 8}
    scores = {}
    for start, embedding in (("svd", "pooled"), ("svd", "compact"), ("half_whitened", "compact")):
        results, _ = train_tiny(
            tmp_path / start / embedding,
            method={"name": "untrained", "embedding": embedding},
            model={**sizes, "head_init": start},
        )
        scores[start, embedding] = results["val/map@r"]
    assert scores["svd", "compact"] == pytest.approx(scores["svd", "pooled"], abs=1e-6)
    assert scores["half_whitened", "compact"] != scores["svd", "pooled"]


@pytest.mark.parametrize("start", ["identity", "svd", "half_whitened"])
def test_a_run_with_such_heads_goes_on_to_the_same_numbers(start: str, tmp_path: Path) -> None:
    model = {"head_init": start, "wide_dim": 8, "pooling": "gem"}
    results, epochs = train_tiny(tmp_path / "whole", model=model, test=True)
    folder, config = tmp_path / "stopped", tiny(model=model)
    assert run(config, seed=0, workdir=folder, report=Recorder(most=1), test=True) == {}
    last = Recorder()
    last.epochs.append(epochs[0])
    assert run(config, seed=0, workdir=folder, report=last, test=True) == results
    for one, other in zip(last.epochs, epochs, strict=True):
        timeless = {name for name in one if not name.startswith("seconds/")}
        assert {n: one[n] for n in timeless} == {n: other[n] for n in timeless}


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (
            {"head_init": "identity"},
            "model.head_init: identity needs heads of 8 dimensions, as many as conv4 has features, "
            "got embedding_dim = 8 and wide_dim = 12; set both to 8, or head_init to svd",
        ),
        (
            {"head_init": "svd"},
            "model.head_init: svd gives at most 8 dimensions, since conv4 has 8 features, got "
            "wide_dim = 12; lower it to 8, or set head_init to orthogonal",
        ),
        (
            {"head_init": "svd", "embedding_dim": 20},
            "model.head_init: svd gives at most 8 dimensions, since conv4 has 8 features, got "
            "embedding_dim = 20; lower it to 8, or set head_init to orthogonal",
        ),
        (
            {"head_init": "svd", "width": 256, "wide_dim": 200},
            "model.head_init: svd gives at most 64 dimensions, since there are 64 training images, "
            "got wide_dim = 200; lower it to 64, or set head_init to orthogonal",
        ),
        (
            {"head_init": "half_whitened", "width": 256, "wide_dim": 64},
            "model.head_init: half_whitened gives at most 63 dimensions, since there are 64 "
            "training images, got wide_dim = 64; lower it to 63, or set head_init to orthogonal",
        ),
    ],
)
def test_sizes_that_do_not_suit_are_refused_before_training_and_by_the_run(
    model: dict[str, Any], message: str, tmp_path: Path
) -> None:
    config = tiny(model=model)
    with pytest.raises(ValueError, match=r"^model\.head_init") as caught:
        workload.data_fingerprint(config.model_dump(mode="json"))
    assert str(caught.value) == message
    with pytest.raises(ValueError, match=r"^model\.head_init") as caught:
        run(config, seed=0, workdir=tmp_path, report=Recorder(), test=False)
    assert str(caught.value) == message


@pytest.mark.parametrize(("start", "images"), [("identity", 3), ("svd", 16), ("half_whitened", 17)])
def test_the_largest_heads_are_accepted(start: Any, images: int) -> None:
    config = ModelConfig(embedding_dim=16, wide_dim=16, head_init=start)
    check_heads(config, features=16, images=images)


@pytest.mark.parametrize(
    ("value", "problem"), [(0.0, "are all equal"), (float("nan"), "are not all finite")]
)
def test_features_that_say_nothing_are_refused(value: float, problem: str) -> None:
    context = context_for(model={"head_init": "half_whitened", "wide_dim": 8})
    student: Embedder = context.student
    with torch.no_grad():
        for parameter in student.features.parameters():
            parameter.fill_(value)
    with pytest.raises(ValueError, match=rf"^model\.head_init: .* {problem}, .*; check data and"):
        fit_heads(student, context.images, context.config, number_format=FORMAT)
