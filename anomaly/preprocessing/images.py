"""From pixels to rows: scale, contrast, pyramid, tiles; and from rows back to images.

A row is a square of pixels of one level of the pyramid. Each level has half the sides of the one
before, so that one network of one size sees scratches and stains alike. Tiles overlap, and where
they do, what lies nearer to the middle of its tile weighs more.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass as plain_dataclass
from enum import StrEnum
from functools import cached_property
from typing import Annotated

import numpy as np
from pydantic import Field
from pydantic.dataclasses import dataclass

from anomaly.arrays import Features, Float32, Float64, Int64
from anomaly.data.pixels import Pixels, as_unit, to_channels
from anomaly.data.schema import STRICT

LOG_FLOOR = 8 / 255
"""Added before the logarithm: noise of dark pixels must not look like structure."""

LOCAL_SIGMA = 20.0
"""Working pixels; brightness that varies more slowly is illumination."""

Side = Annotated[int, Field(ge=8, le=1024)]


class Contrast(StrEnum):
    """What a pixel's number means.

    Attributes:
        PLAIN: Its brightness: where the same thing is always lit the same way.
        LOCAL: Its log brightness, less that of its surroundings (a Gaussian of 20 working
            pixels): the same surface in another light looks alike.
    """

    PLAIN = "plain"
    LOCAL = "local"


@dataclass(frozen=True, config=STRICT)
class Layout:
    """How an image becomes rows.

    Attributes:
        tile: Side of a row in pixels.
        overlap: Pixels that neighbouring tiles share, at least.
        levels: Of the pyramid; each has half the sides of the one before.
        whole: Whether an image is resized to one tile, instead of being cut into tiles.
    """

    tile: Side = 64
    overlap: Annotated[int, Field(ge=0, le=512)] = 16
    levels: Annotated[int, Field(ge=1, le=6)] = 3
    whole: bool = False

    def __post_init__(self) -> None:
        if self.overlap >= self.tile:
            raise ValueError(f"tiles of {self.tile} pixels cannot share {self.overlap} of them")
        if self.whole and self.levels > 1:
            raise ValueError("an image that is one tile has one level: set levels to 1")

    @cached_property
    def window(self) -> Float32:
        """(tile, tile) weight of each pixel of a tile where tiles overlap."""
        near = np.minimum(np.arange(self.tile), np.arange(self.tile)[::-1]) + 1.0
        return np.minimum.outer(near, near).astype(np.float32)


@plain_dataclass(frozen=True)
class Place:
    """Where a tile lies."""

    level: int
    top: int
    left: int


@plain_dataclass(frozen=True)
class Tiled:
    """One image as rows.

    Attributes:
        features: One row a tile. Inputs are the channels and, last, a plane of 1 where there is a
            pixel to see; context is the level, where there are several.
        places: Of each row.
        shapes: (height, width) of each level.
        brightness: For each level (height, width), in [0, 1].
    """

    features: Features
    places: tuple[Place, ...]
    shapes: tuple[tuple[int, int], ...]
    brightness: tuple[Float32, ...]


@dataclass(frozen=True, config=STRICT)
class ImagePreprocessor:
    """Frozen constants that turn pixels into rows.

    Attributes:
        channels: 1 for grey, 3 for RGB.
        scale: Working pixels to a pixel of the file, at most 1; not used where `layout.whole`.
        center, spread: Of each channel after `contrast`: what is subtracted and divided by.
    """

    layout: Layout
    contrast: Contrast
    channels: Annotated[int, Field(ge=1, le=3)]
    scale: Annotated[float, Field(gt=0, le=1)]
    center: tuple[float, ...]
    spread: tuple[float, ...]

    @property
    def context(self) -> int:
        """K, the numbers that the networks are told of a tile."""
        return 1 if self.layout.levels > 1 else 0

    def tiles(self, pixels: Pixels) -> Tiled:
        """The rows of one image."""
        working = self.working(pixels)
        levels = self._levels(working)
        brightness = pyramid(working.mean(-1, keepdims=True), self.layout.levels)
        cut = [
            (Place(level, top, left), image)
            for level, image in enumerate(levels)
            for top in starts(image.shape[0], self.layout)
            for left in starts(image.shape[1], self.layout)
        ]
        return Tiled(
            self._rows(cut),
            tuple(place for place, _ in cut),
            tuple((image.shape[0], image.shape[1]) for image in levels),
            tuple(image[..., 0] for image in brightness),
        )

    def levels(self, pixels: Pixels) -> list[Float32]:
        """(height, width, channels) of each level, as the networks see them."""
        return self._levels(self.working(pixels))

    def working(self, pixels: Pixels) -> Float32:
        """(height, width, channels) in [0, 1], at the size at which the model works."""
        image = as_unit(to_channels(pixels, self.channels))
        return resized(image, *self.working_size(*image.shape[:2]))

    def working_size(self, height: int, width: int) -> tuple[int, int]:
        """The size at which the model sees an image of this size."""
        if self.layout.whole:
            return self.layout.tile, self.layout.tile
        return max(1, round(height * self.scale)), max(1, round(width * self.scale))

    def shown(self, standardised: Float64) -> Float32:
        """What the networks see or say (..., height, width, channels), as pictures in [0, 1].

        Local contrast has lost its brightness: it is shown around grey.
        """
        values = standardised * np.array(self.spread) + np.array(self.center)
        match self.contrast:
            case Contrast.PLAIN:
                image = values
            case Contrast.LOCAL:
                image = 0.5 * np.exp(values)
        clipped: Float64 = np.clip(image, 0.0, 1.0)
        return clipped.astype(np.float32)

    def _levels(self, working: Float32) -> list[Float32]:
        values = contrasted(working, self.contrast)
        standardised = (values - np.array(self.center)) / np.array(self.spread)
        return pyramid(standardised.astype(np.float32), self.layout.levels)

    def _rows(self, cut: Sequence[tuple[Place, Float32]]) -> Features:
        side, channels = self.layout.tile, self.channels
        pixels = np.zeros((len(cut), channels, side, side), np.float32)
        visible = np.zeros((len(cut), 1, side, side), np.float32)
        for row, (place, image) in enumerate(cut):
            piece = image[place.top : place.top + side, place.left : place.left + side]
            height, width = piece.shape[:2]
            pixels[row, :, :height, :width] = piece.transpose(2, 0, 1)
            visible[row, 0, :height, :width] = 1.0
        flat = pixels.reshape(len(cut), -1)
        observed = np.repeat(visible, channels, axis=1).reshape(len(cut), -1) > 0
        levels = np.array([place.level for place, _ in cut])
        return Features(
            np.concatenate([flat, visible.reshape(len(cut), -1)], axis=1),
            flat.astype(np.float64),
            observed,
            level_context(levels, self.layout.levels),
        )


def level_context(level: Int64, levels: int) -> Float32:
    """(N, 1) the level of each row, 0 to 1, which the networks are told; (N, 0) where it is one."""
    if levels == 1:
        return np.zeros((len(level), 0), np.float32)
    return (level / (levels - 1)).astype(np.float32)[:, None]


def contrasted(working: Float32, contrast: Contrast) -> Float32:
    """(height, width, channels) in [0, 1] as numbers of that contrast."""
    match contrast:
        case Contrast.PLAIN:
            return working
        case Contrast.LOCAL:
            # Imported by those who look at images: a service of tables starts without.
            from scipy.ndimage import gaussian_filter

            log = np.log(working + np.float32(LOG_FLOOR))
            around = gaussian_filter(log, (LOCAL_SIGMA, LOCAL_SIGMA, 0.0))
            found: Float32 = log - around
            return found


def resized(image: Float32, height: int, width: int) -> Float32:
    """(height, width, channels), each new pixel a mean over those that it covers."""
    if image.shape[:2] == (height, width):
        return image
    from PIL import Image

    # Pillow's float images have one channel.
    planes = [
        np.asarray(Image.fromarray(plane).resize((width, height), Image.Resampling.BILINEAR))
        for plane in np.moveaxis(image, -1, 0)
    ]
    return np.stack(planes, axis=-1)


def pyramid(image: Float32, levels: int) -> list[Float32]:
    """The image, and each time the one before with half its sides: means of four pixels."""
    found = [image]
    for _ in range(levels - 1):
        height, width = (max(1, side // 2) for side in found[-1].shape[:2])
        found.append(resized(found[-1], height, width))
    return found


def starts(side: int, layout: Layout) -> list[int]:
    """Where tiles begin along a side: evenly, so that they cover it and overlap enough."""
    free = side - layout.tile
    if free <= 0:
        return [0]
    steps = -(-free // (layout.tile - layout.overlap))
    return [round(step * free / steps) for step in range(steps + 1)]


def joined(values: Float64, tiled: Tiled, layout: Layout) -> list[Float64]:
    """Numbers of pixels (rows, tile * tile) as one image (height, width) for each level."""
    sums = [np.zeros(shape) for shape in tiled.shapes]
    weights = [np.zeros(shape) for shape in tiled.shapes]
    squares = values.reshape(-1, layout.tile, layout.tile)
    for square, place in zip(squares, tiled.places, strict=True):
        height, width = (
            min(layout.tile, side - start)
            for side, start in zip(tiled.shapes[place.level], (place.top, place.left), strict=True)
        )
        at = np.s_[place.top : place.top + height, place.left : place.left + width]
        window = layout.window[:height, :width]
        sums[place.level][at] += window * square[:height, :width]
        weights[place.level][at] += window
    return [total / weight for total, weight in zip(sums, weights, strict=True)]


def together(parts: Sequence[Features]) -> Features:
    """The rows of several images, one after the other."""
    arrays = [(part.inputs, part.targets, part.observed, part.context) for part in parts]
    return Features(*(np.concatenate(columns) for columns in zip(*arrays, strict=True)))
