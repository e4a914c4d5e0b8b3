"""How networks of images are computed in training: narrow and laid out anew, and only there."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from anomaly.backends.torch_backend import torch_ops
from anomaly.fitting.weights import Weights
from anomaly.models.convolutional import ConvNetworks
from anomaly.models.defects import DefectNetwork
from anomaly.models.kernels import EXACT, Kernels, training_kernels
from anomaly.models.networks import DenseNetworks, Sizes
from anomaly.models.torch_ops import TorchOps
from tests.contracts.parts import NUMPY

CPU = torch.device("cpu")
NARROW = Kernels(bfloat16=True, channels_last=False)
LAID_OUT = Kernels(bfloat16=False, channels_last=True)
BOTH = Kernels(bfloat16=True, channels_last=True)
CONV = ConvNetworks(16, 16, widths=(6, 8), latent_channels=4)
SIZES = Sizes(inputs=3 * 256, context=0, latent=CONV.latent, outputs=2 * 256)
NO_CONTEXT = torch.zeros((5, 0))


def training(kernels: Kernels) -> TorchOps:
    return TorchOps(CPU, for_scoring=False, kernels=kernels)


def weights() -> Weights:
    return Weights(CONV.initial(SIZES, 2 * CONV.latent, np.random.default_rng(0)), CPU)


def seen() -> torch.Tensor:
    return torch.randn((5, SIZES.inputs), generator=torch.Generator().manual_seed(0))


def test_a_cpu_trains_in_float32_and_lays_out_tiles_only() -> None:
    assert training_kernels("cpu") == EXACT
    assert training_kernels("cpu", of_tiles=True) == LAID_OUT


@pytest.mark.parametrize("of_tiles", [True, False])
def test_a_gpu_trains_images_in_bfloat16_channels_last(of_tiles: bool) -> None:
    assert training_kernels("cuda", of_tiles=of_tiles) == BOTH


def test_scoring_is_exact_and_takes_nothing_else() -> None:
    assert torch_ops("cpu").kernels == EXACT
    with pytest.raises(AssertionError, match="float32"):
        TorchOps(CPU, for_scoring=True, kernels=NARROW)


@pytest.mark.parametrize("kernels", [NARROW, LAID_OUT, BOTH], ids=["narrow", "laid_out", "both"])
class TestNetworks:
    def test_outputs_are_float32_and_close_to_the_exact_ones(self, kernels: Kernels) -> None:
        parameters, x = weights().parameters, seen()
        # Of bfloat16's 8 binary digits a few layers leave about 6.
        tolerance = 0.05 if kernels.bfloat16 else 1e-5

        for network in ("encode", "decode"):
            given = x if network == "encode" else torch.randn((2, 5, CONV.latent))
            exact, found = (
                getattr(CONV, network)(training(of), parameters, given, NO_CONTEXT)
                for of in (EXACT, kernels)
            )
            assert found.dtype is torch.float32
            assert found.shape == exact.shape
            assert (found - exact).square().mean() < (tolerance * exact.std()) ** 2
            assert kernels == LAID_OUT or (found != exact).any()

    def test_gradients_gather_in_the_flat_float32_array(self, kernels: Kernels) -> None:
        exact, found = weights(), weights()
        for of, into in ((EXACT, exact), (kernels, found)):
            outputs = CONV.encode(training(of), into.parameters, seen(), NO_CONTEXT)
            outputs.square().mean().backward()

        assert {leaf.dtype for leaf in found.parameters.values()} == {torch.float32}
        assert found.gradient.dtype is torch.float32
        start = found.gradient.data_ptr()
        assert found.parameters["encoder.0.weight"].grad.data_ptr() == start
        direction = torch.nn.functional.cosine_similarity(exact.gradient, found.gradient, dim=0)
        assert direction > 0.99

    def test_defects_are_looked_for_in_the_same_way(self, kernels: Kernels) -> None:
        network = DefectNetwork(channels=1, widths=(4, 6, 8))
        parameters = Weights(network.initial(np.random.default_rng(0)), CPU).parameters
        levels = [torch.randn((2, 2, 32 >> level, 32 >> level)) for level in range(3)]

        exact, found = (network.logits(training(of), parameters, levels) for of in (EXACT, kernels))

        assert found.dtype is torch.float32
        torch.testing.assert_close(found, exact, atol=0.05, rtol=0.05)


def test_a_look_is_exact_whatever_trains() -> None:
    """Looks choose the weights that score: in float32."""
    parameters, x = weights().parameters, seen()
    with torch.inference_mode():
        exact, found = (
            CONV.encode(training(of), parameters, x, NO_CONTEXT) for of in (EXACT, NARROW)
        )
    assert torch.equal(exact, found)


def test_dense_networks_stay_exact() -> None:
    """They are small, and bound by how fast kernels start."""
    dense, sizes = DenseNetworks(hidden=(8,)), Sizes(inputs=7, context=0, latent=3, outputs=7)
    parameters = Weights(dense.initial(sizes, 6, np.random.default_rng(0)), CPU).parameters
    exact, found = (
        dense.encode(training(of), parameters, torch.ones((5, 7)), NO_CONTEXT)
        for of in (EXACT, BOTH)
    )
    assert torch.equal(exact, found)


def test_numpy_gives_a_network_as_it_is() -> None:
    outputs = np.arange(3.0)
    assert NUMPY.network(lambda: outputs) is outputs
