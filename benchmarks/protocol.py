"""Protocol R: how a labelled table becomes training rows and test rows.

A table of more than 10,000 rows is first reduced to 10,000 with its share of anomalies kept. The
normal rows are shuffled; half of them train, the other half and all anomalies test. Labels place
rows and judge scores: no method, setting or preprocessing is chosen by them.

Needs nothing but NumPy, so that the virtual environments of all sides can import it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from anomaly.arrays import Bool, Float64, Int64, Values

MOST_ROWS = 10_000


@dataclass(frozen=True)
class Split:
    """What a method learns from, and what it is judged on.

    Attributes:
        train: (N, D) normal rows.
        test: (M, D) other normal rows, then the anomalies.
        is_anomalous: (M,) the truth of the test rows.
    """

    train: Float64
    test: Float64
    is_anomalous: Bool

    def save(self, path: Path) -> None:
        """As .npz."""
        np.savez(path, train=self.train, test=self.test, is_anomalous=self.is_anomalous)

    @staticmethod
    def load(path: Path) -> Split:
        """What `save` wrote."""
        with np.load(path) as arrays:
            return Split(arrays["train"], arrays["test"], arrays["is_anomalous"])


def split(values: Values, is_anomalous: Bool, seed: int) -> Split:
    """Divide a table, in its own units.

    Args:
        values: (N, D).
        is_anomalous: (N,).
    """
    train, test = divided(is_anomalous, seed)
    rows = values.astype(np.float64)
    return Split(rows[train], rows[test], is_anomalous[test])


def divided(is_anomalous: Bool, seed: int) -> tuple[Int64, Int64]:
    """Which rows train and which test, a function of the labels and the seed alone."""
    rng = np.random.default_rng(seed)
    normal, anomalies = (
        rng.permutation(np.flatnonzero(kind)) for kind in (~is_anomalous, is_anomalous)
    )
    if len(is_anomalous) > MOST_ROWS:
        kept = max(1, round(MOST_ROWS * len(anomalies) / len(is_anomalous)))
        normal, anomalies = normal[: MOST_ROWS - kept], anomalies[:kept]
    train, held_out = np.split(normal, [len(normal) // 2])
    return train, np.concatenate([held_out, anomalies])


def standardised(raw: Split) -> Split:
    """Mean 0 and standard deviation 1 on the training rows; a constant column is only centred."""
    mean, deviation = raw.train.mean(axis=0), raw.train.std(axis=0)
    # The deviation of equal numbers can be a rounding error, so constancy is read off the range.
    scale = np.where(np.ptp(raw.train, axis=0) == 0, 1.0, deviation)
    return replace(raw, train=(raw.train - mean) / scale, test=(raw.test - mean) / scale)
