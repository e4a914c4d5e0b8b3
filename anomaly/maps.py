"""Maps of evidence: what is usual at each place, and how a whole image becomes one number.

An error means little by itself: near the border, and on a rough surface, it is larger in every
image. What is usual is learned on images that took no part in fitting the networks.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from anomaly.arrays import Float64, Int64

DISTANCES = np.array([1.0, 2.0, 3.0, 4.0, 6.0, 8.0, 12.0, 16.0])
"""Pixels from the border that separate bins; there is a ninth beyond."""

BOX = 8
"""Side of the boxes over which errors are averaged: a small defect fills one."""

LARGEST_ERROR = 25.0
"""Squared errors count at most so much, in variances of the pixels: one glint is no defect."""

HOTTEST_PIXELS, HOTTEST_BOXES, HOTTEST_PLACES = 0.003, 0.01, 0.002
"""Shares of a map whose mean counts."""

FOR_A_BIN = 200
"""Pixels that a bin must have to be believed half as much as all pixels together."""

FAR = (-5.0, 500.0)
"""Standardised statistics are kept within: beyond, their exponentials could overflow."""

SMALLEST_SPREAD = 1e-6

SMALLEST_HEAT = 1e-3
"""Where usual images show none at all."""

SMALLEST_SHARE = 0.1
"""Of the spread over all pixels: no pixel's own is taken for less."""


@dataclass(frozen=True)
class Evidence:
    """What is found in one image.

    Attributes:
        score: Higher is more anomalous.
        layers: (height, width) each, of any size, where. 0 is usual, and 1 as much as the hottest
            place of a usual image.
    """

    score: float
    layers: tuple[Float64, ...]


@dataclass(frozen=True)
class WholeMaps:
    """Of images that are seen whole: the score is that of the row, errors are compared with those
    of the same pixel.

    Attributes:
        mean, spread: (tile, tile) of the errors of each pixel.
        hottest: (1,) what a usual image has at most.
    """

    mean: Float64
    spread: Float64
    hottest: Float64

    @staticmethod
    def shapes(tile: int) -> dict[str, tuple[int, ...]]:
        """The shape of every array, by name."""
        return {"mean": (tile, tile), "spread": (tile, tile), "hottest": (1,)}

    @staticmethod
    def of(errors: Sequence[Float64]) -> WholeMaps:
        """From the errors (tile, tile) of N normal images."""
        stacked = np.stack(errors)
        floor = max(SMALLEST_SHARE * float(stacked.std()), SMALLEST_SPREAD)
        mean, spread = stacked.mean(0), np.maximum(stacked.std(0), floor)
        return WholeMaps(mean, spread, _hottest([[(of - mean) / spread] for of in stacked]))

    def read(self, errors: Float64, score: float) -> Evidence:
        """One image: its errors (tile, tile) and the score of its row."""
        return Evidence(score, ((errors - self.mean) / self.spread / self.hottest[0],))


