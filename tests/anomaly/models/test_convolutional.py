"""Convolutional networks: the same numbers in both libraries, and a row sees only itself."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from scipy.signal import correlate2d

from anomaly.models.convolutional import ConvNetworks
from anomaly.models.networks import Sizes
from anomaly.models.ops import Ops
from tests.contracts.parts import EVERY_OPS, NUMPY, TORCH, Array, on

EVERY = pytest.mark.parametrize("ops", EVERY_OPS.values(), ids=EVERY_OPS)
SCORING = pytest.mark.parametrize("ops", [NUMPY, TORCH], ids=["numpy", "torch"])

NETWORKS = ConvNetworks(16, 24, widths=(8, 12), latent_channels=3)
SIZES = Sizes(inputs=2 * 16 * 24, context=2, latent=NETWORKS.latent, outputs=2 * 16 * 24)


def drawn(*shape: int, seed: int = 0) -> Array:
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


@EVERY
@pytest.mark.parametrize(("kernel", "stride"), [(1, 1), (3, 1), (3, 2), (5, 1), (4, 2)])
def test_a_convolution_is_what_scipy_says(ops: Ops, kernel: int, stride: int) -> None:
    x, weight, bias = drawn(2, 3, 8, 6), drawn(4, 3, kernel, kernel, seed=1), drawn(4, seed=2)

    held = [ops.array(a) for a in (x, weight, bias)]
    found = ops.numpy(ops.convolve(held[0], held[1], held[2], stride))

    for row in range(2):
        for out in range(4):
            planes = zip(x[row], weight[out], strict=True)
            around = (kernel - 1) // 2
            whole = bias[out] + sum(
                correlate2d(np.pad(image, around), k, mode="valid") for image, k in planes
            )
            np.testing.assert_allclose(found[row, out], whole[::stride, ::stride], atol=1e-5)


@EVERY
@pytest.mark.parametrize("dilation", [2, 4])
def test_a_dilated_convolution_is_one_with_holes_in_its_weights(ops: Ops, dilation: int) -> None:
    x, weight, bias = drawn(2, 3, 10, 12), drawn(4, 3, 3, 3, seed=1), drawn(4, seed=2)
    holes = np.zeros((4, 3, 2 * dilation + 1, 2 * dilation + 1), np.float32)
    holes[..., ::dilation, ::dilation] = weight

    held = [ops.array(a) for a in (x, weight, holes, bias)]
    found = ops.convolve(held[0], held[1], held[3], dilation=dilation)
    expected = ops.convolve(held[0], held[2], held[3])

    np.testing.assert_allclose(ops.numpy(found), ops.numpy(expected), atol=1e-5)


@EVERY
def test_a_group_of_channels_gets_mean_0_and_variance_1(ops: Ops) -> None:
    x, ones, zeros = 5 + 3 * drawn(2, 6, 8, 8), np.ones(6, np.float32), np.zeros(6, np.float32)

    found = ops.numpy(ops.group_norm(ops.array(x), 3, ops.array(ones), ops.array(zeros)))

    grouped = found.reshape(2, 3, -1)
    np.testing.assert_allclose(grouped.mean(-1), 0, atol=1e-5)
    np.testing.assert_allclose(grouped.var(-1), 1, atol=1e-4)
    scaled = ops.numpy(
        ops.group_norm(ops.array(x), 3, ops.array(drawn(6, seed=3)), ops.array(drawn(6, seed=4)))
    )
    scale, shift = (torch.as_tensor(drawn(6, seed=seed)) for seed in (3, 4))
    layer = torch.nn.functional.group_norm(torch.as_tensor(x), 3, scale, shift)
    np.testing.assert_allclose(scaled, layer.numpy(), atol=1e-5)


@EVERY
def test_four_channels_become_a_square_of_pixels(ops: Ops) -> None:
    x = np.arange(8.0, dtype=np.float32).reshape(1, 8, 1, 1)

    found = ops.numpy(ops.pixel_shuffle(ops.array(x)))

    assert found.tolist() == [[[[0, 1], [2, 3]], [[4, 5], [6, 7]]]]


def test_both_libraries_encode_and_decode_alike() -> None:
    parameters = NETWORKS.initial(SIZES, 2 * SIZES.latent, np.random.default_rng(0))
    inputs, context, z = drawn(32, SIZES.inputs), drawn(32, 2), drawn(3, 32, SIZES.latent)
    found = {}
    for name, ops in EVERY_OPS.items():
        held = on(ops, parameters)
        told = ops.array(context)
        encoded = ops.numpy(NETWORKS.encode(ops, held, ops.array(inputs), told))
        decoded = ops.numpy(NETWORKS.decode(ops, held, ops.array(z), told))
        assert encoded.shape == (32, 2 * SIZES.latent)
        assert decoded.shape == (3, 32, SIZES.outputs)
        found[name] = (encoded, decoded)

    for of in found.values():
        np.testing.assert_allclose(of[0], found["numpy"][0], atol=2e-5)
        np.testing.assert_allclose(of[1], found["numpy"][1], atol=2e-5)


@SCORING
def test_equal_rows_get_equal_bits_wherever_they_stand_in_a_block(ops: Ops) -> None:
    networks = ConvNetworks(32, 32)
    sizes = Sizes(inputs=2 * 1024, context=1, latent=networks.latent, outputs=2 * 1024)
    held = on(ops, networks.initial(sizes, 2 * sizes.latent, np.random.default_rng(1)))
    others = drawn(32, sizes.inputs, seed=2)
    for places in ([0], [31], [3, 4, 17, 30]):
        inputs = others.copy()
        inputs[places] = drawn(1, sizes.inputs, seed=3)
        with ops.inference():
            encoded = networks.encode(
                ops, held, ops.array(inputs), ops.array(np.zeros((32, 1), np.float32))
            )
            decoded = networks.decode(
                ops,
                held,
                encoded[None, :, : sizes.latent],
                ops.array(np.zeros((32, 1), np.float32)),
            )
        rows = ops.numpy(decoded)[0, places]
        if places == [0]:
            first = rows[0]
        assert (rows == first).all()


def test_the_latent_is_a_small_image() -> None:
    assert NETWORKS.reduction == 4
    assert NETWORKS.latent == 3 * (16 // 4) * (24 // 4)


def test_every_parameter_is_used_and_has_its_declared_shape() -> None:
    parameters = NETWORKS.initial(SIZES, 2 * SIZES.latent, np.random.default_rng(0))
    assert {k: v.shape for k, v in parameters.items()} == NETWORKS.shapes(SIZES, 2 * SIZES.latent)
    assert {v.dtype for v in parameters.values()} == {np.dtype(np.float32)}
    held = {k: torch.as_tensor(v).requires_grad_() for k, v in parameters.items()}
    training = EVERY_OPS["training"]
    inputs, context = torch.as_tensor(drawn(4, SIZES.inputs)), torch.as_tensor(drawn(4, 2))
    encoded = NETWORKS.encode(training, held, inputs, context)
    out = NETWORKS.decode(training, held, encoded[None, :, : SIZES.latent], context)
    (out.square().sum() + encoded.square().sum()).backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in held.values())


@pytest.mark.parametrize("wrong", [{"height": 18}, {"width": 25}, {"widths": ()}])
def test_sides_that_cannot_be_halved_as_often_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        ConvNetworks(**{"height": 16, "width": 24, "widths": (8, 12), **wrong})  # type: ignore[arg-type]
