"""Drawing from the stored views of a frozen trunk."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from tiny import context_for

from gcudml.models.embedding import StoredFeatures
from gcudml.models.frozen import draw_stored
from gcudml.models.inference import RandomViews
from gcudml.runtime.seeding import generator

VIEWS, IMAGES = 4, 10
# View v of image i is the one feature 100 v + i.
STORED = (100 * torch.arange(VIEWS)[:, None] + torch.arange(IMAGES))[:, :, None, None, None].float()


def test_a_step_sees_different_views_of_an_image_and_all_of_them_in_time() -> None:
    randomness = torch.Generator().manual_seed(0)
    indices = torch.tensor([[3, 0, 9], [3, 0, 9], [3, 5, 9]])
    seen = torch.zeros(VIEWS, VIEWS)
    for _ in range(1000):
        drawn = draw_stored(STORED, indices, generator=randomness)
        assert drawn.shape == (9, 1, 1, 1)
        views, images = (drawn.long().view(3, 3) // 100), (drawn.long().view(3, 3) % 100)
        assert torch.equal(images, indices)
        for column in views.T:
            assert len(column.unique()) == len(column)
            seen[column[0], column[1]] += 1
    fair = 3000 / (VIEWS * (VIEWS - 1))
    others = seen[~torch.eye(VIEWS, dtype=torch.bool)]
    assert (others - fair).abs().max() < 5 * fair**0.5
    assert seen.diagonal().sum() == 0


def test_a_random_view_of_every_image_is_one_of_the_stored() -> None:
    context = context_for(model={"pooling": "avg"})
    images = len(context.images)
    stored = torch.randn(VIEWS, images, context.student.features.out_channels, 1, 1)
    context.student.features = StoredFeatures(stored.shape[2])
    context = dataclasses.replace(context, images=stored[0] * 0, stored_views=stored)
    views = RandomViews(context.config.views, generator(0, "some views"))
    found = context.embed(context.student, ["pooled"], views=views)["pooled"]
    matches = (stored.flatten(2) == found).all(dim=2)  # (views, images)
    assert (matches.sum(dim=0) == 1).all()
    assert (matches.sum(dim=1) > 0).all()
    with pytest.raises(ValueError, match="method gcudml needs images"):
        context.pick(torch.arange(3))
    plain = context.embed(context.student, ["pooled"])["pooled"]
    assert torch.equal(plain, torch.zeros_like(plain))
