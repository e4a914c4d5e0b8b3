"""Heatmaps as pictures: one scale, calm below the threshold, the same for every image."""

from __future__ import annotations

import io

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from anomaly.arrays import Float32
from anomaly.heat import Heat
from anomaly.heat_png import (
    COLOURS,
    HOTTEST_SHOWN,
    OUTLINE,
    boxes_at_size,
    heat_layer,
    layer_png,
    overlay,
    png,
)


def spot(height: int = 20, width: int = 30, heat: float = 2.0) -> Heat:
    """Calm but for a square of 6 x 6 pixels."""
    values = np.full((height, width), -0.5, np.float32)
    values[4:10, 12:18] = heat
    return Heat(values)


def flat(heat: float) -> Float32:
    return np.full((5, 7), heat, np.float32)


@pytest.mark.parametrize("heat", [0.0, -3.0])
def test_what_is_usual_is_transparent(heat: float) -> None:
    assert (heat_layer(Heat(flat(heat)), 5, 7)[..., 3] == 0).all()


def test_hotter_is_more_opaque_and_darker_and_the_threshold_is_where_it_becomes_strong() -> None:
    heats = np.linspace(0.0, HOTTEST_SHOWN, 256, dtype=np.float32)
    layer = heat_layer(Heat(heats[None]), 1, 256)[0]
    opacity, brightness = layer[:, 3].astype(int), layer[:, :3].sum(1, dtype=int)

    assert (np.diff(opacity) >= 0).all()
    assert (np.diff(brightness) <= 0).all()
    assert opacity[heats < 0.7].max() <= 30 < 120 <= opacity[heats >= 1.0].min()


@given(st.floats(0, HOTTEST_SHOWN), st.floats(-9, 9))
def test_the_colour_of_a_heat_does_not_depend_on_the_rest_of_the_image(
    heat: float, elsewhere: float
) -> None:
    alone = heat_layer(Heat(flat(heat)), 5, 7)[0, 0]
    values = flat(elsewhere)
    values[0, 0] = heat

    assert heat_layer(Heat(values), 5, 7)[0, 0].tolist() == alone.tolist()


def test_beyond_the_end_of_the_scale_all_look_alike() -> None:
    hottest, hotter = heat_layer(Heat(flat(HOTTEST_SHOWN)), 5, 7), heat_layer(Heat(flat(99)), 5, 7)

    assert (hottest == hotter).all()
    assert (hottest == COLOURS[-1]).all()


@pytest.mark.parametrize("size", [(20, 30), (41, 77), (3, 4)])
def test_the_file_of_a_layer_shows_the_layer(size: tuple[int, int]) -> None:
    opened = Image.open(io.BytesIO(layer_png(spot(), *size)))

    assert (np.asarray(opened.convert("RGBA")) == heat_layer(spot(), *size)).all()


@pytest.mark.parametrize(("dtype", "channels"), [(np.uint8, 1), (np.uint8, 3), (np.uint16, 1)])
def test_an_overlay_is_the_grey_image_where_nothing_is_hot(dtype: type, channels: int) -> None:
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, np.iinfo(dtype).max, (20, 30, channels), dtype, endpoint=True)

    shown = overlay(pixels, Heat(np.zeros((20, 30), np.float32)))

    assert shown.shape == (20, 30, 3)
    assert (shown == shown[..., :1]).all()
    assert np.ptp(shown) > 200


def test_an_overlay_outlines_the_hot_regions() -> None:
    pixels = np.full((40, 60, 1), 128, np.uint8)  # twice as tall and wide as the heat

    shown = overlay(pixels, spot())

    outlined = (shown == OUTLINE).all(-1)
    down, across = np.nonzero(outlined)
    assert (down.min(), across.min(), down.max(), across.max()) == (8, 24, 19, 35)
    assert outlined.sum() == 4 * 12 - 4


@given(st.integers(1, 300), st.integers(1, 300))
def test_boxes_lie_within_the_image(height: int, width: int) -> None:
    values = np.full((37, 49), 2.0, np.float32)

    (box,) = boxes_at_size(Heat(values), height, width)

    assert (box.top, box.left, box.bottom, box.right) == (0, 0, height, width)


def test_a_picture_survives_its_file() -> None:
    picture = overlay(np.full((20, 30, 1), 90, np.uint8), spot())

    assert (np.asarray(Image.open(io.BytesIO(png(picture)))) == picture).all()


def test_a_dark_image_of_16_bits_is_seen() -> None:
    pixels = np.linspace(0, 400, 600).reshape(20, 30, 1).astype(np.uint16)

    assert overlay(pixels, Heat(np.zeros((20, 30), np.float32))).max() == 255
