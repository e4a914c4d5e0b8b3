"""From images to a detector: refused before anything is read, measured on fit images alone."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np
import pytest

from anomaly import image_assembly
from anomaly.arrays import Float32, Int64
from anomaly.data.pixels import Pixels
from anomaly.data.splits import Splits
from anomaly.errors import AlphaNotSupported, ConfigInvalid
from anomaly.fitting.defects import DefectFit
from anomaly.image_assembly import (
    ImagesLeftOut,
    assemble_images,
    fit_image_preprocessor,
    image_vae,
    pixel_owner,
    shows_grey,
    within_memory,
)
from anomaly.image_config import (
    HIDDEN_SHARE,
    IMAGE_PRESETS,
    ImageDetectorConfig,
    check_image_config,
)
from anomaly.models.objective import ELBO
from anomaly.models.posterior import PointPosterior
from anomaly.models.prior import MixturePrior
from anomaly.preprocessing.images import PLANES, Contrast, ImagePreprocessor, Layout
from anomaly.scores import HiddenCells, NegativeELBO, ReconstructionError

TILES, WHOLE = IMAGE_PRESETS["tiles"], IMAGE_PRESETS["whole"]


def picture(height: int, width: int, channels: int = 1, seed: int = 0) -> Pixels:
    """Of some brightness and contrast, with structure at every scale."""
    rng = np.random.default_rng([seed, height, width])
    low = rng.uniform(30, 120)
    return (low + 100 * rng.random((height, width, channels))).astype(np.uint8)


class Shelf:
    """A source of images that notes which it was asked for."""

    def __init__(self, images: Sequence[Pixels]) -> None:
        self.images = images
        self.asked: set[int] = set()

    def __call__(self, numbers: Int64) -> Iterator[Pixels]:
        for number in numbers:
            self.asked.add(int(number))
            yield self.images[number]


def prepared(
    images: Sequence[Pixels], config: ImageDetectorConfig = TILES, numbers: Int64 | None = None
) -> ImagePreprocessor:
    numbers = np.arange(len(images)) if numbers is None else numbers
    return fit_image_preprocessor(Shelf(images), numbers, config, np.random.default_rng(0))


def no_image_is_read(numbers: Int64) -> Iterator[Pixels]:
    raise AssertionError("an image was read")


def splits(calibration: int) -> Splits:
    ends = np.cumsum([20, 5, calibration])
    return Splits(*np.split(np.arange(ends[-1]), ends))


WRONG: dict[str, tuple[ImageDetectorConfig, str]] = {
    "tiles_by_reconstruction": (
        replace(TILES, score=ReconstructionError(draws=0)),
        "tiles are scored by their hidden cells.*`reconstruction` does not go with",
    ),
    "whole_by_hidden_cells": (
        replace(WHOLE, score=HiddenCells()),
        "seen whole by another score: `hidden_cells` does not go with",
    ),
    "tiles_that_hide_another_share": (
        replace(TILES, fit=replace(TILES.fit, mask_rate=0.5)),
        f"leave detector.fit.mask_rate at {HIDDEN_SHARE} and detector.fit.trim at 0",
    ),
    "tiles_that_are_left_aside": (
        replace(TILES, fit=replace(TILES.fit, trim=0.1)),
        f"leave detector.fit.mask_rate at {HIDDEN_SHARE} and detector.fit.trim at 0",
    ),
    "defects_in_whole_images": (
        replace(WHOLE, defects=DefectFit(steps=10)),
        "leave out detector.defects, or use the preset `tiles`",
    ),
    "a_working_side_of_whole_images": (
        replace(WHOLE, working_side=100),
        "leave out detector.working_side and detector.layout.overlap",
    ),
    "overlapping_whole_images": (
        replace(WHOLE, layout=replace(WHOLE.layout, overlap=2)),
        "leave out detector.working_side and detector.layout.overlap",
    ),
    "a_tile_that_cannot_be_halved_as_often": (
        replace(TILES, layout=Layout(tile=36, overlap=4), widths=(4, 4, 4)),
        "must be a multiple of 8, not 36",
    ),
    "a_learned_prior_for_points": (
        replace(TILES, posterior=PointPosterior(), prior=MixturePrior(components=3)),
        "Use `posterior: {kind: gaussian}`, or `prior: {kind: standard_normal}`",
    ),
    "a_weighed_kl_for_points": (
        replace(WHOLE, posterior=PointPosterior()),
        "Leave them out, or use `posterior: {kind: gaussian}`",
    ),
    "a_bound_for_points": (
        replace(
            WHOLE,
            posterior=PointPosterior(),
            fit=replace(WHOLE.fit, objective=ELBO()),
            score=NegativeELBO(),
        ),
        "Use the score `squared_error` or `reconstruction`, or `posterior: {kind: gaussian}`",
    ),
}
"""What does not go together, and what to do instead."""


class TestRefusals:
    @pytest.mark.parametrize("config", IMAGE_PRESETS.values(), ids=IMAGE_PRESETS)
    def test_the_parts_of_every_preset_go_together(self, config: ImageDetectorConfig) -> None:
        check_image_config(config)

    @pytest.mark.parametrize(("config", "advice"), WRONG.values(), ids=WRONG)
    def test_parts_that_do_not_go_together_are_refused_with_advice_before_any_image_is_read(
        self, config: ImageDetectorConfig, advice: str
    ) -> None:
        with pytest.raises(ConfigInvalid, match=advice):
            check_image_config(config)
        with pytest.raises(ConfigInvalid, match=advice):
            assemble_images(no_image_is_read, splits(100), config, seed=0)

    def test_an_alpha_that_too_few_images_support_is_refused_before_any_is_read(self) -> None:
        with pytest.raises(AlphaNotSupported, match="needs at least 99 calibration images, got 98"):
            assemble_images(no_image_is_read, splits(98), replace(TILES, alpha=0.01), seed=0)
        with pytest.raises(AssertionError, match="an image was read"):
            assemble_images(no_image_is_read, splits(99), replace(TILES, alpha=0.01), seed=0)

    def test_of_grouped_images_the_groups_are_counted(self) -> None:
        groups = np.array([f"object {number // 2}" for number in range(225)], object)
        told = "needs at least 199 calibration groups, got 100. Add normal groups"
        with pytest.raises(AlphaNotSupported, match=told):
            assemble_images(
                no_image_is_read, splits(199), replace(TILES, alpha=0.005), seed=0, groups=groups
            )


class TestScale:
    def test_images_are_reduced_until_their_usual_side_is_the_working_side(self) -> None:
        images = [picture(100, 400), picture(300, 300), picture(900, 100)]
        # Sides of squares of the same area: 200, 300, 300.
        found = prepared(images, replace(TILES, working_side=60))

        assert found.scale == pytest.approx(60 / 300)
        assert found.working_size(300, 300) == (60, 60)
        assert found.working_size(100, 400) == (20, 80)

    def test_small_images_are_not_enlarged(self) -> None:
        assert prepared([picture(40, 50)]).scale == 1.0

    def test_scale_and_contrast_are_those_of_the_fit_images_alone(self) -> None:
        fit = [picture(60, 60, seed=seed) for seed in range(4)]
        others = [picture(200, 200, channels=3, seed=seed) for seed in range(4)]
        shelf = Shelf([*others, *fit])

        found = fit_image_preprocessor(shelf, np.arange(4, 8), TILES, np.random.default_rng(0))

        assert shelf.asked == {4, 5, 6, 7}
        assert found == prepared(fit)

    def test_of_many_images_some_are_measured(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(image_assembly, "MOST_MEASURED", 5)
        shelf = Shelf([picture(16, 16, seed=seed) for seed in range(40)])

        fit_image_preprocessor(shelf, np.arange(40), TILES, np.random.default_rng(0))

        assert len(shelf.asked) == 5
        assert shelf.asked != set(range(5)), "not the first: files may be in order of time"


class TestChannels:
    def test_images_that_only_show_grey_are_worked_on_in_grey(self) -> None:
        grey = picture(20, 20)
        images = [grey, np.repeat(picture(20, 20, seed=1), 3, axis=-1)]

        assert all(shows_grey(pixels) for pixels in images)
        assert prepared(images).channels == 1

    def test_one_coloured_pixel_makes_three_channels(self) -> None:
        coloured = np.repeat(picture(20, 20, seed=1), 3, axis=-1)
        coloured[7, 3, 2] += 1

        assert not shows_grey(coloured)
        found = prepared([picture(20, 20), coloured])
        assert found.channels == len(found.center) == len(found.spread) == 3


class TestContrast:
    @pytest.mark.parametrize("channels", [1, 3])
    @pytest.mark.parametrize("config", [TILES, WHOLE], ids=["tiles", "whole"])
    def test_each_channel_of_the_fit_images_together_has_mean_0_and_deviation_1(
        self, config: ImageDetectorConfig, channels: int
    ) -> None:
        tint = np.array([1.0, 0.7, 0.4])[:channels]
        images = [
            (picture(40 + 5 * seed, 50, channels, seed) * tint).astype(np.uint8)
            for seed in range(6)
        ]
        preprocessor = prepared(images, config)

        pixels = np.concatenate([preprocessor.image(of).reshape(-1, channels) for of in images])

        np.testing.assert_allclose(pixels.mean(0, dtype=np.float64), 0, atol=1e-5)
        np.testing.assert_allclose(pixels.std(0, dtype=np.float64), 1, rtol=1e-5)

    @pytest.mark.parametrize("config", [TILES, WHOLE], ids=["tiles", "whole"])
    def test_images_of_one_colour_are_all_zeros(self, config: ImageDetectorConfig) -> None:
        flat = np.full((40, 40, 1), 90, np.uint8)
        preprocessor = prepared([flat] * 3, config)

        assert preprocessor.spread == (1.0,), "noise of rounding is not made large"
        np.testing.assert_allclose(preprocessor.image(flat), 0, atol=1e-5)

    def test_a_hand_computation_of_plain_brightness(self) -> None:
        images = [np.full((8, 8, 1), value, np.uint8) for value in (51, 102, 255)]
        config = replace(WHOLE, layout=Layout(tile=8, overlap=0, whole=True))

        found = prepared(images, config)

        # A fifth, two fifths, one: mean 8 / 15, and deviations -5, -2 and 7 of 15.
        assert found.contrast is Contrast.PLAIN
        assert found.center == pytest.approx((8 / 15,))
        assert found.spread == pytest.approx((np.sqrt((25 + 4 + 49) / 3) / 15,))


class TestMemory:
    IMAGES = tuple(np.full((16, 16, 1), number, np.float32) for number in range(6))
    BYTES = 16 * 16 * 4

    def kept(self, images: Sequence[Float32]) -> list[int]:
        return [int(image[0, 0, 0]) for image in within_memory(iter(images))]

    def test_all_images_that_fit_are_kept_without_a_word(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(image_assembly, "MOST_CACHED_BYTES", 6 * self.BYTES)
        assert self.kept(self.IMAGES) == [0, 1, 2, 3, 4, 5]

    def test_the_first_that_fit_are_kept_and_it_says_so(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(image_assembly, "MOST_CACHED_BYTES", 4 * self.BYTES + 1)
        with pytest.warns(ImagesLeftOut, match=r"only the first 4 fit images.*working_side"):
            assert self.kept(self.IMAGES) == [0, 1, 2, 3]

    def test_no_more_are_prepared_than_one_that_does_not_fit(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(image_assembly, "MOST_CACHED_BYTES", 2 * self.BYTES)
        images = iter(self.IMAGES)
        with pytest.warns(ImagesLeftOut):
            assert len(list(within_memory(images))) == 2
        assert len(list(images)) == 3

    def test_one_image_is_kept_however_large(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(image_assembly, "MOST_CACHED_BYTES", 1)
        with pytest.warns(ImagesLeftOut, match="only the first 1 fit images"):
            assert self.kept(self.IMAGES) == [0]
        assert self.kept(self.IMAGES[:1]) == [0]


@pytest.mark.parametrize("channels", [1, 3])
def test_the_model_of_a_tile_has_an_input_for_every_number_of_it(channels: int) -> None:
    preprocessor = prepared([picture(70, 90, channels)])
    tiled = preprocessor.tiles(picture(70, 90, channels))

    vae = image_vae(TILES, preprocessor)

    assert tiled.features.inputs.shape[1] == vae.sizes.inputs
    assert tiled.features.targets.shape[1] == vae.likelihood.targets


@pytest.mark.parametrize("channels", [1, 3])
def test_all_channels_and_planes_of_a_pixel_have_one_owner(channels: int) -> None:
    preprocessor = prepared([picture(70, 90, channels)])
    side = TILES.layout.tile

    owners = pixel_owner(preprocessor).reshape(channels + PLANES, side, side)

    assert (owners == owners[0]).all()
    assert sorted(owners[0].ravel()) == list(range(side * side))
