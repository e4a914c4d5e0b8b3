"""Defects drawn into normal images, to learn what does not belong.

What real defects will look like nobody says. Drawn are scratches, blots and borders between two
surfaces, as shifts of brightness, patches from elsewhere, loss or gain of contrast, and noise: none
is meant to be lifelike, all are meant to be local and out of place (as in CutPaste, Li et al. 2021,
and DRAEM, Zavrtanik et al. 2021).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

import numpy as np
from scipy.ndimage import binary_dilation, binary_erosion, gaussian_filter

from anomaly.arrays import Bool, Float32, Float64

MOST_DEFECTS = 3
"""In one image."""

ALONG_AN_AXIS = 0.35
"""The share of scratches that run along the image, as grain and edges do."""

FAINTEST = 0.05
"""A defect that changes no pixel by more, in units of the amplitude, is none."""

SOLID = 400
"""Pixels from which on only the rim of a defect is one: its inside may be as normal as any."""

RIM = 7


class Label:
    """What a pixel of a drawn image is."""

    UNCLEAR = -1
    NORMAL = 0
    DEFECT = 1


class _Shape(Enum):
    BLOT = 0
    LINE = 1
    PLANE = 2


SHAPES = (_Shape.BLOT, _Shape.BLOT, _Shape.LINE, _Shape.LINE, _Shape.PLANE)
"""Borders between two surfaces are drawn half as often as the others."""


@dataclass(frozen=True)
class Drawn:
    """An image with defects.

    Attributes:
        values: (height, width, channels).
        label: (height, width) of `Label`.
        weight: (height, width), for defect pixels one over the root of their defect's size: a large
            one counts more than a small one, but not by its area.
    """

    values: Float32
    label: Float32
    weight: Float32


def with_defects(
    rng: np.random.Generator, values: Float32, others: Sequence[Float32], amplitude: float
) -> Drawn:
    """One to three defects in an image.

    Args:
        values: (height, width, channels), log brightness or brightness.
        others: Images that patches come from.
        amplitude: A strong change of a value.
    """
    found = values.copy()
    label = np.zeros(values.shape[:2], np.float32)
    weight = np.zeros(values.shape[:2], np.float32)
    for _ in range(rng.integers(1, MOST_DEFECTS + 1)):
        shape = SHAPES[rng.integers(len(SHAPES))]
        cover = _cover(rng, shape, *values.shape[:2])
        change = cover[..., None] * (_content(rng, shape, found, others, cover, amplitude) - found)
        if np.abs(change).max() < FAINTEST * amplitude:
            continue
        found = (found + change).astype(np.float32)
        inside = cover > 0.4
        core = (
            binary_erosion(inside, iterations=RIM, border_value=1)
            if inside.sum() > SOLID
            else np.zeros_like(inside)
        )
        # Blurred edges reach further, and what is too faint for a defect is not normal, either.
        around = (binary_dilation(inside, iterations=2) | (cover > 0)) & ~inside
        rim = inside & ~core
        label[(around & (label == Label.NORMAL)) | core] = Label.UNCLEAR
        label[rim] = Label.DEFECT
        weight[core] = 0.0
        weight[rim] = max(1, rim.sum()) ** -0.5
    return Drawn(found, label, weight)


def _cover(rng: np.random.Generator, shape: _Shape, height: int, width: int) -> Float32:
    """(height, width) in [0, 1], how much of each pixel a defect covers."""
    match shape:
        case _Shape.BLOT:
            cover = _blot(rng, height, width)
        case _Shape.LINE:
            cover = _line(rng, height, width)
        case _Shape.PLANE:
            cover = _plane(rng, height, width)
    soft, blur = cover.astype(np.float32), rng.uniform(0, 1.2)
    if blur > 0.3:
        # A blurred line keeps its strength.
        soft = gaussian_filter(soft, blur) * (1.5 if shape is _Shape.LINE else 1.0)
    return np.clip(soft, 0.0, 1.0).astype(np.float32)


def _blot(rng: np.random.Generator, height: int, width: int) -> Bool:
    """A ragged ellipse of 3 pixels up to half of the image."""
    y, x = np.mgrid[:height, :width].astype(np.float32)
    size = np.exp(rng.uniform(np.log(3), np.log(max(4.0, 0.5 * min(height, width)))))
    long = size * np.exp(rng.normal(0, 0.3))
    short = size * size / long
    down, across = y - rng.uniform(0, height), x - rng.uniform(0, width)
    turn = rng.uniform(0, np.pi)
    u = (np.cos(turn) * down + np.sin(turn) * across) / (long / 2)
    v = (np.cos(turn) * across - np.sin(turn) * down) / (short / 2)
    cover: Bool = u * u + v * v + 0.35 * _noise(rng, (height, width), max(1.0, size / 6)) < 1
    return cover


def _line(rng: np.random.Generator, height: int, width: int) -> Bool:
    """A scratch of 8 pixels up to most of the image, straight or wandering, 1 to 5 pixels wide."""
    length = int(np.exp(rng.uniform(np.log(8), np.log(max(9.0, 0.8 * max(height, width))))))
    start = rng.uniform(0, 2 * np.pi)
    if rng.random() < ALONG_AN_AXIS:
        start = rng.integers(4) * np.pi / 2 + rng.normal(0, 0.03)
    wander = rng.uniform(0, 0.25) * (0.1 if rng.random() < 0.5 else 1.0)
    turn = start + np.cumsum(rng.normal(0, wander, length))
    y = np.round(rng.uniform(0, height) + np.cumsum(np.sin(turn))).astype(int)
    x = np.round(rng.uniform(0, width) + np.cumsum(np.cos(turn))).astype(int)
    inside = (y >= 0) & (y < height) & (x >= 0) & (x < width)
    cover = np.zeros((height, width), dtype=bool)
    cover[y[inside], x[inside]] = True
    times = int(rng.integers(0, 3))
    return binary_dilation(cover, iterations=times) if times else cover


def _plane(rng: np.random.Generator, height: int, width: int) -> Bool:
    """Everything on one side of a border, or a band between two; the borders may wander."""
    y, x = np.mgrid[:height, :width].astype(np.float32)
    turn = rng.choice([0.0, np.pi / 2, rng.uniform(0, np.pi)]) + rng.normal(0, 0.1)
    along = np.sin(turn) * y + np.cos(turn) * x
    low, high = along.min(), along.max()
    at = rng.uniform(low + 0.1 * (high - low), high - 0.1 * (high - low))
    along = along + rng.uniform(0, 2) * _noise(rng, (height, width), 8.0)
    is_band = rng.random() < 0.3
    cover: Bool = np.abs(along - at) < rng.uniform(3, 30) if is_band else along > at
    return cover


def _content(
    rng: np.random.Generator,
    shape: _Shape,
    values: Float32,
    others: Sequence[Float32],
    cover: Float32,
    amplitude: float,
) -> Float32:
    """What a defect looks like where it covers the image."""
    around = gaussian_filter(values, (*([2.0] * 2 if shape is _Shape.LINE else [4.0] * 2), 0.0))
    detail = values - around
    strength = amplitude * np.exp(rng.uniform(np.log(0.1), 0.0))
    shift = strength * (-1 if rng.random() < 0.6 else 1) * _tint(rng, values.shape[-1])
    if shape is _Shape.PLANE:
        shift = 0.35 * shift
    match rng.integers(5):
        case 0 | 1:
            plain = rng.random() < 0.5
            content = values + shift if plain else around + detail * rng.uniform(0, 0.7) + shift
        case 2:
            content = _patch(rng, values, others)
            inside = cover > 0.5
            if inside.any():
                content = content + (values[inside] - content[inside]).mean(0)
            content = content + (0.5 * shift if rng.random() < 0.5 else 0.0)
        case 3:
            gain = rng.uniform(0, 0.5) if rng.random() < 0.5 else rng.uniform(1.8, 4)
            content = around + detail * gain + (shift if shape is _Shape.LINE else 0.0)
        case _:
            width = np.exp(rng.uniform(np.log(0.5), np.log(6)))
            noise = _noise(rng, values.shape[:2], width)[..., None]
            content = values + noise * 0.7 * np.abs(shift)
    found: Float32 = content.astype(np.float32)
    return found


def _patch(rng: np.random.Generator, values: Float32, others: Sequence[Float32]) -> Float32:
    """A piece of another image, turned, of the same size."""
    other = others[int(rng.integers(len(others)))]
    if rng.random() < 0.3:
        other = other.swapaxes(0, 1)
    missing = [max(0, want - have) for want, have in zip(values.shape, other.shape, strict=True)]
    other = np.pad(other, [(0, n) for n in missing], mode="symmetric")
    height, width = values.shape[:2]
    top, left = (
        rng.integers(have - want + 1)
        for want, have in zip((height, width), other.shape[:2], strict=True)
    )
    piece = other[top : top + height, left : left + width]
    return piece[:: rng.choice([-1, 1]), :: rng.choice([-1, 1])]


def _tint(rng: np.random.Generator, channels: int) -> Float64:
    """A direction of change: of grey images 1, of colour images a hue more or less its own."""
    tint = 1.0 + (0.5 * rng.normal(size=channels) if channels > 1 else np.zeros(1))
    unit: Float64 = tint / np.sqrt((tint**2).mean())
    return unit


def _noise(rng: np.random.Generator, shape: tuple[int, ...], width: float) -> Float32:
    """(height, width) smooth noise of variance 1."""
    smooth = gaussian_filter(rng.normal(size=shape).astype(np.float32), width)
    noise: Float32 = smooth / (smooth.std() + 1e-6)
    return noise
