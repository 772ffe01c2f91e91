"""UDML-SS: clusterings, passes over the clusters, and the rotation term."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from tiny import context_for, first_batch, one_step
from torch import nn
from torch.nn import functional as F

from gcudml.config import UdmlSsConfig
from gcudml.methods.udml_ss.method import UdmlSs, untracked_batch_norm

TRAIN = {"batch_size": 16, "images_per_cluster": 4, "views": 1}


def method_for(train: dict[str, Any] | None = None, **method: Any) -> UdmlSs:
    settings = {"name": "udml_ss", "clusters": 8, **method}
    context = context_for(method=settings, train=TRAIN | (train or {}), views={"flip": 0.5})
    assert isinstance(context.config.method, UdmlSsConfig)
    return UdmlSs(context, context.config.method)


def test_an_epoch_is_a_pass_over_the_clusters() -> None:
    method = method_for()
    batches = method.begin_epoch(0).batches
    assert method.labels is not None
    assert batches.shape == (2, 1, 16)  # 8 clusters, 4 a step
    seen = [set(method.labels[batch[0]].tolist()) for batch in batches]
    assert all(len(each) == 4 for each in seen)
    assert not seen[0] & seen[1]


def test_the_published_counts_give_six_steps_an_epoch() -> None:
    # 100 clusters, batches of 80 = 16 clusters x 5: what is left of a pass is dropped.
    data = {"name": "strokes", "classes": 30, "images_per_class": 20}
    context = context_for(
        data=data,
        method={"name": "udml_ss", "clusters": 100},
        train={"batch_size": 80, "images_per_cluster": 5, "views": 1},
    )
    assert isinstance(context.config.method, UdmlSsConfig)
    assert len(UdmlSs(context, context.config.method).begin_epoch(0).batches) == 6


def test_clusters_are_renewed_after_so_many_passes() -> None:
    method = method_for(recluster_every=3)
    renewed = [bool(method.begin_epoch(epoch).cluster_rows) for epoch in range(7)]
    assert renewed == [True, False, False, True, False, False, True]


def test_passes_count_whatever_the_length_of_an_epoch() -> None:
    method = method_for(train={"steps_per_epoch": 4}, recluster_every=4)  # two passes an epoch
    renewed = [bool(method.begin_epoch(epoch).cluster_rows) for epoch in range(5)]
    assert renewed == [True, False, True, False, True]


def test_the_first_clustering_is_of_pooled_features_and_later_ones_of_embeddings() -> None:
    method = method_for(recluster_every=1)
    method.begin_epoch(0)
    assert method.centres is not None
    assert method.centres.shape == (8, method.context.student.features.out_channels)
    method.begin_epoch(1)
    assert method.centres.shape == (8, 8)  # clusters, embedding_dim


@pytest.mark.parametrize("warm", [True, False])
def test_a_warm_start_keeps_the_numbers_of_the_clusters(warm: bool) -> None:
    method = method_for(recluster_every=1, warm_start=warm)
    method.begin_epoch(0)
    method.begin_epoch(1)
    before = method.labels
    method.begin_epoch(2)  # the student has not moved
    assert before is not None
    assert method.labels is not None
    share = (before == method.labels).float().mean().item()
    assert (share > 0.9) == warm


def test_both_terms_train_the_student() -> None:
    method = method_for()
    terms = one_step(method, method.context)
    assert set(terms) == {"metric", "rotation"}
    first = next(method.context.student.features.parameters())
    for name, term in terms.items():
        (gradient,) = torch.autograd.grad(term, first, retain_graph=True)
        assert gradient.abs().sum() > 0, name


@pytest.mark.parametrize("name", ["metric", "rotation"])
def test_a_term_of_weight_zero_is_left_out(name: str) -> None:
    method = method_for(weights={name: 0.0})
    assert name not in one_step(method, method.context)


def test_the_rotation_loss_starts_near_guessing() -> None:
    method = method_for()
    loss = one_step(method, method.context)["rotation"].item()
    assert loss == pytest.approx(math.log(4), abs=0.4)


def test_all_four_turns_of_an_image_are_shown() -> None:
    method = method_for(rotation_flip="fixed")
    config = method.context.config
    still = config.model_copy(
        update={
            "views": config.views.model_copy(
                update={
                    "crop_scale": (1.0, 1.0),
                    "aspect": 1.0,
                    "rotate_deg": 0.0,
                    "flip": 0.0,
                    "brightness": 0.0,
                    "contrast": 0.0,
                }
            )
        }
    )
    method.context.__dict__["config"] = still  # a frozen dataclass: the test's own way in
    images = method.context.images[:3]
    views = method._turned_views(images, torch.Generator().manual_seed(0))
    upright = images.float() / 127.5 - 1
    for turn in range(4):
        expected = upright.rot90(turn, (2, 3))  # counter-clockwise
        torch.testing.assert_close(
            views[3 * turn : 3 * turn + 3], expected, atol=1e-4, rtol=0, msg=str(turn)
        )


def test_the_fixed_flip_is_one_for_all_turns_of_an_image() -> None:
    plain = {"crop_scale": [1.0, 1.0], "aspect": 1.0, "rotate_deg": 0.0, "brightness": 0.0}
    views_config = {**plain, "contrast": 0.0, "flip": 0.5}
    same = {}
    kinds = {"fixed": "rotation_flip", "published": "rotation_flip", "views": "rotated"}
    for kind, key in kinds.items():
        context = context_for(
            method={"name": "udml_ss", "clusters": 8, key: kind},
            train=TRAIN,
            views=views_config,
        )
        assert isinstance(context.config.method, UdmlSsConfig)
        method = UdmlSs(context, context.config.method)
        views = method._turned_views(context.images[:20], torch.Generator().manual_seed(0))
        turned_back = [views[20 * t : 20 * t + 20].rot90(-t, (2, 3)) for t in range(4)]
        differences = [(each - turned_back[0]).abs().amax() for each in turned_back]
        same[kind] = max(differences).item() < 1e-3
    assert same == {"fixed": True, "published": False, "views": True}


def test_a_view_that_is_turned_is_one_view_of_its_image() -> None:
    same = {}
    for kind in ("images", "views"):
        method = method_for(rotated=kind)
        views = method._turned_views(method.context.images[:5], torch.Generator().manual_seed(0))
        upright, left = views[:5], views[5:10].rot90(-1, (2, 3))  # counter-clockwise
        same[kind] = torch.equal(upright, left)
    assert same == {"images": False, "views": True}


@pytest.mark.parametrize(("kind", "layers"), [("published", 4), ("fixed", 3)])
def test_the_published_head_ends_in_a_relu(kind: str, layers: int) -> None:
    method = method_for(rotation_logits=kind)
    assert len(method.rotation_head) == layers
    scores = method.rotation_head(torch.randn(50, method.context.student.features.out_channels))
    assert bool((scores >= 0).all()) == (kind == "published")


def test_rotated_images_leave_the_running_statistics_alone() -> None:
    method = method_for()
    method.context.student.train()
    batch, embeddings = first_batch(method, method.context)
    norms = [m for m in method.context.student.modules() if isinstance(m, nn.BatchNorm2d)]
    before = [each.running_mean.clone() for each in norms if each.running_mean is not None]
    method.loss_terms(batch, embeddings)
    after = [each.running_mean for each in norms if each.running_mean is not None]
    assert before
    assert all(torch.equal(a, b) for a, b in zip(before, after, strict=True))
    assert all(each.track_running_stats for each in norms)


def test_untracked_batch_norms_still_use_the_batch() -> None:
    norm = nn.BatchNorm1d(3)
    x = 5 + torch.randn(20, 3)
    with untracked_batch_norm(norm):
        out = norm(x)
    torch.testing.assert_close(out.mean(0), torch.zeros(3), atol=1e-5, rtol=0)
    assert torch.equal(norm.running_mean, torch.zeros(3))


def test_equal_steps_draw_equal_rotations() -> None:
    values = []
    for _ in range(2):
        method = method_for()
        values.append(one_step(method, method.context)["rotation"].item())
    assert values[0] == values[1]


def test_clusters_of_random_views_differ_from_clusters_of_the_images() -> None:
    centred, random = method_for(), method_for(cluster_views="random")
    for method in (centred, random):
        method.begin_epoch(0)
    assert centred.labels is not None
    assert random.labels is not None
    assert not torch.equal(centred.labels, random.labels)


@pytest.mark.parametrize("name", ["margin", "triplet", "contrastive", "ProxyAnchorLoss"])
def test_other_metric_losses_can_be_chosen(name: str) -> None:
    method = method_for(loss={"name": name})
    assert one_step(method, method.context)["metric"].isfinite()
    own = [p for group in method.parameters() for p in group.parameters]
    extra = sum(p.numel() for p in own) - sum(p.numel() for p in method.rotation_head.parameters())
    assert extra == (8 * 8 if name == "ProxyAnchorLoss" else 0)


def test_the_metric_term_compares_compact_embeddings_of_clusters() -> None:
    method = method_for(loss={"name": "triplet", "args": {"margin": 0.3}})
    batch, embeddings = first_batch(method, method.context)
    assert method.labels is not None
    labels = method.labels[batch.indices]
    z = F.normalize(embeddings.compact, dim=1)
    distance = torch.cdist(z, z)
    violations = [
        (distance[a, p] - distance[a, n] + 0.3).clamp(min=0)
        for a in range(len(z))
        for p in range(len(z))
        for n in range(len(z))
        if a != p and labels[a] == labels[p] and labels[a] != labels[n]
    ]
    positive = [v for v in violations if v > 0]
    expected = sum(positive) / len(positive)
    torch.testing.assert_close(method.loss_terms(batch, embeddings)["metric"], expected)
