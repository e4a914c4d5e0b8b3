"""A detector of images: equal pixels get equal answers, and a hole is found where it is."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import gaussian_filter
from sklearn.metrics import roc_auc_score

from anomaly.backends.backend import BackendName, Device
from anomaly.data.pixels import Pixels
from anomaly.data.splits import Splits, split_rows
from anomaly.errors import AlphaNotSupported, BadData, ConfigInvalid
from anomaly.image_assembly import assemble_images
from anomaly.image_detector import ImageDetector, of_images, of_tables
from benchmarks.resplits import Resplits, rate_of
from tests.textiles import CONFIG, SIDE, normal_images, torn

NEW = normal_images(24, seed=50)
TORN = [torn(pixels) for pixels in normal_images(12, seed=51)]
MIXED = [*NEW[:4], TORN[0][:40, :31], NEW[4][:25], np.tile(NEW[5], (2, 3, 1)), *TORN[1:4]]
"""Of five sizes."""


@given(places=st.lists(st.integers(0, len(MIXED) - 1), min_size=1, max_size=12))
@settings(max_examples=15, deadline=None)
def test_a_score_does_not_depend_on_the_company_to_the_bit(
    image_detector: ImageDetector, places: list[int]
) -> None:
    alone = [image_detector.anomaly_score([MIXED[place]])[0] for place in places]

    together = image_detector.anomaly_score(MIXED[place] for place in places)

    assert together.tolist() == alone


def test_both_libraries_agree_within_the_tolerance(image_detector: ImageDetector) -> None:
    here = image_detector.anomaly_score(MIXED)
    there = image_detector.on(BackendName.TORCH, Device.CPU).anomaly_score(MIXED)

    np.testing.assert_allclose(here, there, atol=image_detector.calibration.tolerance)


def test_holes_are_found(image_detector: ImageDetector) -> None:
    scores = image_detector.anomaly_score([*NEW, *TORN])
    assert roc_auc_score(np.arange(len(scores)) >= len(NEW), scores) > 0.95


@pytest.mark.parametrize(
    "odd",
    [
        lambda pixels: np.full_like(pixels, 128),
        lambda pixels: np.full_like(pixels, 0),
        lambda pixels: gaussian_filter(pixels, (4, 4, 0)),
        lambda pixels: np.random.default_rng(0).integers(0, 256, pixels.shape, np.uint8),
    ],
    ids=["blank", "dark", "out of focus", "noise"],
)
def test_an_image_that_is_odd_as_a_whole_is_flagged_and_hot_everywhere(
    image_detector: ImageDetector, odd: Callable[[Pixels], Pixels]
) -> None:
    """Nothing stands out in it: every place is as odd as the rest."""
    frames = [odd(pixels) for pixels in NEW[:4]]

    assert image_detector.detect(frames).is_anomaly.all()
    for heat in image_detector.explain(frames):
        assert (heat.values >= 1).all()


def test_heat_is_where_the_hole_is_and_a_whole_piece_is_calm(
    image_detector: ImageDetector,
) -> None:
    hot, calm = [], []
    for heat in image_detector.explain(TORN):
        assert heat.values.shape == (SIDE, SIDE)
        inside = heat.values[8:24, 24:40]
        hot.append(inside.max())
        assert inside.max() == heat.hottest, "nowhere else is hotter"
    calm = [heat.hottest for heat in image_detector.explain(NEW)]
    assert np.median(hot) > 1.0
    assert np.median(calm) < 1.0
    assert all(heat.values.min() >= 0 for heat in image_detector.explain(NEW[:3]))


def test_one_calibration_image_in_alpha_exceeds_heat_1(image_detector: ImageDetector) -> None:
    """The promise of the scale, on the images that set it."""
    images = normal_images(60)[36:60]
    _, hottest = image_detector.measured(images)
    again = image_detector.calibrated(image_detector.calibration, hottest, image_detector.card)
    over = np.mean([heat.hottest > 1.0 for heat in again.explain(images)])
    assert over <= image_detector.calibration.alpha + 1e-9
    np.testing.assert_array_equal(again.hottest, image_detector.hottest)


def test_heat_1_moves_with_the_rate(image_detector: ImageDetector) -> None:
    """Fewer normal images exceed it, the smaller alpha."""
    units = [image_detector.with_alpha(alpha).heat_unit for alpha in (0.5, 0.2, 0.04)]
    assert units == sorted(units)
    hottest = image_detector.hottest
    assert (hottest > units[1]).mean() <= 0.2


def test_verdicts_are_p_at_most_alpha(image_detector: ImageDetector) -> None:
    verdicts = image_detector.detect(MIXED, alpha=0.2)

    assert verdicts.alpha == 0.2
    assert (verdicts.is_anomaly == (verdicts.p_values <= 0.2)).all()
    with pytest.raises(AlphaNotSupported):
        image_detector.detect(MIXED[:1], alpha=1e-4)


def test_grey_is_the_same_in_one_channel_or_three(image_detector: ImageDetector) -> None:
    coloured = [np.repeat(pixels, 3, axis=-1) for pixels in NEW[:3]]
    np.testing.assert_array_equal(
        image_detector.anomaly_score(coloured), image_detector.anomaly_score(NEW[:3])
    )


def test_sixteen_bits_score_as_eight(image_detector: ImageDetector) -> None:
    deep = [pixels.astype(np.uint16) * 257 for pixels in NEW[:3]]
    np.testing.assert_allclose(
        image_detector.anomaly_score(deep), image_detector.anomaly_score(NEW[:3]), atol=1e-3
    )


@pytest.mark.parametrize("value", [0, 255])
@pytest.mark.parametrize("shape", [(1, 1), (3, 200), (48, 48), (9, 9)])
def test_blank_images_of_any_size_get_a_finite_score(
    image_detector: ImageDetector, shape: tuple[int, int], value: int
) -> None:
    blank = np.full((*shape, 1), value, np.uint8)
    (mapped,) = image_detector.mapped([blank])
    assert np.isfinite(mapped.score)
    assert np.isfinite(image_detector.heat(mapped).values).all()


@pytest.mark.parametrize(
    "wrong",
    ["a.png", b"bytes", np.zeros((8, 8), np.uint8), np.zeros((8, 8, 4), np.uint8), NEW[0] / 255],
    ids=["path", "bytes", "flat", "four channels", "floats"],
)
def test_what_is_no_image_is_refused_with_advice(image_detector: ImageDetector, wrong: Any) -> None:
    with pytest.raises(BadData, match="decode"):
        image_detector.anomaly_score([NEW[0], wrong])


def test_severity_does_not_saturate(image_detector: ImageDetector) -> None:
    """Of two holes the deeper one scores higher, far beyond the threshold."""
    faint, deep = NEW[0].copy(), NEW[0].copy()
    faint[10:22, 26:38] = 60
    deep[10:22, 26:38] = 0
    scores = image_detector.anomaly_score([faint, deep])
    assert scores[0] != scores[1]


def test_no_image_at_all_has_no_score(image_detector: ImageDetector) -> None:
    assert image_detector.anomaly_score([]).shape == (0,)


def test_the_false_alarm_rate_holds(image_detector: ImageDetector) -> None:
    """Given the fit, new normal images are exchangeable: each of 400 times other 99 of them
    calibrate and the rest is judged."""
    scores = image_detector.anomaly_score(normal_images(300, seed=77))
    for alpha in (0.05, 0.2):
        assert rate_of(Resplits(scores, 99, 400, seed=0), alpha).holds


def small(images: list[Pixels], splits: Splits, groups: np.ndarray | None = None) -> ImageDetector:
    quick = replace(
        CONFIG,
        fit=replace(CONFIG.fit, steps=5),
        defects=replace(CONFIG.defects, steps=3, drawn=3),
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return assemble_images(
            lambda numbers: (images[number] for number in numbers),
            splits,
            quick,
            seed=0,
            device=Device.CPU,
            groups=groups,
        ).detector


def test_a_group_counts_once_with_its_highest_score() -> None:
    images = normal_images(30, seed=3)
    splits = split_rows(30, seed=0, early_stop_share=0.2, calibration_share=0.4)
    groups = np.array([str(number // 2) for number in range(30)], dtype=object)
    by_group, by_image = small(images, splits, groups), small(images, splits)

    scores = by_image.anomaly_score(images[number] for number in splits.calibration)
    highest = [
        scores[groups[splits.calibration] == group].max()
        for group in set(groups[splits.calibration])
    ]
    np.testing.assert_array_equal(by_group.calibration.scores, np.sort(highest))
    assert by_group.card.unit_of_calibration == "group"
    assert by_image.card.unit_of_calibration == "image"


def test_calibration_images_shape_no_score() -> None:
    """Other calibration images, the same scores."""
    images, others = normal_images(30, seed=3), normal_images(30, seed=4)
    splits = split_rows(30, seed=0, early_stop_share=0.2)
    changed = [others[n] if n in splits.calibration else images[n] for n in range(30)]

    np.testing.assert_array_equal(
        small(images, splits).anomaly_score(NEW[:5]), small(changed, splits).anomaly_score(NEW[:5])
    )


def test_what_looks_at_the_other_kind_is_refused_with_advice(
    image_detector: ImageDetector, detector: object
) -> None:
    with pytest.raises(ConfigInvalid, match="folder of PNG or JPEG"):
        of_tables(image_detector)
    with pytest.raises(ConfigInvalid, match="CSV or Parquet"):
        of_images(detector)  # type: ignore[arg-type]
