"""False-alarm rates over many divisions of the same scores into calibration and test rows.

Given the fit, held-out normal rows are exchangeable: every division of their scores is one draw of
what a user could have met. Scores are computed once, and the expected rate over divisions is at
most alpha exactly, whatever the scores.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from anomaly.arrays import Bool, Float64, Int64
from anomaly.calibration import calibrate

STANDARD_ERRORS = 3.29
"""One-sided chance of 5e-4 for each rate: room for luck, none for an error of 1 / (n + 1)."""

Flag = Callable[[Float64, Float64, float], Bool]
"""Calibration scores (n,), test scores (m,), alpha -> which test rows are flagged, (m,)."""


@dataclass(frozen=True)
class Rate:
    """A mean false-alarm rate, and how sure it is.

    Attributes:
        standard_error: From the spread between divisions (or refits).
    """

    alpha: float
    mean: float
    standard_error: float

    @staticmethod
    def of(alpha: float, rates: Float64) -> Rate:
        """From one rate for each division."""
        return Rate(alpha, float(rates.mean()), float(rates.std(ddof=1) / np.sqrt(len(rates))))

    @property
    def bound(self) -> float:
        """The largest mean that is still luck."""
        return self.alpha + STANDARD_ERRORS * self.standard_error

    @property
    def holds(self) -> bool:
        return self.mean <= self.bound


def conformal(calibration: Float64, test: Float64, alpha: float) -> Bool:
    """The project's own verdicts."""
    calibrated = calibrate(calibration, alpha)
    return calibrated.is_anomaly(calibrated.p_values(test))


def off_by_one(calibration: Float64, test: Float64, alpha: float) -> Bool:
    """The negative control: the new row is forgotten in p, (0 + c) / (n + 1) for (1 + c) / (n + 1).

    One quantile index too low; expected false-alarm rate alpha + 1 / (n + 1).
    """
    ordered = np.sort(calibration)
    at_least_as_large = len(ordered) - np.searchsorted(ordered, test, side="left")
    flagged: Bool = at_least_as_large / (len(ordered) + 1) <= alpha
    return flagged


@dataclass(frozen=True)
class Resplits:
    """Divisions of N held-out rows into calibration and test rows.

    Attributes:
        scores: (N,) as calibration rows.
        n_calibration: How many of them calibrate; the others test.
        splits: How often they are divided.
        arriving: (N,) scores of the same rows as test rows, where they differ.
    """

    scores: Float64
    n_calibration: int
    splits: int
    seed: int
    arriving: Float64 | None = None

    def flags(self, alpha: float, flag: Flag = conformal) -> Iterator[tuple[Int64, Bool]]:
        """For each division the test rows and which of them are flagged."""
        rng = np.random.default_rng(self.seed)
        arriving = self.scores if self.arriving is None else self.arriving
        for _ in range(self.splits):
            calibration, test = np.split(rng.permutation(len(self.scores)), [self.n_calibration])
            yield test, flag(self.scores[calibration], arriving[test], alpha)


def rate_of(divided: Resplits, alpha: float, flag: Flag = conformal) -> Rate:
    """The mean false-alarm rate over the divisions."""
    return Rate.of(alpha, np.array([flags.mean() for _, flags in divided.flags(alpha, flag)]))


def rates_by_group(divided: Resplits, groups: Int64, alpha: float) -> dict[int, tuple[int, float]]:
    """For each group of rows: how many rows it has, and their false-alarm rate.

    Args:
        groups: (N,) small whole numbers, such as the number of missing entries.
    """
    tested, flagged = np.zeros((2, groups.max() + 1))
    for test, flags in divided.flags(alpha):
        tested += np.bincount(groups[test], minlength=len(tested))
        flagged += np.bincount(groups[test], weights=flags, minlength=len(flagged))
    rows = np.bincount(groups)
    return {int(g): (int(rows[g]), float(flagged[g] / tested[g])) for g in np.flatnonzero(tested)}
