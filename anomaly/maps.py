"""Maps of errors: what is usual at each place, and how a whole map becomes one number.

An error means little by itself: near the border and in the dark it is larger in every image. What
is usual is learned by distance from the border and by brightness, on images that took no part in
fitting the networks, so that an image in which nothing is wrong is calm everywhere.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from anomaly.arrays import Float32, Float64, Int64

DISTANCES = np.array([1.0, 2.0, 3.0, 4.0, 6.0, 8.0, 12.0, 16.0])
"""Pixels from the border that separate bins; there is a ninth beyond."""

BRIGHTNESS_BINS = 5

SHARES = (0.003, 0.03, 0.2)
"""Of a map: a scratch fills a thousandth of it, a stain a fifth."""

SMALLEST_SPREAD = 1e-6


@dataclass(frozen=True)
class Usual:
    """What is usual, learned from maps of normal images.

    Attributes:
        brightness: (levels, BRIGHTNESS_BINS - 1) edges.
        mean, spread: (levels, bins) of the errors in each bin.
        top_mean, top_spread: (levels, len(SHARES)) of the means of the largest errors.
    """

    brightness: Float64
    mean: Float64
    spread: Float64
    top_mean: Float64
    top_spread: Float64

    @staticmethod
    def none(levels: int) -> Usual:
        """Nothing learned: errors stay as they are."""
        bins, tops = (len(DISTANCES) + 1) * BRIGHTNESS_BINS, (levels, len(SHARES))
        return Usual(
            np.zeros((levels, BRIGHTNESS_BINS - 1)),
            np.zeros((levels, bins)),
            np.ones((levels, bins)),
            np.zeros(tops),
            np.ones(tops),
        )

    @staticmethod
    def of(maps: Sequence[Sequence[Float64]], lights: Sequence[Sequence[Float32]]) -> Usual:
        """From the maps of N images, levels each, and the brightness at the same pixels."""
        levels = range(len(maps[0]))
        inner = np.linspace(0, 1, BRIGHTNESS_BINS + 1)[1:-1]
        edges = np.stack(
            [np.quantile(np.concatenate([of[k].ravel() for of in lights]), inner) for k in levels]
        )
        moments = [
            _moments(
                np.concatenate([of[k].ravel() for of in maps]),
                np.concatenate([bins(of[k], edges[k]).ravel() for of in lights]),
            )
            for k in levels
        ]
        mean, spread = (np.stack(part) for part in zip(*moments, strict=True))
        flat = replace(Usual.none(len(levels)), brightness=edges, mean=mean, spread=spread)
        tops = np.stack(
            [tops_of(flat.standardised(of, light)) for of, light in zip(maps, lights, strict=True)]
        )
        scatter = np.maximum(tops.std(0), SMALLEST_SPREAD)
        return replace(flat, top_mean=tops.mean(0), top_spread=scatter)

    def standardised(self, maps: Sequence[Float64], lights: Sequence[Float32]) -> list[Float64]:
        """The errors of one image on the scale on which 0 is usual and 1 is as much above as usual
        errors scatter."""
        found = []
        for level, (errors, light) in enumerate(zip(maps, lights, strict=True)):
            bin_of = bins(light, self.brightness[level])
            found.append((errors - self.mean[level][bin_of]) / self.spread[level][bin_of])
        return found

    def score(self, standardised: Sequence[Float64]) -> float:
        """One number of an image: higher is more anomalous.

        The means of the largest 0.3, 3 and 20 % of each level, standardised, and of these the
        logarithm of the mean of the exponentials: close to their largest, and still a sum.
        """
        tops = (tops_of(standardised) - self.top_mean) / self.top_spread
        largest = tops.max()
        return float(largest + np.log(np.exp(tops - largest).mean()))


def bins(light: Float32, edges: Float64) -> Int64:
    """(height, width) number of the bin of each pixel of one level."""
    height, width = light.shape
    down, across = (np.minimum(np.arange(n), np.arange(n)[::-1]) for n in (height, width))
    distance = np.digitize(np.minimum.outer(down, across), DISTANCES)
    return distance * BRIGHTNESS_BINS + np.digitize(light, edges)


def tops_of(maps: Sequence[Float64]) -> Float64:
    """(levels, len(SHARES)) mean of the largest shares of each level."""
    found = []
    for values in maps:
        ordered = np.sort(values, axis=None)[::-1]
        found.append([ordered[: max(1, round(share * len(ordered)))].mean() for share in SHARES])
    return np.array(found)


def _moments(errors: Float64, bin_of: Int64) -> tuple[Float64, Float64]:
    """Mean and standard deviation of each bin; of an empty one, those of all pixels."""
    count = (len(DISTANCES) + 1) * BRIGHTNESS_BINS
    n = np.bincount(bin_of, minlength=count)
    filled = np.maximum(n, 1)
    mean = np.bincount(bin_of, errors, count) / filled
    square = np.bincount(bin_of, errors**2, count) / filled
    spread = np.sqrt(np.maximum(square - mean**2, SMALLEST_SPREAD**2))
    return np.where(n > 0, mean, errors.mean()), np.where(n > 0, spread, errors.std())
