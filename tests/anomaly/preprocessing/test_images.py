"""Pixels to rows and back: nothing is lost between the tiles, and light does not matter."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from typing import Any, Literal

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from scipy.ndimage import gaussian_filter

from anomaly.arrays import Float32
from anomaly.preprocessing.images import (
    PLANES,
    Contrast,
    ImagePreprocessor,
    Layout,
    contrasted,
    halved,
    joined,
    resized,
    starts,
    together,
)

sides = st.integers(1, 200)


def preprocessor(
    layout: Layout,
    *,
    channels: Literal[1, 3] = 1,
    scale: float = 1.0,
    contrast: Contrast = Contrast.PLAIN,
) -> ImagePreprocessor:
    return ImagePreprocessor(
        layout, contrast, channels, scale, (0.0,) * channels, (1.0,) * channels
    )


def picture(height: int, width: int, channels: int = 1, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return rng.integers(0, 256, (height, width, channels)).astype(np.uint8)


@given(side=sides, tile=st.integers(8, 64), overlap=st.integers(0, 63))
def test_tiles_cover_a_side_and_overlap_as_much_as_asked(
    side: int, tile: int, overlap: int
) -> None:
    layout = Layout(tile=tile, overlap=min(overlap, tile - 1))
    found = starts(side, layout)

    assert found[0] == 0
    assert found == sorted(set(found))
    assert found[-1] + tile >= side
    if side >= tile:
        assert found[-1] + tile == side, "no tile sticks out of an image that is large enough"
    for first, second in pairwise(found):
        assert first + tile - second >= layout.overlap


@given(height=sides, width=sides)
@settings(max_examples=40, deadline=None)
def test_what_is_cut_into_tiles_and_joined_is_the_image(height: int, width: int) -> None:
    layout = Layout(tile=32, overlap=8)
    prepared = preprocessor(layout)
    pixels = picture(height, width)
    tiled = prepared.tiles(pixels)

    back = joined(tiled.features.targets, tiled, layout)

    np.testing.assert_allclose(back, prepared.image(pixels)[..., 0], atol=1e-6)


def test_a_tile_tells_where_there_is_a_pixel_and_hides_nothing_that_is_there() -> None:
    tiled = preprocessor(Layout(tile=32, overlap=8)).tiles(picture(20, 27, seed=1))

    _, visible, inside = tiled.features.inputs[0].reshape(3, 32, 32)
    np.testing.assert_array_equal(visible, inside)
    assert visible[:20, :27].all()
    assert visible.sum() == 20 * 27
    np.testing.assert_array_equal(tiled.features.observed[0].reshape(32, 32), visible > 0)
    assert (tiled.features.targets[0].reshape(32, 32)[visible == 0] == 0).all()


def test_channels_stand_one_after_the_other_and_the_planes_of_what_is_there_last() -> None:
    pixels = picture(32, 32, channels=3)
    tiled = preprocessor(Layout(tile=32, overlap=8), channels=3).tiles(pixels)

    planes = tiled.features.inputs[0].reshape(3 + PLANES, 32, 32)
    np.testing.assert_allclose(planes[:3], pixels.transpose(2, 0, 1) / np.float32(255))
    assert (planes[3:] == 1).all()


def test_half_of_an_image_are_the_means_of_four_pixels() -> None:
    image = picture(16, 24, channels=3).astype(np.float32)
    means = [
        [image[2 * y : 2 * y + 2, 2 * x : 2 * x + 2].mean((0, 1)) for x in range(12)]
        for y in range(8)
    ]
    np.testing.assert_allclose(halved(image), means, rtol=1e-6)
    np.testing.assert_allclose(resized(image, 8, 12), means, rtol=1e-6)


def test_an_image_that_is_seen_whole_is_one_tile_whatever_its_size() -> None:
    whole = preprocessor(Layout(tile=16, overlap=0, whole=True), scale=0.3)

    for shape in ((16, 16), (8, 40), (100, 3)):
        tiled = whole.tiles(picture(*shape))
        assert tiled.features.inputs.shape == (1, 3 * 16 * 16)
        assert tiled.features.observed.all()


def test_a_resized_image_keeps_its_mean_and_a_constant_one_its_value() -> None:
    image = np.full((50, 70, 2), 0.3, np.float32)
    np.testing.assert_allclose(resized(image, 20, 31), 0.3, rtol=1e-6)
    noisy = picture(64, 64).astype(np.float32)
    assert abs(resized(noisy, 32, 32).mean() - noisy.mean()) < 1


@given(factor=st.floats(0.5, 1.0))
@settings(max_examples=20, deadline=None)
def test_local_contrast_does_not_see_how_bright_the_light_is(factor: float) -> None:
    surface = textured(80, 90)
    bright, dim = (
        contrasted(surface * np.float32(light), Contrast.LOCAL) for light in (1.0, factor)
    )
    # The floor below the logarithm keeps the noise of dark pixels down, so not exactly.
    np.testing.assert_allclose(bright, dim, atol=0.06)


def test_local_contrast_does_not_see_a_slow_slope_of_light() -> None:
    surface = textured(120, 120)
    slope = np.exp(np.linspace(-0.3, 0.3, 120, dtype=np.float32))[None, :, None]
    even, uneven = (contrasted(s, Contrast.LOCAL) for s in (surface, surface * slope))
    inside = np.s_[:, 50:70]
    np.testing.assert_allclose(even[inside], uneven[inside], atol=0.05)


def textured(height: int, width: int) -> Float32:
    rng = np.random.default_rng(5)
    smooth = gaussian_filter(rng.normal(size=(height, width)), 1.5)
    found: Float32 = (0.5 + 0.2 * smooth / np.abs(smooth).max())[..., None].astype(np.float32)
    return found


def test_what_is_shown_of_plain_pixels_are_the_pixels() -> None:
    prepared = replace(preprocessor(Layout(tile=32)), center=(0.4,), spread=(0.2,))
    pixels = picture(32, 32)
    shown = prepared.shown(prepared.image(pixels).astype(np.float64))
    np.testing.assert_allclose(shown, pixels / np.float32(255), atol=1e-6)


def test_rows_of_several_images_stand_one_after_the_other() -> None:
    prepared = preprocessor(Layout(tile=32))
    parts = [prepared.tiles(picture(40, 50, seed=seed)).features for seed in (1, 2)]
    both = together(parts)

    assert len(both) == len(parts[0]) + len(parts[1])
    np.testing.assert_array_equal(both.inputs[: len(parts[0])], parts[0].inputs)
    np.testing.assert_array_equal(both.targets[len(parts[0]) :], parts[1].targets)


@pytest.mark.parametrize("wrong", [{"tile": 16, "overlap": 16}, {"tile": 4}, {"levels": 3}])
def test_layouts_that_cannot_be_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        Layout(**wrong)