@dataclass(frozen=True)
class TileMaps:
    """Of images in tiles: two independent looks, each on the scale of its own scatter, are joined.

    One look is how badly hidden cells are guessed from their surroundings, compared with pixels as
    far from the border and with the rest of the same image. The other are the log odds of a defect.

    Attributes:
        guess: (9,) usual squared error at each distance from the border.
        odds: (2,) mean and standard deviation of log odds.
        mean, spread: (3,) of the statistics of held-out images.
        look_mean, look_spread: (2,) of the looks that these are joined to.
        hottest: (2,) what a usual image has at most, in each layer of evidence.
    """

    guess: Float64
    odds: Float64
    mean: Float64
    spread: Float64
    look_mean: Float64
    look_spread: Float64
    hottest: Float64

    @staticmethod
    def shapes() -> dict[str, tuple[int, ...]]:
        """The shape of every array, by name."""
        bins, three, two = (len(DISTANCES) + 1,), (3,), (2,)
        return {
            "guess": bins,
            "odds": two,
            "mean": three,
            "spread": three,
            "look_mean": two,
            "look_spread": two,
            "hottest": two,
        }

    @staticmethod
    def of(errors: Sequence[Float64], odds: Sequence[Float64]) -> TileMaps:
        """From squared errors (height, width) and log odds (height / 4, width / 4) of N normal
        images that took no part in fitting."""
        guess = _by_distance([np.minimum(e, LARGEST_ERROR) for e in errors])
        every = np.concatenate([of.ravel() for of in odds])
        scale = np.array([every.mean(), max(every.std(), SMALLEST_SPREAD)])
        bare = TileMaps(guess, scale, np.zeros(3), np.ones(3), np.zeros(2), np.ones(2), np.ones(2))
        layers = [bare._layers(e, o) for e, o in zip(errors, odds, strict=True)]
        found = [bare._statistics(*of) for of in layers]
        hottest = _hottest([[np.log(boxes), places] for _, boxes, places in layers])
        mean, spread = _moments(np.array(found))
        half = replace(bare, mean=mean, spread=spread)
        look_mean, look_spread = _moments(np.array([half._looks(of) for of in found]))
        return replace(half, look_mean=look_mean, look_spread=look_spread, hottest=hottest)

    def read(self, errors: Float64, odds: Float64) -> Evidence:
        """One image: its squared errors and log odds."""
        _, boxes, places = self._layers(errors, odds)
        layers = (np.log(boxes) / self.hottest[0], places / self.hottest[1])
        return Evidence(_log_mean_exp(self.looks(errors, odds)), layers)

    def looks(self, errors: Float64, odds: Float64) -> Float64:
        """(2,) what the two looks say, in standard deviations of held-out images."""
        looks = self._looks(self._statistics(*self._layers(errors, odds)))
        return (looks - self.look_mean) / self.look_spread

    def _layers(self, errors: Float64, odds: Float64) -> tuple[Float64, Float64, Float64]:
        """Errors over what is usual there and in this image, their means over boxes, and
        standardised log odds."""
        from scipy.ndimage import uniform_filter

        usual = self.guess[distance_bins(errors)]
        ratios = np.minimum(errors, LARGEST_ERROR) / usual
        ratios = ratios / max(float(ratios.mean()), SMALLEST_SPREAD)
        boxes = np.maximum(uniform_filter(ratios, BOX, mode="reflect"), SMALLEST_SPREAD)
        return ratios, boxes, (odds - self.odds[0]) / self.odds[1]

    def _statistics(self, ratios: Float64, boxes: Float64, places: Float64) -> Float64:
        pixels = np.log(max(largest_mean(ratios, HOTTEST_PIXELS), SMALLEST_SPREAD))
        return np.array(
            [
                pixels,
                np.log(largest_mean(boxes, HOTTEST_BOXES)),
                largest_mean(places, HOTTEST_PLACES),
            ]
        )

    def _looks(self, statistics: Float64) -> Float64:
        standardised = (statistics - self.mean) / self.spread
        return np.array([_log_mean_exp(standardised[:2]), _log_mean_exp(standardised[2:])])


Maps = WholeMaps | TileMaps


def distance_bins(image: Float64) -> Int64:
    """(height, width) the bin of each pixel by its distance from the border."""
    down, across = (np.minimum(np.arange(n), np.arange(n)[::-1]) for n in image.shape)
    bins: Int64 = np.digitize(np.minimum.outer(down, across), DISTANCES)
    return bins


def largest_mean(values: Float64, share: float) -> float:
    """The mean of the largest share of the values, of at least one."""
    count = max(1, round(share * values.size))
    return float(np.partition(values, values.size - count, axis=None)[-count:].mean())


def _by_distance(maps: Sequence[Float64]) -> Float64:
    """The mean in each bin; a bin of few pixels is drawn to that of all."""
    values = np.concatenate([of.ravel() for of in maps])
    bins = np.concatenate([distance_bins(of).ravel() for of in maps])
    many = len(DISTANCES) + 1
    n = np.bincount(bins, minlength=many) + FOR_A_BIN
    mean = (np.bincount(bins, values, many) + FOR_A_BIN * values.mean()) / n
    usual: Float64 = np.maximum(mean, SMALLEST_SPREAD)
    return usual


def _hottest(layers: Sequence[Sequence[Float64]]) -> Float64:
    """(layers,) the mean over N images of the largest value of each layer."""
    largest = np.array([[layer.max() for layer in of] for of in layers])
    mean: Float64 = np.maximum(largest.mean(0), SMALLEST_HEAT)
    return mean


def _moments(rows: Float64) -> tuple[Float64, Float64]:
    return rows.mean(0), np.maximum(rows.std(0), SMALLEST_SPREAD)


def _log_mean_exp(values: Float64) -> float:
    """Close to the largest, and still a mean."""
    return float(np.log(np.exp(np.clip(values, *FAR)).mean()))
