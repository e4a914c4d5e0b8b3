"""What is usual: the terms of the score on the calibration rows, which others are compared with."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from anomaly.arrays import Bool, Float64
from anomaly.calibration import RELATIVE_TOLERANCE, SMALL_P, Rule, p_values, scale, threshold
from anomaly.scores import DividedScore, Score, ScoreTerms


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
        limits: (C,) beyond which a term is large, as on a share of `SMALL_P` of these rows.
        rest: Mean rest.
        parts: (n,) each, ascending, in nats; None where the rest of the score is no KL.
    """

    columns: tuple[str, ...]
    per_column: Float64
    limits: Float64
    rest: float
    parts: Parts | None

    @staticmethod
    def of(target_columns: Sequence[str], terms: ScoreTerms, score: Score) -> Baseline:
        """From the terms of calibration rows; `target_columns` (D,) names each target's column."""
        columns, per_column = by_column(target_columns, terms.per_target)
        parts = None
        if isinstance(score, DividedScore):
            parts = Parts(np.sort(terms.per_target.sum(-1)), np.sort(terms.rest))
        return Baseline(
            columns,
            per_column.mean(axis=0),
            np.array([_limit(terms) for terms in per_column.T]),
            float(terms.rest.mean()),
            parts,
        )

    def excess(self, target_columns: Sequence[str], terms: ScoreTerms) -> Float64:
        """(N, C) max(0, term - mean term), in the unit of the score."""
        _, per_column = by_column(target_columns, terms.per_target)
        found: Float64 = np.maximum(per_column - self.per_column, 0.0)
        return found

    def large(self, target_columns: Sequence[str], terms: ScoreTerms) -> Bool:
        """(N, C) where terms are beyond what is usual, on 5 % of normal rows; one that is not
        finite is."""
        _, per_column = by_column(target_columns, terms.per_target)
        found: Bool = ~(per_column <= self.limits)
        return found

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


def _limit(terms: Float64) -> float:
    ordered = np.sort(terms)
    beyond = threshold(ordered, SMALL_P, Rule.CONFORMAL)
    return beyond + RELATIVE_TOLERANCE * scale(ordered, beyond)
