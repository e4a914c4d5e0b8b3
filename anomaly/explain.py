"""Why a row is flagged: the score itself, taken apart by column."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from anomaly.arrays import Bool, Float64, Values
from anomaly.baseline import Baseline
from anomaly.scores import ScoreTerms

SMALLEST_SHARE = 0.01
"""A column with less of the excess than this is no reason."""

MOST_LEADING = 3
"""At most so many columns of a row, and half of them, are hidden when it is told what was expected
there: seen, an odd value would draw the reconstruction along."""


@dataclass(frozen=True)
class Reason:
    """One column's part in one row's score.

    Attributes:
        share: Of the excess of all columns, in [0, 1].
        expected: What the model reconstructs there, without seeing the columns that lead the row's
            excess; None where it has no single value (cyclic parts of a date).
        observed: What was there; None if missing.
    """

    column: str
    share: float
    expected: float | str | None
    observed: float | str | None


@dataclass(frozen=True)
class Attributions:
    """Shares of the excess score, one row a scored row.

    Attributes:
        columns: (C,) names.
        excess: (N, C) max(0, term - usual term), in the unit of the score.
        share: (N, C) excess over its sum; 0 where nothing exceeds the usual.
        kl_excess: (N,) the rest (the KL) beyond its usual value; a line of its own.
        expected, observed: For each column (N,), in the units of the records.
    """

    columns: tuple[str, ...]
    excess: Float64
    share: Float64
    kl_excess: Float64
    expected: dict[str, Values]
    observed: dict[str, Values]

    def leading(self) -> Bool:
        """(N, C) True for the columns that lead each row's excess; see `MOST_LEADING`."""
        most = min(MOST_LEADING, len(self.columns) // 2)
        order = np.argsort(-self.share, axis=1, kind="stable")[:, :most]
        lead = np.zeros(self.share.shape, dtype=bool)
        np.put_along_axis(lead, order, True, axis=1)
        return lead & (self.share >= SMALLEST_SHARE)

    def top(self, row: int, k: int = 3) -> list[Reason]:
        """The k columns with the largest share of that row, largest first; no share below 1 %."""
        order = np.argsort(-self.share[row], kind="stable")[:k]
        return [
            Reason(
                name := self.columns[j],
                float(self.share[row, j]),
                _plain(self.expected.get(name), row),
                _plain(self.observed.get(name), row),
            )
            for j in order
            if self.share[row, j] >= SMALLEST_SHARE
        ]


def attribute(
    target_columns: Sequence[str],
    baseline: Baseline,
    terms: ScoreTerms,
    observed: dict[str, Values],
) -> Attributions:
    """Attribute scores to columns against what is usual; nothing is expected yet."""
    excess = baseline.excess(target_columns, terms)
    total = excess.sum(axis=1, keepdims=True)
    share = np.divide(excess, total, out=np.zeros_like(excess), where=total > 0)
    return Attributions(baseline.columns, excess, share, terms.rest - baseline.rest, {}, observed)


def _plain(values: Values | None, row: int) -> float | str | None:
    """One value as JSON has it; None for missing and for what has no value."""
    if values is None:
        return None
    value = values[row]
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, np.datetime64):
        return None if np.isnat(value) else str(value)
    return None if np.isnan(value) else float(value)
