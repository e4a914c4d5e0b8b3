"""Every library computes the same operations, and its rows do not see where they stand."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import special

from anomaly.models.ops import TILE_ROWS, Ops
from tests.contracts.parts import EVERY_OPS, NUMPY, TORCH, Array

EVERY = pytest.mark.parametrize("ops", EVERY_OPS.values(), ids=EVERY_OPS)
QUICK = settings(max_examples=40)
SCORING = pytest.mark.parametrize("ops", [NUMPY, TORCH], ids=["numpy", "torch"])

shapes = hnp.array_shapes(min_dims=1, max_dims=3, max_side=5)
arrays = hnp.arrays(np.float64, shapes, elements=st.floats(-700, 700))
matrices = hnp.arrays(
    np.float64, hnp.array_shapes(min_dims=2, max_dims=3, max_side=5), elements=st.floats(-700, 700)
)


@EVERY
@QUICK
@given(x=arrays)
def test_element_wise_operations_are_what_scipy_says(ops: Ops, x: Array) -> None:
    given_to = {
        "silu": x * special.expit(x),
        "exp": np.exp(x),
        "sigmoid": special.expit(x),
        "softplus": np.logaddexp(x, 0.0),
    }
    for name, expected in given_to.items():
        found = ops.numpy(getattr(ops, name)(ops.array(x.copy())))
        np.testing.assert_allclose(found, expected, rtol=1e-10, atol=1e-300, err_msg=name)


@EVERY
@QUICK
@given(x=hnp.arrays(np.float64, shapes, elements=st.floats(1e-300, 1e300)))
def test_log_is_the_natural_logarithm(ops: Ops, x: Array) -> None:
    np.testing.assert_allclose(ops.numpy(ops.log(ops.array(x))), np.log(x), rtol=1e-12)


@EVERY
@QUICK
@given(x=matrices)
@pytest.mark.parametrize("axis", [0, -1])
def test_logsumexp_is_exact_where_exp_would_overflow(ops: Ops, x: Array, axis: int) -> None:
    found = ops.numpy(ops.logsumexp(ops.array(x), axis))
    np.testing.assert_allclose(found, special.logsumexp(x, axis=axis), rtol=1e-10, atol=1e-12)


@EVERY
@QUICK
@given(x=arrays)
def test_an_array_comes_back_as_it_went_in(ops: Ops, x: Array) -> None:
    np.testing.assert_array_equal(ops.numpy(ops.array(x.copy())), x)


@EVERY
@QUICK
@given(x=arrays, low=st.floats(-10, 0), high=st.floats(0, 10))
def test_clip_and_where_choose_element_by_element(
    ops: Ops, x: Array, low: float, high: float
) -> None:
    t = ops.array(x)
    np.testing.assert_array_equal(ops.numpy(ops.clip(t, low, high)), np.clip(x, low, high))
    np.testing.assert_array_equal(ops.numpy(ops.where(t > 0, t, -t)), np.abs(x))


@EVERY
@QUICK
@given(x=matrices, data=st.data())
def test_pick_takes_one_class_a_row(ops: Ops, x: Array, data: st.DataObject) -> None:
    n, c = x.shape[-2:]
    index = np.array(data.draw(st.lists(st.integers(0, c - 1), min_size=n, max_size=n)), float)
    found = ops.numpy(ops.pick(ops.array(x), ops.array(index)))
    for row in range(n):
        np.testing.assert_array_equal(found[..., row], x[..., row, int(index[row])])


@EVERY
def test_concatenate_joins_the_last_axis_and_broadcast_repeats(ops: Ops) -> None:
    a, b = np.arange(6.0).reshape(2, 3), np.arange(4.0).reshape(2, 2)
    joined = ops.numpy(ops.concatenate([ops.array(a), ops.array(b)]))
    np.testing.assert_array_equal(joined, np.hstack([a, b]))
    np.testing.assert_array_equal(ops.numpy(ops.concatenate([ops.array(a)])), a)
    repeated = ops.numpy(ops.broadcast(ops.array(a), (4, 2, 3)))
    np.testing.assert_array_equal(repeated, np.stack([a] * 4))


@EVERY
@QUICK
@given(x=arrays)
def test_a_constant_of_the_gradient_has_the_same_numbers(ops: Ops, x: Array) -> None:
    np.testing.assert_array_equal(ops.numpy(ops.stop_gradient(ops.array(x))), x)


layer_shapes = st.tuples(st.integers(1, 4), st.integers(1, 40), st.integers(1, 40))


@EVERY
@QUICK
@given(shape=layer_shapes, seed=st.integers(0, 2**32 - 1))
def test_linear_is_the_affine_map(ops: Ops, shape: tuple[int, int, int], seed: int) -> None:
    tiles, width_in, width_out = shape
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(tiles * TILE_ROWS, width_in))
    weight, bias = rng.normal(size=(width_out, width_in)), rng.normal(size=width_out)
    found = ops.numpy(ops.linear(*map(ops.array, (x, weight, bias))))
    np.testing.assert_allclose(found, np.einsum("ni,oi->no", x, weight) + bias, atol=1e-9)


@EVERY
def test_a_perceptron_is_linear_maps_with_silu_between_them(ops: Ops) -> None:
    rng = np.random.default_rng(0)
    widths = (7, 33, 16, 5)
    layers = [
        (rng.normal(size=(out, fan_in)), rng.normal(size=out))
        for fan_in, out in itertools.pairwise(widths)
    ]
    x = expected = rng.normal(size=(3 * TILE_ROWS, 7))
    for number, (weight, bias) in enumerate(layers):
        seen = expected * special.expit(expected) if number else expected
        expected = seen @ weight.T + bias
    before = x.copy()

    found = ops.perceptron(ops.array(x), [(ops.array(w), ops.array(b)) for w, b in layers])

    np.testing.assert_allclose(ops.numpy(found), expected, atol=1e-9)
    np.testing.assert_array_equal(x, before)


@EVERY
@pytest.mark.parametrize("points", [1, 3, 700, 20_000])
def test_nearest_is_the_point_at_the_smallest_distance(ops: Ops, points: int) -> None:
    rng = np.random.default_rng(points)
    x, among = rng.normal(size=(5 * TILE_ROWS, 3)), rng.normal(size=(points, 3))
    expected = ((x[:, None] - among) ** 2).sum(-1).argmin(-1)

    found = ops.numpy(ops.nearest(ops.array(x), ops.array(among)))

    np.testing.assert_array_equal(found, expected)


WIDTHS = (1, 2, 3, 5, 8, 15, 16, 17, 31, 32, 33, 64, 100, 128, 129)
BLOCKS = pytest.mark.parametrize("rows", [32, 96, 64, 128])


def rearranged(rng: np.random.Generator, x: Array) -> tuple[Array, Array]:
    """The rows in another order with every second one replaced, and where the others came from."""
    origin = rng.permutation(len(x))
    moved = x[origin]
    moved[::2] = rng.normal(size=moved[::2].shape)
    return moved, origin[1::2]


@SCORING
@BLOCKS
def test_a_rows_bits_do_not_depend_on_its_place_or_its_neighbours(ops: Ops, rows: int) -> None:
    """Of the float32 products that score; blocks are multiples of 16 rows."""
    rng = np.random.default_rng(rows)
    for width_in in WIDTHS:
        for width_out in WIDTHS:
            x, weight, bias = (
                rng.normal(size=shape).astype(np.float32)
                for shape in ((rows, width_in), (width_out, width_in), (width_out,))
            )
            moved, origin = rearranged(rng, x)
            first = ops.numpy(ops.linear(*map(ops.array, (x, weight, bias))))
            second = ops.numpy(ops.linear(*map(ops.array, (moved, weight, bias))))
            np.testing.assert_array_equal(
                second[1::2], first[origin], err_msg=f"{width_in} -> {width_out}"
            )


@SCORING
@BLOCKS
def test_nor_do_they_behind_several_layers(ops: Ops, rows: int) -> None:
    rng = np.random.default_rng(rows)
    for inner in WIDTHS:
        layers = [
            tuple(
                ops.array(rng.normal(size=shape).astype(np.float32))
                for shape in ((out, fan_in), (out,))
            )
            for fan_in, out in itertools.pairwise((33, inner, 7))
        ]
        x = rng.normal(size=(rows, 33)).astype(np.float32)
        moved, origin = rearranged(rng, x)
        first = ops.numpy(ops.perceptron(ops.array(x), layers))
        second = ops.numpy(ops.perceptron(ops.array(moved), layers))
        np.testing.assert_array_equal(second[1::2], first[origin], err_msg=f"{inner}")


@SCORING
@BLOCKS
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_nor_do_they_after_element_wise_operations(
    ops: Ops, rows: int, dtype: type[np.floating]
) -> None:
    """Vector instructions and the loop over the rest of a row must agree to the bit."""
    rng = np.random.default_rng(rows)
    for width in WIDTHS:
        x = rng.normal(0, 3, (rows, width)).astype(dtype)
        moved, origin = rearranged(rng, x)
        for name in ("silu", "exp", "sigmoid", "softplus"):
            operation = getattr(ops, name)
            first = ops.numpy(operation(ops.array(x.copy())))
            second = ops.numpy(operation(ops.array(moved.copy())))
            np.testing.assert_array_equal(second[1::2], first[origin], err_msg=f"{name} {width}")
