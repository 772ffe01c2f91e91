"""Synthetic drawings: deterministic, of the announced sizes, with classes that can be told apart."""

from __future__ import annotations

import numpy as np
import pytest

from gcudml.config import StrokesData
from gcudml.data import synthetic


def drawn(config: StrokesData, classes: list[int], sizes: list[int]) -> np.ndarray:
    return np.concatenate(list(synthetic.draw(config, classes, sizes)))


def nearest_is_of_same_class(images: np.ndarray, size: int) -> float:
    pixels = images.reshape(len(images), -1).astype(np.float32)
    pixels /= np.linalg.norm(pixels, axis=1, keepdims=True)
    similarity = pixels @ pixels.T
    np.fill_diagonal(similarity, -1)
    labels = np.arange(len(images)) // size
    return float((labels[similarity.argmax(1)] == labels).mean())


def test_drawings_are_white_lines_on_black() -> None:
    images = drawn(StrokesData(image_size=32), [0, 1, 2], [4, 4, 4])
    assert images.shape == (12, 1, 32, 32)
    assert images.dtype == np.uint8
    inked = (images > 127).mean(axis=(1, 2, 3))
    assert (inked > 0.02).all()
    assert (inked < 0.5).all()
    assert (images.max(axis=(1, 2, 3)) > 150).all()


def test_the_same_seed_draws_the_same_and_another_seed_does_not() -> None:
    config = StrokesData(image_size=16)
    first = drawn(config, [0, 5], [3, 3])
    assert np.array_equal(first, drawn(config, [0, 5], [3, 3]))
    assert not np.array_equal(first, drawn(StrokesData(image_size=16, seed=1), [0, 5], [3, 3]))


def test_an_image_depends_on_its_class_and_place_alone() -> None:
    config = StrokesData(image_size=16)
    together = drawn(config, [3, 8, 200], [2, 6, 1])
    more_classes = StrokesData(image_size=16, classes=1000, images_per_class=50)
    assert np.array_equal(together[2:6], drawn(more_classes, [8], [4]))


def test_blocks_cut_the_images_but_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    config = StrokesData(image_size=16)
    whole = drawn(config, [0, 1, 2], [5, 1, 4])
    monkeypatch.setattr(synthetic, "BLOCK_PIXELS", 3 * 16**2)
    blocks = list(synthetic.draw(config, [0, 1, 2], [5, 1, 4]))
    assert max(len(block) for block in blocks) == 3
    assert np.array_equal(whole, np.concatenate(blocks))


def test_every_image_of_a_class_differs() -> None:
    images = drawn(StrokesData(variation=0.0), [0], [20]).reshape(20, -1)
    assert len(np.unique(images, axis=0)) == 20


def test_without_variation_drawings_differ_in_place_and_width_only() -> None:
    found = synthetic._imagine(StrokesData(variation=0.0), 3, 6)
    centred = found.points - found.points.mean(axis=(1, 2), keepdims=True)
    assert np.abs(centred - centred[:1]).max() < 1e-5
    assert np.ptp(found.points[:, 0, 0, 0]) > 0.01
    assert np.ptp(found.half_width) > 0.001


def test_classes_are_shaken_independently() -> None:
    widths = [synthetic._imagine(StrokesData(), number, 6).half_width for number in range(8)]
    assert len(np.unique(np.concatenate(widths))) == 8 * 6


def test_more_variation_makes_classes_harder_to_tell_apart() -> None:
    recalls = [
        nearest_is_of_same_class(
            drawn(StrokesData(image_size=20, variation=v), list(range(24)), [10] * 24), 10
        )
        for v in (0.0, 1.0, 2.0)
    ]
    assert recalls[0] > 0.9
    assert recalls[0] > recalls[1] + 0.2 > recalls[2] + 0.3
    assert recalls[1] > 3 / 24  # well above chance


def test_the_distance_is_that_to_the_nearest_segment() -> None:
    start = np.array([[[2.0, 3.0], [8.0, 8.0]]], dtype=np.float32)  # x, y
    end = np.array([[[7.0, 3.0], [8.0, 8.0]]], dtype=np.float32)  # the second is a point
    found = synthetic._distance(start, end, 10)[0]
    for row in range(10):
        for column in range(10):
            x, y = column + 0.5, row + 0.5
            to_line = np.hypot(x - np.clip(x, 2, 7), y - 3)
            to_point = np.hypot(x - 8, y - 8)
            assert found[row, column] == pytest.approx(min(to_line, to_point), abs=1e-4)


def test_imbalanced_sizes_fall_geometrically_for_training_only() -> None:
    config = StrokesData(images_per_class=100, imbalance=10)
    assert synthetic.class_sizes(config, 3, training=True) == [100, 32, 10]
    assert synthetic.class_sizes(config, 3, training=False) == [100, 100, 100]
    assert synthetic.class_sizes(StrokesData(images_per_class=7), 3, training=True) == [7, 7, 7]


def test_the_smallest_class_keeps_a_pair() -> None:
    config = StrokesData(images_per_class=10, imbalance=1000)
    assert synthetic.class_sizes(config, 5, training=True)[-1] == 2


def test_names_are_unique_and_sorted() -> None:
    names = synthetic.class_names(StrokesData(classes=1001))
    assert len(set(names)) == 1001
    assert list(names) == sorted(names)
