"""Views: what each random change does, and that every image has its own."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from gcudml.config import Views
from gcudml.data.views import random_views, sampling_grid, to_unit
from gcudml.runtime.seeding import generator

STILL = {
    "crop_scale": (1.0, 1.0),
    "aspect": 1.0,
    "rotate_deg": 0.0,
    "flip": 0.0,
    "brightness": 0.0,
    "contrast": 0.0,
}


def only(**changes: object) -> Views:
    return Views.model_validate(STILL | changes)


def noise(count: int = 6, channels: int = 1, size: int = 12) -> Tensor:
    shape = (count, channels, size, size)
    return torch.randint(0, 256, shape, dtype=torch.uint8, generator=generator(0, "noise"))


def views_of(images: Tensor, config: Views, seed: int = 0) -> Tensor:
    return random_views(images, config, generator=generator(seed, "views"))


def test_pixels_become_numbers_from_minus_one_to_one() -> None:
    images = torch.tensor([0, 51, 255], dtype=torch.uint8).reshape(1, 1, 1, 3)
    torch.testing.assert_close(to_unit(images).flatten(), torch.tensor([-1.0, -0.6, 1.0]))


def test_without_any_change_a_view_is_the_image() -> None:
    images = noise(channels=3)
    torch.testing.assert_close(views_of(images, only()), to_unit(images), atol=2e-5, rtol=0)


def test_a_sure_flip_mirrors_left_and_right() -> None:
    images = noise()
    expected = to_unit(images).flip(3)
    torch.testing.assert_close(views_of(images, only(flip=1.0)), expected, atol=2e-5, rtol=0)


def test_half_a_flip_mirrors_about_half_of_the_images() -> None:
    images = noise(count=1).expand(200, -1, -1, -1)
    mirrored = (views_of(images, only(flip=0.5)) - to_unit(images)).abs().amax((1, 2, 3)) > 0.1
    assert 70 < int(mirrored.sum()) < 130


@pytest.mark.parametrize("shape", [(7, 7), (5, 9)])
def test_the_sampling_grid_is_that_of_the_affine_maps(shape: tuple[int, int]) -> None:
    maps = torch.randn(4, 2, 3, generator=generator(0, "maps"), dtype=torch.float64)
    expected = F.affine_grid(maps, [4, 3, *shape], align_corners=False)
    torch.testing.assert_close(sampling_grid(maps.float(), shape), expected.float())


def test_every_image_draws_its_own_view() -> None:
    images = noise(count=1).expand(8, -1, -1, -1)
    found = views_of(images, Views()).flatten(1)
    assert (torch.cdist(found, found) + torch.eye(8) > 1e-3).all()


def test_the_generator_alone_decides() -> None:
    images = noise()
    torch.manual_seed(0)
    first = views_of(images, Views())
    torch.manual_seed(1)
    assert torch.equal(first, views_of(images, Views()))
    assert not torch.equal(first, views_of(images, Views(), seed=1))


def ramps(count: int, size: int = 40) -> tuple[Tensor, Tensor]:
    """Images whose pixel value is the column, and ones whose value is the row, times 6."""
    column = (6 * torch.arange(size, dtype=torch.uint8)).expand(size, size)
    images = column.expand(count, 1, size, size)
    return images, images.transpose(2, 3)


def slopes(config: Views, count: int = 300) -> tuple[Tensor, Tensor]:
    """Width and height of each crop as shares of the image's side, read off the ramps."""
    across, down = (views_of(ramp, config) for ramp in ramps(count))
    middle = slice(10, 30)
    wide = across[:, 0, 20, middle].diff(dim=1).mean(1) / (6 / 127.5)
    tall = down[:, 0, middle, 20].diff(dim=1).mean(1) / (6 / 127.5)
    return wide, tall


def test_crops_have_areas_in_the_given_range() -> None:
    wide, tall = slopes(only(crop_scale=(0.3, 0.8)))
    area = wide * tall
    assert 0.29 < area.min() < 0.35
    assert 0.75 < area.max() < 0.81


def test_the_sides_of_a_crop_have_at_most_the_given_ratio() -> None:
    wide, tall = slopes(only(crop_scale=(0.4, 0.4), aspect=2.0))
    ratio = wide / tall
    assert 1.8 < ratio.max() < 2.01
    assert 1.8 < (1 / ratio).max() < 2.01


def test_a_crop_stays_inside_the_image_and_reaches_its_edges() -> None:
    images = ramps(300)[0]
    values = (views_of(images, only(crop_scale=(0.25, 0.25))) * 127.5 + 127.5) / 6
    left, right = values[:, 0, 20, 0], values[:, 0, 20, -1]
    # Half of 40 columns: from 0 to 20 at the earliest, from 19.5 to 39 at the latest.
    torch.testing.assert_close(right - left, torch.full_like(left, 19.5), atol=0.3, rtol=0)
    assert left.min() < 1
    assert right.max() > 38


def test_an_elongated_crop_stays_inside_the_image_too() -> None:
    config = only(crop_scale=(0.4, 0.4), aspect=2.0)
    wide, tall = slopes(config)
    across, down = (views_of(ramp, config) / (6 / 127.5) for ramp in ramps(300))
    spans = across[:, 0, 20, -1] - across[:, 0, 20, 0], down[:, 0, -1, 20] - down[:, 0, 0, 20]
    for share, span in zip((wide, tall), spans, strict=True):
        torch.testing.assert_close(span, 39 * share, atol=0.3, rtol=0)  # no border repeated


def test_a_rotation_keeps_lengths_and_stays_within_its_angle() -> None:
    across = views_of(ramps(300)[0], only(rotate_deg=30.0)) / (6 / 127.5)
    along_x = across[:, 0, 20, 19] - across[:, 0, 20, 18]
    along_y = across[:, 0, 20, 19] - across[:, 0, 19, 19]
    torch.testing.assert_close(along_x.hypot(along_y), torch.ones(300), atol=1e-3, rtol=0)
    degrees = torch.rad2deg(torch.atan2(along_y, along_x))
    assert 27 < degrees.max() < 30.01
    assert -30.01 < degrees.min() < -27


def test_outside_the_border_the_border_goes_on() -> None:
    white = torch.full((20, 1, 12, 12), 255, dtype=torch.uint8)
    found = views_of(white, only(rotate_deg=180.0))
    torch.testing.assert_close(found, torch.ones(20, 1, 12, 12))


def test_brightness_shifts_and_contrast_scales_a_whole_image() -> None:
    images = noise(count=50)
    unit = to_unit(images)
    shift = views_of(images, only(brightness=0.3)) - unit
    assert shift.flatten(1).std(dim=1).max() < 1e-4
    assert 0.2 < shift.max() <= 0.3001
    scale = views_of(images, only(contrast=0.3)) / unit
    assert scale.flatten(1).std(dim=1).max() < 1e-2
    assert 1.2 < scale.mean((1, 2, 3)).max() <= 1.301


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here")
def test_the_gpu_sees_the_same_views() -> None:
    images = noise(channels=3)
    on_gpu = views_of(images.cuda(), Views()).cpu()
    torch.testing.assert_close(on_gpu, views_of(images, Views()), atol=1e-4, rtol=0)
