"""The few operations that NumPy and torch spell differently.

The formulas of this package take an `Ops` and arrays of its kind; everything else they need
(arithmetic, slicing, `.sum(-1)`, `.reshape`) is spelled alike in both.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Protocol

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from anomaly.arrays import Tensor, Values

TILE_ROWS = 16
"""Products take rows in multiples of this; see `NumpyOps.linear`."""

BLOCK_MULTIPLE = 32
"""Blocks of rows are multiples of this: torch's element-wise loops take two vectors at a time, of
16 float32 with AVX-512, and compute what is left over by other instructions."""

CACHED = 2**17
"""So many float32 stay in the processor's cache."""

ONE_THREAD = 2**18
"""Products of so many multiplications are left to one thread by OpenBLAS."""

NORM_FLOOR = 1e-5
"""Added to variances before they divide, as torch's layers do."""


class Ops(Protocol):
    """Element-wise and linear operations on arrays of one library."""

    def array(self, values: Values) -> Tensor:
        """The NumPy array as an array of this library, on its device."""

    def numpy(self, x: Tensor) -> Values:
        """The array as a NumPy array."""

    def inference(self) -> AbstractContextManager[object]:
        """Within it nothing is recorded for gradients."""

    def network(self, forward: Callable[[], Tensor]) -> Tensor:
        """What a network of images gives; training may compute it in a narrower type, and gives
        float32 back (`anomaly.models.kernels`)."""

    def linear(self, x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        """x (N, I), weight (O, I), bias (O,) -> (N, O); N a multiple of 16 when scoring."""

    def perceptron(self, x: Tensor, layers: Sequence[tuple[Tensor, Tensor]]) -> Tensor:
        """The linear maps (weight, bias) one after the other, with SiLU between them."""

    def nearest(self, x: Tensor, points: Tensor) -> Tensor:
        """(N,) which of the points (M, I) is nearest to each row of x (N, I); N as in `linear`."""

    def convolve(
        self, x: Tensor, weight: Tensor, bias: Tensor, stride: int = 1, dilation: int = 1
    ) -> Tensor:
        """x (N, I, H, W), weight (O, I, K, K), bias (O,) -> (N, O, H / stride, W / stride):
        cross-correlation with zeros around the image. H and W are multiples of the stride, K is odd
        or 4 with stride 2, and the weights meet every `dilation`-th pixel."""

    def group_norm(self, x: Tensor, groups: int, weight: Tensor, bias: Tensor) -> Tensor:
        """x (N, C, H, W), weight and bias (C,): each group of channels of each row to mean 0 and
        variance 1, then scaled and shifted by channel (Wu & He 2018)."""

    def pixel_shuffle(self, x: Tensor) -> Tensor:
        """(N, 4 C, H, W) -> (N, C, 2 H, 2 W): each four channels become a square of pixels (Shi et
        al. 2016)."""

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

    def concatenate(self, parts: Sequence[Tensor], axis: int = -1) -> Tensor: ...

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

    def network(self, forward: Callable[[], Tensor]) -> Tensor:
        return forward()

    def linear(self, x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        return self.perceptron(x, [(weight, bias)])

    def perceptron(self, x: Tensor, layers: Sequence[tuple[Tensor, Tensor]]) -> Tensor:
        columns = _tiles(x)
        for number, (weight, bias) in enumerate(layers):
            columns = np.matmul(weight, self.silu(columns) if number else columns)
            columns += _of_tile(bias)
        # Row-major also when there is one tile: later sums over columns follow the memory.
        return np.ascontiguousarray(columns.transpose(0, 2, 1)).reshape(len(x), -1)

    def nearest(self, x: Tensor, points: Tensor) -> Tensor:
        # |x - p|^2 = |x|^2 - 2 (x p - |p|^2 / 2): nearest where the bracket is largest.
        columns = _tiles(x)
        half_squares = _of_tile(0.5 * np.einsum("mi,mi->m", points, points))
        found = np.empty((len(columns), TILE_ROWS), np.int64)
        # Products with all points at once would leave the processor's cache.
        some = max(1, CACHED // half_squares.size)
        for start in range(0, len(columns), some):
            closeness = _in_pieces(points, columns[start : start + some])
            closeness -= half_squares
            found[start : start + some] = closeness.argmax(1)
        return found.reshape(-1)

    def convolve(
        self, x: Tensor, weight: Tensor, bias: Tensor, stride: int = 1, dilation: int = 1
    ) -> Tensor:
        n, _, height, width = x.shape
        reach = dilation * (weight.shape[-1] - 1)
        around = reach // 2
        padded = np.pad(x, ((0, 0), (0, 0), (around, around), (around, around)))
        windows = sliding_window_view(padded, (reach + 1, reach + 1), axis=(2, 3))
        windows = windows[:, :, ::stride, ::stride, ::dilation, ::dilation]
        pixels = windows.transpose(0, 1, 4, 5, 2, 3).reshape(n, weight[0].size, -1)
        # One product for each row: its bits do not depend on its neighbours.
        out = np.matmul(weight.reshape(len(weight), -1), pixels) + bias[:, None]
        return out.reshape(n, len(weight), height // stride, width // stride)

    def group_norm(self, x: Tensor, groups: int, weight: Tensor, bias: Tensor) -> Tensor:
        grouped = x.reshape(len(x), groups, -1)
        centred = grouped - grouped.mean(-1, keepdims=True)
        scale = np.sqrt((centred**2).mean(-1, keepdims=True) + NORM_FLOOR)
        return (centred / scale).reshape(x.shape) * weight[:, None, None] + bias[:, None, None]

    def pixel_shuffle(self, x: Tensor) -> Tensor:
        n, channels, height, width = x.shape
        squares = x.reshape(n, channels // 4, 2, 2, height, width).transpose(0, 1, 4, 2, 5, 3)
        return np.ascontiguousarray(squares).reshape(n, channels // 4, 2 * height, 2 * width)

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
        # `np.clip` without its checks, which for few rows take longer than the comparisons.
        return np.minimum(np.maximum(x, low), high)

    def where(self, condition: Tensor, x: Tensor, y: Tensor) -> Tensor:
        return np.where(condition, x, y)

    def concatenate(self, parts: Sequence[Tensor], axis: int = -1) -> Tensor:
        return np.concatenate(parts, axis=axis) if len(parts) > 1 else parts[0]

    def broadcast(self, x: Tensor, shape: tuple[int, ...]) -> Tensor:
        return np.broadcast_to(x, shape)

    def pick(self, x: Tensor, index: Tensor) -> Tensor:
        return x[..., np.arange(len(index)), index.astype(np.int64)]

    def narrow(self, x: Tensor) -> Tensor:
        return x.astype(np.float32)

    def stop_gradient(self, x: Tensor) -> Tensor:
        return x


def _tiles(x: Values) -> Values:
    """x (N, I) in tiles of 16 rows, each of them columns: (N / 16, I, 16).

    BLAS adds in another order at the 7th row of a matrix than at the 1st. With 16 rows as the
    columns of one product, they are lanes of the same instructions: a row's bits then do not depend
    on where in the block it stands (docs/decisions/0002). Copied, because a product with a
    transposed view takes half as long again.
    """
    return np.ascontiguousarray(x.reshape(-1, TILE_ROWS, x.shape[1]).transpose(0, 2, 1))


def _in_pieces(weight: Values, columns: Values) -> Values:
    """weight (O, I) times each tile of columns (T, I, 16) -> (T, O, 16), some outputs at a time.

    BLAS would divide a larger product among threads, which for 16 columns cost more than they give.
    """
    piece = min(len(weight), max(1, ONE_THREAD // columns[0].size))
    whole = len(weight) // piece * piece
    out = np.empty((len(columns), len(weight), TILE_ROWS), np.result_type(weight, columns))
    np.matmul(
        weight[:whole].reshape(-1, piece, weight.shape[1]),
        columns[:, None],
        out=out[:, :whole].reshape(len(columns), -1, piece, TILE_ROWS),
    )
    np.matmul(weight[whole:], columns, out=out[:, whole:])
    return out


def _of_tile(values: Values) -> Values:
    """(O,) repeated for each row of a tile, (O, 16): faster to add than a broadcast column."""
    return np.repeat(values, TILE_ROWS).reshape(-1, TILE_ROWS)
