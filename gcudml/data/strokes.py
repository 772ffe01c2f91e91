"""Synthetic drawings: data with classes that need no download.

A class is a set of two to four random curves. An image is one shaky copy: each curve starts, turns and
ends a little differently, the whole is tilted, sheared, scaled and shifted, and the line has its own
width. White on black, one channel. The same seed gives the same bytes.
"""

import numpy as np
from jaxtyping import Float, UInt8

from gcudml.config import StrokesData
from gcudml.data.cache import Decoded
from gcudml.seeding import numpy_generator

VERSION = 1  # raise it when the drawings change: it is part of the data's fingerprint
CURVES = 4
BLOCK_IMAGES = 128

# How far two drawings of a class differ at ``variation`` 1: start (of the image's side), heading
# (radians), bend and wave (radians over the whole curve), log length.
SHAKE = np.array([0.03, 0.03, 0.14, 0.3, 0.25, 0.08])


def class_names(config: StrokesData) -> list[str]:
    """Names of all classes, ``0000`` and so on."""
    return [f"{index:04d}" for index in range(config.classes)]


def draw_classes(config: StrokesData, classes: list[int], sizes: list[int]) -> Decoded:
    """Draw ``sizes[i]`` images of class ``classes[i]``; labels count from 0 in the given order."""
    curves, shaken = [], []
    for index, size in zip(classes, sizes, strict=True):
        own = _random_curves(numpy_generator(config.seed, "strokes class", index))
        rng = numpy_generator(config.seed, "strokes images", index)
        noise = rng.normal(size=(size, *own.shape)) * SHAKE * config.variation
        curves.append(own[None] + noise)
        shaken.append(rng.normal(size=(size, 7)))
    parameters, placement = np.concatenate(curves), np.concatenate(shaken)
    images = [
        _render(
            parameters[start : start + BLOCK_IMAGES],
            placement[start : start + BLOCK_IMAGES],
            config,
        )
        for start in range(0, len(parameters), BLOCK_IMAGES)
    ]
    labels = np.repeat(np.arange(len(classes), dtype=np.int64), sizes)
    return Decoded(np.concatenate(images)[:, None], labels)


def long_tailed_sizes(count: int, largest: int, imbalance: float) -> list[int]:
    """Class sizes that fall geometrically from ``largest`` to ``largest / imbalance``, at least 2."""
    exponents = np.linspace(0.0, 1.0, count) if count > 1 else np.zeros(1)
    return [max(2, round(float(largest * imbalance**-x))) for x in exponents]


def _random_curves(rng: np.random.Generator) -> Float[np.ndarray, "curves 6"]:
    """Start x and y, heading, bend, wave and log length of each curve of a class.

    A class with fewer than ``CURVES`` curves repeats its first one, which is then drawn almost in
    the same place: shapes stay equal for all classes.
    """
    curves = np.column_stack(
        [
            rng.uniform(0.2, 0.8, size=(CURVES, 2)),
            rng.uniform(0, 2 * np.pi, size=CURVES),
            rng.normal(0, 2.2, size=CURVES),
            rng.normal(0, 1.4, size=CURVES),
            np.log(rng.uniform(0.35, 0.85, size=CURVES)),
        ]
    )
    curves[rng.integers(2, CURVES + 1) :] = curves[0]
    return curves


def _render(
    parameters: Float[np.ndarray, "n curves 6"],
    placement: Float[np.ndarray, "n 7"],
    config: StrokesData,
) -> UInt8[np.ndarray, "n size size"]:
    """Ink where a pixel is nearer to a curve than half the line's width."""
    size = config.image_size
    points = _place(_trace(parameters, points=size), placement, config.variation)  # (n, p, 2)
    pixels = ((np.arange(size) + 0.5) / size).astype(np.float32)
    points = points.astype(np.float32)
    across = (pixels[None, :, None] - points[:, None, :, 0]) ** 2  # (n, size, p)
    down = (pixels[None, :, None] - points[:, None, :, 1]) ** 2
    squared = np.empty((len(points), size, size), dtype=np.float32)
    for row in range(size):  # one row of pixels at a time keeps the arrays in the processor's cache
        squared[:, row] = (across + down[:, row, None, :]).min(axis=2)
    width = (0.055 + 0.012 * placement[:, 6]).clip(0.03, 0.09)[:, None, None]
    ink = (width / 2 - np.sqrt(squared)) * size + 0.5  # a pixel wide ramp: anti-aliasing
    return (255 * ink.clip(0, 1)).astype(np.uint8)


def _trace(
    parameters: Float[np.ndarray, "n curves 6"], *, points: int
) -> Float[np.ndarray, "n curves_points 2"]:
    """Points along each curve: its heading turns by bend and waves once on the way."""
    start, heading, bend, wave, length = np.split(parameters, [2, 3, 4, 5], axis=2)
    t = np.linspace(0, 1, points)
    direction = heading + bend * t + wave * np.sin(2 * np.pi * t)  # (n, curves, points)
    steps = np.stack([np.cos(direction), np.sin(direction)], axis=3)
    path = start[:, :, None, :] + np.cumsum(steps, axis=2) * (np.exp(length) / points)[..., None]
    return path.reshape(len(parameters), -1, 2)


def _place(
    points: Float[np.ndarray, "n p 2"], placement: Float[np.ndarray, "n 7"], variation: float
) -> Float[np.ndarray, "n p 2"]:
    """Fit each drawing into the image, then tilt, shear, scale and shift it a little."""
    low, high = points.min(axis=1, keepdims=True), points.max(axis=1, keepdims=True)
    centred = points - (low + high) / 2
    centred *= 0.74 / np.maximum((high - low).max(axis=2, keepdims=True), 0.3)
    tilt, shear, log_scale = (variation * placement[:, :3] * [0.3, 0.2, 0.15]).T
    scale = np.exp(log_scale - 0.12)
    matrix = np.empty((len(points), 2, 2))
    matrix[:, 0, 0], matrix[:, 0, 1] = np.cos(tilt), -np.sin(tilt) + shear
    matrix[:, 1, 0], matrix[:, 1, 1] = np.sin(tilt), np.cos(tilt)
    turned = np.einsum("nij,npj->npi", matrix * scale[:, None, None], centred)
    return turned + 0.5 + 0.06 * placement[:, None, 3:5]
