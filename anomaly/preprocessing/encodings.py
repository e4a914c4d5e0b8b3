"""One column, frozen: how its values become inputs of the encoder and a target of the likelihood.

Four encodings, one for each kind. Numbers become one Gaussian target, booleans one Bernoulli
target, categories one categorical target, and each cyclic part of a date two Gaussian targets.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from anomaly.arrays import Bool, Float64, Int64, Values
from anomaly.data.schema import Cycle

LINEAR_RANGE = 1e3
"""Targets grow linearly up to here, in standard deviations, and logarithmically beyond: squares
stay finite for every float64, and a value that is farther out still scores higher."""

RANGE_MARGIN = 3.0
"""The encoder's inputs saturate this many standard deviations outside the range of the fit rows.
Outside, the reconstruction no longer moves, so the score grows with the distance."""

RELATIVE_ROUNDING = 1e-9
"""A constant that differs by this share of itself or less has not changed."""

LARGEST = 1e308
"""Where a result would overflow, it stays here."""


def power_of_two(size: float) -> float:
    """The smallest power of two above a positive number, as far as float64 has one."""
    return math.ldexp(1.0, min(math.frexp(size)[1], 1023))


def in_scales(values: Values, origin: Float64 | float, scale: float) -> Float64:
    """(value - origin) / scale, finite for every finite float64; NaN stays NaN."""
    with np.errstate(over="ignore"):
        # Halved, because the difference of two float64 can exceed the largest one.
        quotient: Float64 = np.clip((values / 2 - origin / 2) / (scale / 2), -LARGEST, LARGEST)
    return quotient


@dataclass(frozen=True)
class NumericEncoding:
    """A number: standardised, and beside it mapped to normal scores by its rank.

    Attributes:
        center, scale: Of the fit rows; scale > 0.
        low, high: Smallest and largest of the fit rows.
        quantiles: (Q,) ascending values of the fit rows.
        normal_scores: (Q,) the standard normal quantile of each; equal for equal values.
    """

    name: str
    center: float
    scale: float
    low: float
    high: float
    quantiles: Float64
    normal_scores: Float64

    @property
    def unit(self) -> float:
        """A power of two near the largest of the fit rows: in it, no difference overflows."""
        return power_of_two(max(-self.low, self.high))

    def standardised(self, values: Values) -> Float64:
        """(value - center) / scale, finite for every finite float64; NaN stays NaN."""
        return in_scales(values, self.center, self.scale)

    def compressed(self, z: Float64) -> Float64:
        """The same, logarithmic beyond `LINEAR_RANGE`; strictly increasing."""
        excess = np.maximum(np.abs(z) - LINEAR_RANGE, 0.0)
        compressed: Float64 = np.where(
            excess > 0, np.sign(z) * (LINEAR_RANGE + np.log1p(excess)), z
        )
        return compressed

    def ranked(self, values: Values) -> Float64:
        """Normal score of the value's rank, continued linearly outside the fit rows' range."""
        inside = np.clip(values, self.low, self.high)
        scores: Float64 = np.interp(
            inside / self.unit, self.quantiles / self.unit, self.normal_scores
        )
        return scores + in_scales(values, inside, self.scale)

    def saturated(self, values: Values) -> Float64:
        """The value, kept within the range that the encoder sees."""
        margin = RANGE_MARGIN * self.scale
        return np.clip(values, self.low - margin, self.high + margin)

    def out_of_range(self, values: Values) -> Bool:
        """(N,) True where the encoder's inputs saturate."""
        margin = RANGE_MARGIN * self.scale
        return (values < self.low - margin) | (values > self.high + margin)

    def restore(self, targets: Float64) -> Float64:
        """Values whose standardised form is `targets`, within the linear range; finite."""
        with np.errstate(over="ignore"):
            values: Float64 = np.clip(self.center + self.scale * targets, -LARGEST, LARGEST)
        return values


@dataclass(frozen=True)
class BooleanEncoding:
    """0 or 1."""

    name: str


@dataclass(frozen=True)
class CategoricalEncoding:
    """A category: its code, or the last code for every category that the fit rows do not have."""

    name: str
    categories: tuple[str, ...]

    @property
    def classes(self) -> int:
        """C, the unknown class included."""
        return len(self.categories) + 1

    def codes(self, values: Values) -> Int64:
        """(N,) in [0, C - 1]; -1 where missing."""
        unknown = len(self.categories)
        lookup: dict[str | None, int] = {name: code for code, name in enumerate(self.categories)}
        lookup[None] = -1
        return np.array([lookup.get(value, unknown) for value in values], dtype=np.int64)


@dataclass(frozen=True)
class CyclicEncoding:
    """One cyclic part of a date: sine and cosine of its phase."""

    name: str
    cycle: Cycle

    def phases(self, values: Values) -> Float64:
        """(N, 2) sine and cosine; NaN where missing."""
        angle = 2 * np.pi * cycle_share(values.astype("datetime64[us]"), self.cycle)
        return np.stack([np.sin(angle), np.cos(angle)], axis=1)


def cycle_share(times: Values, cycle: Cycle) -> Float64:
    """Which share of the cycle has passed, in [0, 1); NaN where the time is missing."""
    day = np.timedelta64(1, "D")
    match cycle:
        case Cycle.HOUR_OF_DAY:
            start, length = times.astype("datetime64[D]"), day
        case Cycle.DAY_OF_WEEK:
            # NumPy's weeks start on Thursday, the first day of 1970; only the phase shifts.
            start, length = times.astype("datetime64[W]"), 7 * day
        case Cycle.DAY_OF_YEAR:
            start = times.astype("datetime64[Y]")
            length = (start + np.timedelta64(1, "Y")).astype("datetime64[D]") - start.astype(
                "datetime64[D]"
            )
    share = (times - start.astype("datetime64[us]")) / length
    return np.where(np.isnat(times), np.nan, share)


@dataclass(frozen=True)
class ConstantColumn:
    """A column with one value on all fit rows: dropped, but watched.

    Attributes:
        value: The value, or None if the column was always empty.
    """

    name: str
    value: str | float | None

    def changed(self, values: Values) -> Bool:
        """(N,) True where the value is present and another one, by more than rounding."""
        if isinstance(self.value, str):
            return np.array([v is not None and v != self.value for v in values], dtype=bool)
        if values.dtype == object:
            return np.array([v is not None for v in values], dtype=bool)
        if np.issubdtype(values.dtype, np.datetime64):
            return ~np.isnat(values)
        present = ~np.isnan(values)
        if self.value is None:
            return present
        near = RELATIVE_ROUNDING * abs(self.value)
        return present & ((values < self.value - near) | (values > self.value + near))


Encoding = NumericEncoding | BooleanEncoding | CategoricalEncoding | CyclicEncoding
