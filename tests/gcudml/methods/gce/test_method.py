"""GCE: groups that do not talk, batches of one meta-class, pseudo-labels, whole runs."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from oracles_gce import slow_correlation
from tiny import context_for, first_batch, one_step, tiny, train_tiny
from torch import Tensor, nn

from gcudml.config import GceConfig, RunConfig, check_learners_fit
from gcudml.data.views import to_unit
from gcudml.losses.triplet import triplet_loss
from gcudml.methods import build_method, known_labels
from gcudml.methods.checks import DataSizes, check_fits
from gcudml.methods.gce.group_head import ChannelConvolution, GroupHead, cut_slices, default_width
from gcudml.methods.gce.method import Gce, learner_correlation
from gcudml.methods.interface import Batch, RunContext

BLOCKS = ["group3x3", "group1x1", "none", "channelnet"]
GROUPED = ["group3x3", "group1x1"]


def draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def head_for(block: str, **sizes: Any) -> GroupHead:
    torch.manual_seed(0)
    return GroupHead(10, **({"dim": 12, "learners": 3, "width": 6} | sizes), block=block)


def method_for(**method: Any) -> Gce:
    sections = {name: method.pop(name) for name in ("train", "data", "model") if name in method}
    return method_of(context_for(method={"name": "gce", "learners": 2} | method, **sections))


def method_of(context: RunContext) -> Gce:
    method = build_method(context)
    assert isinstance(method, Gce)
    return method


def learners_of(method: Gce, batch: Tensor) -> set[int]:
    assert method.learner_of is not None
    return set(method.learner_of[batch.flatten()].tolist())


# The head.


@pytest.mark.parametrize("block", BLOCKS)
@pytest.mark.parametrize("side", [1, 2, 5])
def test_slices_have_equal_norms_and_the_whole_has_norm_one(block: str, side: int) -> None:
    found = head_for(block, width=48)(draw(4, 10, side, side))
    assert found.shape == (4, 12)
    torch.testing.assert_close(found.norm(dim=1), torch.ones(4))
    norms = cut_slices(found, learners=3).norm(dim=2)
    torch.testing.assert_close(norms, torch.full((4, 3), 3**-0.5))


@pytest.mark.parametrize("block", [*GROUPED, "channelnet"])
def test_a_group_of_channels_makes_one_slice_only_unless_the_block_mixes_them(block: str) -> None:
    head, maps = head_for(block, width=24).eval(), draw(4, 10, 5, 5)
    before = cut_slices(head(maps), learners=3)

    def disturb(module: nn.Module, inputs: object, hidden: Tensor) -> Tensor:
        changed = hidden.clone()
        changed[:, 8:16] = draw(4, 8, 5, 5, seed=1).abs()  # the second learner's channels
        return changed

    head.dense.register_forward_hook(disturb)
    moved = (cut_slices(head(maps), learners=3) - before).abs().amax(dim=(0, 2))
    assert moved[1] > 1e-3
    assert (moved[[0, 2]] > 1e-6).any() == (block == "channelnet")


@pytest.mark.parametrize("block", GROUPED)
def test_a_learners_loss_reaches_its_own_group_only(block: str) -> None:
    head = head_for(block)
    slices = cut_slices(head(draw(6, 10, 3, 3)), learners=3)
    triplet_loss(slices[:, 1], torch.tensor([0, 0, 0, 1, 1, 1]), margin=2.0).backward()
    for module in (*head.grouped.modules(), head.project):
        for parameter in module.parameters(recurse=False):
            assert parameter.grad is not None
            reached = [bool(part.abs().sum() > 0) for part in parameter.grad.chunk(3)]
            assert reached == [False, True, False], module
    dense = next(head.dense.parameters()).grad  # what all learners share
    assert dense is not None
    assert dense.abs().sum() > 0


def test_without_a_block_the_head_is_one_linear_layer_on_the_mean_of_the_map() -> None:
    head, maps = head_for("none"), draw(4, 10, 3, 3)
    assert sum(parameter.numel() for parameter in head.parameters()) == 12 * 10 + 12
    linear = maps.mean(dim=(2, 3)) @ head.project.weight[:, :, 0, 0].T
    expected = torch.nn.functional.normalize(linear.view(4, 3, 4), dim=2).flatten(1) / 3**0.5
    torch.testing.assert_close(head(maps), expected)


@pytest.mark.parametrize("block", BLOCKS)
def test_linear_layers_start_orthogonal_and_without_bias(block: str) -> None:
    head = head_for(block, learners=2, dim=8, width=16)
    groups = 1 if block == "none" else 2
    for rows in head.project.weight.flatten(1).chunk(groups):
        torch.testing.assert_close(rows @ rows.T, torch.eye(len(rows)), atol=1e-5, rtol=0)
    assert not head.project.bias.any()


def test_a_convolution_along_the_channels_slides_one_filter_a_group_over_all_channels() -> None:
    torch.manual_seed(0)
    layer, maps = ChannelConvolution(8, groups=2), draw(3, 8, 2, 2)
    filters = layer.filters.weight[:, 0, :, 0]  # (2, 6)
    padded = torch.cat([torch.zeros(3, 2, 2, 2), maps, torch.zeros(3, 2, 2, 2)], dim=1)
    expected = torch.stack(
        [
            sum(filters[group, k] * padded[:, 2 * place + k] for k in range(6))
            for group in range(2)
            for place in range(4)
        ],
        dim=1,
    )
    torch.testing.assert_close(layer(maps), expected)


def test_the_default_width_is_the_backbones_at_most_1024_in_equal_groups() -> None:
    assert [default_width(*sizes) for sizes in ((32, 4), (2048, 4), (10, 4), (2048, 3))] == [
        32,
        1024,
        12,
        1026,
    ]


@pytest.mark.parametrize("block", BLOCKS)
def test_the_embedding_is_in_single_precision_under_autocast(block: str) -> None:
    context = context_for(method={"name": "gce", "block": block})
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = context.student(draw(3, 1, 28, 28))
    assert found.compact.dtype == torch.float32
    torch.testing.assert_close(found.compact.norm(dim=1), torch.ones(3))


# Batches and meta-classes.


@pytest.mark.parametrize("subsets", ["proxy", "random", "fixed"])
def test_a_batch_holds_classes_of_one_learner_and_learners_take_turns(subsets: str) -> None:
    method = method_for(data_subsets=subsets, train={"steps_per_epoch": 5})
    turns = []
    for epoch in range(2):
        batches = method.begin_epoch(epoch).batches
        assert batches.shape == (5, 2, 16)
        assert torch.equal(batches[:, 0], batches[:, 1])
        for batch in batches:
            (learner,) = learners_of(method, batch)
            turns.append(learner)
            counts = torch.bincount(method.context.labels[batch[0]])
            assert set(counts.tolist()) <= {0, 4}
    assert turns == [0, 1] * 5  # an epoch goes on where the last one ended


def test_an_epoch_shorter_than_a_round_still_reaches_every_learner() -> None:
    method = method_for(learners=4, train={"epochs": 4, "steps_per_epoch": 1, "batch_size": 8})
    turns = [learners_of(method, method.begin_epoch(epoch).batches) for epoch in range(4)]
    assert turns == [{0}, {1}, {2}, {3}]


def test_classes_are_divided_whole() -> None:
    method = method_for()
    method.begin_epoch(0)
    assert method.learner_of is not None
    for label in method.context.labels.unique():
        assert len(method.learner_of[method.context.labels == label].unique()) == 1
    assert set(method.learner_of.tolist()) == {0, 1}


def test_unlabelled_images_and_classes_of_one_image_train_nobody() -> None:
    context = context_for(method={"name": "gce", "learners": 2})
    labels = context.labels.clone()
    labels[:3] = -1
    labels[20] = 99
    method = method_of(dataclasses.replace(context, labels=labels))
    drawn = method.begin_epoch(0).batches
    assert method.learner_of is not None
    assert method.learner_of[[0, 1, 2, 20]].tolist() == [-1] * 4
    assert not torch.isin(drawn, torch.tensor([0, 1, 2, 20])).any()


@pytest.mark.parametrize(
    ("options", "renewed"),
    [
        ({}, [True, False, True]),
        ({"recluster_every": 1}, [True, True, True]),
        ({"data_subsets": "fixed"}, [True, False, False]),
        ({"data_subsets": "random"}, [True, False, False]),
        ({"data_subsets": "samples"}, [True, False, True]),
        ({"data_subsets": "random_samples"}, [True, False, False]),
        ({"conquer_epochs": 2}, [True, False, False]),
        ({"labels": "pseudo", "clusters": 8}, [True, False, True]),
        ({"labels": "pseudo", "clusters": 8, "data_subsets": "random"}, [True, False, True]),
        ({"labels": "pseudo", "clusters": 8, "data_subsets": "fixed"}, [True, False, False]),
    ],
)
def test_when_classes_are_divided_anew(options: dict[str, Any], renewed: list[bool]) -> None:
    method = method_for(train={"epochs": 3}, **options)
    seen = []
    for epoch in range(3):
        before = method.learner_of
        metrics = method.begin_epoch(epoch).metrics
        seen.append(method.learner_of is not before)
        assert ("meta_classes/smallest" in metrics) == seen[-1]
    assert seen == renewed


def test_a_new_division_keeps_the_names_of_the_last_one() -> None:
    method = method_for(recluster_every=1)
    method.begin_epoch(0)
    assert method.learner_of is not None
    method.learner_of = 1 - method.learner_of
    swapped = method.learner_of
    metrics = method.begin_epoch(1).metrics
    kept = (method.learner_of == swapped).float().mean()  # k-means has other starts
    assert kept >= 0.5
    assert metrics["meta_classes/moved"] == pytest.approx(1 - kept)


@pytest.mark.parametrize("subsets", ["samples", "random_samples"])
@pytest.mark.parametrize("labels", ["classes", "pseudo"])
def test_single_images_are_divided_whatever_their_classes(subsets: str, labels: str) -> None:
    method = method_for(data_subsets=subsets, labels=labels, clusters=8, recluster_every=1)
    plan = method.begin_epoch(0)
    first = method.learner_of
    assert method.labels is not None
    assert first is not None
    known = method.labels >= 0
    assert set(first[known].tolist()) == {0, 1}
    shared = [first[method.labels == label].unique() for label in method.labels[known].unique()]
    assert any(len(learners) == 2 for learners in shared)
    for images in plan.batches:  # a batch still is of one learner
        assert len(first[images].unique()) == 1
    metrics = method.begin_epoch(1).metrics
    if labels == "pseudo" or subsets == "samples":
        moved = (method.learner_of != first).float().mean()
        assert metrics["meta_classes/moved"] == pytest.approx(float(moved))
        assert moved <= 0.5  # names are matched to the last ones


def test_shared_classes_count_for_each_learner() -> None:
    method = method_for(data_subsets="random_samples")
    metrics = method.begin_epoch(0).metrics
    assert method.labels is not None
    classes = int(method.labels.max()) + 1
    assert metrics["meta_classes/smallest"] == classes  # of 8 images each, halved at random


# The terms.


@pytest.mark.parametrize("block", BLOCKS)
@pytest.mark.parametrize("routing", ["alternate", "mixed"])
def test_the_term_is_finite_and_reaches_the_backbone(block: str, routing: str) -> None:
    method = method_for(block=block, routing=routing)
    terms = one_step(method, method.context)
    assert terms.keys() == method.weights.keys() == {"triplet"}
    terms["triplet"].backward()
    gradients = [p.grad for p in method.context.student.features.parameters()]
    assert all(each is not None and each.isfinite().all() for each in gradients)
    assert 0.0 < method.diagnostics()["active_triplets"] <= 1.0
    assert method.diagnostics() == {}


def test_only_the_slice_whose_turn_it_is_is_trained() -> None:
    method = method_for()
    context, plan = method.context, method.begin_epoch(0)
    for learner in (0, 1):
        indices = plan.batches[learner].flatten()
        batch = Batch(to_unit(context.pick(indices)), indices, learner)
        embeddings = context.student(batch.views)
        compact = embeddings.compact.detach().requires_grad_()
        loss = method.loss_terms(batch, embeddings._replace(compact=compact))["triplet"]
        loss.backward()
        assert compact.grad is not None
        reached = cut_slices(compact.grad, learners=2).abs().sum(dim=(0, 2)) > 0
        assert reached.tolist() == [learner == 0, learner == 1]
        own = cut_slices(compact, learners=2)[:, learner]
        torch.testing.assert_close(loss, triplet_loss(own, context.labels[indices]))


def test_in_a_mixed_batch_a_slice_sees_its_own_rows_only() -> None:
    method = method_for(routing="mixed")
    batch, embeddings = first_batch(method, method.context)
    assert len(batch.indices) == 2 * 16
    assert method.learner_of is not None
    learner_of, labels = method.learner_of[batch.indices], method.context.labels[batch.indices]
    assert torch.bincount(learner_of).tolist() == [16, 16]
    compact = embeddings.compact.detach().requires_grad_()
    loss = method.loss_terms(batch, embeddings._replace(compact=compact))["triplet"]
    loss.backward()
    slices = cut_slices(compact, learners=2)
    own = [triplet_loss(slices[learner_of == k, k], labels[learner_of == k]) for k in (0, 1)]
    torch.testing.assert_close(loss, torch.stack(own).mean())
    assert compact.grad is not None
    gradient = cut_slices(compact.grad, learners=2)
    for learner in (0, 1):
        assert not gradient[learner_of != learner, learner].any()


def test_the_last_epochs_train_the_whole_embedding_on_all_classes() -> None:
    method = method_for(conquer_epochs=1, train={"epochs": 2})
    method.begin_epoch(0)
    assert not method.conquers
    batches = method.begin_epoch(1).batches
    assert method.conquers
    assert any(len(learners_of(method, batch)) == 2 for batch in batches)
    batch, embeddings = first_batch(method, method.context, epoch=1)
    labels = method.context.labels[batch.indices]
    expected = triplet_loss(embeddings.compact, labels)
    torch.testing.assert_close(method.loss_terms(batch, embeddings)["triplet"], expected)


def test_one_learner_is_the_plain_triplet_loss() -> None:
    method = method_for(learners=1)
    batch, embeddings = first_batch(method, method.context)
    expected = triplet_loss(embeddings.compact, method.context.labels[batch.indices])
    torch.testing.assert_close(method.loss_terms(batch, embeddings)["triplet"], expected)


@pytest.mark.parametrize("routing", ["alternate", "mixed"])
def test_an_embedding_that_is_not_finite_cannot_hide(routing: str) -> None:
    method = method_for(routing=routing)
    batch, embeddings = first_batch(method, method.context)
    compact = torch.full_like(embeddings.compact, float("nan"))
    assert method.loss_terms(batch, embeddings._replace(compact=compact))["triplet"].isnan()


# Pseudo-labels.

PSEUDO = {"labels": "pseudo", "clusters": 8}


def test_supervision_says_what_the_labels_are() -> None:
    assert GceConfig().supervision == "all"
    assert GceConfig(labels="pseudo").supervision == "none"
    classes = torch.arange(4)
    for labels, known in (("classes", [0, 1, 2, 3]), ("pseudo", [-1] * 4)):
        config = tiny(method={"name": "gce", "labels": labels})
        assert known_labels(config, classes).tolist() == known


@pytest.mark.parametrize("routing", ["alternate", "mixed"])
def test_pseudo_labels_never_read_the_true_classes(routing: str) -> None:
    honest = method_for(routing=routing, **PSEUDO)
    assert (honest.context.labels == -1).all()
    context = method_for(routing=routing, **PSEUDO).context
    order = torch.randperm(len(context.labels), generator=torch.Generator().manual_seed(0))
    blind = method_of(dataclasses.replace(context, hidden_labels=context.hidden_labels[order]))
    plans = [each.begin_epoch(0) for each in (honest, blind)]
    assert torch.equal(plans[0].batches, plans[1].batches)
    losses = [one_step(each, each.context)["triplet"] for each in (honest, blind)]
    assert torch.equal(*losses)
    assert plans[0].metrics["clusters/purity"] != plans[1].metrics["clusters/purity"]


def test_every_cluster_is_a_row_with_its_learner() -> None:
    method = method_for(**PSEUDO)
    rows = method.begin_epoch(0).cluster_rows
    assert method.labels is not None
    assert sum(row["size"] for row in rows) == len(method.context.images)
    assert [row["cluster"] for row in rows] == list(range(8))
    assert {row["group"] for row in rows if row["size"] > 1} == {0, 1}
    assert all(row["group"] == -1 for row in rows if row["size"] < 2)


def test_too_few_clusters_of_two_images_are_refused() -> None:
    method = method_for(labels="pseudo", clusters=60, learners=4)
    with torch.no_grad():  # all images in one place
        for parameter in method.context.student.features.parameters():
            parameter.zero_()
    with pytest.raises(ValueError, match=r"method\.learners: 4 learners for \d+ clusters of two"):
        method.begin_epoch(0)


# Diagnostics and bad input.


def test_the_correlation_of_learners_equals_the_slow_formula() -> None:
    slices = draw(7, 3, 4)
    assert learner_correlation(slices) == pytest.approx(slow_correlation(slices), abs=1e-5)


def test_equal_learners_are_fully_correlated_and_too_few_images_say_nothing() -> None:
    one = draw(6, 1, 4)
    assert learner_correlation(one) == 1.0
    assert learner_correlation(one.expand(-1, 3, -1)) == pytest.approx(1.0, abs=1e-5)
    assert learner_correlation(draw(2, 3, 4)) == 0.0


def sizes(images: int, classes: int) -> DataSizes:
    return DataSizes({"train": images, "val": 50, "test": 50}, classes)


def test_more_learners_than_pairs_of_classes_are_refused() -> None:
    config = tiny(method={"name": "gce", "learners": 8})
    check_fits(config, sizes(50, 16))  # the default of 100 clusters is not used
    with pytest.raises(
        ValueError, match=r"^method\.learners: 8 learners for 10 classes; needs at most 5, "
    ):
        check_fits(config, sizes(50, 10))
    pseudo = tiny(method={"name": "gce", "labels": "pseudo", "learners": 4, "clusters": 6})
    with pytest.raises(ValueError, match="4 learners for 6 clusters; needs at most 3"):
        check_fits(pseudo, sizes(50, 100))
    with pytest.raises(ValueError, match=r"^method\.clusters: 6 clusters of 5 training images"):
        check_fits(pseudo, sizes(5, 100))


@pytest.mark.parametrize(
    ("sections", "message"),
    [
        ({"model": {"embedding_dim": 10}}, r"^model\.embedding_dim: 10 dimensions for 4 learners"),
        ({"model": {"embedding_dim": 4}}, r"^model\.embedding_dim: .* at least 8$"),
        ({"method": {"block_width": 6}}, r"^method\.block_width: 6 channels for 4 learners"),
        (
            {"method": {"routing": "mixed"}},
            r"^train\.batch_size: 16 images .* needs at least 32, or method\.routing: alternate$",
        ),
    ],
)
def test_what_learners_cannot_share_is_refused(sections: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        fit(tiny_gce(**sections))
    fit(tiny_gce())


def tiny_gce(**sections: Any) -> RunConfig:
    method = {"name": "gce"} | sections.pop("method", {})
    return tiny(method=method, **sections)


def fit(config: RunConfig) -> None:
    assert isinstance(config.method, GceConfig)
    check_learners_fit(config.method, model=config.model, train=config.train)


# Whole runs.


def test_a_run_repeats_and_pseudo_labels_write_their_clusters(tmp_path: Path) -> None:
    options = {"method": {"name": "gce", "learners": 2, **PSEUDO}, "train": {"epochs": 3}}
    first, epochs = train_tiny(tmp_path / "a", seed=3, test=True, **options)
    again, _ = train_tiny(tmp_path / "b", seed=3, test=True, **options)
    assert first == again
    assert all(0.0 <= epoch["active_triplets"] <= 1.0 for epoch in epochs)
    assert ["clusters/purity" in epoch for epoch in epochs] == [True, False, True]
    lines = (tmp_path / "a" / "tables" / "clusters.jsonl").read_text().splitlines()
    assert sorted({json.loads(line)["epoch"] for line in lines}) == [0, 2]
