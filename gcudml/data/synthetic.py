"""Synthetic drawings: a class is a set of random curves, an image a distorted copy of them.

White lines (255) on black (0), one channel. An image depends only on the seed, its class and its
position in the class; the number of classes and the split do not affect it. Unit of length: the
image's side.
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float32, UInt8

from gcudml.config import StrokesData
from gcudml.runtime.seeding import numpy_generator

VERSION = 1  # increment whenever the same parameters give different images
MOST_CURVES = 4
SEGMENTS = 16  # straight segments per curve
MARGIN = 0.17  # around the curves of a class
BLOCK_PIXELS = 1 << 17  # images are drawn in blocks whose arrays fit the CPU's cache
WAVES = 2  # of the smooth warp, in each direction

# How two drawings of one class differ at variation 1 (standard deviations).
JITTER = 0.07  # of a control point
WARP = 0.035  # amplitude of a wave
ROTATION = 0.22  # radians
STRETCH = 0.14  # scale and shear
# ... and at any variation.
SHIFT = 0.04
WIDTH, WIDTH_SPREAD = 0.032, 0.25  # half the line width: median, and sd of its logarithm
EDGE, EDGE_SPREAD = 0.045, 0.25  # distance over which a line fades out: the same two


def class_names(config: StrokesData) -> tuple[str, ...]:
    """Return the names of all classes."""
    digits = len(str(config.classes - 1))
    return tuple(f"strokes{number:0{digits}d}" for number in range(config.classes))


def class_sizes(config: StrokesData, classes: int, *, training: bool) -> list[int]:
    """Return the images per class: equal, or decaying geometrically for imbalanced training."""
    full = config.images_per_class
    if not training:
        return [full] * classes
    return [
        max(2, round(full * config.imbalance ** (-place / max(1, classes - 1))))
        for place in range(classes)
    ]


def draw(
    config: StrokesData, classes: Sequence[int], sizes: Sequence[int]
) -> Iterator[UInt8[np.ndarray, "block 1 size size"]]:
    """Draw ``sizes[i]`` images of each class ``classes[i]``, in order, in blocks."""
    rows = max(1, BLOCK_PIXELS // config.image_size**2)
    waiting: list[_Drawings] = []
    for number, size in zip(classes, sizes, strict=True):
        waiting.append(_imagine(config, number, size))
        if sum(len(each.half_width) for each in waiting) >= rows:
            yield from _render(waiting, config.image_size, rows)
            waiting = []
    if waiting:
        yield from _render(waiting, config.image_size, rows)


class _Drawings(NamedTuple):
    """Lines to render. Shape letters: ``n`` images, ``curve`` curves, ``point`` points."""

    points: Float32[np.ndarray, "n curve point 2"]
    half_width: Float32[np.ndarray, " n"]
    edge: Float32[np.ndarray, " n"]


def _imagine(config: StrokesData, number: int, size: int) -> _Drawings:
    """Draw distorted copies of class ``number``, as lines."""
    prototype = _prototype(numpy_generator(config.seed, "class", number))  # (curve, 4, 2)
    curves = len(prototype)
    # One row of numbers per image, so that the first images do not depend on ``size``.
    columns = curves * 8 + WAVES * 6 + 8
    normal = numpy_generator(config.seed, "images", number).standard_normal(
        (size, columns), dtype=np.float32
    )
    cuts = np.cumsum([curves * 8, WAVES * 6, 4, 2, 1])
    jitter, waves, stretch, shift, width, edge = np.split(normal, cuts, axis=1)
    variation = np.float32(config.variation)

    control = prototype + JITTER * variation * jitter.reshape(size, curves, 4, 2)
    points = np.einsum("pk,nckx->ncpx", _bezier_weights(), control)
    points += WARP * variation * _warp(points, waves.reshape(size, WAVES, 6))
    angle = ROTATION * variation * stretch[:, 0]
    spread = STRETCH * variation * stretch[:, 1:]
    turn = np.stack([np.cos(angle), -np.sin(angle), np.sin(angle), np.cos(angle)], 1)
    scale = np.stack([1 + spread[:, 0], spread[:, 1], 0 * angle, 1 + spread[:, 2]], 1)
    matrix = turn.reshape(size, 2, 2) @ scale.reshape(size, 2, 2)
    points = np.einsum("nxy,ncpy->ncpx", matrix, points - np.float32(0.5)) + np.float32(0.5)
    points += SHIFT * shift[:, None, None, :]
    return _Drawings(
        points.astype(np.float32),
        (WIDTH * np.exp(WIDTH_SPREAD * width[:, 0])).astype(np.float32),
        (EDGE * np.exp(EDGE_SPREAD * edge[:, 0])).astype(np.float32),
    )


def _prototype(randomness: np.random.Generator) -> Float32[np.ndarray, "curve 4 2"]:
    """Draw two to four cubic Bezier curves that fill the image up to a margin."""
    curves = int(randomness.integers(2, MOST_CURVES + 1))
    control = randomness.random((curves, 4, 2), dtype=np.float32)
    drawn = np.einsum("pk,ckx->cpx", _bezier_weights(), control)
    low, high = drawn.min(axis=(0, 1)), drawn.max(axis=(0, 1))
    return np.asarray(MARGIN + (1 - 2 * MARGIN) * (control - low) / (high - low), dtype=np.float32)


def _bezier_weights() -> Float32[np.ndarray, "point 4"]:
    """Weights of the control points at evenly spaced parameters of a cubic curve."""
    t = np.linspace(0, 1, SEGMENTS + 1, dtype=np.float32)[:, None]
    return np.hstack([(1 - t) ** 3, 3 * t * (1 - t) ** 2, 3 * t**2 * (1 - t), t**3])


def _warp(
    points: Float32[np.ndarray, "n curve point 2"], waves: Float32[np.ndarray, "n wave 6"]
) -> Float32[np.ndarray, "n curve point 2"]:
    """Displacement of the points: a sum of low-frequency waves of random direction and phase."""
    frequency, phase, amplitude = waves[:, :, :2], waves[:, :, 2:4], waves[:, :, 4:]
    along = np.einsum("ncpx,nwx->ncpw", points, 4 * frequency) + 3 * phase[:, None, None, :, 0]
    return np.asarray(np.einsum("ncpw,nwx->ncpx", np.sin(along), amplitude))


def _render(
    drawings: Sequence[_Drawings], size: int, rows: int
) -> Iterator[UInt8[np.ndarray, "block 1 size size"]]:
    """Render drawings in blocks of at most ``rows``."""
    segments = MOST_CURVES * SEGMENTS
    starts, ends = [], []
    for each in drawings:
        missing = MOST_CURVES - each.points.shape[1]
        # A class with fewer curves repeats its first, which changes no distance.
        curves = np.concatenate([each.points, *[each.points[:, :1]] * missing], axis=1)
        starts.append(curves[:, :, :-1].reshape(-1, segments, 2))
        ends.append(curves[:, :, 1:].reshape(-1, segments, 2))
    start, end = np.concatenate(starts) * size, np.concatenate(ends) * size
    half_width = np.concatenate([each.half_width for each in drawings]) * size
    edge = np.maximum(np.concatenate([each.edge for each in drawings]) * size, 1.0)
    for first in range(0, len(start), rows):
        block = slice(first, first + rows)
        distance = _distance(start[block], end[block], size)
        inside = (half_width[block, None, None] - distance) / edge[block, None, None] + 0.5
        yield (np.clip(inside, 0, 1) * 255).round().astype(np.uint8)[:, None]


def _distance(
    start: Float32[np.ndarray, "n segment 2"], end: Float32[np.ndarray, "n segment 2"], size: int
) -> Float32[np.ndarray, "n size size"]:
    """Distance of each pixel's centre to the nearest segment, in pixels.

    In the segment's own coordinates: the root of the squared offset across the segment plus the
    squared distance beyond its nearer end.
    """
    centres = np.arange(size, dtype=np.float32) + np.float32(0.5)
    direction = end - start
    direction[..., 0] += np.float32(1e-6)  # gives a segment of zero length a direction
    length = np.hypot(direction[..., 0], direction[..., 1])
    unit = direction / length[..., None]
    middle = (start + end) / 2
    x = centres - middle[..., 0, None]  # (n, segment, size)
    y = centres - middle[..., 1, None]
    ux, uy = unit[..., 0, None], unit[..., 1, None]
    along_x, along_y, across_x, across_y = ux * x, uy * y, -uy * x, ux * y
    half = length / 2
    nearest = np.full((len(start), size, size), np.inf, dtype=np.float32)
    beyond, across = np.empty_like(nearest), np.empty_like(nearest)
    for i in range(start.shape[1]):  # over segments, vectorised over images
        np.add(along_x[:, i, None, :], along_y[:, i, :, None], out=beyond)
        np.abs(beyond, out=beyond)
        beyond -= half[:, i, None, None]
        np.maximum(beyond, 0, out=beyond)
        beyond *= beyond
        np.add(across_x[:, i, None, :], across_y[:, i, :, None], out=across)
        across *= across
        beyond += across
        np.minimum(nearest, beyond, out=nearest)
    return np.sqrt(nearest)
