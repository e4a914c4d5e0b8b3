"""One column, frozen: how its values become inputs of the encoder and a target of the likelihood.

Four encodings, one for each kind. Numbers become one Gaussian target, booleans one Bernoulli
target, categories one categorical target, and each cyclic part of a date two Gaussian targets.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from anomaly.arrays import Bool, Float64, Int64, Values
from anomaly.data.schema import Cycle

RELATIVE_ROUNDING = 1e-9
"""A constant that differs by this share of itself or less has not changed."""


@dataclass(frozen=True)
class NumericEncoding:
    """A number: standardised, and beside it mapped to normal scores by its rank.

    Only the constants; `anomaly.preprocessing.numbers` applies those of many columns at once.

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
