"""From scores to p-values and one threshold, with a stated false-alarm rate.

Split-conformal calibration (Vovk, Gammerman & Shafer 2005; Bates et al. 2023, Testing for
outliers with conformal p-values): if a new normal row and the n calibration rows are
exchangeable, and nothing that shaped the score has seen the calibration rows, then

    p = (1 + #{calibration scores >= s - tolerance}) / (n + 1)

satisfies P(p <= alpha) <= alpha exactly, for every n and every distribution, ties included.
A row is an anomaly if and only if p <= alpha.
"""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass, field
from enum import StrEnum
from fractions import Fraction

import numpy as np

from anomaly.arrays import Bool, Float64, Int64
from anomaly.errors import AlphaNotSupported, ConfigInvalid, NotEnoughRows

DEFAULT_ALPHA = 0.01

SMALL_P = 0.05
"""A p-value that is small enough to matter, and common enough to be counted: whether a calibration
still holds is told by how often p is at most this, over this."""

RELATIVE_TOLERANCE = 1e-4
"""Scores closer than this share of (threshold - median) count as equal: devices and batch sizes
differ in the last bits, and a common row that sits on the threshold must not flip by them."""


class Rule(StrEnum):
    """How p-values are counted.

    Attributes:
        CONFORMAL: (1 + c) / (n + 1), the guarantee above.
        QUANTILE: the plain empirical share c / n (at least 1 / (n + 1)). The usual threshold of
            the literature; its false-alarm rate exceeds alpha by up to 1 / (n + 1) on average.
    """

    CONFORMAL = "conformal"
    QUANTILE = "quantile"


class CalibrationWarning(UserWarning):
    """The false-alarm rate in force is not the one that is usual."""


@dataclass(frozen=True)
class Calibration:
    """The scores of held-out normal rows, and the false-alarm rate in force.

    Attributes:
        scores: (n,) float64, ascending; all of them, so that any rate can be derived again.
        alpha: The false-alarm rate in force, at least `smallest_alpha`.
        rule: How p-values are counted.
        tolerance: Scores closer than this count as equal, in the unit of the score.
        unit: What one score is of, and the rate one of: `row`, `image` or `group`.
        threshold: A row is an anomaly if and only if its score exceeds threshold + tolerance.
        median: The median calibration score, 0 on the scale of `margins`.
    """

    scores: Float64
    alpha: float
    rule: Rule
    tolerance: float
    unit: str = "row"
    threshold: float = field(init=False)
    median: float = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "threshold", threshold(self.scores, self.alpha, self.rule))
        object.__setattr__(self, "median", lower_median(self.scores))

    @property
    def n(self) -> int:
        """The number of calibration scores."""
        return len(self.scores)

    @property
    def smallest_alpha(self) -> float:
        return 1 / (self.n + 1)

    def p_values(self, scores: Float64) -> Float64:
        """(N,) in (0, 1]; small is anomalous. A score that is not finite gets the smallest."""
        return p_values(self.scores, scores, self.rule, self.tolerance)

    def is_anomaly(self, p_values: Float64, alpha: float | None = None) -> Bool:
        """(N,) p <= alpha, by default the alpha in force.

        Raises:
            AlphaNotSupported: the calibration scores cannot support that alpha.
        """
        return p_values <= (self.alpha if alpha is None else supported(alpha, self.n, self.unit))

    def margins(self, scores: Float64) -> Float64:
        """(N,) scores on the scale on which 0 is the median row and 1 the threshold."""
        return (scores - self.median) / scale(self.scores, self.threshold)

    def with_alpha(self, alpha: float, rule: Rule | None = None) -> Calibration:
        """The same scores at another rate. The tolerance is derived anew.

        Raises:
            AlphaNotSupported: the calibration scores cannot support that alpha.
        """
        return calibrate(self.scores, alpha, rule or self.rule, self.unit)


def calibrate(
    scores: Float64,
    alpha: float | None = None,
    rule: Rule = Rule.CONFORMAL,
    unit: str = "row",
) -> Calibration:
    """Calibrate on the scores of held-out normal rows.

    Args:
        scores: (n,) float64 in any order; higher is more anomalous.
        alpha: The false-alarm rate. None means 0.01, or the smallest that n supports, with a
            `CalibrationWarning`.
        unit: What each score is of: `row`, `image` or `group`.

    Raises:
        NotEnoughRows: there is no score, or one is not finite.
        AlphaNotSupported: alpha was given and n scores cannot support it.
        ConfigInvalid: alpha is not between 0 and 1.
    """
    ordered = np.sort(np.asarray(scores, dtype=np.float64))
    if not len(ordered) or not np.isfinite(ordered).all():
        raise NotEnoughRows(
            f"calibration needs at least one score and only finite ones, got {len(ordered)}, of "
            f"which {int((~np.isfinite(ordered)).sum())} are not finite. Hold out more normal "
            f"{unit}s."
        )
    n = len(ordered)
    rate = default_alpha(n, unit) if alpha is None else supported(alpha, n, unit)
    tolerance = RELATIVE_TOLERANCE * scale(ordered, threshold(ordered, rate, rule))
    return Calibration(ordered, rate, rule, tolerance, unit)


