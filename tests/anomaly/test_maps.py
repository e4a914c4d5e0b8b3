"""Maps of evidence: what is usual is 0, one place is enough, and extremes stay numbers."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy.ndimage import distance_transform_edt

from anomaly.arrays import Float64
from anomaly.maps import (
    BOX,
    DISTANCES,
    LARGEST_ERROR,
    SMALLEST_SHARE,
    SMALLEST_SPREAD,
    TileMaps,
    WholeMaps,
    distance_bins,
    largest_mean,
)

sides = st.integers(1, 50)


def errors_of(rng: np.random.Generator, height: int = 48, width: int = 64) -> Float64:
    """Squared errors of an image: larger near the border, and in some images larger everywhere."""
    found = rng.chisquare(1, (height, width)) * rng.uniform(0.5, 2.0)
    found[:2] *= 3.0
    return np.minimum(found, 10.0)


def odds_of(rng: np.random.Generator, height: int = 48, width: int = 64) -> Float64:
    odds: Float64 = rng.normal(-4.0, 1.0, (-(-height // 4), -(-width // 4)))
    return odds


def surfaces(n: int = 40, seed: int = 0) -> tuple[list[Float64], list[Float64]]:
    rng = np.random.default_rng(seed)
    return [errors_of(rng) for _ in range(n)], [odds_of(rng) for _ in range(n)]


ERRORS, ODDS = surfaces()
MAPS = TileMaps.of(ERRORS, ODDS)


@given(height=sides, width=sides)
@settings(max_examples=40, deadline=None)
def test_a_bin_counts_how_many_limits_the_distance_from_the_border_has_reached(
    height: int, width: int
) -> None:
    inside = np.pad(np.ones((height, width)), 1)
    steps_to_the_outside = distance_transform_edt(inside)[1:-1, 1:-1]

    expected = ((steps_to_the_outside - 1)[..., None] >= DISTANCES).sum(-1)

    np.testing.assert_array_equal(distance_bins(np.zeros((height, width))), expected)


@given(
    values=hnp.arrays(np.float64, hnp.array_shapes(max_dims=2), elements=st.floats(-1e6, 1e6)),
    share=st.floats(0.0, 1.0),
)
@settings(deadline=None)
def test_the_mean_of_the_largest_is_that_of_the_sorted_end(values: Float64, share: float) -> None:
    count = max(1, round(share * values.size))
    largest = sorted(values.ravel().tolist(), reverse=True)[:count]

    assert largest_mean(values, share) == pytest.approx(sum(largest) / count, rel=1e-9, abs=1e-6)


class TestWhole:
    def test_the_images_it_was_learned_from_have_mean_0_and_deviation_1_at_each_pixel(self) -> None:
        rng = np.random.default_rng(0)
        scale = rng.uniform(1.0, 3.0, (16, 16))
        errors = [scale * rng.chisquare(3, (16, 16)) for _ in range(50)]

        maps = WholeMaps.of(errors)

        layers = np.array([maps.read(e, 0.0).layers[0] for e in errors])
        np.testing.assert_allclose(layers.max((1, 2)).mean(), 1, err_msg="1 is usual at most")
        layers *= maps.hottest[0]
        np.testing.assert_allclose(layers.mean(0), 0, atol=1e-12)
        np.testing.assert_allclose(layers.std(0), 1)

    def test_no_pixel_is_taken_to_scatter_less_than_a_tenth_of_all_of_them_together(self) -> None:
        """A pixel that never errs in a few images may yet err in the next."""
        rng = np.random.default_rng(1)
        errors = [rng.chisquare(3, (8, 8)) for _ in range(10)]
        for of in errors:
            of[0, 0] = 0.0

        maps = WholeMaps.of(errors)

        assert maps.spread[0, 0] == pytest.approx(SMALLEST_SHARE * np.array(errors).std())
        assert maps.spread[4, 4] == pytest.approx(np.array(errors)[:, 4, 4].std())

    def test_images_without_any_error_leave_a_layer_of_numbers(self) -> None:
        maps = WholeMaps.of([np.zeros((8, 8))] * 3)

        assert (maps.spread == SMALLEST_SPREAD).all()
        assert (maps.read(np.zeros((8, 8)), 1.0).layers[0] == 0).all()

    def test_the_score_is_that_of_the_row(self) -> None:
        assert WholeMaps.of(ERRORS).read(ERRORS[0], 3.25).score == 3.25

    def test_arrays_have_the_shapes_that_are_declared(self) -> None:
        maps = WholeMaps.of([np.ones((8, 8))])
        assert {k: getattr(maps, k).shape for k in WholeMaps.shapes(8)} == WholeMaps.shapes(8)


class TestTiles:
    def test_on_the_images_it_was_learned_from_each_look_has_mean_0_and_deviation_1(self) -> None:
        looks = np.array([MAPS.looks(e, o) for e, o in zip(ERRORS, ODDS, strict=True)])

        np.testing.assert_allclose(looks.mean(0), 0, atol=1e-9)
        np.testing.assert_allclose(looks.std(0), 1)

    def test_arrays_have_the_shapes_that_are_declared(self) -> None:
        assert {k: getattr(MAPS, k).shape for k in TileMaps.shapes()} == TileMaps.shapes()

    def test_what_is_usual_is_learned_by_distance_from_the_border(self) -> None:
        """Of images whose errors are given by it, no place stands out: all ratios are 1."""
        levels = np.linspace(1.0, 3.0, len(DISTANCES) + 1)
        errors = levels[distance_bins(np.zeros((200, 200)))]

        maps = TileMaps.of([errors] * 20, [np.zeros((50, 50))] * 20)

        # Bins of few pixels are drawn to the mean of all: these have at least 10,000.
        np.testing.assert_allclose(maps.guess, levels, atol=0.03)
        logs = maps.read(errors, np.zeros((50, 50))).layers[0] * maps.hottest[0]
        np.testing.assert_allclose(logs, 0, atol=0.03)

    def test_a_blot_of_error_raises_the_first_look_and_is_where_the_layer_is_hottest(self) -> None:
        errors, odds = surfaces(1, seed=1)
        blot = errors[0].copy()
        blot[20 : 20 + BOX, 30 : 30 + BOX] += 8.0

        clean, marred = (MAPS.looks(e, odds[0]) for e in (errors[0], blot))
        boxes = MAPS.read(blot, odds[0]).layers[0]

        assert marred[0] > clean[0] + 3
        assert marred[1] == clean[1]
        assert MAPS.read(blot, odds[0]).score > MAPS.read(errors[0], odds[0]).score
        hottest = np.unravel_index(boxes.argmax(), boxes.shape)
        # A box is hottest where it is centred on the blot, to a pixel: its side is even.
        np.testing.assert_allclose(hottest, (20 + BOX / 2, 30 + BOX / 2), atol=1)

    def test_a_place_of_high_odds_raises_the_second_look_and_is_where_its_layer_is_hottest(
        self,
    ) -> None:
        errors, odds = surfaces(1, seed=2)
        raised = odds[0].copy()
        raised[3, 7] = 9.0

        clean, marred = (MAPS.looks(errors[0], o) for o in (odds[0], raised))
        places = MAPS.read(errors[0], raised).layers[1]

        assert marred[1] > clean[1] + 3
        assert marred[0] == clean[0]
        assert places.argmax() == np.ravel_multi_index((3, 7), places.shape)

    def test_one_look_is_enough(self) -> None:
        """Joined looks are close to the larger one, less the share of the other."""
        errors, odds = surfaces(1, seed=3)
        odds[0][2, 2] = 30.0
        largest = MAPS.looks(errors[0], odds[0]).max()

        score = MAPS.read(errors[0], odds[0]).score

        assert largest - np.log(2) <= score <= largest

    @given(factor=st.sampled_from([0.25, 0.5, 2.0]), number=st.integers(0, 9))
    @settings(deadline=None)
    def test_errors_that_are_larger_in_the_whole_image_say_nothing(
        self, factor: float, number: int
    ) -> None:
        """Each image is its own measure, as long as no error is cut off."""
        errors, odds = ERRORS[number], ODDS[number]
        assert (factor * errors).max() <= LARGEST_ERROR

        before, after = (MAPS.read(e, odds) for e in (errors, factor * errors))

        assert after.score == pytest.approx(before.score, rel=1e-12)
        for first, second in zip(before.layers, after.layers, strict=True):
            np.testing.assert_allclose(first, second, atol=1e-12)

    @given(
        y=st.integers(0, 11),
        x=st.integers(0, 15),
        more=st.floats(0, 1e6),
        number=st.integers(0, 9),
    )
    @settings(deadline=None)
    def test_higher_odds_at_a_place_never_lower_the_score(
        self, y: int, x: int, more: float, number: int
    ) -> None:
        raised = ODDS[number].copy()
        raised[y, x] += more

        before, after = (MAPS.read(ERRORS[number], o).score for o in (ODDS[number], raised))

        assert after >= before

    def test_glints_count_no_more_than_the_largest_error(self) -> None:
        glint, as_large = ERRORS[0].copy(), ERRORS[0].copy()
        glint[10, 10], as_large[10, 10] = 1e9, LARGEST_ERROR

        assert MAPS.read(glint, ODDS[0]).score == MAPS.read(as_large, ODDS[0]).score

    @pytest.mark.parametrize("odds", [0.0, -1e30, 1e30], ids=["0", "-1e30", "1e30"])
    @pytest.mark.parametrize("errors", [0.0, 1e-300, 1.0, 1e30])
    @pytest.mark.parametrize(
        ("height", "width"), [(1, 1), (3, 5), (BOX - 1, 2 * BOX), (48, 64)], ids=str
    )
    def test_every_score_is_a_number(
        self, height: int, width: int, errors: float, odds: float
    ) -> None:
        """Of constant and extreme maps, and of images smaller than a box."""
        places = (-(-height // 4), -(-width // 4))
        found = MAPS.read(np.full((height, width), errors), np.full(places, odds))

        assert np.isfinite(found.score)
        assert found.layers[0].shape == (height, width)
        assert found.layers[1].shape == places
        assert all(np.isfinite(layer).all() for layer in found.layers)

    @pytest.mark.parametrize("value", [0.0, 1.0, 1e30])
    def test_what_is_usual_of_constant_images_gives_numbers_for_any_other(
        self, value: float
    ) -> None:
        maps = TileMaps.of([np.full((20, 20), value)] * 3, [np.full((5, 5), -3.0)] * 3)

        rng = np.random.default_rng(4)
        for errors in (np.full((20, 20), value), errors_of(rng, 20, 20)):
            for odds in (np.full((5, 5), -3.0), odds_of(rng, 20, 20)):
                assert np.isfinite(maps.read(errors, odds).score)

    def test_the_order_of_the_images_does_not_matter(self) -> None:
        order = np.random.default_rng(5).permutation(len(ERRORS))

        turned = TileMaps.of([ERRORS[n] for n in order], [ODDS[n] for n in order])

        for name in TileMaps.shapes():
            np.testing.assert_allclose(getattr(turned, name), getattr(MAPS, name), atol=1e-12)

    def test_images_may_differ_in_size(self) -> None:
        rng = np.random.default_rng(6)
        sizes = [(20, 30), (47, 33), (5, 9), (64, 64)]

        maps = TileMaps.of(
            [errors_of(rng, *size) for size in sizes], [odds_of(rng, *size) for size in sizes]
        )

        assert all(np.isfinite(getattr(maps, name)).all() for name in TileMaps.shapes())
