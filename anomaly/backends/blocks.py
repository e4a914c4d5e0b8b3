"""Rows in blocks of few shapes.

A matrix product of another shape may add in another order: 7 to 15 % of rows change in the last
bit between batch sizes. torch therefore sees blocks of one shape only. NumPy's products run over
tiles of 16 rows, each by itself (`anomaly.models.ops`), so there a block may end after any tile,
and a single row costs one tile.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from anomaly.arrays import Values


def in_blocks(
    function: Callable[[tuple[Values, ...]], Sequence[Values]],
    arrays: tuple[Values, ...],
    block_rows: int,
    multiple: int,
) -> list[Values]:
    """Apply `function` to blocks of rows and join what it returns.

    Args:
        function: Takes and returns arrays of as many rows as each other, each row a function of
            the same row of its arguments.
        arrays: Arrays of N rows each.
        block_rows: Rows of every block but the last; a multiple of `multiple`.
        multiple: The last block is padded with zeros up to a multiple of this.

    Returns:
        One array of N rows for each that `function` returns.
    """
    n = len(arrays[0])
    outputs: list[Values] = []
    # One block is computed even for no rows: it tells the shapes and types of the answer.
    for start in range(0, max(n, 1), block_rows):
        stop = min(start + block_rows, n)
        rows = -(-max(stop - start, 1) // multiple) * multiple
        block = tuple(_padded(array[start:stop], rows) for array in arrays)
        results = function(block)
        if stop == n and not outputs:
            # A view would keep the padding as long as anybody keeps the answer.
            return [result if len(result) == n else result[:n].copy() for result in results]
        if not outputs:
            outputs = [np.empty((n, *r.shape[1:]), r.dtype) for r in results]
        for output, result in zip(outputs, results, strict=True):
            output[start:stop] = result[: stop - start]
    return outputs


def _padded(array: Values, rows: int) -> Values:
    if len(array) == rows:
        return np.ascontiguousarray(array)
    padded = np.zeros((rows, *array.shape[1:]), array.dtype)
    padded[: len(array)] = array
    return padded
