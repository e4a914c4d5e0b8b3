"""The false-alarm rate that one calibration sample really has: a matter of luck, within bounds.

Of n exchangeable scores without ties, a new one exceeds the k-th largest with a probability that
is Beta(k, n + 1 - k) over calibration samples (Vovk 2012, Conditional validity of inductive
conformal predictors). On average over samples that keeps the promise, k / (n + 1) <= alpha; a
service lives with one of them.
"""

from __future__ import annotations

import numpy as np

from anomaly.calibration import Calibration, p_values_of_counts

CONFIDENCE = 0.999
"""With which a calibration sample keeps each of the two bounds."""

BISECTIONS = 50


def realised_bounds(
    calibration: Calibration, rate: float, confidence: float = CONFIDENCE
) -> tuple[float, float]:
    """Lower and upper bound on P(p <= rate) of a new normal row, given these calibration scores.

    Where scores tie, fewer rows are flagged, and the lower bound may be missed. Where groups
    calibrate there is none: of a flagged group it may be few rows that are. Both are 0 where the
    scores support no such rate.
    """
    n = calibration.n
    k = int(np.count_nonzero(p_values_of_counts(np.arange(n), n, calibration.rule) <= rate))
    if not k:
        return 0.0, 0.0
    lower = 0.0 if calibration.unit == "group" else beta_quantile(k, n, 1 - confidence)
    return lower, beta_quantile(k, n, confidence)


def beta_quantile(k: int, n: int, probability: float) -> float:
    """Of Beta(k, n + 1 - k), which lies at or below x exactly if k or more of n uniform numbers do.

    By bisection on that binomial tail: scipy knows it too, but takes a service most of a second to
    import.
    """
    j = np.arange(k)
    log_factorials = np.concatenate([[0.0], np.cumsum(np.log(np.arange(1, n + 1)))])
    log_ways = log_factorials[n] - log_factorials[j] - log_factorials[n - j]
    low, high = 0.0, 1.0
    for _ in range(BISECTIONS):
        x = (low + high) / 2
        fewer = np.exp(log_ways + j * np.log(x) + (n - j) * np.log1p(-x)).sum()
        low, high = (x, high) if 1 - fewer < probability else (low, x)
    return (low + high) / 2