def default_alpha(n: int, unit: str = "row") -> float:
    """0.01, or the smallest rate that n calibration scores support, with a warning."""
    smallest = 1 / (n + 1)
    if smallest <= DEFAULT_ALPHA:
        return DEFAULT_ALPHA
    warnings.warn(
        f"{n} calibration {unit}s support no false-alarm rate below {smallest:.4f}, so alpha is "
        f"{smallest:.4f} instead of {DEFAULT_ALPHA}. "
        f"{rows_needed(DEFAULT_ALPHA)} calibration {unit}s would support {DEFAULT_ALPHA}.",
        CalibrationWarning,
        stacklevel=2,
    )
    return smallest


def supported(alpha: float, n: int, unit: str = "row") -> float:
    """Alpha itself, if n calibration scores support it.

    Raises:
        ConfigInvalid: alpha is not between 0 and 1.
        AlphaNotSupported: alpha < 1 / (n + 1), so that no score whatever could be flagged.
    """
    if not 0 < alpha < 1:
        raise ConfigInvalid(
            f"alpha is the share of normal {unit}s that may be flagged, between 0 and 1, got "
            f"{alpha}. Usual values are 0.01 and 0.001."
        )
    if alpha < 1 / (n + 1):
        raise AlphaNotSupported(
            f"a false-alarm rate of {alpha:g} needs at least {rows_needed(alpha)} calibration "
            f"{unit}s, got {n}. Add normal {unit}s, or let more of them calibrate "
            f"(`split.calibration_share`), or ask for {round_up(1 / (n + 1))} or more."
        )
    return alpha


def rows_needed(alpha: float) -> int:
    """The fewest calibration scores that support a rate: 1 / (n + 1) <= alpha."""
    # In exact arithmetic: 1 / (1 / 49) is not 49 in float64, and 1 / 1e-320 is infinite.
    n = max(1, math.ceil(1 / Fraction(alpha)) - 1)
    return n - 1 if n > 1 and 1 / n <= alpha else n


def round_up(rate: float, digits: int = 3) -> float:
    """The rate with a few significant digits, never below it: advice that works when followed."""
    step = 10.0 ** (math.floor(math.log10(rate)) - digits + 1)
    rounded = round(math.ceil(rate / step) * step, 12)
    return rounded if rounded >= rate else round(rounded + step, 12)


def alpha_for_alerts(alerts_per_day: float, rows_per_day: float) -> float:
    """The rate at which normal rows alone raise that many alerts a day.

    Raises:
        ConfigInvalid: the numbers are not positive, or ask to flag every row.
    """
    if not 0 < alerts_per_day < rows_per_day:
        raise ConfigInvalid(
            f"alerts per day must lie between 0 and the rows per day, got {alerts_per_day:g} of "
            f"{rows_per_day:g}."
        )
    return alerts_per_day / rows_per_day


def p_values(calibration: Float64, scores: Float64, rule: Rule, tolerance: float) -> Float64:
    """p-values of `scores` (N,) among ascending calibration scores (n,); see the module."""
    n = len(calibration)
    # A score that is not finite says that something is broken: the most anomalous of all.
    scores = np.where(np.isfinite(scores), scores, np.inf)
    below = np.searchsorted(calibration, scores - tolerance, side="left")
    return p_values_of_counts(n - below, n, rule)


def threshold(calibration: Float64, alpha: float, rule: Rule) -> float:
    """The largest calibration score t such that a score above t (+ tolerance) has p <= alpha."""
    n = len(calibration)
    counts = np.arange(n)
    reachable = p_values_of_counts(counts, n, rule) <= alpha
    # counts is ascending, so `allowed` calibration scores may be as large as a flagged row's.
    allowed = int(np.count_nonzero(reachable)) - 1
    return float(calibration[n - 1 - max(allowed, 0)])


def p_values_of_counts(counts: Int64, n: int, rule: Rule) -> Float64:
    """The p-value of a row that `counts` of n calibration scores reach or exceed."""
    match rule:
        case Rule.CONFORMAL:
            # The new row is counted among the n calibration rows, hence + 1 above and below:
            # that is what keeps P(p <= alpha) <= alpha exact for small n.
            return (1 + counts) / (n + 1)
        case Rule.QUANTILE:
            return np.maximum(counts / n, 1 / (n + 1))


def scale(calibration: Float64, threshold: float) -> float:
    """threshold - median; where they coincide, the smallest positive gap above the median, else 1.

    The gap is taken to the smallest calibration score above the median.
    """
    median = lower_median(calibration)
    if threshold > median:
        return threshold - median
    above = calibration[calibration > median]
    return float(above[0] - median) if len(above) else 1.0


def lower_median(ordered: Float64) -> float:
    """The lower median: one of the scores itself, so that ties with it are exact."""
    return float(ordered[(len(ordered) - 1) // 2])
