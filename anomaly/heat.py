"""Heatmaps: where an image is anomalous, on one scale for all images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from anomaly.arrays import Float32, Float64

SMALLEST_SHARE = 1 / 4096
"""Of a map: smaller regions are noise."""

MOST_BOXES = 20

MOST_HEAT = np.float32(10_000)
"""More would only overflow where it is stored in few bits."""


@dataclass(frozen=True)
class Box:
    """A hot region, in pixels of the map it was found on; `bottom` and `right` are exclusive.

    Attributes:
        hottest: The largest heat in it.
    """

    top: int
    left: int
    bottom: int
    right: int
    hottest: float

    def scaled(self, down: float, across: float) -> Box:
        """The same region of an image that is that much taller and wider."""
        return Box(
            int(self.top * down),
            int(self.left * across),
            int(np.ceil(self.bottom * down)),
            int(np.ceil(self.right * across)),
            self.hottest,
        )


@dataclass(frozen=True)
class Heat:
    """How anomalous each pixel is.

    Attributes:
        values: (height, width) at the size at which the model works. 0 is usual; 1 is what the
            hottest pixel of a normal image exceeds with probability alpha. The scale does not
            depend on the image, so that a normal image is calm.
    """

    values: Float32

    @property
    def hottest(self) -> float:
        """The largest heat."""
        return float(self.values.max())

    def boxes(self) -> list[Box]:
        """Regions hotter than 1, hottest first, at most `MOST_BOXES`."""
        from scipy import ndimage

        labels, _ = ndimage.label(self.values > 1.0, structure=np.ones((3, 3)))
        found = []
        for number, place in enumerate(ndimage.find_objects(labels), start=1):
            inside = labels[place] == number
            if inside.sum() >= SMALLEST_SHARE * self.values.size:
                down, across = place
                hottest = float(self.values[place][inside].max())
                found.append(Box(down.start, across.start, down.stop, across.stop, hottest))
        return sorted(found, key=lambda box: -box.hottest)[:MOST_BOXES]

    def at_size(self, height: int, width: int) -> Float32:
        """The heat of each pixel of an image of that size."""
        return enlarged(self.values, height, width)


def heat_of(layers: Sequence[Float64], unit: float, height: int, width: int) -> Heat:
    """From layers of evidence, 0 where all is usual: the largest of all at each pixel.

    Args:
        unit: What counts as 1.
        height, width: Of the map.
    """
    largest = np.max(
        [enlarged(layer.astype(np.float32), height, width) for layer in layers], axis=0
    )
    return Heat(np.clip(largest / np.float32(unit), 0.0, MOST_HEAT))


def enlarged(values: Float32, height: int, width: int) -> Float32:
    """(height, width) by linear interpolation."""
    if values.shape == (height, width):
        return values
    from PIL import Image

    image = Image.fromarray(values).resize((width, height), Image.Resampling.BILINEAR)
    return np.asarray(image, dtype=np.float32)
