"""Maps of evidence: what is usual is 0, one place is enough, and extremes stay numbers."""

from __future__ import annotations

from dataclasses import replace

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
    TileLook,
    TileMaps,
    WholeLook,
    WholeMaps,
    distance_bins,
    largest_mean,
)
from anomaly.texture import CELL, FIELDS

sides = st.integers(1, 50)


def errors_of(rng: np.random.Generator, height: int = 48, width: int = 64) -> Float64:
    """Squared errors of an image: larger near the border, and in some images larger everywhere."""
    found = rng.chisquare(1, (height, width)) * rng.uniform(0.5, 2.0)
    found[:2] *= 3.0
    return np.minimum(found, 10.0)


def odds_of(rng: np.random.Generator, height: int = 48, width: int = 64) -> Float64:
    odds: Float64 = rng.normal(-4.0, 1.0, (-(-height // 4), -(-width // 4)))
    return odds


def look_of(rng: np.random.Generator, height: int = 48, width: int = 64) -> TileLook:
    cells = (max(1, height // CELL), max(1, width // CELL), FIELDS)
    errors, odds = errors_of(rng, height, width), odds_of(rng, height, width)
    return TileLook(errors, odds, rng.chisquare(1, cells), rng.normal(-2.0, 0.3, FIELDS))


def surfaces(n: int = 40, seed: int = 0) -> list[TileLook]:
    rng = np.random.default_rng(seed)
    return [look_of(rng) for _ in range(n)]


NORMAL = surfaces()
MAPS = TileMaps.of(NORMAL)


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

        maps = WholeMaps.of([WholeLook(e, 0.0) for e in errors])

        layers = np.array([maps.read(WholeLook(e, 0.0)).layers[0] for e in errors])
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

        maps = WholeMaps.of([WholeLook(e, 0.0) for e in errors])

        assert maps.spread[0, 0] == pytest.approx(SMALLEST_SHARE * np.array(errors).std())
        assert maps.spread[4, 4] == pytest.approx(np.array(errors)[:, 4, 4].std())

    def test_images_without_any_error_leave_a_layer_of_numbers(self) -> None:
        maps = WholeMaps.of([WholeLook(np.zeros((8, 8)), 1.0)] * 3)

        assert (maps.spread == SMALLEST_SPREAD).all()
        assert (maps.read(WholeLook(np.zeros((8, 8)), 1.0)).layers[0] == 0).all()

    def test_the_score_is_that_of_the_row(self) -> None:
        look = WholeLook(np.ones((8, 8)), 3.25)

        assert WholeMaps.of([look]).read(look).score == 3.25

    def test_arrays_have_the_shapes_that_are_declared(self) -> None:
        maps = WholeMaps.of([WholeLook(np.ones((8, 8)), 0.0)])
        assert {k: getattr(maps, k).shape for k in WholeMaps.shapes(8)} == WholeMaps.shapes(8)


class TestTiles:
    def test_on_the_images_it_was_learned_from_each_look_has_mean_0_and_deviation_1(self) -> None:
        looks = np.array([MAPS.told(look) for look in NORMAL])

        np.testing.assert_allclose(looks[:, :3].mean(0), 0, atol=1e-9)
        np.testing.assert_allclose(looks[:, :3].std(0), 1)
        assert (looks[:, 3] == 0).all(), "none is odd as a whole"

    def test_arrays_have_the_shapes_that_are_declared(self) -> None:
        assert {k: getattr(MAPS, k).shape for k in TileMaps.shapes()} == TileMaps.shapes()

    def test_what_is_usual_is_learned_by_distance_from_the_border(self) -> None:
        """Of images whose errors are given by it, no place stands out: all ratios are 1."""
        levels = np.linspace(1.0, 3.0, len(DISTANCES) + 1)
        errors = levels[distance_bins(np.zeros((200, 200)))]
        look = TileLook(errors, np.zeros((50, 50)), np.ones((25, 25, FIELDS)), np.zeros(FIELDS))

        maps = TileMaps.of([look] * 20)

        # Bins of few pixels are drawn to the mean of all: these have at least 10,000.
        np.testing.assert_allclose(maps.guess, levels, atol=0.03)
        logs = maps.read(look).layers[0] * maps.hottest[0]
        np.testing.assert_allclose(logs, 0, atol=0.03)

    def test_a_blot_of_error_raises_the_first_look_and_is_where_the_layer_is_hottest(self) -> None:
        (clean,) = surfaces(1, seed=1)
        errors = clean.errors.copy()
        errors[20 : 20 + BOX, 30 : 30 + BOX] += 8.0
        marred = replace(clean, errors=errors)

        raised = MAPS.told(marred) - MAPS.told(clean)
        boxes = MAPS.read(marred).layers[0]

        assert raised[0] > 3
        assert (raised[1:] == 0).all()
        assert MAPS.read(marred).score > MAPS.read(clean).score
        hottest = np.unravel_index(boxes.argmax(), boxes.shape)
        # A box is hottest where it is centred on the blot, to a pixel: its side is even.
        np.testing.assert_allclose(hottest, (20 + BOX / 2, 30 + BOX / 2), atol=1)

    @pytest.mark.parametrize(("look", "name"), [(1, "odds"), (2, "surprise")])
    def test_an_odd_place_raises_its_own_look_and_is_where_that_layer_is_hottest(
        self, look: int, name: str
    ) -> None:
        (clean,) = surfaces(1, seed=2)
        values = getattr(clean, name).copy()
        values[3, 7] = 40.0
        marred = replace(clean, **{name: values})

        raised = MAPS.told(marred) - MAPS.told(clean)
        layer = MAPS.read(marred).layers[look]

        assert raised[look] > 3
        assert (np.delete(raised, look) == 0).all()
        assert layer.argmax() == np.ravel_multi_index((3, 7), layer.shape)

    def test_one_look_is_enough(self) -> None:
        """Joined looks are close to the largest one, less the share of the others."""
        (look,) = surfaces(1, seed=3)
        look.odds[2, 2] = 30.0
        told = MAPS.told(look)

        score = MAPS.read(look).score

        assert told.max() - np.log(len(told)) <= score <= told.max()

    @given(factor=st.floats(0.7, 1.4), number=st.integers(0, 9))
    @settings(deadline=None)
    def test_errors_that_are_larger_in_the_whole_image_say_nothing(
        self, factor: float, number: int
    ) -> None:
        """Each image is its own measure, as long as no error is cut off."""
        look = NORMAL[number]
        errors = factor * np.minimum(look.errors, LARGEST_ERROR / 2)
        assert errors.max() <= LARGEST_ERROR

        before, after = (MAPS.read(replace(look, errors=of)) for of in (errors / factor, errors))

        assert after.score == pytest.approx(before.score, rel=1e-12)
        for first, second in zip(before.layers, after.layers, strict=True):
            np.testing.assert_allclose(first, second, atol=1e-12)

    @pytest.mark.parametrize(
        ("name", "value"),
        [("errors", 1e-3), ("errors", 1e3), ("roughness", -3.5), ("roughness", 3.5)],
        ids=["blank", "of something else", "smooth", "rough"],
    )
    def test_an_image_that_is_far_from_usual_as_a_whole_is_odd_everywhere(
        self, name: str, value: float
    ) -> None:
        """In either direction; the other looks compare places with each other and are calm."""
        (clean,) = surfaces(1, seed=7)
        old = getattr(clean, name)
        odd = replace(clean, **{name: old * value if name == "errors" else old + value})

        told, read = MAPS.told(odd), MAPS.read(odd)

        assert told[3] > 3
        assert read.score >= told[3] - np.log(4)
        assert read.layers[3] == told[3]
        assert max(MAPS.read(look).score for look in NORMAL) < read.score

    @given(
        name=st.sampled_from(["odds", "surprise"]),
        y=st.integers(0, 5),
        x=st.integers(0, 7),
        more=st.floats(0, 1e6),
        number=st.integers(0, 9),
    )
    @settings(deadline=None)
    def test_an_odder_place_never_lowers_the_score(
        self, name: str, y: int, x: int, more: float, number: int
    ) -> None:
        look = NORMAL[number]
        values = getattr(look, name).copy()
        values[y, x] += more

        before, after = (MAPS.read(of).score for of in (look, replace(look, **{name: values})))

        assert after >= before

    def test_glints_count_no_more_than_the_largest_error(self) -> None:
        scores = []
        for error in (1e9, LARGEST_ERROR):
            errors = NORMAL[0].errors.copy()
            errors[10, 10] = error
            scores.append(MAPS.read(replace(NORMAL[0], errors=errors)).score)

        assert scores[0] == scores[1]

    @pytest.mark.parametrize("surprise", [0.0, 50.0], ids=["as expected", "unexpected"])
    @pytest.mark.parametrize("odds", [0.0, -1e30, 1e30], ids=["0", "-1e30", "1e30"])
    @pytest.mark.parametrize("errors", [0.0, 1e-300, 1.0, 1e30])
    @pytest.mark.parametrize(
        ("height", "width"), [(1, 1), (3, 5), (BOX - 1, 2 * BOX), (48, 64)], ids=str
    )
    def test_every_score_is_a_number(
        self, height: int, width: int, errors: float, odds: float, surprise: float
    ) -> None:
        """Of constant and extreme maps, and of images smaller than a box."""
        places, cells = (
            (-(-height // 4), -(-width // 4)),
            (max(1, height // 8), max(1, width // 8)),
        )
        found = MAPS.read(
            TileLook(
                np.full((height, width), errors),
                np.full(places, odds),
                np.full((*cells, FIELDS), surprise),
                np.full(FIELDS, odds),
            )
        )

        assert np.isfinite(found.score)
        assert [layer.shape for layer in found.layers] == [(height, width), places, cells, (1, 1)]
        assert all(np.isfinite(layer).all() for layer in found.layers)

    @pytest.mark.parametrize("value", [0.0, 1.0, 1e30])
    def test_what_is_usual_of_constant_images_gives_numbers_for_any_other(
        self, value: float
    ) -> None:
        constant = TileLook(
            np.full((20, 20), value),
            np.full((5, 5), -3.0),
            np.full((2, 2, FIELDS), 1.0),
            np.zeros(FIELDS),
        )

        maps = TileMaps.of([constant] * 3)

        other = look_of(np.random.default_rng(4), 20, 20)
        for errors in (constant, other):
            for odds in (constant, other):
                for surprise in (constant, other):
                    mixed = TileLook(
                        errors.errors, odds.odds, surprise.surprise, surprise.roughness
                    )
                    assert np.isfinite(maps.read(mixed).score)

    def test_the_order_of_the_images_does_not_matter(self) -> None:
        order = np.random.default_rng(5).permutation(len(NORMAL))

        turned = TileMaps.of([NORMAL[n] for n in order])

        for name in TileMaps.shapes():
            np.testing.assert_allclose(getattr(turned, name), getattr(MAPS, name), atol=1e-12)

    def test_images_may_differ_in_size(self) -> None:
        rng = np.random.default_rng(6)
        sizes = [(20, 30), (47, 33), (5, 9), (64, 64)]

        maps = TileMaps.of([look_of(rng, *size) for size in sizes])

        assert all(np.isfinite(getattr(maps, name)).all() for name in TileMaps.shapes())
