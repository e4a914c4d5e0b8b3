"""Dense networks: what they compute, and what they are told."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import expit

from anomaly.arrays import Parameters
from anomaly.models.networks import DenseNetworks, Sizes
from tests.contracts.parts import NUMPY, Array

SIZES = Sizes(inputs=4, context=2, latent=3, outputs=6)


def by_hand(parameters: Parameters, name: str, x: Array, layers: int) -> Array:
    for layer in range(layers):
        x = x @ parameters[f"{name}.{layer}.weight"].T + parameters[f"{name}.{layer}.bias"]
        if layer < layers - 1:
            x = x * expit(x)
    return x


@pytest.mark.parametrize("hidden", [(), (5,), (8, 5)])
def test_layers_are_affine_maps_with_silu_between_them(hidden: tuple[int, ...]) -> None:
    rng = np.random.default_rng(0)
    networks = DenseNetworks(hidden=hidden)
    parameters = {
        name: rng.normal(size=value.shape)
        for name, value in networks.initial(SIZES, 7, rng).items()
    }
    inputs, context = rng.normal(size=(16, 4)), rng.normal(size=(16, 2))
    z = rng.normal(size=(5, 16, 3))

    encoded = networks.encode(NUMPY, parameters, inputs, context)
    decoded = networks.decode(NUMPY, parameters, z, context)

    layers = len(hidden) + 1
    expected = by_hand(parameters, "encoder", np.hstack([inputs, context]), layers)
    np.testing.assert_allclose(encoded, expected)
    for draw in range(5):
        expected = by_hand(parameters, "decoder", np.hstack([z[draw], context]), layers)
        np.testing.assert_allclose(decoded[draw], expected)


def test_the_decoder_mirrors_the_encoder() -> None:
    parameters = DenseNetworks(hidden=(9, 5)).initial(SIZES, 6, np.random.default_rng(0))
    shapes = {name: value.shape for name, value in parameters.items() if "weight" in name}
    assert shapes == {
        "encoder.0.weight": (9, 6),
        "encoder.1.weight": (5, 9),
        "encoder.2.weight": (6, 5),
        "decoder.0.weight": (5, 5),
        "decoder.1.weight": (9, 5),
        "decoder.2.weight": (6, 9),
    }


def test_fresh_weights_lie_within_one_over_the_root_of_the_fan_in_and_biases_are_zero() -> None:
    parameters = DenseNetworks(hidden=(64, 64)).initial(SIZES, 6, np.random.default_rng(0))
    for name, value in parameters.items():
        assert value.dtype == np.float32
        if name.endswith("bias"):
            assert not value.any()
        else:
            bound = 1 / np.sqrt(value.shape[1])
            assert 0.7 * bound < np.abs(value).max() <= bound


def test_without_context_nothing_is_appended() -> None:
    sizes = Sizes(inputs=4, context=0, latent=3, outputs=6)
    networks = DenseNetworks(hidden=())
    parameters = networks.initial(sizes, 3, np.random.default_rng(0))
    x = np.ones((16, 4), np.float32)
    encoded = networks.encode(NUMPY, parameters, x, np.zeros((16, 0), np.float32))
    np.testing.assert_allclose(encoded, x @ parameters["encoder.0.weight"].T, rtol=1e-6)
