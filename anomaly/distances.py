"""How far two samples are apart, by their histograms alone."""

from __future__ import annotations

import numpy as np

from anomaly.arrays import Float64, Int64

SMOOTHING = 0.5
"""Of a row of the smaller sample, the same share for each bin of both: an empty bin costs no
infinity and equal shares have no distance."""


def psi(reference: Int64, window: Int64) -> float:
    """The population stability index, in nats: the sum over bins of (w - r) ln(w / r).

    It is symmetric, and 0 if and only if all shares are equal. Without any drift it is about
    `psi_noise` and not 0.

    Args:
        reference, window: (B,) rows in each bin; their shares are taken with `SMOOTHING`.
    """
    floor = SMOOTHING / max(1, min(int(reference.sum()), int(window.sum())))
    r, w = _shares(reference, floor), _shares(window, floor)
    return float(((w - r) * np.log(w / r)).sum())


def psi_noise(bins: int, reference_rows: int, window_rows: int) -> float:
    """About what PSI is on average where nothing drifts: each bin's share is only estimated."""
    return (bins - 1) * (1 / window_rows + 1 / reference_rows)


def wasserstein(knots: Float64, reference: Int64, window: Int64) -> float:
    """The 1-Wasserstein distance, the area between two distribution functions, in the unit of the
    knots.

    Rows are taken to lie evenly within their bin. It differs from the distance of the rows
    themselves by at most the mean width of the bins they lie in, for both samples together.

    Args:
        knots: (B + 1,) ascending, the ends of the bins.
        reference, window: (B,) rows in each bin, at least one row each.
    """
    gaps = np.zeros(len(knots))
    gaps[1:] = np.cumsum(reference / reference.sum() - window / window.sum())
    left, right, width = np.abs(gaps[:-1]), np.abs(gaps[1:]), np.diff(knots)
    crossing = gaps[:-1] * gaps[1:] < 0
    total = np.where(left + right > 0, left + right, 1.0)
    # Two triangles where the functions cross, else one trapezium.
    heights = np.where(crossing, (left**2 + right**2) / total, left + right)
    return float((width * heights / 2).sum())


def _shares(counts: Int64, floor: float) -> Float64:
    smoothed = counts / max(1, counts.sum()) + floor
    shares: Float64 = smoothed / smoothed.sum()
    return shares
