"""The formulas for numbers, applied to all numeric columns of a table at once.

Values are matrices (N, G): N rows of G numeric columns, NaN where missing. Every result is finite
for every finite float64, in the rows to score and in the rows that were fitted on alike.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from anomaly.arrays import Bool, Float64
from anomaly.preprocessing.curves import Curves
from anomaly.preprocessing.encodings import NumericEncoding

LINEAR_RANGE = 1e3
"""Targets grow linearly up to here, in standard deviations, and logarithmically beyond: squares
stay finite for every float64, and a value that is farther out still scores higher."""

RANGE_MARGIN = 3.0
"""The encoder's inputs saturate this many standard deviations outside the range of the fit rows.
Outside, the reconstruction no longer moves, so the score grows with the distance."""

LARGEST = 1e308
"""Where a result would overflow, it stays here."""


def power_of_two(size: float) -> float:
    """The smallest power of two above a positive number, as far as float64 has one."""
    return math.ldexp(1.0, min(math.frexp(size)[1], 1023))


def in_scales(values: Float64, origin: Float64, scale: Float64) -> Float64:
    """(value - origin) / scale, finite for every finite float64; NaN stays NaN."""
    with np.errstate(over="ignore"):
        # Halved, because the difference of two float64 can exceed the largest one.
        return clipped((values / 2 - origin / 2) / (scale / 2), -LARGEST, LARGEST)


def clipped(values: Float64, low: Float64 | float, high: Float64 | float) -> Float64:
    """`np.clip` without its checks, which for few rows take longer than the comparisons."""
    within: Float64 = np.minimum(np.maximum(values, low), high)
    return within


def compressed(z: Float64) -> Float64:
    """Standardised values, logarithmic beyond `LINEAR_RANGE`; strictly increasing."""
    far = np.nonzero(np.abs(z) > LINEAR_RANGE)
    if not len(far[0]):
        return z
    squeezed = z.copy()
    squeezed[far] = np.sign(z[far]) * (LINEAR_RANGE + np.log1p(np.abs(z[far]) - LINEAR_RANGE))
    return squeezed


@dataclass(frozen=True)
class NumericColumns:
    """The constants of G numeric columns, side by side.

    Attributes:
        center, scale, low, high: (G,) as in `NumericEncoding`.
        unit: (G,) a power of two near the largest value: in it, no difference overflows.
        ranks: For each column its quantiles in units of `unit`, and their normal scores.
    """

    center: Float64
    scale: Float64
    low: Float64
    high: Float64
    unit: Float64
    ranks: tuple[tuple[Float64, Float64], ...]

    @staticmethod
    def of(encodings: Sequence[NumericEncoding]) -> NumericColumns:
        """The constants of each column, stacked."""
        units = [power_of_two(max(-e.low, e.high)) for e in encodings]
        return NumericColumns(
            np.array([e.center for e in encodings], dtype=np.float64),
            np.array([e.scale for e in encodings], dtype=np.float64),
            np.array([e.low for e in encodings], dtype=np.float64),
            np.array([e.high for e in encodings], dtype=np.float64),
            np.array(units, dtype=np.float64),
            tuple(
                (e.quantiles / unit, e.normal_scores)
                for e, unit in zip(encodings, units, strict=True)
            ),
        )

    def standardised(self, values: Float64) -> Float64:
        """(N, G) (value - center) / scale, finite for every finite float64; NaN stays NaN."""
        return in_scales(values, self.center, self.scale)

    def ranked(self, values: Float64) -> Float64:
        """(N, G) normal scores of the ranks, continued linearly outside the fit rows' range."""
        # Missing ones are looked up as the largest, and are missing again below.
        inside = np.fmax(np.fmin(values, self.high), self.low)
        scores = self._rank_curves.at(inside / self.unit)
        outside = np.nonzero(values != inside)
        if len(outside[0]):
            beyond = in_scales(values[outside], inside[outside], self.scale[outside[1]])
            scores[outside] += beyond
        return scores

    def saturated(self, values: Float64) -> Float64:
        """(N, G) the values, kept within the range that the encoder sees."""
        return clipped(values, *self._seen_range)

    def saturated_standardised(self, standardised: Float64) -> Float64:
        """(N, G) what `standardised` makes of saturated values, from what it makes of all."""
        return clipped(standardised, *self._seen_standardised)

    def out_of_range(self, values: Float64) -> Bool:
        """(N, G) True where the encoder's inputs saturate."""
        low, high = self._seen_range
        outside: Bool = (values < low) | (values > high)
        return outside

    def restore(self, targets: Float64) -> Float64:
        """(N, G) values whose standardised form is `targets`, within the linear range; finite."""
        with np.errstate(over="ignore"):
            values: Float64 = np.clip(self.center + self.scale * targets, -LARGEST, LARGEST)
        return values

    def restore_ranked(self, targets: Float64) -> Float64:
        """(N, G) values whose normal scores are `targets`; finite."""
        values = np.empty_like(targets)
        for column, (quantiles, normal_scores) in enumerate(self.ranks):
            distinct, first = np.unique(normal_scores, return_index=True)
            inside = np.clip(targets[:, column], distinct[0], distinct[-1])
            within = np.interp(inside, distinct, quantiles[first]) * self.unit[column]
            with np.errstate(over="ignore"):
                beyond = (targets[:, column] - inside) * self.scale[column]
                values[:, column] = np.clip(within + beyond, -LARGEST, LARGEST)
        return values

    @cached_property
    def _rank_curves(self) -> Curves:
        return Curves.through(self.ranks)

    @cached_property
    def _seen_range(self) -> tuple[Float64, Float64]:
        with np.errstate(over="ignore"):
            margin = RANGE_MARGIN * self.scale
            return self.low - margin, self.high + margin

    @cached_property
    def _seen_standardised(self) -> tuple[Float64, Float64]:
        # Standardising is monotone after rounding, too: the same bits as of saturated values.
        low, high = self._seen_range
        return self.standardised(low), self.standardised(high)
