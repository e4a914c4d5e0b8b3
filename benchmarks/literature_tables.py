"""Tables whose make-up is known, to hold the claims of the literature against."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pandas as pd
from sklearn.datasets import load_digits

from anomaly.arrays import Bool, Float64

COLUMNS_OF_FACTOR = (6, 5, 4, 3, 2)
BENDS: tuple[Callable[[Float64], Float64], ...] = (
    lambda f: f,
    lambda f: np.tanh(2 * f),
    lambda f: np.sin(0.9 * f),
    lambda f: np.exp(0.6 * f),
)

MACHINES = {"small": 20.0, "medium": 30.0, "large": 45.0}
"""Rated flow, m³/h."""

SENSORS = ("flow", "pressure", "power", "temperature", "vibration")

CENTRES = np.array([[np.cos(a), np.sin(a)] for a in 2 * np.pi * np.arange(6) / 6])
PLANE = np.linalg.qr(np.random.default_rng(12).standard_normal((8, 2)))[0].T
SPREAD = 0.1

RADIUS = 3.8 * SPREAD
"""Of a cluster: 0.3 % of its rows lie outside."""


def digits() -> tuple[Float64, Float64]:
    """Handwritten digits of 8 x 8 pixels from 0 to 16, (1347, 64) to fit and (450, 64) held out."""
    rows = load_digits().data[np.random.default_rng(0).permutation(1797)]
    return rows[:1347], rows[1347:]


def factored(n: int, seed: int) -> tuple[Float64, Float64]:
    """(n, 20) columns of about unit variance, and the (n, 5) independent factors behind them.

    Every column is a smooth function of one factor (a line, a saturation, a wave or an
    exponential) and a little noise. The factors have 6, 5, 4, 3 and 2 columns, so that each pays
    differently for a latent: without this, any rotation of them would do as well.
    """
    rng = np.random.default_rng([11, seed])
    factors = rng.uniform(-1.7, 1.7, (n, len(COLUMNS_OF_FACTOR)))
    columns = [
        BENDS[j % len(BENDS)](factors[:, k])
        for k, count in enumerate(COLUMNS_OF_FACTOR)
        for j in range(count)
    ]
    together = np.column_stack([(c - c.mean()) / c.std() for c in columns])
    return together + 0.2 * rng.standard_normal(together.shape), factors


def clusters(n: int, seed: int) -> Float64:
    """(n, 8) rows in six round clusters on a ring in a plane, which `in_plane` shows."""
    rng = np.random.default_rng([13, seed])
    centres = CENTRES[rng.integers(len(CENTRES), size=n)]
    flat = centres + SPREAD * rng.standard_normal((n, 2))
    rows: Float64 = flat @ PLANE + 0.05 * rng.standard_normal((n, PLANE.shape[1]))
    return rows


def in_plane(rows: Float64) -> Float64:
    """(n, 2) where rows (n, 8) lie in the plane of the clusters."""
    flat: Float64 = rows @ PLANE.T
    return flat


@dataclass(frozen=True)
class Pumps:
    """Readings of pumps of three sizes.

    Attributes:
        train: Normal rows.
        test: Normal rows and anomalies.
        is_anomalous: Of the test rows.
    """

    train: pd.DataFrame
    test: pd.DataFrame
    is_anomalous: Bool


def pumps(seed: int, train: int = 1500, normal: int = 600, anomalies: int = 300) -> Pumps:
    """Pumps that share one law of operation and differ in the range that is normal for them.

    An anomaly is a pump that works at the point of another size, as a large one with a blocked
    inlet does: its readings are usual ones, only not of this machine.
    """
    rng = np.random.default_rng([17, seed])
    sizes = list(MACHINES)
    kind = rng.integers(3, size=train + normal + anomalies)
    readings = _readings(rng, kind)
    is_anomalous = np.arange(len(kind)) >= train + normal
    named = np.where(is_anomalous, (kind + rng.integers(1, 3, len(kind))) % 3, kind)
    frame = readings.assign(machine=[sizes[k] for k in named])
    return Pumps(frame[:train], frame[train:].reset_index(drop=True), is_anomalous[train:])


def _readings(rng: np.random.Generator, kind: np.ndarray) -> pd.DataFrame:
    """Five sensors at a load between idling and overload; sizes overlap."""
    rated = np.array(list(MACHINES.values()))[kind]
    load = 0.4 + 0.7 * rng.beta(4, 3, len(kind))
    flow = rated * load
    pressure = 2.0 + 0.02 * rated - 0.8 * load**2
    power = 0.05 * flow * pressure + 0.01 * rated

    def read(values: Float64, error: float) -> Float64:
        return values * (1 + error * rng.standard_normal(len(values)))

    return pd.DataFrame(
        {
            "flow": read(flow, 0.05),
            "pressure": read(pressure, 0.05),
            "power": read(power, 0.05),
            "temperature": 32 + 18 * load + 0.1 * rated + rng.normal(0, 1.5, len(kind)),
            "vibration": 1.2 * load * np.exp(0.15 * rng.standard_normal(len(kind))),
        }
    )
