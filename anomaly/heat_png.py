"""Heatmaps as pictures: one colour scale for all images, so that they can be compared."""

from __future__ import annotations

import io
from dataclasses import replace
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw

from anomaly.data.pixels import Pixels, as_unit, to_channels
from anomaly.heat import Box, Heat

Picture: TypeAlias = npt.NDArray[np.uint8]
"""(H, W, 3) RGB or (H, W, 4) RGBA."""

HOTTEST_SHOWN = 3.0
"""Hotter pixels look like this one: the threshold is at 1, and thrice that is anomalous enough."""

# Yellow over orange to dark red (ColorBrewer's YlOrRd): darker is hotter for every kind of eye.
# Until near the threshold the colour is faint, and from there on it is strong.
SHOWN_HEAT = (0.0, 0.7, 1.0, 1.5, 2.2, HOTTEST_SHOWN)
RED = (255, 254, 253, 252, 200, 110)
GREEN = (255, 217, 141, 60, 10, 0)
BLUE = (178, 118, 40, 30, 30, 50)
OPACITY = (0, 30, 140, 175, 200, 215)

OUTLINE = (0, 200, 255)
"""Of boxes; no heat has that colour."""

FINE_SIDE = 320
"""Images whose shorter side is at most this get outlines of one pixel, larger ones of two."""


def _colours() -> Picture:
    """(256, 4) RGBA, evenly from heat 0 to `HOTTEST_SHOWN`."""
    steps = np.linspace(0.0, HOTTEST_SHOWN, 256)
    channels = [np.interp(steps, SHOWN_HEAT, part) for part in (RED, GREEN, BLUE, OPACITY)]
    return np.round(np.stack(channels, axis=-1)).astype(np.uint8)


COLOURS = _colours()


def heat_layer(heat: Heat, height: int, width: int) -> Picture:
    """(height, width, 4): the colour of each pixel of an image of that size.

    Transparent where the heat is 0 or less.
    """
    return COLOURS[_steps(heat, height, width)]


def layer_png(heat: Heat, height: int, width: int) -> bytes:
    """`heat_layer` as a PNG file, with a palette: a quarter of the bytes."""
    image = Image.fromarray(_steps(heat, height, width))
    image.putpalette(COLOURS[:, :3].tobytes(), "RGB")  # makes it mode P
    return _file(image, transparency=COLOURS[:, 3].tobytes())


def overlay(pixels: Pixels, heat: Heat) -> Picture:
    """(height, width, 3): the image in grey under the colours of its heat, hot regions outlined."""
    height, width = pixels.shape[:2]
    ground = Image.fromarray(_grey(pixels)).convert("RGBA")
    shown = Image.alpha_composite(ground, Image.fromarray(heat_layer(heat, height, width)))
    image = shown.convert("RGB")
    draw = ImageDraw.Draw(image)
    for box in boxes_at_size(heat, height, width):
        corners = (box.left, box.top, box.right - 1, box.bottom - 1)
        draw.rectangle(corners, outline=OUTLINE, width=1 if min(height, width) <= FINE_SIDE else 2)
    return np.asarray(image)


def boxes_at_size(heat: Heat, height: int, width: int) -> list[Box]:
    """The hot regions in pixels of an image of that size, hottest first."""
    down, across = height / heat.values.shape[0], width / heat.values.shape[1]
    scaled = [box.scaled(down, across) for box in heat.boxes()]
    # A quotient of floats, rounded up, may lie one pixel outside.
    return [
        replace(box, bottom=min(box.bottom, height), right=min(box.right, width)) for box in scaled
    ]


def png(picture: Picture) -> bytes:
    """The picture as a PNG file."""
    return _file(Image.fromarray(picture))


def _steps(heat: Heat, height: int, width: int) -> Picture:
    """(height, width) numbers of `COLOURS`."""
    shown = np.clip(heat.at_size(height, width), 0.0, HOTTEST_SHOWN)
    return np.round(shown * np.float32(255 / HOTTEST_SHOWN)).astype(np.uint8)


def _grey(pixels: Pixels) -> Picture:
    """(H, W). Grey of 16 bits seldom uses them all: its brightest pixel becomes white."""
    unit = as_unit(to_channels(pixels, 1))[..., 0]
    if pixels.dtype == np.uint16:
        unit = unit / max(float(unit.max()), 1 / 65_535)
    return np.round(unit * 255).astype(np.uint8)


def _file(image: Image.Image, **options: bytes) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "PNG", **options)
    return buffer.getvalue()
