"""The few operations that NumPy and torch spell differently.

The formulas of this package take an `Ops` and arrays of its kind; everything else they need
(arithmetic, slicing, `.sum(-1)`, `.reshape`) is spelled alike in both.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Protocol

import numpy as np

from anomaly.arrays import Tensor, Values

TILE_ROWS = 16
"""Products take rows in multiples of this; see `NumpyOps.linear`."""

BLOCK_MULTIPLE = 32
"""Blocks of rows are multiples of this: torch's element-wise loops take two vectors at a time, of
16 float32 with AVX-512, and compute what is left over by other instructions."""


class Ops(Protocol):
    """Element-wise and linear operations on arrays of one library."""

    def array(self, values: Values) -> Tensor:
        """The NumPy array as an array of this library, on its device."""

    def numpy(self, x: Tensor) -> Values:
        """The array as a NumPy array."""

    def inference(self) -> AbstractContextManager[object]:
        """Within it nothing is recorded for gradients."""

    def linear(self, x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        """x (N, I), weight (O, I), bias (O,) -> (N, O); N a multiple of 16 when scoring."""

    def silu(self, x: Tensor) -> Tensor:
        """x * sigmoid(x); may overwrite x."""

    def exp(self, x: Tensor) -> Tensor: ...

    def log(self, x: Tensor) -> Tensor: ...

    def sigmoid(self, x: Tensor) -> Tensor: ...

    def softplus(self, x: Tensor) -> Tensor:
        """log(1 + exp(x)), without overflow."""

    def logsumexp(self, x: Tensor, axis: int) -> Tensor: ...

    def clip(self, x: Tensor, low: float, high: float) -> Tensor: ...

    def where(self, condition: Tensor, x: Tensor, y: Tensor) -> Tensor: ...

    def concatenate(self, parts: Sequence[Tensor]) -> Tensor:
        """Along the last axis."""

    def broadcast(self, x: Tensor, shape: tuple[int, ...]) -> Tensor: ...

    def pick(self, x: Tensor, index: Tensor) -> Tensor:
        """x (..., N, C), index (N,) of whole numbers -> (..., N): x[..., n, index[n]]."""

    def narrow(self, x: Tensor) -> Tensor:
        """The array in float32."""

    def stop_gradient(self, x: Tensor) -> Tensor:
        """The same numbers, as a constant of the gradient."""


class NumpyOps:
    """`Ops` of NumPy."""

    def array(self, values: Values) -> Tensor:
        return values

    def numpy(self, x: Tensor) -> Values:
        return np.asarray(x)

    def inference(self) -> AbstractContextManager[object]:
        return nullcontext()

    def linear(self, x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        # BLAS adds in another order at the 7th row of a matrix than at the 1st. With 16 rows as
        # the columns of one product, they are lanes of the same instructions: a row's bits then
        # do not depend on where in the block it stands (docs/decisions/0002).
        tiles = x.reshape(-1, TILE_ROWS, x.shape[1]).transpose(0, 2, 1)
        # Row-major also when there is one tile: later sums over columns follow the memory.
        out = np.ascontiguousarray(np.matmul(weight, tiles).transpose(0, 2, 1))
        out = out.reshape(len(x), -1)
        out += bias
        return out

    def silu(self, x: Tensor) -> Tensor:
        # x / (1 + exp(-x)) in three passes over one buffer; exp overflows to inf where the
        # result is -0, which is right.
        with np.errstate(over="ignore"):
            gate = np.negative(x)
            np.exp(gate, out=gate)
            gate += 1
            return np.divide(x, gate, out=gate)

    def exp(self, x: Tensor) -> Tensor:
        return np.exp(x)

    def log(self, x: Tensor) -> Tensor:
        return np.log(x)

    def sigmoid(self, x: Tensor) -> Tensor:
        with np.errstate(over="ignore"):
            return 1 / (1 + np.exp(-x))

    def softplus(self, x: Tensor) -> Tensor:
        return np.logaddexp(x, np.zeros_like(x))

    def logsumexp(self, x: Tensor, axis: int) -> Tensor:
        top = x.max(axis=axis, keepdims=True)
        return np.log(np.exp(x - top).sum(axis=axis)) + np.squeeze(top, axis=axis)

    def clip(self, x: Tensor, low: float, high: float) -> Tensor:
        return np.clip(x, low, high)

    def where(self, condition: Tensor, x: Tensor, y: Tensor) -> Tensor:
        return np.where(condition, x, y)

    def concatenate(self, parts: Sequence[Tensor]) -> Tensor:
        return np.concatenate(parts, axis=-1) if len(parts) > 1 else parts[0]

    def broadcast(self, x: Tensor, shape: tuple[int, ...]) -> Tensor:
        return np.broadcast_to(x, shape)

    def pick(self, x: Tensor, index: Tensor) -> Tensor:
        return x[..., np.arange(len(index)), index.astype(np.int64)]

    def narrow(self, x: Tensor) -> Tensor:
        return x.astype(np.float32)

    def stop_gradient(self, x: Tensor) -> Tensor:
        return x
