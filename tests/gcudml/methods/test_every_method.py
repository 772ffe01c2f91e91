"""What all methods have in common, and the two bounds beside them."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from statistics import mean
from typing import Any

import pytest
import torch
from method_settings import METHODS, UNSUPERVISED
from tiny import context_for, one_step, train_tiny

from gcudml.methods import build_method
from gcudml.methods.interface import Method
from gcudml.runtime.seeding import STREAMS


@pytest.mark.parametrize("name", METHODS)
def test_a_method_keeps_to_the_interface(name: str) -> None:
    context = context_for(method={"name": name, **METHODS[name]})
    method = build_method(context)
    assert isinstance(method, Method)
    plan = method.begin_epoch(0)
    assert plan.batches.dtype == torch.int64
    assert plan.batches.shape[1] == context.config.train.views
    assert plan.batches.min() >= 0
    assert plan.batches.max() < len(context.images)


@pytest.mark.parametrize("name", METHODS)
def test_terms_are_finite_and_train_the_tested_embedding(name: str) -> None:
    context = context_for(method={"name": name, **METHODS[name]})
    method = build_method(context)
    terms = one_step(method, context)
    assert set(terms) <= set(method.weights)
    total = torch.stack([method.weights[term] * value for term, value in terms.items()]).sum()
    assert total.isfinite()
    total.backward()
    for part in (context.student.features, context.student.compact):
        gradients = [p.grad for p in part.parameters() if p.grad is not None]
        assert gradients
        assert all(gradient.isfinite().all() for gradient in gradients)
        assert sum(gradient.abs().sum() for gradient in gradients) > 0


@pytest.mark.parametrize("name", METHODS)
def test_equal_seeds_give_equal_terms_whatever_ran_before(name: str) -> None:
    found = []
    for noise in (1, 2):
        torch.manual_seed(noise)  # the global state must not matter
        context = context_for(method={"name": name, **METHODS[name]})
        terms = one_step(build_method(context), context)
        found.append({term: value.item() for term, value in terms.items()})
    assert found[0] == found[1]


@pytest.mark.parametrize("name", UNSUPERVISED)
def test_an_unsupervised_method_never_sees_a_class(name: str) -> None:
    found = []
    for change in (lambda labels: labels, torch.zeros_like):
        context = context_for(method={"name": name, **METHODS[name]})
        assert context.labels.eq(-1).all()
        context = dataclasses.replace(context, hidden_labels=change(context.hidden_labels))
        terms = one_step(build_method(context), context)
        found.append({term: value.item() for term, value in terms.items()})
    assert found[0] == found[1]


def test_the_supervised_bound_sees_the_classes() -> None:
    context = context_for(method={"name": "supervised"})
    assert torch.equal(context.labels, context.hidden_labels)
    batches = build_method(context).begin_epoch(0).batches[:, 0]
    for batch in batches:
        counts = torch.bincount(context.labels[batch])
        assert set(counts.tolist()) <= {0, 4}


def test_the_instance_bound_draws_every_image_once_an_epoch() -> None:
    context = context_for(method={"name": "instance"})
    batches = build_method(context).begin_epoch(0).batches[:, 0]
    assert batches.flatten().unique().numel() == batches.numel()


@pytest.mark.parametrize("name", METHODS)
def test_with_every_source_pinned_the_seed_changes_nothing(name: str, tmp_path: Path) -> None:
    settings = {"method": {"name": name, **METHODS[name]}, "train": {"epochs": 1}}
    pinned = dict.fromkeys(STREAMS, 7)
    found = [
        train_tiny(tmp_path / str(seed), seed=seed, test=True, randomness=pinned, **settings)
        for seed in (1, 2)
    ]
    one, other = ((results, without_times(epochs)) for results, epochs in found)
    assert one == other
    free = {source: seed for source, seed in pinned.items() if source != "weights"}
    _, epochs = train_tiny(tmp_path / "free", seed=1, test=True, randomness=free, **settings)
    assert without_times(epochs) != one[1]


def without_times(epochs: list[dict[str, float]]) -> list[dict[str, float]]:
    return [
        {name: value for name, value in epoch.items() if not name.startswith("seconds/")}
        for epoch in epochs
    ]


SLOW = {"steps_per_epoch": 20, "batch_size": 40, "images_per_cluster": 4}
DATA = {"name": "strokes", "classes": 40, "images_per_class": 12}
# 144 test images and 60 steps: with one seed, another order of additions decides the comparison.
SEEDS = range(3)
# How far above the untrained network these two must end.
MARGINS = {"cbswr": 0.15, "gcudml": 0.1}


@pytest.mark.slow
@pytest.mark.timeout(120)
@pytest.mark.parametrize("name", METHODS)
def test_a_few_epochs_end_above_the_untrained_network(
    name: str, untrained: float, tmp_path: Path
) -> None:
    settings = METHODS[name] | ({"clusters": 24} if "clusters" in METHODS[name] else {})
    # GCE's two learners take turns, so that each has half of the steps.
    epochs = 6 if name == "gce" else 3
    found = mean_recall(tmp_path, epochs, name=name, **settings)
    assert found > untrained + MARGINS.get(name, 0.0)


@pytest.fixture(scope="module")
def untrained(tmp_path_factory: pytest.TempPathFactory) -> float:
    """Mean Recall@1 of the network that every method starts from."""
    return mean_recall(tmp_path_factory.mktemp("untrained"), epochs=3, name="untrained")


def mean_recall(folder: Path, epochs: int, **method: Any) -> float:
    """Recall@1 on the test classes after ``epochs`` of ``method``, over the seeds."""
    results = [
        train_tiny(
            folder / str(seed),
            seed=seed,
            test=True,
            data=DATA,
            model={"width": 16, "embedding_dim": 32},
            method=method,
            # The fastest format, and with it the last digits, hang on how busy a machine is.
            train=SLOW | {"epochs": epochs, "learning_rate": 3e-3, "number_format": "fp32"},
        )[0]
        for seed in SEEDS
    ]
    return mean(found["test/recall@1"] for found in results)
