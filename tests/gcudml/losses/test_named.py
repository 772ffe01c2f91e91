"""Metric losses by name: all of the library's that take embeddings and labels."""

from __future__ import annotations

import pytest
import torch
from pytorch_metric_learning.losses import TripletMarginLoss

from gcudml.config import MetricLossConfig
from gcudml.losses.named import NamedLoss, check_loss, loss_names
from gcudml.losses.pairs import multi_similarity_loss

NEEDED = {"RankedListLoss": {"margin": 0.4, "Tn": 1.0}}


def named(name: str, seed: int = 0, **args: float) -> NamedLoss:
    config = MetricLossConfig(name=name, args=args)
    return NamedLoss(config, classes=4, embedding_dim=8, seed=seed)


def draw(rows: int = 16, seed: int = 0) -> torch.Tensor:
    return torch.randn(rows, 8, generator=torch.Generator().manual_seed(seed))


def test_the_names_are_those_of_the_library_and_ours() -> None:
    assert {"multi_similarity", "margin", "triplet", "contrastive"} <= set(loss_names())
    assert len(loss_names()) > 30


@pytest.mark.filterwarnings("ignore:__array_wrap__:DeprecationWarning")
@pytest.mark.parametrize("name", loss_names())
def test_every_loss_trains_the_embeddings(name: str) -> None:
    check_loss(MetricLossConfig(name=name, args=NEEDED.get(name, {})))
    z = draw().requires_grad_()
    loss = named(name, **NEEDED.get(name, {}))(z, torch.arange(16) % 4)
    loss.backward()
    assert loss.isfinite()
    assert z.grad is not None
    assert z.grad.isfinite().all()
    assert z.grad.abs().sum() > 0


def test_arguments_reach_the_loss() -> None:
    z, labels = draw(), torch.arange(16) % 4
    torch.testing.assert_close(
        named("triplet", margin=0.7)(z, labels), TripletMarginLoss(margin=0.7)(z, labels)
    )
    torch.testing.assert_close(
        named("multi_similarity", beta=10.0)(z, labels), multi_similarity_loss(z, labels, beta=10.0)
    )


@pytest.mark.parametrize("name", ["multi_similarity", "triplet", "ProxyAnchorLoss"])
def test_unlabelled_rows_change_nothing(name: str) -> None:
    z = draw(8)
    labels = torch.tensor([0, 0, 1, 1, 2, 2, -1, -1])
    loss = named(name)
    torch.testing.assert_close(loss(z, labels), loss(z[:6], labels[:6]))


@pytest.mark.parametrize("name", ["multi_similarity", "triplet", "NTXentLoss", "ProxyAnchorLoss"])
def test_no_label_is_no_loss_and_a_finite_gradient(name: str) -> None:
    z = draw(4).requires_grad_()
    loss = named(name)(z, torch.full((4,), -1))
    loss.backward()
    assert loss.item() == 0.0
    assert z.grad is not None
    assert z.grad.isfinite().all()


@pytest.mark.parametrize("name", ["multi_similarity", "triplet", "contrastive"])
def test_an_embedding_that_is_not_finite_cannot_hide(name: str) -> None:
    z = draw(4)
    z[0, 0] = float("nan")
    assert named(name)(z, torch.tensor([0, 0, 1, 1])).isnan()


def test_proxies_come_from_the_seed_alone() -> None:
    torch.manual_seed(1)
    first = named("ProxyAnchorLoss", seed=5)
    torch.manual_seed(2)
    again, other = named("ProxyAnchorLoss", seed=5), named("ProxyAnchorLoss", seed=6)
    assert all(
        torch.equal(a, b) for a, b in zip(first.parameters(), again.parameters(), strict=True)
    )
    assert not all(
        torch.equal(a, b) for a, b in zip(first.parameters(), other.parameters(), strict=True)
    )


@pytest.mark.parametrize(
    ("name", "args", "message"),
    [
        ("TripletMarginLos", {}, "did you mean 'TripletMarginLoss'"),
        ("SelfSupervisedLoss", {}, "unknown loss"),
        ("triplet", {"margn": 1.0}, "args: triplet does not take"),
        ("multi_similarity", {"gamma": 1.0}, "does not take gamma"),
        ("RankedListLoss", {}, "it takes: margin, Tn"),
    ],
)
def test_what_the_loss_does_not_take_is_refused_in_one_line(
    name: str, args: dict[str, float], message: str
) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        named(name, **args)
    assert "\n" not in str(caught.value)
