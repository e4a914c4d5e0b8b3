"""Log odds of a defect of one image, of any size, by either library."""

from __future__ import annotations

import gc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from anomaly.arrays import Float32
from anomaly.backends.backend import Backend, BackendName, Device, ScoringModel, open_backend
from anomaly.backends.defects import DefectModel, defect_levels, log_odds
from anomaly.models.defects import REDUCTION, DefectNetwork
from anomaly.scores import MissingFill, SquaredError
from tests.contracts.parts import EVERY_LIKELIHOOD, small_model

sides = st.integers(1, 40)


def backend(name: BackendName) -> Backend:
    """One that holds some small model of rows; defects are no matter of it."""
    vae, parameters = small_model(EVERY_LIKELIHOOD["numbers"])
    fill = MissingFill(np.zeros(3), 0.0)
    model = ScoringModel(vae, (parameters,), SquaredError(), fill)
    return open_backend(model, name, Device.CPU, 32)


BY_NUMPY, BY_TORCH = backend(BackendName.NUMPY), backend(BackendName.TORCH)


def model(channels: int = 1) -> DefectModel:
    network = DefectNetwork(channels, widths=(4, 6, 8))
    return DefectModel(network, network.initial(np.random.default_rng(0)))


def surface(height: int, width: int, channels: int = 1) -> Float32:
    rng = np.random.default_rng(height * width)
    return rng.normal(size=(height, width, channels)).astype(np.float32)


@given(height=sides, width=sides)
@settings(max_examples=30, deadline=None)
def test_an_image_of_any_size_is_judged_in_squares_of_16_pixels(height: int, width: int) -> None:
    found = log_odds(model(), BY_NUMPY, surface(height, width))

    assert found.shape == (-(-height // REDUCTION), -(-width // REDUCTION))
    assert found.dtype == np.float64
    assert np.isfinite(found).all()


@pytest.mark.parametrize("shape", [(40, 64, 1), (37, 50, 3), (5, 3, 1)], ids=str)
def test_both_libraries_judge_alike(shape: tuple[int, int, int]) -> None:
    defects = model(shape[-1])

    ours, theirs = (log_odds(defects, by, surface(*shape)) for by in (BY_NUMPY, BY_TORCH))

    np.testing.assert_allclose(ours, theirs, atol=2e-5)


def test_a_level_is_the_mean_of_four_pixels_of_the_one_before() -> None:
    image = surface(16, 24, 3)

    full, half, quarter = defect_levels(image)

    np.testing.assert_array_equal(full, image)
    assert (half.shape, quarter.shape) == ((8, 12, 3), (4, 6, 3))
    np.testing.assert_allclose(half[2, 3], image[4:6, 6:8].mean((0, 1)), rtol=1e-5)
    np.testing.assert_allclose(quarter[1, 2], image[4:8, 8:12].mean((0, 1)), rtol=1e-5)


@given(height=sides, width=sides)
@settings(deadline=None)
def test_beyond_its_border_an_image_goes_on_as_it_ends(height: int, width: int) -> None:
    image = surface(height, width)

    full, half, quarter = defect_levels(image)

    assert full.shape[0] == 2 * half.shape[0] == 4 * quarter.shape[0]
    assert full.shape[1] == 2 * half.shape[1] == 4 * quarter.shape[1]
    assert full.shape[0] - height < REDUCTION > full.shape[1] - width
    np.testing.assert_array_equal(full[:height, :width], image)
    assert (full[height:, :width] == image[-1:]).all()
    assert (full[:, width:] == full[:, width - 1 : width]).all()


def test_judging_an_image_twice_gives_the_same_bits() -> None:
    image = surface(37, 50)
    for by in (BY_NUMPY, BY_TORCH):
        np.testing.assert_array_equal(log_odds(model(), by, image), log_odds(model(), by, image))


@pytest.mark.parametrize("name", list(BackendName))
def test_learned_numbers_are_held_once_for_each_backend(name: BackendName) -> None:
    defects, by = model(), backend(name)

    held = defects.on(by.ops)

    assert defects.on(by.ops) is held
    assert {key: by.ops.numpy(array).tolist() for key, array in held.items()} == {
        key: array.tolist() for key, array in defects.parameters.items()
    }
    assert defects.on(BY_NUMPY.ops) is not held


def test_what_a_backend_held_goes_with_it() -> None:
    defects, by = model(), backend(BackendName.TORCH)
    defects.on(by.ops)
    assert len(defects._held) == 1

    del by
    gc.collect()

    assert len(defects._held) == 0
