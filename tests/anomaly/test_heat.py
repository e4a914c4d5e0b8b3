"""Heat: one scale for all images, regions where it exceeds 1."""

from __future__ import annotations

from itertools import combinations
from random import Random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from anomaly.heat import MOST_BOXES, Box, Heat, apart, heat_of


def spots(*places: tuple[slice, slice, float]) -> Heat:
    values = np.zeros((60, 80), np.float32)
    for down, across, heat in places:
        values[down, across] = heat
    return Heat(values)


def test_boxes_are_the_regions_that_are_hotter_than_1_hottest_first() -> None:
    heat = spots(
        (slice(10, 20), slice(30, 50), 1.5),
        (slice(40, 50), slice(5, 15), 3.0),
        (slice(55, 60), slice(60, 80), 0.99),
    )
    assert heat.boxes() == [Box(40, 5, 50, 15, 3.0), Box(10, 30, 20, 50, 1.5)]
    assert heat.hottest == 3.0


def test_pixels_that_touch_at_a_corner_are_one_region() -> None:
    heat = spots((slice(10, 20), slice(10, 20), 2.0), (slice(20, 30), slice(20, 30), 2.5))
    assert heat.boxes() == [Box(10, 10, 30, 30, 2.5)]


def test_a_few_hot_pixels_of_a_large_image_are_no_region_but_of_a_small_one_they_are() -> None:
    lone = np.zeros((400, 400), np.float32)
    lone[7, 7] = 9.0
    assert Heat(lone).boxes() == []
    assert Heat(lone[:8, :8]).boxes() == [Box(7, 7, 8, 8, 9.0)]


def test_at_most_so_many_boxes() -> None:
    values = np.zeros((60, 60), np.float32)
    values[::6, ::6] = 2.0
    assert len(Heat(values).boxes()) == MOST_BOXES
    assert not Heat(values).is_widespread


def test_regions_that_nearly_touch_are_one_place() -> None:
    """Of 60 pixels a twentieth, 3, may lie between them."""
    near = spots((slice(10, 20), slice(10, 20), 2.0), (slice(10, 20), slice(23, 30), 2.5))
    far = spots((slice(10, 20), slice(10, 20), 2.0), (slice(10, 20), slice(24, 30), 2.5))
    assert near.boxes() == [Box(10, 10, 20, 30, 2.5)]
    assert far.boxes() == [Box(10, 24, 20, 30, 2.5), Box(10, 10, 20, 20, 2.0)]


def test_a_region_within_the_box_of_another_is_no_place_of_its_own() -> None:
    values = np.zeros((60, 80), np.float32)
    values[10:40, 10:40] = 2.0
    values[12:38, 12:38] = 0.0
    values[24:26, 24:26] = 3.0
    assert Heat(values).boxes() == [Box(10, 10, 40, 40, 3.0)]


def test_an_image_that_is_odd_as_a_whole_has_a_single_box_and_says_so() -> None:
    values = np.zeros((60, 80), np.float32)
    values[5:55:4, 6:75:4] = values[5:55:4, 7:76:4] = 2.0
    heat = Heat(values)
    assert heat.is_widespread
    assert heat.boxes() == [Box(5, 6, 54, 76, 2.0)]


def test_two_large_places_that_cover_most_of_an_image_are_no_places() -> None:
    halves = spots((slice(0, 60), slice(0, 25), 2.0), (slice(0, 60), slice(55, 80), 1.5))
    one = spots((slice(0, 60), slice(0, 25), 2.0))
    assert halves.is_widespread
    assert halves.boxes() == [Box(0, 0, 60, 80, 2.0)]
    assert not one.is_widespread


@given(
    st.lists(st.tuples(*[st.integers(0, 40)] * 2, *[st.integers(1, 9)] * 2), max_size=12),
    st.integers(0, 5),
    st.randoms(use_true_random=False),
)
def test_boxes_that_are_apart_hold_all_others_whatever_their_order(
    corners: list[tuple[int, int, int, int]], pixels: int, random: Random
) -> None:
    boxes = [Box(top, left, top + down, left + across, 2.0) for top, left, down, across in corners]
    found = apart(boxes, pixels)

    assert all(any(box.joined(other) == other for other in found) for box in boxes)
    assert not any(a.is_near(b, pixels) for a, b in combinations(found, 2))
    random.shuffle(boxes)
    assert set(apart(boxes, pixels)) == set(found)


def test_a_calm_image_has_no_box_and_no_heat() -> None:
    heat = spots()
    assert heat.boxes() == []
    assert heat.hottest == 0.0
    assert not heat.is_widespread


def test_a_box_of_the_working_size_covers_the_same_part_of_the_image() -> None:
    assert Box(10, 30, 20, 50, 2.0).scaled(2.0, 0.5) == Box(20, 15, 40, 25, 2.0)
    assert Box(1, 1, 2, 2, 2.0).scaled(1.5, 1.5) == Box(1, 1, 3, 3, 2.0), (
        "never less than all of it"
    )


@pytest.mark.parametrize("unit", [0.5, 4.0])
def test_the_scale_is_the_unit_and_not_the_image(unit: float) -> None:
    calm, wild = (heat_of([np.full((8, 8), layer)], unit, 8, 8) for layer in (1.0, 10.0))
    assert calm.values == pytest.approx(np.full((8, 8), 1.0 / unit))
    assert wild.hottest == pytest.approx(10 * calm.hottest)


def test_the_hottest_layer_counts_at_each_pixel() -> None:
    fine, coarse = np.zeros((8, 8)), np.zeros((4, 4))
    fine[0, 0], coarse[3, 3] = 5.0, 2.0
    heat = heat_of([fine, coarse], 0.5, 8, 8).values
    assert heat[0, 0] == 10.0
    assert heat[7, 7] == pytest.approx(4.0)
    assert heat[0, 7] == heat[4, 0] == 0.0


def test_less_than_usual_is_no_heat() -> None:
    assert heat_of([np.full((8, 8), -3.0)], 1.0, 8, 8).hottest == 0.0


def test_an_image_of_another_size_gets_the_same_heat() -> None:
    heat = spots((slice(0, 60), slice(0, 80), 1.25))
    assert heat.at_size(120, 33).shape == (120, 33)
    np.testing.assert_allclose(heat.at_size(120, 33), 1.25)
