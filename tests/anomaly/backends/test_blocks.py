"""Blocks: a function of rows is applied to all of them, whatever the block."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from anomaly.arrays import Values
from anomaly.backends.blocks import in_blocks


@given(n=st.integers(0, 70), multiple=st.sampled_from([1, 4, 16]), blocks=st.integers(1, 3))
def test_the_answer_is_that_of_the_function_on_all_rows(n: int, multiple: int, blocks: int) -> None:
    rows = np.arange(2.0 * n).reshape(n, 2)
    shapes: list[int] = []

    def function(block: tuple[Values, ...]) -> list[Values]:
        shapes.append(len(block[0]))
        return [block[0].sum(axis=1), block[0] * block[1][:, None]]

    sums, products = in_blocks(function, (rows, np.arange(n)), blocks * multiple, multiple)

    np.testing.assert_array_equal(sums, rows.sum(axis=1))
    np.testing.assert_array_equal(products, rows * np.arange(n)[:, None])
    assert all(size % multiple == 0 and size <= blocks * multiple for size in shapes)


def test_no_row_gives_arrays_of_no_row_in_the_right_shapes_and_types() -> None:
    (answer,) = in_blocks(
        lambda block: [np.ones((len(block[0]), 3), np.float32)], (np.ones(0),), 8, 8
    )

    assert answer.shape == (0, 3)
    assert answer.dtype == np.float32


@pytest.mark.parametrize("n", [1, 8, 9])
def test_padding_never_reaches_the_answer(n: int) -> None:
    (answer,) = in_blocks(lambda block: [block[0] == 0.0], (np.ones(n),), 8, 8)

    assert not answer.any()
