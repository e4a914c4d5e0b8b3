"""What is usual: the terms of the score on the calibration rows, which others are compared with."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from anomaly.arrays import Float64
from anomaly.calibration import Rule, p_values
from anomaly.scores import DividedScore, Score, ScoreTerms

MOST_EXCESS = 100.0
"""Usual excesses that one row counts for in a mean, at most: one broken value in ten thousand rows
must not hide what all others say."""


@dataclass(frozen=True)
class Parts:
    """The parts of scores whose rest is a KL, or the ranks of those parts.

    Attributes:
        reconstruction, kl: (N,)
    """

    reconstruction: Float64
    kl: Float64

    @staticmethod
    def together(parts: Sequence[Parts]) -> Parts:
        """Those of all rows."""
        return Parts(
            np.concatenate([part.reconstruction for part in parts]),
            np.concatenate([part.kl for part in parts]),
        )


@dataclass(frozen=True)
class Baseline:
    """Terms on the n calibration rows.

    Attributes:
        columns: (C,) names of the explained columns.
        per_column: (C,) mean term of each.
        usual_excess: (C,) mean of max(0, term - mean term).
        rest: Mean rest.
        parts: (n,) each, ascending, in nats; None where the rest of the score is no KL.
    """

    columns: tuple[str, ...]
    per_column: Float64
    usual_excess: Float64
    rest: float
    parts: Parts | None

    @staticmethod
    def of(target_columns: Sequence[str], terms: ScoreTerms, score: Score) -> Baseline:
        """From the terms of calibration rows; `target_columns` (D,) names each target's column."""
        columns, per_column = by_column(target_columns, terms.per_target)
        mean = per_column.mean(axis=0)
        parts = None
        if isinstance(score, DividedScore):
            parts = Parts(np.sort(terms.per_target.sum(-1)), np.sort(terms.rest))
        return Baseline(
            columns,
            mean,
            np.maximum(per_column - mean, 0.0).mean(axis=0),
            float(terms.rest.mean()),
            parts,
        )

    def excess(self, target_columns: Sequence[str], terms: ScoreTerms) -> Float64:
        """(N, C) max(0, term - mean term), in the unit of the score."""
        _, per_column = by_column(target_columns, terms.per_target)
        found: Float64 = np.maximum(per_column - self.per_column, 0.0)
        return found

    def relative_excess(self, target_columns: Sequence[str], terms: ScoreTerms) -> Float64:
        """(N, C) the same over the usual excess, so that it is 1 on average on normal rows; at most
        `MOST_EXCESS`."""
        # A term that is not finite says that something is broken: it counts for the most.
        return np.fmin(self.excess(target_columns, terms) / self._unit, MOST_EXCESS)

    def ranks(self, terms: ScoreTerms) -> Parts | None:
        """(N,) each, in (0, 1], small where the part is unusually large: as p-values of each part
        alone, among the calibration rows. None where the score has no such parts."""
        if self.parts is None:
            return None

        def among(usual: Float64, found: Float64) -> Float64:
            return p_values(usual, found, Rule.CONFORMAL, 0.0)

        reconstruction = terms.per_target.sum(-1)
        return Parts(
            among(self.parts.reconstruction, reconstruction), among(self.parts.kl, terms.rest)
        )

    @cached_property
    def _unit(self) -> Float64:
        """(C,) the usual excess; where terms do not vary, that of the other columns."""
        varies = self.usual_excess > 0
        other = float(self.usual_excess[varies].mean()) if varies.any() else 1.0
        return np.where(varies, self.usual_excess, other)


def by_column(
    target_columns: Sequence[str], per_target: Float64
) -> tuple[tuple[str, ...], Float64]:
    """Terms (N, D) summed over the targets of each column, (N, C), in order of appearance."""
    columns = tuple(dict.fromkeys(target_columns))
    if len(columns) == len(target_columns):
        return columns, per_target
    place = {name: number for number, name in enumerate(columns)}
    owner = np.array([place[name] for name in target_columns])
    membership = (owner[:, None] == np.arange(len(columns))).astype(np.float64)
    return columns, per_target @ membership
