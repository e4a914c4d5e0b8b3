"""The network that looks for defects: the same numbers in both libraries, and a place sees only
what is around it."""

from __future__ import annotations

import numpy as np
import pytest

from anomaly.arrays import Float32, Parameters, Tensor
from anomaly.models.defects import DILATIONS, RARE, REDUCTION, DefectNetwork
from anomaly.models.ops import NumpyOps, Ops
from anomaly.preprocessing.images import halved
from tests.contracts.parts import EVERY_OPS, NUMPY, TRAINING, Array, on

NETWORK = DefectNetwork(channels=1, widths=(4, 6, 8))


def parameters_of(network: DefectNetwork, seed: int = 0) -> Parameters:
    """As a fitted network has them, norms and biases included."""
    rng = np.random.default_rng(seed)
    return {
        name: (value + rng.normal(0, 0.1, value.shape)).astype(np.float32)
        for name, value in network.initial(rng).items()
    }


def pyramid(image: Float32) -> list[Array]:
    """Levels (1, channels + 1, H, W) of an image (H, W, channels), all of it to be seen."""
    levels = [image]
    for _ in range(2):
        levels.append(halved(levels[-1]))
    return [
        np.concatenate([level, np.ones_like(level[..., :1])], axis=-1).transpose(2, 0, 1)[None]
        for level in levels
    ]


def logits(
    image: Float32,
    ops: Ops = NUMPY,
    network: DefectNetwork = NETWORK,
    parameters: Parameters | None = None,
) -> Array:
    """(H / 4, W / 4)."""
    held = on(ops, parameters or parameters_of(network))
    levels = [ops.array(np.ascontiguousarray(level)) for level in pyramid(image)]
    found: Array = ops.numpy(network.logits(ops, held, levels))[0]
    return found


def surface(height: int, width: int, channels: int = 1, seed: int = 0) -> Float32:
    return np.random.default_rng(seed).normal(size=(height, width, channels)).astype(np.float32)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(("height", "width"), [(4, 4), (16, 40), (64, 28)])
def test_each_square_of_16_pixels_is_judged_by_one_number(
    height: int, width: int, channels: int
) -> None:
    network = DefectNetwork(channels)

    found = logits(surface(height, width, channels), network=network)

    assert found.shape == (height // REDUCTION, width // REDUCTION)
    assert np.isfinite(found).all()


@pytest.mark.parametrize("channels", [1, 3])
def test_both_libraries_judge_alike(channels: int) -> None:
    network = DefectNetwork(channels)
    image = surface(48, 64, channels)

    found = {name: logits(image, ops, network) for name, ops in EVERY_OPS.items()}

    assert found["numpy"].std() > 0.1
    for of in found.values():
        np.testing.assert_allclose(of, found["numpy"], atol=2e-5)


def test_images_of_a_batch_are_judged_as_they_are_alone() -> None:
    images = [surface(32, 32, seed=seed) for seed in range(3)]
    held = parameters_of(NETWORK)

    levels = [np.concatenate(of) for of in zip(*map(pyramid, images), strict=True)]
    together = NETWORK.logits(NUMPY, held, levels)

    np.testing.assert_allclose(together, [logits(image) for image in images], atol=1e-5)


class WithoutNorm(NumpyOps):
    """Scaled and shifted, but by nothing that other places say."""

    def group_norm(self, x: Tensor, groups: int, weight: Tensor, bias: Tensor) -> Tensor:
        return x * weight[:, None, None] + bias[:, None, None]


class TestReach:
    """How far a place sees, but for the norms: those look at the whole image."""

    # Of the dilated convolutions, and of the two that halve the image: 2 + 1 pixels.
    PIXELS = REDUCTION * sum(DILATIONS) + 3
    PLACE = 12

    def changes(self, y: int, ops: Ops) -> bool:
        """Whether the pixel in row y is seen from the place in the middle of the image."""
        before = surface(100, 100)
        after = before.copy()
        after[y, 50] += 100.0
        first, second = (logits(image, ops)[self.PLACE] for image in (before, after))
        return bool((first != second).any())

    @pytest.mark.parametrize("direction", [-1, 1])
    def test_beyond_its_reach_a_place_sees_nothing(self, direction: int) -> None:
        first = self.PLACE * REDUCTION
        edge = first if direction < 0 else first + REDUCTION - 1
        assert self.changes(edge + direction * self.PIXELS, WithoutNorm())
        assert not self.changes(edge + direction * (self.PIXELS + 1), WithoutNorm())

    def test_the_norms_see_everything(self) -> None:
        assert self.changes(99, NUMPY)


def test_a_network_that_has_learned_nothing_takes_defects_for_rare() -> None:
    found = [
        logits(surface(48, 48), parameters=NETWORK.initial(np.random.default_rng(seed)))
        for seed in range(8)
    ]
    assert np.mean(found) == pytest.approx(RARE, abs=0.3)
    assert np.max(found) < 0


def test_every_parameter_is_used_and_has_its_declared_shape() -> None:
    parameters = NETWORK.initial(np.random.default_rng(0))
    assert {name: value.shape for name, value in parameters.items()} == NETWORK.shapes()
    assert {value.dtype for value in parameters.values()} == {np.dtype(np.float32)}
    held = {name: TRAINING.array(v).requires_grad_() for name, v in parameters.items()}
    levels = [TRAINING.array(level.copy()) for level in pyramid(surface(32, 32))]
    NETWORK.logits(TRAINING, held, levels).square().sum().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in held.values())


@pytest.mark.parametrize("level", [0, 1, 2])
def test_each_level_of_the_pyramid_is_looked_at(level: int) -> None:
    levels = pyramid(surface(32, 32))
    held = parameters_of(NETWORK)
    before = NETWORK.logits(NUMPY, held, levels)
    levels[level] = levels[level] + np.float32(1.0) * (np.arange(levels[level].shape[-1]) % 3)

    assert (NETWORK.logits(NUMPY, held, levels) != before).any()
