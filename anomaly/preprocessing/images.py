"""From pixels to rows: scale, contrast, tiles; and from rows back to images.

A row is a square of pixels. Tiles overlap, and where they do, what lies nearer to the middle of its
tile weighs more.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass as plain_dataclass
from enum import StrEnum
from functools import cached_property
from typing import Annotated, Literal

import numpy as np
from pydantic import Field
from pydantic.dataclasses import dataclass

from anomaly.arrays import Features, Float32, Float64
from anomaly.data.pixels import Pixels, as_unit, to_channels
from anomaly.data.schema import STRICT

PLANES = 2
"""Of a tile's inputs besides its channels; see `Tiled`."""

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
        whole: Whether an image is resized to one tile, instead of being cut into tiles.
    """

    tile: Side = 64
    overlap: Annotated[int, Field(ge=0, le=512)] = 16
    whole: bool = False

    def __post_init__(self) -> None:
        if self.overlap >= self.tile:
            raise ValueError(f"tiles of {self.tile} pixels cannot share {self.overlap} of them")

    @cached_property
    def window(self) -> Float32:
        """(tile, tile) weight of each pixel of a tile where tiles overlap."""
        near = np.minimum(np.arange(self.tile), np.arange(self.tile)[::-1]) + 1.0
        return np.minimum.outer(near, near).astype(np.float32)


@plain_dataclass(frozen=True)
class Place:
    """Where a tile lies."""

    top: int
    left: int


@plain_dataclass(frozen=True)
class Tiled:
    """One image as rows.

    Attributes:
        features: One row a tile. Inputs are the channels and two planes: 1 where a pixel is shown,
            which masks change, and 1 where there is an image at all.
        places: Of each row.
        image: (height, width, channels) as the networks see it.
    """

    features: Features
    places: tuple[Place, ...]
    image: Float32

    @property
    def nbytes(self) -> int:
        """Of memory."""
        rows = self.features
        return rows.inputs.nbytes + rows.targets.nbytes + rows.observed.nbytes

    @property
    def middle(self) -> int:
        """The number of the tile that is nearest to the middle."""
        corners = np.array([(place.top, place.left) for place in self.places])
        return int(((corners - corners.max(0) / 2) ** 2).sum(1).argmin())


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
    channels: Literal[1, 3]
    scale: Annotated[float, Field(gt=0, le=1)]
    center: tuple[float, ...]
    spread: tuple[float, ...]

    def tiles(self, pixels: Pixels) -> Tiled:
        """The rows of one image."""
        image = self.image(pixels)
        places = tuple(
            Place(top, left)
            for top in starts(image.shape[0], self.layout)
            for left in starts(image.shape[1], self.layout)
        )
        return Tiled(self._rows(image, places), places, image)

    def image(self, pixels: Pixels) -> Float32:
        """(height, width, channels) as the networks see it."""
        return self.standardised(self.values(pixels))

    def values(self, pixels: Pixels) -> Float32:
        """(height, width, channels) of brightness or its logarithm, before what surrounds a pixel
        is taken away."""
        return valued(self.working(pixels), self.contrast)

    def standardised(self, values: Float32) -> Float32:
        """What the networks see of such values."""
        found = less_surroundings(values, self.contrast)
        standardised = (found - np.array(self.center)) / np.array(self.spread)
        narrow: Float32 = standardised.astype(np.float32)
        return narrow

    def count(self, height: int, width: int) -> int:
        """How many rows an image of this size becomes."""
        down, across = (len(starts(n, self.layout)) for n in self.working_size(height, width))
        return down * across

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

    def _rows(self, image: Float32, places: Sequence[Place]) -> Features:
        side, n = self.layout.tile, len(places)
        pixels = np.zeros((n, self.channels, side, side), np.float32)
        visible = np.zeros((n, 1, side, side), np.float32)
        for row, place in enumerate(places):
            piece = image[place.top : place.top + side, place.left : place.left + side]
            height, width = piece.shape[:2]
            pixels[row, :, :height, :width] = piece.transpose(2, 0, 1)
            visible[row, 0, :height, :width] = 1.0
        flat, seen = pixels.reshape(n, -1), visible.reshape(n, -1)
        return Features(
            np.concatenate([flat, seen, seen], axis=1),
            flat.astype(np.float64),
            np.tile(seen, self.channels) > 0,
            np.zeros((n, 0), np.float32),
        )


def contrasted(working: Float32, contrast: Contrast) -> Float32:
    """(height, width, channels) in [0, 1] as numbers of that contrast."""
    return less_surroundings(valued(working, contrast), contrast)


def valued(working: Float32, contrast: Contrast) -> Float32:
    """(height, width, channels) in [0, 1] as brightness or its logarithm."""
    match contrast:
        case Contrast.PLAIN:
            return working
        case Contrast.LOCAL:
            log: Float32 = np.log(working + np.float32(LOG_FLOOR))
            return log


def less_surroundings(values: Float32, contrast: Contrast) -> Float32:
    """(height, width, channels) relative to what the contrast compares with."""
    match contrast:
        case Contrast.PLAIN:
            return values
        case Contrast.LOCAL:
            # Imported by those who look at images: a service of tables starts without.
            from scipy.ndimage import gaussian_filter

            around = gaussian_filter(values, (LOCAL_SIGMA, LOCAL_SIGMA, 0.0))
            found: Float32 = values - around
            return found


def resized(image: Float32, height: int, width: int) -> Float32:
    """(height, width, channels), each new pixel a mean over those that it covers."""
    if image.shape[:2] == (height, width):
        return image
    from PIL import Image

    # Pillow's float images have one channel.
    planes = [
        np.asarray(Image.fromarray(plane).resize((width, height), Image.Resampling.BOX))
        for plane in np.moveaxis(image, -1, 0)
    ]
    return np.stack(planes, axis=-1)


def halved(image: Float32) -> Float32:
    """(height / 2, width / 2, channels): means of four pixels; both sides are even."""
    height, width, channels = image.shape
    means: Float32 = image.reshape(height // 2, 2, width // 2, 2, channels).mean((1, 3))
    return means


def starts(side: int, layout: Layout) -> list[int]:
    """Where tiles begin along a side: evenly, so that they cover it and overlap enough."""
    free = side - layout.tile
    if free <= 0:
        return [0]
    steps = -(-free // (layout.tile - layout.overlap))
    return [round(step * free / steps) for step in range(steps + 1)]


def joined(values: Float64, tiled: Tiled, layout: Layout) -> Float64:
    """Numbers of pixels (rows, tile * tile) as one image (height, width)."""
    height, width = tiled.image.shape[:2]
    total, weight = np.zeros((height, width)), np.zeros((height, width))
    for square, place in zip(
        values.reshape(-1, layout.tile, layout.tile), tiled.places, strict=True
    ):
        down, across = min(layout.tile, height - place.top), min(layout.tile, width - place.left)
        at = np.s_[place.top : place.top + down, place.left : place.left + across]
        window = layout.window[:down, :across]
        total[at] += window * square[:down, :across]
        weight[at] += window
    return total / weight


def together(parts: Sequence[Features]) -> Features:
    """The rows of several images, one after the other."""
    arrays = [(part.inputs, part.targets, part.observed, part.context) for part in parts]
    return Features(*(np.concatenate(columns) for columns in zip(*arrays, strict=True)))
