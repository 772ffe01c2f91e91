"""GC-UDML's parts put together: imprinting, groups, gradients, the teacher."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
import torch
from tiny import context_for, first_batch, tiny
from tiny import one_step as step_of

import gcudml.methods.gcudml.method
from gcudml.config import GcudmlConfig
from gcudml.data.views import to_unit
from gcudml.losses.named import OWN
from gcudml.losses.pairs import contextual_bias_loss
from gcudml.methods import build_method
from gcudml.methods.gcudml.method import Gcudml, cluster_means
from gcudml.methods.interface import Batch
from gcudml.models.inference import embed_images


def method_for(**method: Any) -> Gcudml:
    context = context_for(method=method)
    assert isinstance(context.config.method, GcudmlConfig)
    return Gcudml(context, context.config.method)


def classifiers_of(method: Gcudml, *, epoch: int) -> list[torch.nn.Parameter]:
    """The group classifiers that an epoch begins with, all of them new."""
    assert method.begin_epoch(epoch).replaces_parameters
    return list(method.replaced_parameters())


def one_step(method: Gcudml) -> Mapping[str, torch.Tensor]:
    return step_of(method, method.context)


def test_all_four_terms_are_finite_and_reach_the_student() -> None:
    method = method_for()
    terms = one_step(method)
    assert set(terms) == {"metric", "group", "collaborative", "distillation"}
    for name, term in terms.items():
        assert term.isfinite(), name
    for name in ("metric", "group", "distillation"):
        (gradient,) = torch.autograd.grad(
            terms[name], method.context.student.compact.weight, retain_graph=True
        )
        assert gradient.abs().sum() > 0, name


@pytest.mark.parametrize("name", ["metric", "group", "collaborative", "distillation"])
def test_a_term_of_weight_zero_is_left_out(name: str) -> None:
    weights = {name: 0.0}
    if name == "group":  # without trained classifiers there is nothing to collaborate on
        weights["collaborative"] = 0.0
    assert name not in one_step(method_for(weights=weights))


def test_no_gradient_reaches_the_teacher() -> None:
    method = method_for()
    sum(one_step(method).values()).backward()
    assert all(parameter.grad is None for parameter in method.teacher.parameters())


def test_the_teacher_starts_as_the_student_and_follows_it() -> None:
    method = method_for(teacher_momentum=0.5, momentum_warmup=False)
    student = method.context.student
    assert torch.equal(method.teacher.wide.weight, student.wide.weight)
    before = student.wide.weight.detach().clone()
    with torch.no_grad():
        student.wide.weight.add_(1.0)
    method.after_step(0)
    torch.testing.assert_close(method.teacher.wide.weight.detach(), before + 0.5)
    assert method.diagnostics()["teacher_momentum"] == 0.5
    assert method.diagnostics()["teacher_distance"] > 0


@pytest.mark.parametrize(
    ("embedding", "widths"), [("compact", [8]), ("wide", [12]), ("both", [8, 12])]
)
def test_group_classifiers_are_imprinted_on_the_chosen_embeddings(
    embedding: str, widths: list[int]
) -> None:
    method = method_for(group_embedding=embedding)
    parameters = classifiers_of(method, epoch=0)
    assert method.pseudo is not None
    expected = [(end, width) for width in widths for end in method.pseudo.ends]
    assert [tuple(each.shape) for each in parameters] == expected
    for each in parameters:  # unit rows: a mean direction, not a random start
        torch.testing.assert_close(each.norm(dim=1), torch.ones(len(each)))


def test_classifiers_of_larger_sets_start_as_extensions_of_the_smaller_ones() -> None:
    small, large = classifiers_of(method_for(groups=2), epoch=0)
    assert torch.equal(large[: len(small)], small)
    assert len(large) == 8


def test_the_pair_reading_has_no_classifiers() -> None:
    method = method_for(group_loss="pair", weights={"collaborative": 0.0})
    assert classifiers_of(method, epoch=0) == []
    assert one_step(method)["group"].isfinite()


def test_without_transfer_there_is_no_collaborative_term() -> None:
    assert "collaborative" not in one_step(method_for(transfer="none"))


def test_the_group_terms_start_at_their_epoch() -> None:
    method = method_for(groups_from_epoch=1)
    others = {"metric", "distillation"}
    assert step_of(method, method.context, epoch=0).keys() == others
    assert step_of(method, method.context, epoch=1).keys() == others | {"group", "collaborative"}


@pytest.mark.parametrize(
    ("metric", "other"),
    [
        ("multi_similarity", {"alpha": 5.0}),
        ("multi_similarity", {"beta": 10.0, "base": 0.7}),
        ("cbml", {"bias": 0.1}),
    ],
)
def test_the_arguments_of_the_metric_loss_reach_it(metric: str, other: dict[str, float]) -> None:
    method = method_for(metric=metric, metric_args=other)
    batch, embeddings = first_batch(method, method.context)
    assert method.pseudo is not None
    labels = method.pseudo.labels[batch.indices]
    found = method.loss_terms(batch, embeddings)["metric"]
    torch.testing.assert_close(found, OWN[metric](embeddings.compact, labels, **other))
    assert not torch.isclose(found, OWN[metric](embeddings.compact, labels))


def test_the_temperature_of_the_relational_distillation_changes_that_term_alone() -> None:
    usual, warm = ({}, {"distillation_temperature": 0.2})
    found = []
    for fields in (usual, warm):
        method = method_for(**fields)
        with torch.no_grad():
            for parameter in method.teacher.parameters():
                parameter.copy_(parameter.flip(0))  # a teacher that is not the student
        found.append(one_step(method))
    changed = {name for name in found[0] if not torch.isclose(found[0][name], found[1][name])}
    assert changed == {"distillation"}


def test_labels_stay_until_the_next_clustering() -> None:
    method = method_for(recluster_every=3)
    method.begin_epoch(0)
    first = method.pseudo
    with torch.no_grad():
        for parameter in method.teacher.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    assert not method.begin_epoch(1).cluster_rows
    assert method.pseudo is first
    assert len(method.begin_epoch(3).cluster_rows) == 8
    assert method.pseudo is not first


def test_the_student_can_make_the_pseudo_labels() -> None:
    method = method_for(cluster_with="student")
    with torch.no_grad():
        method.teacher.wide.weight.zero_()  # would put all images into one place
        method.teacher.wide.bias.fill_(1.0)
    method.begin_epoch(0)
    assert method.pseudo is not None
    assert (method.pseudo.sizes > 0).sum() == 8


def test_batches_hold_equal_numbers_of_images_of_each_of_their_clusters() -> None:
    method = method_for()
    batches = method.begin_epoch(0).batches
    assert method.pseudo is not None
    assert batches.shape == (4, 2, 16)  # 64 images, 16 a step, each in 2 views
    assert torch.equal(batches[:, 0], batches[:, 1])
    for batch in batches[:, 0]:
        counts = torch.bincount(method.pseudo.labels[batch], minlength=8)
        assert set(counts.tolist()) <= {0, 4}


def test_cluster_means_are_unit_means_and_zero_for_an_empty_cluster() -> None:
    z = torch.tensor([[2.0, 0.0], [0.0, 5.0], [0.0, 1.0]])
    means = cluster_means(z, torch.tensor([0, 0, 1]), clusters=3)
    half = 0.5**0.5
    torch.testing.assert_close(means, torch.tensor([[half, half], [0.0, 1.0], [0.0, 0.0]]))


def test_a_control_is_no_method() -> None:
    context = context_for(method={"name": "pixels"})
    with pytest.raises(ValueError, match="'pixels' trains nothing"):
        build_method(context)


@pytest.mark.parametrize(
    ("options", "trained"),
    [
        ({}, {"compact"}),
        ({"metric_on": "both"}, {"compact", "wide"}),
        ({"group_embedding": "wide"}, {"compact", "wide"}),
    ],
)
def test_which_heads_are_trained(options: dict[str, str], trained: set[str]) -> None:
    method = method_for(**options)
    sum(one_step(method).values()).backward()
    student = method.context.student
    heads = {"compact": student.compact, "wide": student.wide}
    assert {name for name, head in heads.items() if head.weight.grad is not None} == trained


def test_random_groups_see_the_batches_of_groups_by_size() -> None:
    by_size, at_random = (method_for(grouping=each) for each in ("size", "random"))
    assert torch.equal(by_size.begin_epoch(0).batches, at_random.begin_epoch(0).batches)
    assert by_size.pseudo is not None
    assert at_random.pseudo is not None
    assert not torch.equal(by_size.pseudo.labels, at_random.pseudo.labels)


def test_an_empty_cluster_has_no_probability_and_no_gradient() -> None:
    method = method_for()
    parameters = classifiers_of(method, epoch=0)
    pseudo = method.pseudo
    assert pseudo is not None
    emptied = pseudo.labels.clone()
    emptied[emptied == 7] = 6
    sizes = torch.bincount(emptied, minlength=8)
    method.pseudo = pseudo._replace(labels=emptied, by_size=emptied, sizes=sizes)
    indices = torch.arange(16).repeat(2)
    views = to_unit(method.context.images[indices])
    terms = method.loss_terms(Batch(views, indices, 0), method.context.student(views))
    (terms["group"] + terms["collaborative"]).backward()
    largest = parameters[-1]
    assert largest.grad is not None
    assert largest.grad.isfinite().all()
    assert largest.grad[7].abs().sum() == 0
    assert largest.grad[:7].abs().sum() > 0


def test_separate_classifiers_know_and_see_their_own_group_alone() -> None:
    method = method_for(cumulative=False, weights={"collaborative": 0.0})
    method.begin_epoch(0)
    pseudo, sampled = method.pseudo, method.sampled
    assert pseudo is not None
    assert sampled is not None
    first = pseudo.ends[0]
    assert (pseudo.labels[sampled[0]] < first).all()
    assert (pseudo.labels[sampled[1]] >= first).all()
    scores = method._scores(torch.randn(5, 8), method.classifiers["compact"])
    chances = scores[1].softmax(dim=1)
    assert chances[:, :first].eq(0).all()
    torch.testing.assert_close(chances.sum(1), torch.ones(5))


def test_separate_groups_have_nothing_to_hand_on() -> None:
    with pytest.raises(ValueError, match="share no cluster"):
        tiny(method={"cumulative": False})


def test_a_warm_start_keeps_clusters_and_what_classifiers_learned() -> None:
    method = method_for(renumbering="warm_start")
    before = classifiers_of(method, epoch=0)
    assert method.pseudo is not None
    old = method.pseudo
    with torch.no_grad():
        for weight in before:
            weight.copy_(torch.arange(weight.numel()).view_as(weight))
    after = classifiers_of(method, epoch=1)  # the teacher has not moved
    new = method.pseudo
    # Cluster c of k-means is row i in the old order and row j in the new one.
    for weight, learned in zip(after, before, strict=True):
        for row, cluster in enumerate(new.order[: len(weight)].tolist()):
            place = old.order.tolist().index(cluster)
            if place < len(learned):
                assert torch.equal(weight[row], learned[place])
    share = (old.order[old.labels] == new.order[new.labels]).float().mean()
    assert share > 0.9


def test_after_a_warm_start_the_teachers_classifiers_keep_their_average() -> None:
    method = method_for(
        group_embedding="wide", distillation="logits", renumbering="warm_start", groups=1
    )
    method.begin_epoch(0)
    old = method.pseudo
    assert old is not None
    with torch.no_grad():
        method.classifiers["wide"][0].fill_(7.0)
        method.taught_classifiers[0].fill_(3.0)
    method.begin_epoch(1)  # one classifier of all clusters: every row is kept
    assert (method.classifiers["wide"][0] == 7).all()
    assert (method.taught_classifiers[0] == 3).all()


def test_imprinting_forgets_what_classifiers_learned() -> None:
    method = method_for()
    before = classifiers_of(method, epoch=0)
    with torch.no_grad():
        for weight in before:
            weight.fill_(7.0)
    assert all((weight != 7).all() for weight in classifiers_of(method, epoch=1))


def test_the_teachers_classifiers_follow_the_students() -> None:
    method = method_for(
        group_embedding="wide", distillation="logits", teacher_momentum=0.5, momentum_warmup=False
    )
    parameters = classifiers_of(method, epoch=0)
    start = [each.clone() for each in method.taught_classifiers]
    assert all(torch.equal(a, b) for a, b in zip(start, parameters, strict=True))
    with torch.no_grad():
        for weight in parameters:
            weight.add_(1.0)
    method.after_step(0)
    for taught, first in zip(method.taught_classifiers, start, strict=True):
        torch.testing.assert_close(taught, first + 0.5)


def test_class_scores_of_the_teacher_teach_the_student_only() -> None:
    method = method_for(group_embedding="both", distillation="logits")
    batch, embeddings = first_batch(method, method.context)
    assert method.loss_terms(batch, embeddings)["distillation"].item() > 0
    method.loss_terms(batch, embeddings)["distillation"].backward()
    assert method.context.student.compact.weight.grad.abs().sum() > 0
    assert all(parameter.grad is None for parameter in method.teacher.parameters())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"distillation": "logits"}, "group_embedding: wide or both"),
        (
            {"distillation": "logits", "group_loss": "pair", "weights": {"collaborative": 0}},
            "group_loss: classifier",
        ),
    ],
)
def test_class_scores_need_classifiers_on_what_both_share(
    options: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        tiny(method=options)


def test_the_metric_term_can_be_contextualised() -> None:
    ours, other = method_for(), method_for(metric="cbml")
    batch, embeddings = first_batch(other, other.context)
    assert other.pseudo is not None
    expected = contextual_bias_loss(embeddings.compact, other.pseudo.labels[batch.indices])
    torch.testing.assert_close(other.loss_terms(batch, embeddings)["metric"], expected)
    ours.begin_epoch(0)
    assert ours.loss_terms(batch, embeddings)["metric"] != expected


FORWARDS = [
    # settings, networks that embed all images before the first step and after it
    ({}, ["student"], ["teacher", "student"]),
    ({"teacher_momentum": 0.0}, ["student"], ["student"]),
    ({"cluster_with": "student", "group_embedding": "both"}, ["student"], ["student"]),
    (
        {"group_loss": "pair", "weights": {"collaborative": 0.0}},
        ["student"],
        ["teacher"],
    ),
]


@pytest.mark.parametrize(("settings", "first", "second"), FORWARDS)
def test_images_are_embedded_once_where_one_forward_gives_everything(
    monkeypatch: pytest.MonkeyPatch,
    settings: dict[str, Any],
    first: list[str],
    second: list[str],
) -> None:
    method, used = method_for(**settings), []
    student = method.context.student

    def embed(network: torch.nn.Module, *args: Any, **kwargs: Any) -> Any:
        used.append("student" if network is student else "teacher")
        return embed_images(network, *args, **kwargs)

    monkeypatch.setattr(gcudml.methods.interface, "embed_images", embed)
    for step, wanted in enumerate([first, second]):
        used.clear()
        method.begin_epoch(step)
        assert used == wanted
        with torch.no_grad():
            student.wide.weight.add_(0.1)
        method.after_step(step)


@pytest.mark.parametrize("settings", [settings for settings, _, _ in FORWARDS])
def test_one_forward_gives_what_two_give_to_the_bit(
    monkeypatch: pytest.MonkeyPatch, settings: dict[str, Any]
) -> None:
    once = method_for(**settings)
    plan = once.begin_epoch(0)
    monkeypatch.setattr(gcudml.methods.gcudml.method, "is_copy", lambda *_: False)
    twice = method_for(**settings | {"cluster_with": "teacher"})
    other = twice.begin_epoch(0)
    assert torch.equal(plan.batches, other.batches)
    assert torch.equal(once.centres, twice.centres)
    ours, theirs = once.replaced_parameters(), twice.replaced_parameters()
    assert len(ours) == len(theirs)
    assert all(map(torch.equal, ours, theirs))
