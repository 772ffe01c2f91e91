"""STML's parts put together: neighbours, batches, terms, teacher, labels."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from oracles_stml import slow_terms
from pydantic import ValidationError
from tiny import context_for, first_batch, one_step, tiny, train_tiny
from torch.nn import functional as F

import gcudml.methods.stml.method
from gcudml.config import StmlConfig
from gcudml.data.views import to_unit
from gcudml.methods import build_method
from gcudml.methods.interface import Batch, RunContext
from gcudml.methods.stml.contextual import semantic_similarity
from gcudml.methods.stml.losses import (
    distance_distillation_loss,
    relaxed_contrastive_loss,
    scaled_distances,
)
from gcudml.methods.stml.method import Stml, check_stml
from gcudml.methods.stml.neighbour_batches import neighbour_batches, neighbour_table
from gcudml.models.inference import embed_images

TERMS = {"relaxed_contrastive", "distillation"}


def context_of(*, labelled: bool = False, **method: Any) -> RunContext:
    """A tiny run: 64 images of 8 classes, batches of 16; classes 0 to 2 can have labels."""
    fields = {"name": "stml", "neighbours": 4} | method
    # Narrower than the features: a wider orthogonal head would start as an isometry of them, and
    # two isometries have nothing to teach each other.
    context = context_for(method=fields, model={"embedding_dim": 5})
    known = context.hidden_labels < 3
    labels = torch.where(known, context.hidden_labels, -1) if labelled else context.labels
    return replace(context, labels=labels)


def method_of(*, labelled: bool = False, **method: Any) -> Stml:
    context = context_of(labelled=labelled, **method)
    assert isinstance(context.config.method, StmlConfig)
    return Stml(context, context.config.method)


def terms_of(method: Stml) -> Mapping[str, torch.Tensor]:
    return one_step(method, method.context)


def gradient_of(term: torch.Tensor, parameter: torch.Tensor) -> float:
    (gradient,) = torch.autograd.grad(term, parameter, retain_graph=True, allow_unused=True)
    return 0.0 if gradient is None else float(gradient.abs().sum())


def test_the_name_builds_the_method() -> None:
    assert isinstance(build_method(context_of()), Stml)


def test_the_terms_are_the_published_ones_of_teacher_and_student() -> None:
    method = method_of(teacher_momentum=0.5)
    context = method.context
    context.student.train()
    with torch.no_grad():  # a teacher that is not the student
        for parameter in method.teacher.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    batch, embeddings = first_batch(method, context)
    terms = method.loss_terms(batch, embeddings)
    similarity = semantic_similarity(
        method.teacher(batch.views).wide, batch.indices, sigma=3.0, context=8
    )
    compact, wide = scaled_distances(embeddings.compact), scaled_distances(embeddings.wide)
    contrastive = [
        relaxed_contrastive_loss(each, similarity, margin=1.0) for each in (compact, wide)
    ]
    torch.testing.assert_close(terms["relaxed_contrastive"], sum(contrastive) / 2)
    torch.testing.assert_close(terms["distillation"], distance_distillation_loss(compact, wide))
    assert terms.keys() == TERMS


def test_the_terms_reach_the_heads_that_they_should() -> None:
    method = method_of()
    terms, student = terms_of(method), method.context.student
    backbone = next(student.features.parameters())
    for term in TERMS:
        assert gradient_of(terms[term], student.compact.weight) > 0
        assert gradient_of(terms[term], backbone) > 0
    assert gradient_of(terms["relaxed_contrastive"], student.wide.weight) > 0
    assert (
        gradient_of(terms["distillation"], student.wide.weight) == 0
    )  # the wide head only teaches


def test_no_gradient_reaches_the_teacher() -> None:
    method = method_of()
    sum(terms_of(method).values()).backward()
    assert all(parameter.grad is None for parameter in method.teacher.parameters())


@pytest.mark.parametrize("name", sorted(TERMS))
def test_a_term_of_weight_zero_is_left_out(name: str) -> None:
    assert terms_of(method_of(weights={name: 0.0})).keys() == TERMS - {name}


@pytest.mark.parametrize(
    ("metric_on", "compact", "wide"),
    [("both", True, True), ("compact", True, False), ("wide", False, True)],
)
def test_the_contrastive_loss_acts_on_the_chosen_heads(
    metric_on: str, compact: bool, wide: bool
) -> None:
    method = method_of(metric_on=metric_on)
    term, student = terms_of(method)["relaxed_contrastive"], method.context.student
    assert (gradient_of(term, student.compact.weight) > 0) == compact
    assert (gradient_of(term, student.wide.weight) > 0) == wide


@pytest.mark.parametrize(
    "change",
    [
        {"similarity": "pairwise"},
        {"similarity": "contextual"},
        {"query_expansion": False},
        {"sigma": 1.0},
        {"context": 4},
        {"margin": 0.5},
        {"metric_on": "compact"},
        {"init_teacher": "independent"},
    ],
    ids=str,
)
def test_a_switch_changes_the_contrastive_loss_and_not_the_distillation(
    change: dict[str, Any],
) -> None:
    usual, other = terms_of(method_of()), terms_of(method_of(**change))
    assert not torch.isclose(usual["relaxed_contrastive"], other["relaxed_contrastive"])
    assert torch.equal(usual["distillation"], other["distillation"])


def test_the_temperature_changes_the_distillation_alone() -> None:
    usual, other = terms_of(method_of()), terms_of(method_of(temperature=0.1))
    assert torch.equal(usual["relaxed_contrastive"], other["relaxed_contrastive"])
    assert not torch.isclose(usual["distillation"], other["distillation"])


def test_neighbourhoods_are_of_neighbours_times_views_unless_said_otherwise(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    seen = []
    original = gcudml.methods.stml.method.semantic_similarity
    monkeypatch.setattr(
        gcudml.methods.stml.method,
        "semantic_similarity",
        lambda *rows, **named: seen.append(named["context"]) or original(*rows, **named),
    )
    terms_of(method_of())
    terms_of(method_of(context=3))
    assert seen == [8, 3]


def test_the_teacher_starts_as_the_student_or_as_a_stranger() -> None:
    copied, stranger = method_of(), method_of(init_teacher="independent")
    for method, is_equal in ((copied, True), (stranger, False)):
        student = method.context.student
        assert torch.equal(method.teacher.wide.weight, student.wide.weight) is is_equal
        pairs = zip(
            method.teacher.features.parameters(), student.features.parameters(), strict=True
        )
        assert all(torch.equal(a, b) for a, b in pairs) is is_equal
    again = method_of(init_teacher="independent")
    assert torch.equal(again.teacher.wide.weight, stranger.teacher.wide.weight)
    assert not any(parameter.requires_grad for parameter in stranger.teacher.parameters())
    assert not stranger.teacher.training


@pytest.mark.parametrize(("when", "share"), [("after", 0.5), ("before", 0.0)])
def test_the_teacher_follows_after_the_step_or_before_it(when: str, share: float) -> None:
    method = method_of(update_teacher=when, teacher_momentum=0.5)
    student, start = method.context.student, method.teacher.wide.weight.clone()
    terms_of(method)
    with torch.no_grad():  # stands for the optimiser's step
        student.wide.weight.add_(1.0)
    method.after_step(0)
    torch.testing.assert_close(method.teacher.wide.weight, start + share)
    assert method.diagnostics()["teacher_momentum"] == 0.5
    assert method.diagnostics()["teacher_distance"] > 0


@pytest.mark.parametrize("when", ["after", "before"])
def test_the_teacher_follows_once_a_step_and_keeps_batch_norm_statistics(when: str) -> None:
    method = method_of(update_teacher=when, teacher_momentum=0.0)
    terms_of(method)
    method.after_step(0)
    names = dict(method.context.student.shared().named_buffers())
    for mine, theirs in zip(method.teacher.buffers(), names.values(), strict=True):
        torch.testing.assert_close(mine, theirs)
    frozen = method_of(update_teacher=when, teacher_momentum=1.0)
    terms_of(frozen)
    frozen.after_step(0)
    assert torch.equal(frozen.teacher.wide.weight, frozen.context.student.wide.weight)


def test_the_momentum_can_warm_up() -> None:
    method = method_of(momentum_warmup=True)
    method.after_step(0)
    assert method.diagnostics()["teacher_momentum"] == 0.1


def test_batches_are_queries_with_their_nearest_images_in_every_view() -> None:
    method = method_of()
    batches = method.begin_epoch(0).batches
    assert batches.shape == (4, 2, 16)  # 64 images, 16 a step, each in 2 views
    assert torch.equal(batches[:, 0], batches[:, 1])
    context = method.context
    wide = embed_images(
        context.student, context.images, heads=["wide"], number_format=context.number_format
    )["wide"].double()
    distance = torch.cdist(wide, wide)
    for group in batches[:, 0].reshape(-1, 4):
        nearest = distance[group[0]].topk(4, largest=False).indices
        assert set(group.tolist()) == set(nearest.tolist())


def test_batches_differ_by_epoch_and_repeat_with_the_seed() -> None:
    method, again = method_of(), method_of()
    first, second = method.begin_epoch(0).batches, method.begin_epoch(1).batches
    assert not torch.equal(first, second)
    assert torch.equal(again.begin_epoch(0).batches, first)


def test_random_batches_look_for_no_neighbours() -> None:
    method = method_of(batches="random")
    plan = method.begin_epoch(0)
    assert method.table is None
    assert plan.metrics == {}
    assert plan.batches.shape == (4, 2, 16)
    assert len(plan.batches[:, 0].unique()) == 64  # each image once


@pytest.mark.parametrize("network", ["student", "teacher"])
def test_the_chosen_network_decides_which_images_are_near(network: str) -> None:
    method = method_of(neighbours_from=network)
    before = method.begin_epoch(0).batches
    noise = torch.Generator().manual_seed(0)
    wide = method.context.student.wide if network == "student" else method.teacher.wide
    other = method.teacher.wide if network == "student" else method.context.student.wide
    with torch.no_grad():
        other.weight.normal_(generator=noise)
    assert torch.equal(method.begin_epoch(0).batches, before)
    with torch.no_grad():
        wide.weight.normal_(generator=noise)
    assert not torch.equal(method.begin_epoch(0).batches, before)


@pytest.mark.parametrize(("neighbours_on", "size"), [("whole", None), ("centre", 28)])
def test_neighbours_are_looked_for_on_whole_images_or_their_middle(
    neighbours_on: str, size: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []
    original = gcudml.methods.interface.embed_images
    monkeypatch.setattr(
        gcudml.methods.interface,
        "embed_images",
        lambda *parts, **named: seen.append(named["size"]) or original(*parts, **named),
    )
    method_of(neighbours_on=neighbours_on).begin_epoch(0)
    assert seen == [size]


def test_neighbours_stay_until_the_next_search() -> None:
    method = method_of(refresh_every=2)
    assert "neighbours/purity" in method.begin_epoch(0).metrics
    first = method.table
    assert method.begin_epoch(1).metrics == {}
    assert method.table is first
    assert "neighbours/purity" in method.begin_epoch(2).metrics
    assert method.table is not first


def test_purity_is_the_share_of_neighbours_of_the_same_class() -> None:
    method = method_of()
    purity = method.begin_epoch(0).metrics["neighbours/purity"]
    assert method.table is not None
    classes = method.context.hidden_labels
    same = [
        bool(classes[i] == classes[j])
        for i, row in enumerate(method.table.tolist())
        for j in row
        if i != j
    ]
    assert purity == pytest.approx(sum(same) / len(same))
    assert method_of(neighbours=1).begin_epoch(0).metrics == {}


@pytest.mark.parametrize("block_rows", [3, 7, 100])
def test_the_neighbour_table_equals_the_sorted_distances(block_rows: int) -> None:
    z = torch.randn(20, 5, generator=torch.Generator().manual_seed(1)) + 30.0
    found = neighbour_table(z, 4, block_rows=block_rows)
    for i, row in enumerate(found.tolist()):
        distances = [(float((z[i] - z[j]).square().sum()), j) for j in range(20)]
        assert row == [j for _, j in sorted(distances)[:4]]


def test_an_image_is_its_own_first_neighbour_among_equal_ones() -> None:
    found = neighbour_table(torch.ones(9, 3), 5)
    assert torch.equal(found[:, 0], torch.arange(9))
    assert all(len(set(row)) == 5 for row in found.tolist())


def test_a_batch_has_distinct_queries_and_is_cut_to_whole_groups() -> None:
    table = torch.stack([torch.arange(10), (torch.arange(10) + 1) % 10, torch.zeros(10).long()], 1)
    batches = neighbour_batches(
        table, batch_size=14, steps=6, generator=torch.Generator().manual_seed(0)
    )
    assert batches.shape == (6, 12)
    for batch in batches.view(6, 4, 3):
        assert len(batch[:, 0].unique()) == 4
        assert torch.equal(batch, table[batch[:, 0]])


def test_fewer_images_than_queries_gives_batches_of_all_images() -> None:
    batches = neighbour_batches(
        torch.arange(3)[:, None], batch_size=8, steps=2, generator=torch.Generator()
    )
    assert [sorted(batch) for batch in batches.tolist()] == [[0, 1, 2], [0, 1, 2]]


def test_an_image_that_a_batch_holds_twice_counts_as_one_image() -> None:
    method = method_of(similarity="contextual", query_expansion=False, neighbours=1, context=4)
    indices = torch.tensor([0, 1, 0, 2, 0, 1, 0, 2])
    batch = Batch(to_unit(method.context.pick(indices)), indices, 0)
    similarity = method._similarity(batch)
    shown = (indices == 0).nonzero()[:, 0]
    assert torch.equal(similarity[shown][:, shown], torch.ones(4, 4))


REPEATED = {
    "each image in two views": [0, 1, 2, 3, 4, 5] * 2,
    "neighbours that two queries share": [0, 1, 2, 3, 1, 0, 4, 5] * 2,
    "more rows of an image than a neighbourhood has": [0, 0, 1, 0, 2, 0, 3, 0] * 2,
    "images in their own number of views": [0, 0, 0, 1, 2, 2, 3, 4, 5, 5, 5, 5],
}


@pytest.mark.parametrize("student_norm", [False, True])
@pytest.mark.parametrize("case", REPEATED)
def test_terms_of_a_batch_with_repeated_images_equal_the_slow_formulas(
    case: str, student_norm: bool
) -> None:
    distance = "cosine" if student_norm else "euclidean"
    method = method_of(student_norm=student_norm, distance=distance, context=4)
    indices = torch.tensor(REPEATED[case])
    views = to_unit(method.context.pick(indices))
    views = views + 0.3 * torch.randn(views.shape, generator=torch.Generator().manual_seed(0))
    embeddings = method.context.student.train()(views)
    with torch.no_grad():
        for parameter in method.teacher.wide.parameters():
            parameter.copy_(parameter.flip(0))  # a teacher that is not the student
        taught = method.teacher(views).wide
    found = method.loss_terms(Batch(views, indices, 0), embeddings)
    expected = slow_terms(
        embeddings.compact.detach().double(),
        embeddings.wide.detach().double(),
        taught.double(),
        indices.tolist(),
        context=4,
        student_norm=student_norm,
    )
    for name, value in expected._asdict().items():
        assert found[name].item() == pytest.approx(value, rel=1e-4), name


def test_with_student_norm_the_lengths_of_embeddings_have_no_effect_and_no_gradient() -> None:
    rows = torch.randn(6, 4, generator=torch.Generator().manual_seed(0))
    lengths = torch.tensor([0.1, 1.0, 3.0, 0.5, 10.0, 2.0])[:, None].requires_grad_()
    scaled = scaled_distances(rows * lengths, normalize=True)
    torch.testing.assert_close(scaled, scaled_distances(F.normalize(rows, dim=1)))
    (scaled * torch.rand(6, 6, generator=torch.Generator().manual_seed(1))).sum().backward()
    assert lengths.grad is not None
    assert (lengths.grad * lengths).abs().max() < 1e-5
    assert not torch.allclose(scaled, scaled_distances(rows * lengths.detach()), atol=0.1)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"student_norm": True}, r"distance: student_norm does not train the lengths .*; set"),
        (
            {"neighbours_by": "compact", "neighbours_from": "teacher"},
            r"neighbours_by: the teacher has no compact embedding; set",
        ),
    ],
)
def test_switches_that_contradict_each_other_are_refused(
    fields: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValidationError, match=message):
        StmlConfig(**fields)


@pytest.mark.parametrize("head", ["wide", "compact"])
@pytest.mark.parametrize("distance", ["euclidean", "cosine"])
def test_neighbours_are_those_of_the_chosen_embedding_and_distance(
    head: str, distance: str
) -> None:
    method = method_of(neighbours_by=head, neighbours_distance=distance)
    with torch.no_grad():  # lengths that matter
        for each in (method.context.student.compact, method.context.student.wide):
            each.weight.mul_(torch.linspace(0.1, 3, each.out_features)[:, None])
    method.begin_epoch(0)
    features = method.context.embed(method.context.student, [head], whole=True)[head]
    if distance == "cosine":
        features = F.normalize(features, dim=1)
    assert method.table is not None
    apart = torch.cdist(features, features, compute_mode="donot_use_mm_for_euclid_dist")
    apart.fill_diagonal_(-1)
    assert torch.equal(method.table, apart.argsort(dim=1)[:, :4])


def test_labels_bring_a_supervised_term_and_change_no_other() -> None:
    plain, taught = terms_of(method_of()), terms_of(method_of(labelled=True))
    assert plain.keys() == TERMS
    assert taught.keys() == TERMS | {"supervised"}
    for name in TERMS:
        assert torch.equal(plain[name], taught[name])
    without = method_of(labelled=True, weights={"supervised": 0.0})
    assert terms_of(without).keys() == TERMS


@pytest.mark.parametrize(("supervised_on", "wide"), [("compact", False), ("both", True)])
def test_the_supervised_term_learns_from_labelled_rows_only(supervised_on: str, wide: bool) -> None:
    method = method_of(labelled=True, supervised_on=supervised_on)
    context = method.context
    indices = torch.arange(64)[::4].repeat(2)  # two images of each class
    batch = Batch(to_unit(context.pick(indices)), indices, 0)
    embeddings = context.student(batch.views)
    term = method.loss_terms(batch, embeddings)["supervised"]
    (gradient,) = torch.autograd.grad(term, embeddings.compact, retain_graph=True)
    labelled = context.labels[indices] >= 0
    assert gradient[labelled].abs().sum() > 0
    assert gradient[~labelled].abs().sum() == 0
    assert (gradient_of(term, context.student.wide.weight) > 0) == wide


def test_a_batch_without_labelled_rows_has_a_supervised_term_of_zero() -> None:
    method = method_of(labelled=True)
    indices = (method.context.labels < 0).nonzero()[:16, 0].repeat(2)
    batch = Batch(to_unit(method.context.pick(indices)), indices, 0)
    terms = method.loss_terms(batch, method.context.student(batch.views))
    assert terms["supervised"].item() == 0.0
    sum(terms.values()).backward()
    assert method.context.student.compact.weight.grad.isfinite().all()


@pytest.mark.parametrize(("labelled", "is_refused"), [(True, False), (False, True)])
def test_supervision_alone_needs_labels(labelled: bool, is_refused: bool) -> None:
    weights = {"relaxed_contrastive": 0.0, "distillation": 0.0}
    if is_refused:
        with pytest.raises(ValueError, match=r"method\.weights\.supervised: .* needs labels"):
            method_of(labelled=labelled, weights=weights)
    else:
        assert terms_of(method_of(labelled=labelled, weights=weights)).keys() == {"supervised"}


def test_gradients_are_finite_where_all_rows_coincide() -> None:
    method = method_of(labelled=True)
    indices = torch.zeros(32, dtype=torch.int64)
    batch = Batch(to_unit(method.context.pick(indices)), indices, 0)
    method.context.student.eval()
    sum(method.loss_terms(batch, method.context.student(batch.views)).values()).backward()
    for parameter in method.context.student.parameters():
        assert parameter.grad is None or parameter.grad.isfinite().all()


@pytest.mark.parametrize(
    "weights",
    [
        {"relaxed_contrastive": 0.0, "distillation": 0.0, "supervised": 0.0},
        {"distillation": 0.0, "supervised": 0.0},
    ],
)
def test_weights_that_leave_the_compact_embedding_untrained_are_refused(
    weights: dict[str, float],
) -> None:
    with pytest.raises(ValidationError, match=r"weights\.distillation: no remaining term trains"):
        StmlConfig(metric_on="wide", weights=weights)


@pytest.mark.parametrize(
    ("method", "images", "message"),
    [
        ({"neighbours": 9}, 8, r"method\.neighbours: 9 neighbours of 8 training images"),
        ({"neighbours": 17}, 64, r"17 neighbours of one image in a batch .* = 16"),
        (
            {"neighbours": 4, "context": 33},
            64,
            r"method\.context: a neighbourhood of 33 in batches of 32 rows",
        ),
        ({"neighbours": 5, "context": 31}, 64, r"batches of 30 rows"),
        ({"context": 17, "batches": "random"}, 8, r"batches of 16 rows"),
        ({"neighbours": 5, "batches": "random"}, 4, r"a neighbourhood of 10 in batches of 8"),
    ],
)
def test_impossible_settings_are_refused(method: dict[str, Any], images: int, message: str) -> None:
    config = tiny(method={"name": "stml"} | method)
    assert isinstance(config.method, StmlConfig)
    with pytest.raises(ValueError, match=message):
        check_stml(config.method, config.train, images=images)


def test_the_largest_possible_settings_are_accepted() -> None:
    config = tiny(method={"name": "stml", "neighbours": 16})
    assert isinstance(config.method, StmlConfig)
    check_stml(config.method, config.train, images=16)
    assert terms_of(method_of(neighbours=16)).keys() == TERMS


def test_the_tested_distance_is_euclidean_unless_said_otherwise() -> None:
    assert tiny(method={"name": "stml"}).distance == "euclidean"
    assert tiny(method={"name": "stml", "distance": "cosine"}).distance == "cosine"


def test_a_run_repeats_with_its_seed_and_reports_its_terms(tmp_path: Path) -> None:
    method = {"name": "stml", "neighbours": 4}
    first, epochs = train_tiny(tmp_path / "a", seed=3, method=method)
    torch.manual_seed(99)
    again, _ = train_tiny(tmp_path / "b", seed=3, method=method)
    assert first == again
    for name in TERMS:
        assert epochs[0][f"loss/{name}"] > 0
    assert epochs[0]["loss"] == pytest.approx(
        sum(epochs[0][f"loss/{name}"] for name in TERMS), rel=1e-5
    )
