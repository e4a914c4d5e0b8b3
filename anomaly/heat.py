"""Heatmaps: where an image is anomalous, on one scale for all images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce

import numpy as np

from anomaly.arrays import Float32, Float64

SMALLEST_SHARE = 1 / 4096
"""Of a map: smaller regions are noise."""

NEAR = 1 / 20
"""Of the shorter side of a map: boxes with less between them are one place to look at."""

MOST_BOXES = 10

WIDESPREAD = 0.5
"""Boxes that cover more of a map than this say nothing: it is odd as a whole."""

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

    @property
    def area(self) -> int:
        """Pixels in it."""
        return (self.bottom - self.top) * (self.right - self.left)

    def is_near(self, other: Box, pixels: int) -> bool:
        """Whether no more than so many pixels lie between the two, down or across."""
        return (
            max(self.top, other.top) - min(self.bottom, other.bottom) <= pixels
            and max(self.left, other.left) - min(self.right, other.right) <= pixels
        )

    def joined(self, other: Box) -> Box:
        """The smallest box around both."""
        return Box(
            min(self.top, other.top),
            min(self.left, other.left),
            max(self.bottom, other.bottom),
            max(self.right, other.right),
            max(self.hottest, other.hottest),
        )

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

    @property
    def is_widespread(self) -> bool:
        """Whether boxes would cover most of the image: it is odd as a whole, and no place of it."""
        return self._covers_most(self._places())

    def boxes(self) -> list[Box]:
        """Places hotter than 1, hottest first, at most `MOST_BOXES`.

        Regions that nearly touch are one place. Of an image that is odd as a whole there is a
        single box, around all of them.
        """
        places = self._places()
        if self._covers_most(places):
            return [reduce(Box.joined, places)]
        return sorted(places, key=lambda box: -box.hottest)[:MOST_BOXES]

    def _covers_most(self, places: Sequence[Box]) -> bool:
        return sum(box.area for box in places) > WIDESPREAD * self.values.size

    def _places(self) -> list[Box]:
        return apart(self._regions(), int(NEAR * min(self.values.shape)))

    def _regions(self) -> list[Box]:
        """A box around each connected region that is hotter than 1."""
        from scipy import ndimage

        labels, _ = ndimage.label(self.values > 1.0, structure=np.ones((3, 3)))
        found = []
        for number, place in enumerate(ndimage.find_objects(labels), start=1):
            inside = labels[place] == number
            if inside.sum() >= SMALLEST_SHARE * self.values.size:
                down, across = place
                hottest = float(self.values[place][inside].max())
                found.append(Box(down.start, across.start, down.stop, across.stop, hottest))
        return found

    def at_size(self, height: int, width: int) -> Float32:
        """The heat of each pixel of an image of that size."""
        return enlarged(self.values, height, width)


def apart(boxes: Sequence[Box], pixels: int) -> list[Box]:
    """Boxes around the same pixels, no two of which are near each other; see `Box.is_near`."""
    found: list[Box] = []
    for box in boxes:
        grown = box
        # A box that has grown may have come near others.
        while close := {other for other in found if grown.is_near(other, pixels)}:
            found = [other for other in found if other not in close]
            grown = reduce(Box.joined, close, grown)
        found.append(grown)
    return found


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
