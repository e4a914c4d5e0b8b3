"""What the fit rows looked like, column by column, to compare later rows with.

Histograms only. A number is counted in bins that held about equally many fit rows, a category by
its name, a missing value in a bin of its own.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Annotated, Any

import numpy as np
from pydantic import ConfigDict, Field, TypeAdapter
from pydantic.dataclasses import dataclass as config_dataclass

from anomaly.arrays import Float64, Int64, Values
from anomaly.distances import psi, psi_noise, wasserstein

STRICT = ConfigDict(extra="forbid", allow_inf_nan=False)
Rows = Annotated[int, Field(ge=0)]

MOST_BINS = 10
ROWS_OF_A_BIN = 50
"""Fit rows at least: fewer bins for a small table, whose shares are not known well."""

MOST_LEVELS = 50
"""Categories with a bin of their own, the most common; all others share one."""

TAIL = 0.01
"""The outer bins end at this quantile and its mirror image, for the Wasserstein distance."""

SCORE_LEVELS = (0.01, 0.025, *np.arange(0.05, 0.951, 0.05).round(2).tolist(), 0.975, 0.99)

ROUNDING = 1e-9
"""Relative difference of numbers up to which they may be the same number, computed elsewhere."""

SCORES_BEYOND = (1.25, 1.5, 2.0, 3.0, 5.0, 10.0, 30.0)
"""And edges so many times as far above the median as the highest of those: rows that shaped a model
score lower than others, and anomalies higher than all others."""

LARGEST = float(np.finfo(np.float64).max)

FARTHEST = 1e3
"""Standard deviations at which a value counts for the mean, at most."""


@config_dataclass(frozen=True, config=STRICT)
class NumberReference:
    """A column of numbers on the fit rows.

    Attributes:
        edges: (B - 1,) ascending; a value equal to an edge lies below it.
        counts: (B,) fit rows in each bin.
        low, high: Where the outer bins end.
        mean, sd: Of the values that were there; sd is 1 where they are all the same.
    """

    name: str
    edges: tuple[float, ...]
    counts: tuple[Rows, ...]
    missing: Rows
    low: float
    high: float
    mean: float
    sd: Annotated[float, Field(gt=0)]

    def __post_init__(self) -> None:
        if len(self.counts) != len(self.edges) + 1 or (np.diff(self.edges) <= 0).any():
            raise ValueError(f"the bins of {self.name!r} do not hold together")

    @cached_property
    def knots(self) -> Float64:
        """(B + 1,) the ends of all bins, in standard deviations."""
        inner = np.array(self.edges)
        low, high = min(self.low, *self.edges, self.high), max(self.high, *self.edges, self.low)
        return np.array([low, *inner, high]) / self.sd


@config_dataclass(frozen=True, config=STRICT)
class CategoryReference:
    """A column of categories on the fit rows.

    Attributes:
        levels: The most common ones.
        counts: Fit rows of each level, and last of all others.
    """

    name: str
    levels: tuple[str, ...]
    counts: tuple[Rows, ...]
    missing: Rows

    def __post_init__(self) -> None:
        if len(self.counts) != len(self.levels) + 1:
            raise ValueError(f"the levels of {self.name!r} do not hold together")

    def counted(self, values: Values) -> Int64:
        """(C + 2,) how many values are of each level, of another, and missing."""
        found = Counter(values.tolist())
        missing = found.pop(None, 0)
        known = [found.pop(level, 0) for level in self.levels]
        return np.array([*known, found.total(), missing], dtype=np.int64)


@dataclass(frozen=True)
class Watched:
    """N rows, as far as they are watched.

    Attributes:
        numbers: (N, G), NaN where missing.
        categories: For each column of categories (N,) text or None.
    """

    numbers: Float64
    categories: tuple[Values, ...] = ()

    def __len__(self) -> int:
        return len(self.numbers)

    @property
    def nbytes(self) -> int:
        """The memory that they take, without texts."""
        return self.numbers.nbytes + sum(values.nbytes for values in self.categories)

    def take(self, rows: Int64) -> Watched:
        """The given rows, in the given order."""
        return Watched(self.numbers[rows], tuple(values[rows] for values in self.categories))

    @staticmethod
    def together(parts: Sequence[Watched]) -> Watched:
        """All rows of all parts."""
        if len(parts) == 1:
            return parts[0]
        return Watched(
            np.concatenate([part.numbers for part in parts]),
            tuple(map(np.concatenate, zip(*(part.categories for part in parts), strict=True))),
        )


@dataclass(frozen=True)
class Tally:
    """What was counted on some rows.

    Attributes:
        counts: Of all bins of all columns, one behind the other, the missing last in each.
        sums: (G,) of the numbers that are there, in standard deviations from the mean.
    """

    rows: int
    counts: Int64
    sums: Float64

    def __add__(self, other: Tally) -> Tally:
        return Tally(self.rows + other.rows, self.counts + other.counts, self.sums + other.sums)


@dataclass(frozen=True)
class Drift:
    """How one column differs from the fit rows.

    Attributes:
        psi: See `anomaly.distances.psi`; a missing value has a bin of its own.
        wasserstein: In standard deviations of the fit rows; None for categories, and where no value
            is there. At least the distance of the means: histograms do not know how far out a value
            lies.
        missing, usually_missing: Shares of all rows.
    """

    feature: str
    psi: float
    wasserstein: float | None
    missing: float
    usually_missing: float


@config_dataclass(frozen=True, config=STRICT)
class Reference:
    """The fit rows, column by column.

    Attributes:
        numbers, categories: In the order in which `Watched` holds them.
        score_edges: Bins for scores, from rows that shaped the model and never from calibration
            rows, which are ranked in them (`anomaly.martingale`).
    """

    numbers: tuple[NumberReference, ...]
    categories: tuple[CategoryReference, ...]
    score_edges: Annotated[tuple[float, ...], Field(min_length=1)]

    def __post_init__(self) -> None:
        if (np.diff(self.score_edges) <= 0).any():
            raise ValueError("the bins of scores do not ascend")

    @staticmethod
    def of(
        number_names: Sequence[str],
        category_names: Sequence[str],
        rows: Watched,
        scores: Float64,
    ) -> Reference:
        """The reference of fit rows.

        Args:
            scores: Of rows that shaped the model.
        """
        numbers = [
            _of_numbers(name, rows.numbers[:, column]) for column, name in enumerate(number_names)
        ]
        categories = map(_of_categories, category_names, rows.categories)
        return Reference(tuple(numbers), tuple(categories), tuple(score_edges(scores).tolist()))

    @property
    def features(self) -> tuple[str, ...]:
        """The names of all columns."""
        return tuple(column.name for column in self._columns)

    @property
    def missing_shares(self) -> tuple[float, ...]:
        """Of the fit rows, by column."""
        return tuple(of.missing / (sum(of.counts) + of.missing) for of in self._columns)

    @property
    def nothing(self) -> Tally:
        """A tally of no rows."""
        return Tally(0, np.zeros(sum(self._sizes), np.int64), np.zeros(len(self.numbers)))

    def tally(self, rows: Watched) -> Tally:
        """Count rows in the bins of every column."""
        # In order: how many values an edge does not exceed is one search, and NaN comes last.
        ordered = rows.numbers.T.copy()
        ordered.sort(axis=1)
        counts = [self._number_counts(ordered)] if self.numbers else []
        pairs = zip(self.categories, rows.categories, strict=True)
        counts += [of.counted(values) for of, values in pairs]
        return Tally(len(rows), np.concatenate(counts), self._sums(ordered))

    def drifts(self, tally: Tally) -> list[Drift]:
        """How each column of the counted rows, of which there is at least one, differs."""
        parts = np.split(tally.counts, np.cumsum(self._sizes)[:-1])
        sums = [*tally.sums.tolist(), *[0.0] * len(self.categories)]
        of_each = zip(self._columns, parts, sums, strict=True)
        return [_drift(of, counts, total) for of, counts, total in of_each]

    def psi_by_chance(self, rows: int) -> float:
        """About what the PSI of so many rows is on average without drift, in the column with the
        most bins."""
        return max(
            (
                psi_noise(len(of.counts) + 1, sum(of.counts) + of.missing, rows)
                for of in self._columns
            ),
            default=0.0,
        )

    def to_plain(self) -> Any:
        """As dictionaries and lists, as JSON has them."""
        return _ADAPTER.dump_python(self, mode="json")

    @staticmethod
    def from_json(text: bytes) -> Reference:
        """Parse and check.

        Raises:
            pydantic.ValidationError: not JSON, or not a reference.
        """
        return _ADAPTER.validate_json(text)

    def _number_counts(self, ordered: Float64) -> Int64:
        """Of the bins of each column, of values (G, N) in ascending order."""
        ends = [
            values.searchsorted(edges, side="right")
            for values, edges in zip(ordered, self._bin_ends, strict=True)
        ]
        # The last bin of each column is for the missing: up to there lie all rows.
        rows = ordered.shape[1]
        up_to = np.full(sum(self._sizes[: len(ends)]), rows)
        up_to[self._filled_bins] = np.concatenate(ends)
        counts = np.diff(up_to, prepend=0)
        counts[self._first_bins[1:]] += rows
        return counts

    def _sums(self, ordered: Float64) -> Float64:
        """(G,) sums of values (G, N), in ascending order, in standard deviations from the mean."""
        mean, sd = self._moments
        with np.errstate(over="ignore", invalid="ignore"):
            z = (ordered - mean) / sd
            sums = z.sum(axis=1)
        # Those with a value far out, which come first and last, or with a gap, which comes last.
        unusual = ~((z[:, :1] >= -FARTHEST) & (z[:, -1:] <= FARTHEST)).all(axis=1)
        if unusual.any():
            sums[unusual] = np.nansum(np.clip(z[unusual], -FARTHEST, FARTHEST), axis=1)
        found: Float64 = sums
        return found

    @property
    def _columns(self) -> tuple[NumberReference | CategoryReference, ...]:
        return (*self.numbers, *self.categories)

    @cached_property
    def _sizes(self) -> list[int]:
        return [len(column.counts) + 1 for column in self._columns]

    @cached_property
    def _first_bins(self) -> Int64:
        return np.cumsum([0, *self._sizes])[: len(self.numbers)]

    @cached_property
    def _filled_bins(self) -> Int64:
        """All bins of numbers but those for the missing."""
        sizes = self._sizes[: len(self.numbers)]
        return np.setdiff1d(np.arange(sum(sizes)), np.cumsum(sizes) - 1)

    @cached_property
    def _bin_ends(self) -> list[Float64]:
        """Of each column of numbers the largest value of each bin."""
        return [np.array([*of.edges, np.inf]) for of in self.numbers]

    @cached_property
    def _moments(self) -> tuple[Float64, Float64]:
        """(G, 1) means and standard deviations of the columns of numbers."""
        moments = np.array([(of.mean, of.sd) for of in self.numbers]).reshape(-1, 2)
        return moments[:, :1], moments[:, 1:]


_ADAPTER = TypeAdapter(Reference)
_NONE = np.zeros(0, dtype=np.int64)


def score_edges(scores: Float64) -> Float64:
    """(E,) ascending: bins for scores, finer where few are."""
    edges = np.quantile(scores, SCORE_LEVELS, method="inverted_cdf")
    median = np.quantile(scores, 0.5, method="inverted_cdf")
    with np.errstate(over="ignore"):
        beyond = median + np.array(SCORES_BEYOND) * (edges[-1] - median)
    return np.unique(np.concatenate([edges, np.minimum(beyond, LARGEST)]))


def number_edges(values: Float64) -> Float64:
    """(B - 1,) edges between bins of about equally many of the values, which are all there.

    A value that is in a bin alone has edges on both sides, so that others are told from it. Edges
    lie a little beyond values, so that rounding does not move a value to another bin.
    """
    distinct, counts = np.unique(values, return_counts=True)
    if not len(distinct):
        return np.zeros(1)
    bins = min(MOST_BINS, max(2, len(values) // ROWS_OF_A_BIN))
    ends = np.arange(len(distinct))
    if len(distinct) > bins:
        # By the middle of its ranks, so that a value of many rows shares a bin with few others.
        middles = (np.cumsum(counts) - counts / 2) / len(values)
        ends = np.flatnonzero(np.diff(np.floor(bins * middles)))
        if ends[-1] == len(distinct) - 2:
            ends = np.append(ends, len(distinct) - 1)
    edges = _beyond(distinct)[ends]
    if ends[0] == 0 and distinct[0] > -LARGEST:
        edges = np.concatenate([[-_beyond(-distinct[:1])[0]], edges])
    return edges


def _beyond(ascending: Float64) -> Float64:
    """Numbers a little larger than these, each below the next of these."""
    next_ones = np.append(ascending[1:], np.inf)
    with np.errstate(over="ignore"):
        beyond = ascending + np.maximum(ROUNDING * np.abs(ascending), np.finfo(np.float64).tiny)
        between = ascending / 2 + next_ones / 2
    beyond = np.minimum(np.minimum(beyond, between), LARGEST)
    # Of neighbouring floats none lies between.
    return np.where(beyond < next_ones, np.maximum(beyond, ascending), ascending)


def _of_numbers(name: str, values: Float64) -> NumberReference:
    there = values[~np.isnan(values)]
    edges = number_edges(there)
    counts = np.bincount(np.searchsorted(edges, there, side="left"), minlength=len(edges) + 1)
    some = there if len(there) else np.zeros(1)
    low, high = np.quantile(some, (TAIL, 1 - TAIL), method="inverted_cdf").tolist()
    # In a unit in which no sum overflows, and no square vanishes.
    unit = float(np.abs(some).max()) or 1.0
    mean, sd = unit * float((some / unit).mean()), unit * float((some / unit).std())
    is_constant = some.min() == some.max() or sd == 0
    return NumberReference(
        name,
        tuple(edges.tolist()),
        tuple(counts.tolist()),
        len(values) - len(there),
        low,
        high,
        mean,
        1.0 if is_constant else sd,
    )


def _of_categories(name: str, values: Values) -> CategoryReference:
    found = Counter(values.tolist())
    missing = found.pop(None, 0)
    common = found.most_common(MOST_LEVELS)
    levels, counts = [level for level, _ in common], [count for _, count in common]
    return CategoryReference(name, tuple(levels), (*counts, found.total() - sum(counts)), missing)


def _drift(of: NumberReference | CategoryReference, counts: Int64, total: float) -> Drift:
    reference = np.array([*of.counts, of.missing])
    rows, fit_rows = counts.sum(), reference.sum()
    there, usual = counts[:-1], reference[:-1]
    distance = None
    if isinstance(of, NumberReference) and there.any() and usual.any():
        distance = max(wasserstein(of.knots, usual, there), abs(total) / int(there.sum()))
    return Drift(
        of.name,
        psi(reference, counts),
        distance,
        float(counts[-1] / rows),
        float(of.missing / fit_rows),
    )
