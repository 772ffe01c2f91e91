"""CBSwR's parts put together: head, centroids, decoder, gradients, neighbours, whole runs."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from oracles_cbswr import slow_centroids
from tiny import context_for, first_batch, train_tiny
from tiny import one_step as step_of
from torch import nn
from torch.nn import functional as F

import gcudml.methods.cbswr.method
from gcudml.config import CbswrConfig
from gcudml.methods import build_method
from gcudml.methods.cbswr.decoder import CountedBatchNorm, Decoder, stage_sides
from gcudml.methods.cbswr.method import (
    Cbswr,
    ClusteringHead,
    centroid_maps,
    dropout_mask,
    show_neighbours,
)

TERMS = {"metric", "clustering", "reconstruction"}


def method_for(
    train: Mapping[str, Any] | None = None, model: Mapping[str, Any] | None = None, **method: Any
) -> Cbswr:
    fields = {"name": "cbswr", "clusters": 8, **method}
    context = context_for(method=fields, train=train or {}, model=model or {})
    found = build_method(context)
    assert isinstance(found, Cbswr)
    return found


def one_step(method: Cbswr) -> Mapping[str, torch.Tensor]:
    return step_of(method, method.context)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_all_three_terms_are_finite_and_reach_the_backbone() -> None:
    method = method_for()
    terms = one_step(method)
    assert terms.keys() == method.weights.keys() == TERMS
    weight = next(method.context.student.features.parameters())
    for name, term in terms.items():
        assert term.isfinite(), name
        (gradient,) = torch.autograd.grad(term, weight, retain_graph=True)
        assert gradient.abs().sum() > 0, name


def test_the_published_settings_are_the_defaults() -> None:
    config = CbswrConfig()
    assert config.weights.model_dump() == {
        "metric": 0.9,
        "clustering": 0.3,
        "reconstruction": 0.001,
    }
    assert (config.clusters, config.temperature, config.dropout) == (32, 0.1, 0.6)


@pytest.mark.parametrize("name", sorted(TERMS))
def test_a_term_of_weight_zero_is_left_out(name: str) -> None:
    method = method_for(weights={name: 0.0})
    assert one_step(method).keys() == TERMS - {name}
    assert (method.decoder is None) == (name == "reconstruction")


def test_clustering_alone_needs_neither_centroids_nor_a_decoder() -> None:
    method = method_for(weights={"metric": 0.0, "reconstruction": 0.0})
    assert one_step(method).keys() == {"clustering"}


def test_a_loss_without_terms_is_refused() -> None:
    with pytest.raises(ValueError, match=r"weights\.metric: all weights are 0"):
        CbswrConfig.model_validate(
            {"weights": {"metric": 0.0, "clustering": 0.0, "reconstruction": 0.0}}
        )


@pytest.mark.parametrize("views", [1, 3])
def test_anything_but_two_views_is_refused(views: int) -> None:
    with pytest.raises(ValueError, match=rf"train\.views: .* got {views}; set train\.views to 2"):
        method_for(train={"views": views})


@pytest.mark.parametrize(
    "options",
    [
        {"normalize_logits": True, "entropy_scale": "rows", "l2": 0.0, "target": "centred"},
        {"positive_denominator": "z", "nn_positive": True},
        {"metric_reduction": "sum", "pixel_reduction": "sum", "entropy_scale": "none"},
        {"dropout": 0.0, "negative_weight": 0.0, "balance": 0.5, "floor": 1e-3},
    ],
)
def test_every_choice_changes_the_step_and_stays_finite(options: dict[str, Any]) -> None:
    plain, changed = one_step(method_for()), one_step(method_for(**options))
    assert all(term.isfinite() for term in changed.values())
    assert any(not torch.equal(plain[name], changed[name]) for name in TERMS)


def test_sums_are_means_times_rows_and_values_of_an_image() -> None:
    means = one_step(method_for())
    sums = one_step(method_for(metric_reduction="sum", pixel_reduction="sum"))
    assert sums["metric"].item() == pytest.approx(32 * means["metric"].item(), rel=1e-5)
    assert sums["reconstruction"].item() == pytest.approx(
        28 * 28 * means["reconstruction"].item(), rel=1e-5
    )


def test_equal_seeds_give_equal_steps_whatever_happened_before() -> None:
    def step(seed: int) -> list[float]:
        torch.manual_seed(seed)
        return [term.item() for term in one_step(method_for(nn_positive=True)).values()]

    torch.manual_seed(5)
    before = torch.get_rng_state()
    method_for()
    assert torch.equal(before, torch.get_rng_state())
    assert step(1) == step(2)


def test_dropout_depends_on_the_step_alone() -> None:
    method = method_for()
    batch, embeddings = first_batch(method, method.context)
    first, again = (method.loss_terms(batch, embeddings)["clustering"] for _ in range(2))
    assert first.item() == again.item()
    later = type(batch)(batch.views, batch.indices, batch.step + 1)
    assert method.loss_terms(later, embeddings)["clustering"].item() != first.item()


def test_dropout_keeps_the_mean_and_drops_its_share() -> None:
    like = torch.zeros(400, 50)
    mask = dropout_mask(like, 0.6, generator=generator())
    assert mask is not None
    assert set(mask.unique().tolist()) == {0.0, 2.5}
    assert (mask == 0).float().mean().item() == pytest.approx(0.6, abs=0.02)
    assert dropout_mask(like, 0.0, generator=generator()) is None


def test_assigning_uses_no_dropout_and_learns_no_statistics() -> None:
    head = ClusteringHead(6, 4, seed=0)
    z = torch.randn(9, 6, generator=generator())
    before = {name: value.clone() for name, value in head.state_dict().items()}
    labels = head.assign(z)
    assert torch.equal(labels, head.assign(3 * z))
    assert head.training
    assert all(torch.equal(before[name], value) for name, value in head.state_dict().items())


@pytest.mark.parametrize("kind", ["images", "rows"])
def test_both_views_share_the_cluster_of_the_first_unless_each_has_its_own(
    monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    seen = {}

    def spy(embeddings, partners, centres, own, **options):
        seen.update(partners=partners, embeddings=embeddings, own=own, centres=centres)
        return embeddings.sum()

    monkeypatch.setattr(gcudml.methods.cbswr.method, "centre_softmax_loss", spy)
    method = method_for(dropout=0.0, labels=kind)
    batch, embeddings = first_batch(method, method.context)
    # The second views are other images, so that their own clusters would differ.
    turned = type(embeddings)(*(torch.cat([e[:16], e[16:].flip(0)]) for e in embeddings))
    method.loss_terms(batch, turned)
    unit = F.normalize(turned.compact, dim=1)
    labels = method.head(unit).argmax(dim=1)
    assert not torch.equal(labels[:16], labels[16:])
    expected = labels if kind == "rows" else labels[:16].repeat(2)
    assert torch.equal(expected.unique()[seen["own"]], expected)
    torch.testing.assert_close(seen["partners"], torch.cat([unit[16:], unit[:16]]))
    # A centroid's embedding is what the student's pooling and head make of its mean maps.
    student = method.context.student
    slow = torch.stack(slow_centroids(turned.maps, seen["own"].tolist()))
    torch.testing.assert_close(seen["centres"], student.compact(student.features.pool(slow)))


@pytest.mark.parametrize(
    "own", [[0, 0, 1, 1, 2], [0, 0, 0, 0, 0], [0, 1, 2, 3, 4], [1, 0, 1, 0, 1]]
)
def test_centroids_are_the_mean_maps_of_their_rows(own: list[int]) -> None:
    maps = torch.randn(5, 3, 2, 4, generator=generator())
    counts = torch.bincount(torch.tensor(own))
    found = centroid_maps(maps, torch.tensor(own), counts=counts)
    torch.testing.assert_close(found, torch.stack(slow_centroids(maps, own)))


def test_the_metric_term_sends_no_gradient_through_the_centroids() -> None:
    method = method_for()
    batch, embeddings = first_batch(method, method.context)
    maps = embeddings.maps.detach().requires_grad_()
    terms = method.loss_terms(batch, embeddings._replace(maps=maps))
    (from_metric,) = torch.autograd.grad(
        terms["metric"], maps, retain_graph=True, allow_unused=True
    )
    assert from_metric is None
    (from_reconstruction,) = torch.autograd.grad(terms["reconstruction"], maps)
    assert from_reconstruction.abs().sum() > 0


def test_a_batch_of_one_cluster_trains_without_the_metric_term() -> None:
    method = method_for()
    with torch.no_grad():
        method.head.linear.bias[3] = 1e3  # all rows prefer cluster 3
    terms = one_step(method)
    assert terms["metric"].item() == 0.0
    sum(terms.values()).backward()
    student = method.context.student
    gradients = [p.grad for p in student.parameters() if p.grad is not None]
    assert gradients
    assert all(gradient.isfinite().all() for gradient in gradients)
    assert method.diagnostics()["clustering/present"] == 1.0


def test_an_embedding_that_is_not_a_number_makes_every_loss_one() -> None:
    method = method_for()
    batch, embeddings = first_batch(method, method.context)
    for name in ("compact", "maps"):
        spoilt = getattr(embeddings, name).clone()
        spoilt[5] = math.nan
        terms = method.loss_terms(batch, embeddings._replace(**{name: spoilt}))
        hidden = {n for n, term in terms.items() if not term.isnan()}
        expected = {"compact": {"reconstruction"}, "maps": {"clustering"}}[name]
        assert hidden <= expected  # those that do not see what was spoilt


def test_head_and_decoder_are_trained_and_only_the_heads_layer_has_the_penalty() -> None:
    method = method_for(l2=0.25)
    groups = method.parameters()
    assert [group.weight_decay for group in groups] == [0.25, None, None]
    assert [tuple(p.shape) for p in groups[0].parameters] == [(8, 8)]
    assert method.decoder is not None
    offered = {id(p) for group in groups for p in group.parameters}
    own = [*method.head.parameters(), *method.decoder.parameters()]
    assert offered == {id(p) for p in own}
    terms = one_step(method)
    sum(terms.values()).backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in own)


def test_entropies_and_clusters_are_described_as_means_of_the_epochs_steps() -> None:
    method = method_for(dropout=0.0)
    batch, embeddings = first_batch(method, method.context)
    assert method.diagnostics() == {}
    method.loss_terms(batch, embeddings)
    one = method.diagnostics()
    method.loss_terms(batch, embeddings)
    assert method.diagnostics() == pytest.approx(one)
    assert 0 < one["clustering/conditional_entropy"] <= math.log(8)
    assert one["clustering/entropy"] <= math.log(8) + 1e-6
    assert 1 <= one["clustering/present"] <= 8
    method.begin_epoch(1)
    assert method.diagnostics() == {}


def test_batches_are_random_images_in_two_views() -> None:
    plan = method_for().begin_epoch(0)
    assert plan.batches.shape == (4, 2, 16)
    assert torch.equal(plan.batches[:, 0], plan.batches[:, 1])
    assert plan.batches[:, 0].flatten().unique().numel() == 64
    assert 1 <= plan.metrics["clusters/filled"] <= 8


def test_a_neighbour_comes_about_every_second_time() -> None:
    batches = torch.arange(4000).view(10, 400)
    neighbours = torch.arange(4000).flip(0)
    shown = show_neighbours(batches, neighbours, generator=generator())
    assert torch.equal(shown[:, 0], batches)
    swapped = shown[:, 1] != batches
    assert torch.equal(shown[:, 1][swapped], neighbours[batches][swapped])
    assert swapped.float().mean().item() == pytest.approx(0.5, abs=0.03)


def test_neighbours_are_those_of_the_pooled_features_of_this_epoch() -> None:
    method = method_for(nn_positive=True, model={"embedding_dim": 3})
    batches = method.begin_epoch(0).batches
    student = method.context.student.eval()
    with torch.no_grad():
        pooled = student((method.context.images.float() - 127.5) / 127.5).pooled
    unit = F.normalize(pooled, dim=1)
    closest = (unit @ unit.T).fill_diagonal_(-2.0).argmax(dim=1)
    first, second = batches[:, 0].flatten(), batches[:, 1].flatten()
    swapped = first != second
    assert 10 < swapped.sum() < 54
    assert torch.equal(second[swapped], closest[first[swapped]])
    plain = method_for().begin_epoch(0).batches
    assert torch.equal(plain[:, 0], batches[:, 0])


@pytest.mark.parametrize(
    ("map_size", "image_size", "sides"),
    [
        (7, 224, [14, 28, 56, 112, 224]),
        (2, 64, [4, 8, 16, 32, 64]),
        (3, 28, [7, 14, 28]),
        (4, 28, [7, 14, 28]),
        (4, 32, [8, 16, 32]),
        (1, 32, [2, 4, 8, 16, 32]),
        (1, 224, [2, 4, 7, 14, 28, 56, 112, 224]),
        (24, 28, [28]),
    ],
)
def test_the_decoder_draws_images_of_any_size(
    map_size: int, image_size: int, sides: list[int]
) -> None:
    assert stage_sides(map_size, image_size) == sides
    decoder = Decoder(6, map_size=map_size, image_size=image_size, channels=3, seed=0)
    drawn = decoder(torch.randn(2, 6, map_size, map_size, generator=generator()), torch.ones(2))
    assert drawn.shape == (2, 3, image_size, image_size)
    assert drawn.amin() >= 0
    assert drawn.amax() <= 1
    plan = [128, 64, 32, 16, 16, 16, 16, 16][: len(sides)]
    assert [c.out_channels for c in decoder.convolutions] == plan


def test_counting_rows_equals_decoding_every_row() -> None:
    maps, counts = torch.randn(3, 4, 5, 5, generator=generator()), torch.tensor([1, 4, 2])
    counted, usual = CountedBatchNorm(4), nn.BatchNorm2d(4)
    every = usual(maps.repeat_interleave(counts, dim=0))
    once = counted(maps, counts.float()).repeat_interleave(counts, dim=0)
    torch.testing.assert_close(once, every)
    alone = counted(torch.randn(1, 4, 1, 1, generator=generator()), torch.ones(1))
    assert not alone.any()  # one value: the bias, where the usual one refuses


def test_equal_seeds_give_equal_decoders() -> None:
    options = {"map_size": 4, "image_size": 16, "channels": 1}
    first, again = (Decoder(3, **options, seed=1).state_dict() for _ in range(2))
    other = Decoder(3, **options, seed=2).state_dict()
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not torch.equal(first["last.weight"], other["last.weight"])


@pytest.mark.parametrize("backbone", ["conv4", "resnet18"])
def test_the_decoder_fits_the_backbones_maps(backbone: str) -> None:
    method = method_for(model={"backbone": backbone})
    assert one_step(method)["reconstruction"].isfinite()
    assert method.decoder is not None
    assert method.decoder.sides[-1] == 28


@pytest.mark.parametrize("dtype", ["fp32", "bf16"])
def test_a_run_repeats_to_the_bit(tmp_path: Path, dtype: str) -> None:
    def run(folder: str) -> tuple[dict[str, float], list[float]]:
        options = {"name": "cbswr", "clusters": 8, "nn_positive": True}
        train = {"number_format": dtype, "memory_layout": "channels_last"}
        results, epochs = train_tiny(tmp_path / folder, method=options, train=train)
        return results, [epoch["loss"] for epoch in epochs]

    first = run("a")
    torch.manual_seed(99)  # the global state must not matter
    assert run("b") == first


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.timeout(120)
def test_a_gpu_learns_what_a_cpu_learns(tmp_path: Path) -> None:
    options = {"name": "cbswr", "clusters": 8, "nn_positive": True}
    on = {
        device: train_tiny(tmp_path / device, test=True, method=options, train={"device": device})
        for device in ("cpu", "cuda")
    }
    recall = {device: results["test/recall@1"] for device, (results, _) in on.items()}
    assert recall["cuda"] == pytest.approx(recall["cpu"], abs=0.15)
