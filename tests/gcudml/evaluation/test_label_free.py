"""The criterion without labels: against a slow form, at its edges, and in whole runs."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from tiny import train_tiny
from torch import Tensor

from gcudml.config.fields import Distance
from gcudml.evaluation import label_free
from gcudml.evaluation.label_free import choose_images, view_recall


def slow_view_recall(views: Tensor, others: Tensor, distance: Distance) -> float:
    """One pair at a time."""
    hits = 0
    for row, view in enumerate(views.double()):
        if distance == "cosine":
            near = [float(torch.cosine_similarity(view, other, dim=0)) for other in others.double()]
        else:
            near = [-float((view - other).norm()) for other in others.double()]
        hits += all(near[row] > value for place, value in enumerate(near) if place != row)
    return hits / len(views)


@pytest.mark.parametrize("distance", ["cosine", "euclidean"])
@pytest.mark.parametrize("noise", [0.1, 0.6, 2.0])
def test_it_is_what_a_slow_comparison_of_all_pairs_says(distance: Distance, noise: float) -> None:
    draw = torch.Generator().manual_seed(3)
    others = torch.randn(60, 5, generator=draw)
    views = others + noise * torch.randn(60, 5, generator=draw)
    found = view_recall(views, others, distance=distance)
    assert found == pytest.approx(slow_view_recall(views, others, distance))
    assert 0 < found <= 1


def test_embeddings_that_are_all_alike_find_nothing() -> None:
    alike = torch.ones(20, 4)
    assert view_recall(alike, alike, distance="cosine") == 0.0
    assert view_recall(alike, alike, distance="euclidean") == 0.0


def test_twins_cannot_be_told_apart_and_the_others_can() -> None:
    images = torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0], [-1.0, 0.0]])
    assert view_recall(images, images, distance="cosine") == 0.5


@pytest.mark.parametrize("distance", ["cosine", "euclidean"])
def test_what_is_not_finite_finds_nothing_and_is_never_found(distance: Distance) -> None:
    images = torch.eye(4)
    broken = images.clone()
    broken[1] = torch.nan
    broken[2] = 1e30
    assert view_recall(broken, images, distance=distance) == 0.5
    assert view_recall(images, broken, distance=distance) == 0.5


def test_no_image_scores_nothing() -> None:
    assert view_recall(torch.zeros(0, 3), torch.zeros(0, 3), distance="cosine") == 0.0


def test_images_are_drawn_by_the_seed_and_few_are_all_taken() -> None:
    assert sorted(choose_images(7, seed=1).tolist()) == list(range(7))
    many = choose_images(10_000, seed=1)
    assert len(many.unique()) == len(many) == label_free.MOST_IMAGES
    assert many.equal(choose_images(10_000, seed=1))
    assert not many.equal(choose_images(10_000, seed=2))


def test_every_epoch_reports_it_and_equal_seeds_report_it_alike(tmp_path: Path) -> None:
    results, epochs = train_tiny(tmp_path / "one", test=True)
    again, _ = train_tiny(tmp_path / "two", test=True)
    named = f"val/{label_free.NAME}"
    assert all(0 <= epoch[named] <= 1 for epoch in epochs)
    assert (results[named], results["test/view_recall@1"]) == (
        again[named],
        again["test/view_recall@1"],
    )


def test_it_asks_the_same_whatever_views_a_run_trains_on(tmp_path: Path) -> None:
    untrained = {"name": "untrained"}
    one, _ = train_tiny(tmp_path / "one", method=untrained)
    other, _ = train_tiny(
        tmp_path / "two", method=untrained, views={"crop_scale": [1, 1], "rotate_deg": 0}
    )
    assert one["val/view_recall@1"] == other["val/view_recall@1"]


def test_untrained_networks_and_pixels_have_it_too(tmp_path: Path) -> None:
    for name in ("untrained", "pixels"):
        results, _ = train_tiny(tmp_path / name, method={"name": name})
        assert 0 < results["val/view_recall@1"] < 1
