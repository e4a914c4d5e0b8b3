"""Texture: what cells are expected to be like, against scikit-learn's ridge and made surfaces."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import gaussian_filter
from sklearn.linear_model import Ridge
from sklearn.preprocessing import StandardScaler

from anomaly.arrays import Float32
from anomaly.texture import CELL, FIELDS, FLOOR, LARGEST, RIDGE, TERMS, Texture, roughness


def surface(rng: np.random.Generator, height: int = 96, width: int = 112) -> Float32:
    """Grain whose roughness varies slowly over the image."""
    slow = gaussian_filter(rng.normal(size=(height, width)), 20) * 20
    grain = rng.normal(size=(height, width)) * np.exp(0.5 * slow)
    found: Float32 = grain[..., None].astype(np.float32)
    return found


RNG = np.random.default_rng(0)
NORMAL = [surface(RNG) for _ in range(30)]
TEXTURE = Texture.of(NORMAL)


def test_roughness_is_the_log_mean_step_of_the_cell() -> None:
    """A ramp of 2 to the right: each pixel differs by 2 across and by nothing down, and twice as
    much at half the size."""
    ramp = np.broadcast_to(2.0 * np.arange(32)[None, :, None], (24, 32, 1)).astype(np.float32)

    found, light = roughness(ramp)

    assert found.shape == (3, 4, FIELDS)
    inner = found[:, 1:]  # the first pixel of a row has no step
    np.testing.assert_allclose(inner[..., 0], np.log(2 + FLOOR), rtol=1e-6)
    np.testing.assert_allclose(inner[..., 2], np.log(4 + FLOOR), rtol=1e-6)
    np.testing.assert_allclose(found[..., [1, 3]], np.log(FLOOR), rtol=1e-6)
    np.testing.assert_allclose(light[0], 2 * (np.arange(4) * CELL + (CELL - 1) / 2))


def test_expectations_are_those_of_ridge_regression() -> None:
    """The same numbers as scikit-learn's, from standardised terms."""
    from anomaly.texture import _regression

    terms, values = zip(*(_regression(image) for image in NORMAL), strict=True)
    for field in range(FIELDS):
        x, y = np.concatenate([t[field] for t in terms]), np.concatenate(values)[:, field]
        scaler = StandardScaler().fit(x)
        peer = Ridge(alpha=RIDGE * len(x)).fit(scaler.transform(x), y)

        ours = x @ TEXTURE.weights[field] + TEXTURE.constant[field]

        np.testing.assert_allclose(ours, peer.predict(scaler.transform(x)), atol=1e-6)


def test_normal_cells_are_surprising_by_one_variance() -> None:
    """In the mean, and on images that were not learned from a little more."""
    rng = np.random.default_rng(1)
    again = np.mean([TEXTURE.surprise(image).mean() for image in NORMAL])
    fresh = np.mean([TEXTURE.surprise(surface(rng)).mean() for _ in range(30)])

    assert again == pytest.approx(1.0, abs=0.05)
    assert fresh == pytest.approx(1.0, abs=0.15)


def test_a_smoothed_patch_is_the_most_surprising_place() -> None:
    """It has the mean and the light of its surroundings; only its grain is gone."""
    image = surface(np.random.default_rng(2))
    image[40:56, 48:64] = gaussian_filter(image[40:56, 48:64, 0], 1.5)[..., None]

    found = TEXTURE.surprise(image).mean(-1)

    y, x = np.unravel_index(found.argmax(), found.shape)
    assert 40 <= y * CELL < 56
    assert 48 <= x * CELL < 64


def test_a_turned_image_surprises_where_its_original_does() -> None:
    """Learned from images and their mirror images, left and right are alike."""
    texture = Texture.of([*NORMAL, *(image[:, ::-1] for image in NORMAL)])
    image = surface(np.random.default_rng(4))

    there, mirrored = texture.surprise(image), texture.surprise(image[:, ::-1])

    # A step belongs to the pixel on its right, so mirrored cells gain one column and lose another.
    assert np.corrcoef(there.ravel(), mirrored[:, ::-1].ravel())[0, 1] > 0.8


@given(height=st.integers(1, 40), width=st.integers(1, 40), channels=st.sampled_from([1, 3]))
@settings(max_examples=40, deadline=None)
def test_images_of_any_size_are_judged_in_whole_cells(
    height: int, width: int, channels: int
) -> None:
    image = np.random.default_rng(5).normal(size=(height, width, channels)).astype(np.float32)

    found = TEXTURE.surprise(image)

    assert found.shape == (max(1, height // CELL), max(1, width // CELL), FIELDS)
    assert ((found >= 0) & (found <= LARGEST)).all()


def test_constant_images_leave_numbers() -> None:
    texture = Texture.of([np.zeros((40, 40, 1), np.float32)] * 3)

    assert np.isfinite(texture.surprise(NORMAL[0])).all()
    np.testing.assert_allclose(texture.surprise(np.zeros((40, 40, 1), np.float32)), 0, atol=1e-9)


def test_arrays_have_the_shapes_that_are_declared() -> None:
    assert {k: getattr(TEXTURE, k).shape for k in Texture.shapes()} == Texture.shapes()
    assert TERMS == 40 + 13
