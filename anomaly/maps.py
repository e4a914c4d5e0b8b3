"""Maps of evidence: what is usual at each place, and how a whole image becomes one number.

An error means little by itself: near the border, and on a rough surface, it is larger in every
image. What is usual is learned on images that took no part in fitting the networks.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from anomaly.arrays import Float64, Int64
from anomaly.texture import FIELDS

DISTANCES = np.array([1.0, 2.0, 3.0, 4.0, 6.0, 8.0, 12.0, 16.0])
"""Pixels from the border that separate bins; there is a ninth beyond."""

BOX = 8
"""Side of the boxes over which errors are averaged: a small defect fills one."""

LARGEST_ERROR = 25.0
"""Squared errors count at most so much, in variances of the pixels: one glint is no defect."""

HOTTEST_PIXELS, HOTTEST_BOXES, HOTTEST_PLACES, ODD_CELLS = 0.003, 0.01, 0.002, (0.03, 0.2)
"""Shares of a map whose mean counts."""

LOOKS = (slice(0, 2), slice(2, 3), slice(3, 3 + len(ODD_CELLS) * FIELDS))
"""Which statistics belong to each look."""

STATISTICS = LOOKS[-1].stop

MANNERS = 1 + FIELDS
"""How the image as a whole is: its mean error, and its mean roughness in each field."""

ODD_MANNER = 4.0
"""Standard deviations within which an image as a whole says nothing: what is beyond is blank, out
of focus or of something else. Closer to 0, it would drown small defects."""

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
class WholeLook:
    """What the model says of an image that is seen whole.

    Attributes:
        errors: (tile, tile).
        row_score: Of the image as one row.
    """

    errors: Float64
    row_score: float


@dataclass(frozen=True)
class TileLook:
    """What is found in an image in tiles.

    Attributes:
        errors: (height, width) squared, of what the model guesses of hidden cells.
        odds: (height / 4, width / 4) log odds of a defect.
        surprise: (height / 8, width / 8, FIELDS) of the texture; see `anomaly.texture`.
        roughness: (FIELDS,) of the image as a whole.
    """

    errors: Float64
    odds: Float64
    surprise: Float64
    roughness: Float64


Look = WholeLook | TileLook


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
    def of(looks: Sequence[WholeLook]) -> WholeMaps:
        """From N normal images."""
        stacked = np.stack([look.errors for look in looks])
        floor = max(SMALLEST_SHARE * float(stacked.std()), SMALLEST_SPREAD)
        mean, spread = stacked.mean(0), np.maximum(stacked.std(0), floor)
        return WholeMaps(mean, spread, _hottest([[(of - mean) / spread] for of in stacked]))

    def read(self, look: WholeLook) -> Evidence:
        """One image."""
        layer = (look.errors - self.mean) / self.spread / self.hottest[0]
        return Evidence(look.row_score, (layer,))


@dataclass(frozen=True)
class TileMaps:
    """Of images in tiles: three looks, each on the scale of its own scatter, are joined.

    How badly hidden cells are guessed from their surroundings, compared with pixels as far from the
    border and with the rest of the same image; the log odds of a defect; and how surprising the
    texture of cells is. A fourth says nothing unless the image as a whole is far from usual, in
    either direction: the others compare places with the rest of the same image.

    Attributes:
        guess: (9,) usual squared error at each distance from the border.
        odds: (2,) mean and standard deviation of log odds.
        manner_mean, manner_spread: (MANNERS,) of images as a whole.
        mean, spread: (STATISTICS,) of held-out images.
        look_mean, look_spread: (3,) of the looks that these are joined to.
        hottest: (3,) what a usual image has at most, in each layer of evidence.
    """

    guess: Float64
    odds: Float64
    manner_mean: Float64
    manner_spread: Float64
    mean: Float64
    spread: Float64
    look_mean: Float64
    look_spread: Float64
    hottest: Float64

    @staticmethod
    def shapes() -> dict[str, tuple[int, ...]]:
        """The shape of every array, by name."""
        looks = (len(LOOKS),)
        return {
            "guess": (len(DISTANCES) + 1,),
            "odds": (2,),
            "manner_mean": (MANNERS,),
            "manner_spread": (MANNERS,),
            "mean": (STATISTICS,),
            "spread": (STATISTICS,),
            "look_mean": looks,
            "look_spread": looks,
            "hottest": looks,
        }

    @staticmethod
    def of(looks: Sequence[TileLook]) -> TileMaps:
        """From N normal images that took no part in fitting."""
        guess = _by_distance([np.minimum(look.errors, LARGEST_ERROR) for look in looks])
        every = np.concatenate([look.odds.ravel() for look in looks])
        scale = np.array([every.mean(), max(every.std(), SMALLEST_SPREAD)])
        manner = _moments(np.array([_manner(look, guess) for look in looks]))
        unscaled = [(np.zeros(n), np.ones(n)) for n in (STATISTICS, len(LOOKS))]
        bare = TileMaps(guess, scale, *manner, *unscaled[0], *unscaled[1], np.ones(len(LOOKS)))
        found = [bare._standing(look) for look in looks]
        mean, spread = _moments(np.array([of.statistics() for of in found]))
        half = replace(bare, mean=mean, spread=spread)
        look_mean, look_spread = _moments(np.array([half._joined(of) for of in found]))
        hottest = _hottest([of.layers() for of in found])
        return replace(half, look_mean=look_mean, look_spread=look_spread, hottest=hottest)

    def read(self, look: TileLook) -> Evidence:
        """One image."""
        standing, oddness = self._standing(look), self._oddness(look)
        layers = (
            layer / usual for layer, usual in zip(standing.layers(), self.hottest, strict=True)
        )
        score = _log_mean_exp(np.append(self._told(standing), oddness))
        return Evidence(score, (*layers, np.array([[oddness]])))

    def told(self, look: TileLook) -> Float64:
        """(4,) what each look says: three in standard deviations of held-out images, and how many
        the image as a whole is beyond what says nothing."""
        return np.append(self._told(self._standing(look)), self._oddness(look))

    def _told(self, standing: _Standing) -> Float64:
        return (self._joined(standing) - self.look_mean) / self.look_spread

    def _joined(self, standing: _Standing) -> Float64:
        standardised = (standing.statistics() - self.mean) / self.spread
        return np.array([_log_mean_exp(standardised[look]) for look in LOOKS])

    def _oddness(self, look: TileLook) -> float:
        away = np.abs(_manner(look, self.guess) - self.manner_mean) / self.manner_spread
        return max(float(away.max()) - ODD_MANNER, 0.0)

    def _standing(self, look: TileLook) -> _Standing:
        from scipy.ndimage import uniform_filter

        ratios = _ratios(look.errors, self.guess)
        ratios = ratios / max(float(ratios.mean()), SMALLEST_SPREAD)
        boxes = np.maximum(uniform_filter(ratios, BOX, mode="reflect"), SMALLEST_SPREAD)
        return _Standing(ratios, boxes, (look.odds - self.odds[0]) / self.odds[1], look.surprise)


@dataclass(frozen=True)
class _Standing:
    """One image beside what is usual.

    Attributes:
        ratios: Errors over what is usual there and in this image.
        boxes: Their means over boxes.
        places: Standardised log odds.
        surprise: See `TileLook`.
    """

    ratios: Float64
    boxes: Float64
    places: Float64
    surprise: Float64

    def statistics(self) -> Float64:
        """(STATISTICS,) numbers of the whole image."""
        cells = [
            largest_mean(field, share)
            for field in np.moveaxis(self.surprise, -1, 0)
            for share in ODD_CELLS
        ]
        logs = [
            largest_mean(self.ratios, HOTTEST_PIXELS),
            largest_mean(self.boxes, HOTTEST_BOXES),
            *cells,
        ]
        logs = np.log(np.maximum(logs, SMALLEST_SPREAD)).tolist()
        return np.array([*logs[:2], largest_mean(self.places, HOTTEST_PLACES), *logs[2:]])

    def layers(self) -> tuple[Float64, ...]:
        """Where, a layer for each look; 0 is usual."""
        cells = np.log(np.maximum(self.surprise.mean(-1), SMALLEST_SPREAD))
        return np.log(self.boxes), self.places, cells


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


def _ratios(errors: Float64, guess: Float64) -> Float64:
    """Errors over what is usual there."""
    return np.minimum(errors, LARGEST_ERROR) / guess[distance_bins(errors)]


def _manner(look: TileLook, guess: Float64) -> Float64:
    """(MANNERS,) how the image as a whole is."""
    error = np.log(max(float(_ratios(look.errors, guess).mean()), SMALLEST_SPREAD))
    return np.append(error, look.roughness)


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
