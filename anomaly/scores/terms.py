"""What every score gives, and what stands in for missing entries."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from anomaly.arrays import Bool, Float64, Int64, Tensor


@dataclass(frozen=True)
class ScoreTerms:
    """Scores of N rows, taken apart: score = per_target.sum(-1) + rest.

    Attributes:
        per_target: (N, D) float64, higher is worse.
        rest: (N,) float64, what belongs to no target: the KL, or the correction of a bound.
    """

    per_target: Tensor
    rest: Tensor

    @property
    def scores(self) -> Float64:
        """(N,) float64, higher is more anomalous; of NumPy terms."""
        scores: Float64 = self.per_target.sum(-1) + self.rest
        return scores

    @property
    def nbytes(self) -> int:
        """The memory that they take; of NumPy terms."""
        return int(self.per_target.nbytes + self.rest.nbytes)

    @staticmethod
    def together(parts: Sequence[ScoreTerms]) -> ScoreTerms:
        """Those of all rows of all parts; of NumPy terms."""
        return ScoreTerms(
            np.concatenate([part.per_target for part in parts]),
            np.concatenate([part.rest for part in parts]),
        )

    def take(self, rows: Int64) -> ScoreTerms:
        """Those of the given rows, in the given order."""
        return ScoreTerms(self.per_target[rows], self.rest[rows])


@dataclass(frozen=True)
class MissingFill:
    """What stands in for the terms of missing entries, so that scores stay comparable.

    A missing entry contributes that target's mean term on rows that trained, and the
    share of the rest (the KL) that its target would have caused, on average.

    Attributes:
        per_target: (D,) float64.
        rest: Mean rest of a complete row.
    """

    per_target: Float64
    rest: float

    @staticmethod
    def of(terms: ScoreTerms, observed: Bool) -> MissingFill:
        """Means over rows; a target that was never observed has the mean term 0.

        Rows with gaps have less KL than complete ones, about in proportion, so the mean is divided
        by the share of entries that are there: `rest` is what a complete row would have.
        """
        counts = observed.sum(axis=0)
        sums = np.where(observed, terms.per_target, 0.0).sum(axis=0)
        # Rows without any entry say nothing of a complete one.
        rest = float(terms.rest.mean() / (observed.mean() or 1.0))
        return MissingFill(sums / np.maximum(counts, 1), rest)

    def fill(self, terms: ScoreTerms, observed: Bool) -> ScoreTerms:
        """The terms with every missing entry filled; complete rows are unchanged to the bit."""
        if observed.all():
            return terms
        share_missing = 1.0 - observed.mean(axis=1)
        return ScoreTerms(
            np.where(observed, terms.per_target, self.per_target),
            terms.rest + share_missing * self.rest,
        )
