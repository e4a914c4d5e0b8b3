"""NumPy's operations at the edge of their numbers; what both libraries share is in contracts."""

from __future__ import annotations

import warnings

import numpy as np

from anomaly.models.ops import NumpyOps


def test_extreme_arguments_neither_overflow_nor_warn() -> None:
    ops = NumpyOps()
    x = np.array([-1e38, -1e4, 0.0, 1e4, 1e38], np.float32)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert ops.silu(x.copy()).tolist() == [0.0, 0.0, 0.0, 1e4, x[-1]]
        assert ops.sigmoid(x).tolist() == [0.0, 0.0, 0.5, 1.0, 1.0]
        assert ops.softplus(x).tolist() == [0.0, 0.0, np.float32(np.log(2)), 1e4, x[-1]]
        assert ops.logsumexp(x, 0) == x[-1]


def test_float32_stays_float32() -> None:
    """A silent step to float64 would halve the speed."""
    ops = NumpyOps()
    x = np.ones((16, 3), np.float32)
    for result in (ops.silu(x), ops.exp(x), ops.log(x), ops.sigmoid(x), ops.softplus(x)):
        assert result.dtype == np.float32
    assert ops.linear(x, np.ones((2, 3), np.float32), np.ones(2, np.float32)).dtype == np.float32
