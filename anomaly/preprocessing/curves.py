"""Piecewise linear curves of many columns, looked up at once.

`np.interp` takes one column a call and searches each value among all knots, where the processor
cannot foresee which way to go. Here a table says near which knot a value lies, and all values take
the few steps that are left together. What is computed from the knot that is found is `np.interp`'s
own formula, so the results are equal to the bit.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from anomaly.arrays import Float64, Int64

CELLS = 512
"""Cells of the table for each column: twice as many as a column has knots."""


@dataclass(frozen=True)
class Curves:
    """G curves side by side, their knots one after the other in flat arrays.

    Attributes:
        middle, spread: (G,) where and how wide most knots of a curve lie.
        nearby: (G * (CELLS + 1),) for each cell the last knot below it, or the first of the curve.
        first: (G,) the first cell of each curve.
        steps: Powers of two, descending: together at least as many as knots lie in one cell.
        knots, levels, slopes: (G * W,), each curve ended by infinite knots.
    """

    middle: Float64
    spread: Float64
    nearby: Int64
    first: Int64
    steps: tuple[int, ...]
    knots: Float64
    levels: Float64
    slopes: Float64

    @staticmethod
    def through(points: Sequence[tuple[Float64, Float64]]) -> Curves:
        """Curves through the points (ascending positions, levels); equal positions have equal
        levels."""
        distinct = [_distinct(*curve) for curve in points]
        middle = np.array([positions[len(positions) // 2] for positions, _ in distinct])
        spread = np.array([_spread(positions) for positions, _ in distinct])
        cells = [
            _cells(positions, *where)
            for (positions, _), where in zip(
                distinct, zip(middle, spread, strict=True), strict=True
            )
        ]
        most = max((int(np.bincount(found).max()) for found in cells), default=0)
        steps = tuple(2**power for power in reversed(range(most.bit_length())))
        width = max((len(positions) for positions, _ in distinct), default=0) + sum(steps)
        nearby = [
            number * width + np.maximum(np.searchsorted(found, np.arange(CELLS + 1)) - 1, 0)
            for number, found in enumerate(cells)
        ]
        return Curves(
            middle,
            spread,
            _joined(nearby).astype(np.int64),
            np.arange(len(points)) * (CELLS + 1),
            steps,
            _joined([_padded(positions, width, np.inf) for positions, _ in distinct]),
            _joined([_padded(levels, width, 0.0) for _, levels in distinct]),
            _joined([_padded(_slopes(*curve), width, 0.0) for curve in distinct]),
        )

    def at(self, positions: Float64) -> Float64:
        """(N, G) levels at positions (N, G), none of them NaN or below its curve's first knot."""
        knot = self.nearby.take(_cells(positions, self.middle, self.spread) + self.first)
        for step in self.steps:
            knot += step * (self.knots[step:].take(knot) <= positions)
        levels: Float64 = self.slopes.take(knot) * (positions - self.knots.take(knot))
        levels += self.levels.take(knot)
        return levels


def _cells(positions: Float64, middle: Float64, spread: Float64) -> Int64:
    """The cell of each position, from 0 to `CELLS`.

    Half of the cells lie within one spread of the middle, the others reach to infinity. Each
    operation is monotone after rounding, and so are the cells.
    """
    with np.errstate(over="ignore"):
        aside = (positions - middle) / spread
    share = np.copysign(1.0 - 1.0 / (1.0 + np.abs(aside)), aside)
    return ((1.0 + share) * (CELLS / 2)).astype(np.int64)


def _distinct(positions: Float64, levels: Float64) -> tuple[Float64, Float64]:
    last = np.append(positions[1:] != positions[:-1], True)
    return positions[last], levels[last]


def _spread(positions: Float64) -> float:
    """Between the quartiles of the knots; 1 for a single knot."""
    return float(positions[3 * len(positions) // 4] - positions[len(positions) // 4]) or 1.0


def _slopes(positions: Float64, levels: Float64) -> Float64:
    with np.errstate(over="ignore"):
        slopes = np.append(np.diff(levels) / np.diff(positions), 0.0)
    # Knots as close as that have no float64 between them that could be asked for.
    return np.where(np.isfinite(slopes), slopes, 0.0)


def _padded(values: Float64, width: int, filler: float) -> Float64:
    return np.append(values, np.full(width - len(values), filler))


def _joined(parts: Sequence[Float64]) -> Float64:
    return np.concatenate([np.zeros(0), *parts])
